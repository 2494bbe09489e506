//! The one error type of the crate: which operation, on what, and why. Knows no wording of callers.

use std::io;
use std::path::{Path, PathBuf};

use container::SectionError;

use crate::{RelPath, escape};

/// What can go wrong with a directory or an index of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed outside the tree, or on the root itself.
    #[error("cannot {operation} {}", shown(path))]
    Io {
        /// What was tried, to read after "cannot": `read the directory`.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A pattern of the caller's that can match no path.
    #[error("the exclude pattern \"{pattern}\" leaves nothing out: {problem}")]
    Pattern {
        /// The pattern, escaped.
        pattern: String,
        /// Why.
        problem: String,
    },
    /// A file of exclude patterns that cannot be used, or a line of it.
    #[error("{}{}: {problem}", shown(file), at_line(*line))]
    Exclude {
        /// The file.
        file: PathBuf,
        /// Counted from 1; 0 when the file as a whole cannot be used.
        line: u64,
        /// What is wrong. Never what the file says: who reads the message may not be allowed to
        /// read the file.
        problem: String,
    },
    /// An earlier `apply` was interrupted in this tree: half of it may be old and half new.
    #[error(
        "{} holds an unfinished apply (.ibtools-apply/journal): run it again first",
        shown(root)
    )]
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
    #[error("index file {}", shown(path))]
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
    /// The tree has a directory in it that must not be read: where the backup goes to.
    #[error("{path} is the directory that the backup goes to")]
    Barred {
        /// Where in the tree.
        path: RelPath,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// The system's words for an error, without the number that the standard library adds to them.
#[cfg(feature = "scan")]
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error ").map_or(text.as_str(), |(words, _)| words).to_owned()
}

/// `:3`, or nothing when it is no line in particular.
fn at_line(line: u64) -> String {
    if line == 0 { String::new() } else { format!(":{line}") }
}

impl Error {
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Error {
        Error::Io { operation, path: path.to_path_buf(), source }
    }

    pub(crate) fn in_file(self, path: &Path) -> Error {
        Error::File { path: path.to_path_buf(), source: Box::new(self) }
    }
}

/// A path as a terminal may show it.
fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}
