//! The verb `init`: a new store.

use anyhow::{Context, Result};
use incremental_backups_tools::stores::{self, Address};

use crate::Answer;
use crate::args::InitArgs;
use crate::console::{Console, is_dash, number_of, shown};
use crate::json::{object, put_file};
use crate::source::{no_store, reached};

/// `ibtools init`
pub(crate) fn run(args: &InitArgs, console: &mut Console) -> Result<Answer> {
    anyhow::ensure!(!is_dash(&args.store), "a store cannot be standard output: name a directory");
    let store = stores::create(&Address::parse(&args.store)?, &reached());
    let store = store.map_err(|error| no_store(error, &args.store))?;
    let snapshots =
        store.snapshots().with_context(|| format!("cannot list {}", shown(&args.store)))?;
    let count = snapshots.all().count();
    let mut document = object([("snapshots", count.into())]);
    put_file(&mut document, "store", &args.store);
    console.document(document)?;
    let count = number_of(count, "snapshot");
    console.line(format_args!("{} is a store now: {count}", shown(&args.store)))?;
    Ok(Answer::Yes)
}
