//! The verb `mount` of an ibtools that has none: says so.

use anyhow::{Result, bail};

use crate::Answer;
use crate::args::MountArgs;
use crate::console::{Console, shown};

/// `ibtools mount`
pub(crate) fn run(args: &MountArgs, _: &mut Console) -> Result<Answer> {
    let store = shown(&args.store);
    bail!(
        "cannot mount {store}: this ibtools was built without `mount`, which is for Linux and a feature of the crate; \
         `ibtools ls {store}` and `ibtools cat` look into it, `ibtools restore --path` brings back a part"
    )
}
