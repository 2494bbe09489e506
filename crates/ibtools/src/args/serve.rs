//! What is typed for the verb that serves a store.

use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// The directory: others know it as `/`
    pub(crate) dir: PathBuf,
    /// Let others add files, and none change, replace or delete one
    #[arg(long)]
    pub(crate) append_only: bool,
}
