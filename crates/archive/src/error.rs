//! The one error type of the crate: which operation, on what, where, and why. Knows no wording of
//! callers.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dirindex::{RelPath, TreeId};

/// Why an archive could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("cannot {operation} {}", shown(path))]
    Io {
        /// What was tried: `open`, `read`, …
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The writer that the archive goes to failed.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    /// The archive's file could not be made or put in its place.
    #[error(transparent)]
    Output(#[from] dirindex::Error),
    /// A part of an index could not be read from the file that it is in.
    #[error("cannot read the index")]
    Index(#[source] dirindex::Error),
    /// A file of the tree no longer has the content that the diff says. Nothing was written.
    #[error("{path} has changed since it was indexed")]
    Changed {
        /// Which file.
        path: RelPath,
    },
    /// A file of the tree cannot be read, though it could be when it was indexed or was not tried. The archive
    /// cannot be made with it, and can without it.
    #[error("cannot {operation} {path}")]
    Unreadable {
        /// What was tried, to read after "cannot".
        operation: &'static str,
        /// Which file.
        path: RelPath,
        /// The system's word.
        source: io::Error,
    },
    /// The old index given is not the one that the diff was made from.
    #[error("the diff starts from the tree {wanted}, the old index is of {found}")]
    WrongBase {
        /// The diff's base.
        wanted: TreeId,
        /// The id of the old index's tree.
        found: TreeId,
    },
    /// The diff wants a delta against a file that the old index does not have so.
    #[error("the old index has no signature of {base}, which the delta of {path} is to start from")]
    NoBase {
        /// The file to be stored as a delta.
        path: RelPath,
        /// The file in the old tree.
        base: RelPath,
    },
    /// The signature of an old file could not be loaded.
    #[error("cannot load the old signature of {path}")]
    Signature {
        /// Which file.
        path: RelPath,
        /// Why.
        source: dirindex::Error,
    },
    /// A file could not be mapped, or its delta not be made.
    #[error("cannot make the delta of {path}")]
    Delta {
        /// Which file.
        path: RelPath,
        /// Why.
        source: rsync_core::Error,
    },
    /// A content could not be read, or not be signed, to make its signature.
    #[error("cannot make the signature of {path}")]
    Sign {
        /// Which file.
        path: RelPath,
        /// Why.
        source: rsync_core::Error,
    },
    /// A compression level that the format does not have.
    #[error("{level} is no compression level of {format} ({least} to {most})")]
    Level {
        /// What was asked for.
        level: i32,
        /// `gzip` or `zstd`.
        format: &'static str,
        /// The lowest level taken.
        least: i32,
        /// The highest level taken.
        most: i32,
    },
    /// The diff could not be encoded.
    #[error("cannot encode the diff")]
    Encode(#[source] diffindex::Error),
    /// The table of frames could not be encoded.
    #[error("cannot encode the table of frames")]
    EncodeTable(#[source] container::SectionError),
    /// The archive is cut short, damaged, of an unknown version, or not one that this crate writes.
    #[error("{archive}: {part} at byte {offset}: {problem}")]
    Damaged {
        /// The archive's name.
        archive: String,
        /// The tar entry, or the part of the archive around it.
        part: String,
        /// Where in the archive the frame begins that this lies in.
        offset: u64,
        /// What was found.
        problem: String,
    },
    /// The archive's bytes are as they were written, but its diff cannot be used.
    #[error("{archive}: diff.index cannot be used")]
    Diff {
        /// The archive's name.
        archive: String,
        /// Why.
        source: diffindex::Error,
    },
    /// The archive holds no content of this change: it is none of its diff, or one that needs none.
    #[error("{archive}: nothing is stored for {path}")]
    NotStored {
        /// The archive's name.
        archive: String,
        /// The path asked for.
        path: RelPath,
    },
    /// Two diffs that are to be squashed do not meet.
    #[error("{before} leads to the tree {}, and {after} starts from {}", trees.0, trees.1)]
    Unlinked {
        /// The name of the archive, or archives, of the earlier one.
        before: String,
        /// The name of the archive, or archives, of the later one.
        after: String,
        /// Where the earlier one leads, and where the later one starts.
        trees: Box<(TreeId, TreeId)>,
    },
    /// Single paths can be brought back from a full backup alone.
    #[error(
        "{archive}: an increment brings back nothing by itself: name the full backup before it first, and all archives between"
    )]
    NotFull {
        /// The archive's name.
        archive: String,
    },
    /// The archive has no such path.
    #[error("{archive}: there is no {path} in it")]
    Missing {
        /// The archive's name.
        archive: String,
        /// The path asked for.
        path: RelPath,
    },
    /// The caller has set the flag of its [`Progress`](rsync_core::Progress).
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
        source: io::Error,
    ) -> Error {
        Error::Io { operation, path: path.into(), source }
    }

    /// The same error; a failed write is one of the file at `path`.
    pub(crate) fn in_output(self, path: &Path) -> Error {
        match self {
            Error::Write(source) => Error::io("write", path, source),
            other => other,
        }
    }

    /// The same error, said of the tar entry that was being read.
    pub(crate) fn of(self, name: &str) -> Error {
        match self {
            Error::Damaged { archive, offset, problem, .. } => {
                Error::Damaged { archive, part: name.to_owned(), offset, problem }
            }
            other => other,
        }
    }
}

/// A path that comes from a caller or a tree, fit for a terminal.
pub(crate) fn shown(path: &Path) -> String {
    dirindex::escape(path.as_os_str().as_bytes())
}
