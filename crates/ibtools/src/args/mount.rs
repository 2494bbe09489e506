//! What is typed for the verb that mounts a store.

use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct MountArgs {
    /// The store
    pub(crate) store: PathBuf,
    /// An empty directory
    pub(crate) dir: PathBuf,
}
