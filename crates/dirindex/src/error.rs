//! The one error type of the crate: which operation, on what, and why. Knows no wording of callers.

use std::io;
use std::path::{Path, PathBuf};

use crate::{RelPath, SectionError};

/// What can go wrong with a directory or an index of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed outside the tree, or on the root itself.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried, to read after "cannot": `read the directory`.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A file of exclude patterns that cannot be understood. Going on without it would back up, or
    /// lose, what its author did not mean.
    #[error("{}:{line}: {problem}", file.display())]
    Exclude {
        /// The file, or what the caller gave the pattern as.
        file: PathBuf,
        /// Counted from 1; 0 when the file as a whole cannot be read.
        line: u64,
        /// What is wrong there.
        problem: String,
    },
    /// An earlier `apply` was interrupted in this tree: half of it may be old and half new.
    #[error("{} holds an unfinished apply (.ibtools-apply/journal): run it again first", root.display())]
    Unfinished {
        /// The root of the tree.
        root: PathBuf,
    },
    /// The container of an index is damaged or cannot be written.
    #[error("the index is unusable")]
    Sections(#[from] SectionError),
    /// An index says something of a path that cannot be true of any tree.
    #[error("the index is unusable: {problem} at {path}")]
    Entry {
        /// The entry's path.
        path: RelPath,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An error with a file that holds an index.
    #[error("index file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// Signatures of this shape are too weak to base a backup on.
    #[error("unsuitable signatures for an index: {0}")]
    Signature(&'static str),
    /// A signature cannot be made or loaded.
    #[error("cannot load a signature")]
    Load(#[source] rsync_core::Error),
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Error {
        Error::Io { operation, path: path.to_path_buf(), source }
    }

    pub(crate) fn in_file(self, path: &Path) -> Error {
        Error::File { path: path.to_path_buf(), source: Box::new(self) }
    }
}
