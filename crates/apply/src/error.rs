//! The one error type of the crate: which operation, on which path, and why. Knows no wording of callers.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dirindex::{RelPath, escape};

use crate::Unkept;

/// What can go wrong when a diff is applied to a tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on the root of the tree, or on the directory kept for staging, failed.
    #[error("cannot {operation} {}", shown(path))]
    Root {
        /// What was tried, to read after "cannot".
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A system call inside the tree failed.
    #[error("cannot {operation} {path}")]
    Tree {
        /// What was tried, to read after "cannot".
        operation: &'static str,
        /// On what, below the root.
        path: RelPath,
        /// The system's word.
        source: io::Error,
    },
    /// Another process is applying a diff to the same tree.
    #[error("another apply is at work in {}", shown(root))]
    Locked {
        /// The root of the tree.
        root: PathBuf,
    },
    /// An earlier apply was interrupted while it changed the tree, and can only be finished: by
    /// [`recover`](crate::recover) or any apply.
    #[error(
        "an interrupted apply in {} has to be finished first: apply its archive again",
        shown(root)
    )]
    Unfinished {
        /// The root of the tree.
        root: PathBuf,
    },
    /// Something was in the way of an apply that had begun to change the tree. All that it did was undone.
    #[error(
        "the tree in {} is as it was: what was begun is undone, since it cannot be finished",
        shown(root)
    )]
    RolledBack {
        /// The root of the tree.
        root: PathBuf,
        /// What was in the way.
        source: Box<Error>,
    },
    /// Something was in the way of an apply that had begun to change the tree, and something of undoing it. The
    /// journal stays: [`recover`](crate::recover), [`abort`](crate::abort) or any apply goes on undoing.
    #[error(
        "the apply in {} cannot be finished ({}), and undoing it stopped: \
         apply --abort goes on when this is out of the way",
        shown(root),
        chain(cause)
    )]
    NotRolledBack {
        /// The root of the tree.
        root: PathBuf,
        /// What was in the way of finishing.
        cause: Box<Error>,
        /// What was in the way of undoing.
        source: Box<Error>,
    },
    /// An interrupted apply was privileged, and this call is not.
    #[error(
        "the interrupted apply in {} was privileged: finish it with --privileged, or undo it with apply --abort",
        shown(root)
    )]
    PrivilegedJournal {
        /// The root of the tree.
        root: PathBuf,
    },
    /// Something that would have to change is immutable or append-only. The tree was not touched.
    #[error("{path} is immutable or append-only: chattr -ia lets it change")]
    Fixed {
        /// Where.
        path: RelPath,
    },
    /// The tree is not the one the diff was made from, nor the one it leads to.
    #[error("{path} is not as the diff expects: expected {expected}, found {found}")]
    Unexpected {
        /// Where.
        path: RelPath,
        /// What the diff says stood there.
        expected: String,
        /// What stands there.
        found: String,
    },
    /// Something that the diff does not list stands where it would be lost, or mixed up with what
    /// the diff brings.
    #[error("{path} is in the way: the diff does not list it")]
    Extra {
        /// What stands there.
        path: RelPath,
    },
    /// A path changed while the new contents were being staged. The tree was not touched.
    #[error("{path} changed while the diff was being applied")]
    Changed {
        /// Which path.
        path: RelPath,
    },
    /// A part of the tree lies on another file system, where a rename cannot reach.
    #[error("{path} lies on another file system, or in another mount, than the root of the tree")]
    OtherFilesystem {
        /// The first such directory.
        path: RelPath,
    },
    /// The new contents do not fit.
    #[error("not enough space in {}: {needed} {unit} needed, {available} free", shown(root))]
    NoSpace {
        /// The root of the tree.
        root: PathBuf,
        /// How much staging takes.
        needed: u64,
        /// How much there is.
        available: u64,
        /// Of what: `bytes` or `inodes`.
        unit: &'static str,
    },
    /// Metadata that the file system of the tree does not take, where all of it was asked for
    /// ([`ApplyOptions::strict`](crate::ApplyOptions)). The tree was not touched.
    #[error("{} cannot hold all metadata: {}{}", shown(root), unkept.first().unwrap_or_default(),
        and_more(unkept.count().saturating_sub(1)))]
    Unkept {
        /// The root of the tree.
        root: PathBuf,
        /// All that it does not take.
        unkept: Box<Unkept>,
    },
    /// A device, which is made only when [`ApplyOptions::privileged`](crate::ApplyOptions) is set.
    #[error("{path} is a {kind}, which takes `privileged`")]
    Privileged {
        /// Where.
        path: RelPath,
        /// Which kind.
        kind: &'static str,
    },
    /// What is in the way is to be skipped, and the archive comes out of a pipe. Its contents are read once, and go with what
    /// is undone.
    #[error(
        "something can be skipped only with an archive that can be read again: save it in a file first"
    )]
    SkipInStream,
    /// The diff and the archive handed over do not belong together.
    #[error("the diff is not the one in the archive")]
    OtherArchive,
    /// The diff asks for something that no two trees can give.
    #[error("the diff is unusable: {problem} at {path}")]
    Unusable {
        /// Where.
        path: RelPath,
        /// What is wrong.
        problem: &'static str,
    },
    /// A content came out of the archive, or of the base it starts from, other than the diff says.
    #[error("the new content of {path} is not what the diff declares")]
    Content {
        /// Whose content.
        path: RelPath,
    },
    /// A content cannot be read from the archive.
    #[error("cannot read the new content of {path}")]
    Archive {
        /// Whose content.
        path: RelPath,
        /// Why.
        source: archive::Error,
    },
    /// A delta cannot be applied, or a file not be hashed.
    #[error("cannot {operation} {path}")]
    Bytes {
        /// What was tried, to read after "cannot".
        operation: &'static str,
        /// Where.
        path: RelPath,
        /// Why.
        source: rsync_core::Error,
    },
    /// One of several archives cannot be applied. Those before it are.
    #[error("cannot apply archive {} of the chain", number + 1)]
    OfChain {
        /// Which one, counted from 0.
        number: usize,
        /// Why.
        source: Box<Error>,
    },
    /// The journal of an apply cannot be made, or that of an unfinished one not be used.
    #[error("the journal in {} is unusable", shown(root))]
    Journal {
        /// The root of the tree.
        root: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An archive that comes out of a pipe ends otherwise than it should.
    #[error(transparent)]
    Archived(#[from] archive::Error),
    /// The diff cannot be read any more, of its archive or of the journal.
    #[error("cannot read the diff again")]
    Diff(#[from] diffindex::Error),
    /// The caller has set the flag of its [`Progress`](rsync_core::Progress). The tree was not
    /// touched.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// Whether the work ended because the caller [cancelled](rsync_core::Progress::cancel) it.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Error::Cancelled | Error::Archived(archive::Error::Cancelled))
    }
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A path that comes from a caller, fit for a terminal.
fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_bytes())
}

fn and_more(more: u64) -> String {
    match more {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |it| it.source()).map(words).collect::<Vec<_>>().join(": ")
}

/// An error in words: the system's without its number.
pub(crate) fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) if error.is::<io::Error>() => words.to_owned(),
        _ => text,
    }
}

/// Names the operation and the path of a system call inside the tree.
pub(crate) trait During<T> {
    fn during(self, operation: &'static str, path: &RelPath) -> Result<T>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, operation: &'static str, path: &RelPath) -> Result<T> {
        self.map_err(|source| Error::Tree { operation, path: path.clone(), source })
    }
}

impl<T> During<T> for rustix::io::Result<T> {
    fn during(self, operation: &'static str, path: &RelPath) -> Result<T> {
        self.map_err(io::Error::from).during(operation, path)
    }
}
