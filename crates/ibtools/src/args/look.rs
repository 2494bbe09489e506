//! What is typed for the verbs that look into a store, an archive or an index.

use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// An index, an archive, a diff, or a store, whose snapshots are listed
    #[arg(value_name = "INDEX|ARCHIVE|DIFF|STORE")]
    pub(crate) file: PathBuf,
    /// Only totals, no list
    #[arg(long)]
    pub(crate) summary: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SnapshotsArgs {
    /// The store
    pub(crate) store: PathBuf,
    /// Only those with this tag (may be given several times: with any of them)
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// A store, or a full backup
    #[arg(value_name = "STORE|ARCHIVE")]
    pub(crate) source: PathBuf,
    /// A directory or file of the snapshot [default: the top directory]
    pub(crate) path: Option<PathBuf>,
    /// The last snapshot until this time, or the one with this id [default: the last]
    #[arg(long, value_name = "TIME|ID")]
    pub(crate) at: Option<String>,
    /// List all that is below, too
    #[arg(short, long)]
    pub(crate) recursive: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FindArgs {
    /// The store
    pub(crate) store: PathBuf,
    /// What to look for: without a slash the name of a file or directory, with one a whole path. `*`, `?`, `[a-z]` and
    /// `{a,b}` are as in a shell, `**/` is any directories
    pub(crate) pattern: OsString,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// The store
    pub(crate) store: PathBuf,
    /// A file or directory, where the last snapshot that has it has it
    pub(crate) path: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CatArgs {
    /// A store, or a full backup
    #[arg(value_name = "STORE|ARCHIVE")]
    pub(crate) source: PathBuf,
    /// A file of the snapshot
    pub(crate) path: PathBuf,
    /// The last snapshot until this time, or the one with this id [default: the last]
    #[arg(long, value_name = "TIME|ID")]
    pub(crate) at: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DumpArgs {
    /// A store, or a full backup
    #[arg(value_name = "STORE|ARCHIVE")]
    pub(crate) source: PathBuf,
    /// A directory or file of the snapshot [default: the top directory]
    pub(crate) path: Option<PathBuf>,
    /// The last snapshot until this time, or the one with this id [default: the last]
    #[arg(long, value_name = "TIME|ID")]
    pub(crate) at: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatsArgs {
    /// The store
    pub(crate) store: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ChangesArgs {
    /// The store
    pub(crate) store: PathBuf,
    /// The last snapshot until this time, or the one with this id
    #[arg(value_name = "TIME|ID")]
    pub(crate) from: String,
    /// A later or earlier one [default: the last]
    #[arg(value_name = "TIME|ID")]
    pub(crate) to: Option<String>,
}
