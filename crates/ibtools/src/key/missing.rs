//! The verb `key` of an ibtools that was built without encryption: says so.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use incremental_backups_tools::Repository;
use incremental_backups_tools::stores::{self, AnyStore};

use crate::Answer;
use crate::args::{InitArgs, KeyArgs};
use crate::console::Console;

const WITHOUT: &str = "this ibtools was built without `encryption`, a feature of the crate";

/// `ibtools key`
pub(crate) fn run(_: &KeyArgs, _: &mut Console) -> Result<Answer> {
    bail!("there are no keys: {WITHOUT}")
}

pub(crate) fn create(_: &InitArgs, _: &stores::Options) -> Result<(Repository<AnyStore>, String)> {
    bail!("no encrypted store can be made: {WITHOUT}")
}

pub(crate) fn give(_: &mut stores::Options, files: &[PathBuf]) -> Result<()> {
    ensure!(files.is_empty(), "an identity is of no use: {WITHOUT}");
    Ok(())
}
