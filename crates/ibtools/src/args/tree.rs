//! What is typed for a directory: what of it counts, and the verbs that read one or change one
//! without a store.

use std::ffi::OsString;
use std::path::PathBuf;

use super::values::large_size;

const WHAT: &str = "What to leave out";

/// A directory, what of it counts and how it is read.
#[derive(Debug, clap::Args)]
pub(crate) struct Tree {
    /// The directory
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) scan: Scan,
}

/// What of a directory counts, and how it is read.
#[derive(Debug, clap::Args)]
pub(crate) struct Scan {
    /// Leave out what matches this pattern (may be given several times)
    #[arg(long, value_name = "PATTERN", help_heading = WHAT)]
    pub(crate) exclude: Vec<OsString>,
    /// Leave out what matches a pattern in this file, one a line (may be given several times)
    #[arg(long, value_name = "FILE", help_heading = WHAT)]
    pub(crate) exclude_from: Vec<PathBuf>,
    /// The name of files in the directory that list patterns to leave out, such as .gitignore (may
    /// be given several times: the last decides)
    #[arg(long, value_name = "NAME", default_value = ".exclude", help_heading = WHAT)]
    pub(crate) exclude_file: Vec<String>,
    /// Fail if such a file, or a line of one, cannot be used, instead of a warning
    #[arg(long, help_heading = WHAT)]
    pub(crate) strict_excludes: bool,
    /// Leave out what is in directories marked as caches by a CACHEDIR.TAG
    #[arg(long, help_heading = WHAT)]
    pub(crate) exclude_caches: bool,
    /// Leave out what is in directories that have a file of this name, but for that file (may be given several
    /// times)
    #[arg(long, value_name = "NAME", help_heading = WHAT)]
    pub(crate) exclude_if_present: Vec<String>,
    /// Leave out files of over SIZE bytes (K, M or G for 1024 and its powers)
    #[arg(long, value_name = "SIZE", value_parser = large_size, help_heading = WHAT)]
    pub(crate) exclude_larger_than: Option<u64>,
    /// Leave out what is on other file systems than the directory
    #[arg(short = 'x', long, help_heading = WHAT)]
    pub(crate) one_file_system: bool,
    /// Back up only the paths in this file, one a line, relative to DIR, with all below them; - is standard input
    #[arg(long, value_name = "FILE", help_heading = WHAT)]
    pub(crate) files_from: Option<PathBuf>,
    /// They end in a zero byte, as `find -print0` writes them, and not in a line feed
    #[arg(long, requires = "files_from", help_heading = WHAT)]
    pub(crate) from0: bool,
    /// Read large files instead of mapping them into memory
    #[arg(long)]
    pub(crate) no_map: bool,
}

/// How a directory is changed.
#[derive(Debug, clap::Args)]
pub(crate) struct How {
    /// Bring back owners, setuid bits and devices too: as root, from backups that you trust
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Begin even if the new files, at their full length, do not fit: some may have holes
    #[arg(long)]
    pub(crate) ignore_space: bool,
    /// Change nothing if not all modes, times, owners and attributes can be restored there; else what
    /// cannot is a warning
    #[arg(long)]
    pub(crate) strict: bool,
    /// Do all that can be done: what is in the way stays as it was and is named; exit with 1 then
    #[arg(long)]
    pub(crate) skip_obstacles: bool,
    /// Do all that is not damaged in the archives: a damaged content is skipped and named; exit
    /// with 1 then
    #[arg(long)]
    pub(crate) skip_damaged: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct IndexArgs {
    #[command(flatten)]
    pub(crate) tree: Tree,
    /// Where to write the index
    #[arg(short, long, value_name = "INDEX")]
    pub(crate) output: PathBuf,
    /// An earlier index of the directory: files that look unchanged since are not read again
    #[arg(long, value_name = "OLD_INDEX")]
    pub(crate) since: Option<PathBuf>,
    /// Read them all the same, and tell which have other content though they look unchanged
    #[arg(long, requires = "since")]
    pub(crate) verify: bool,
    /// A small index to compare with: `diff` stores whole what has changed since
    #[arg(long)]
    pub(crate) no_signatures: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    pub(crate) tree: Tree,
    /// The index of the last backup; without it, everything is backed up
    #[arg(long, value_name = "OLD_INDEX")]
    pub(crate) base: Option<PathBuf>,
    /// Where to write the archive (.tgz, or .tar.zst for zstd), or - for standard output
    #[arg(short, long, value_name = "ARCHIVE")]
    pub(crate) output: PathBuf,
    /// Compress with zstd, whatever the archive is called
    #[arg(long)]
    pub(crate) zstd: bool,
    /// Cut the archive into volumes of at most this many bytes (with K, M or G): NAME.001.tgz and so on
    #[arg(long, value_name = "SIZE", value_parser = large_size)]
    pub(crate) volume_size: Option<u64>,
    /// Where to write the index that the next backup starts from; may be OLD_INDEX
    #[arg(long, value_name = "NEW_INDEX")]
    pub(crate) index: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    #[command(flatten)]
    pub(crate) tree: Tree,
    /// The index to compare it with
    pub(crate) index: PathBuf,
    /// Read everything, and tell which files have other content though they look unchanged
    #[arg(long)]
    pub(crate) verify: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArgs {
    /// The directory; made if it does not exist and the first archive is a full backup
    pub(crate) dir: PathBuf,
    /// The archives, in the order they were made (of one in volumes the last volume); - is standard
    /// input, applied as it comes if it is the only one
    #[arg(required_unless_present_any = ["status", "abort"], value_name = "ARCHIVE")]
    pub(crate) archives: Vec<PathBuf>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) how: How,
    /// Say whether an apply in the directory was interrupted, and where
    #[arg(long, conflicts_with_all = ["archives", "abort", "dry_run"])]
    pub(crate) status: bool,
    /// Undo an apply that was interrupted: the tree is what it was before
    #[arg(long, conflicts_with_all = ["archives", "dry_run"])]
    pub(crate) abort: bool,
}
