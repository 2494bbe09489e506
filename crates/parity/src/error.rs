//! The one error type of the crate. Knows no wording of callers.

use std::io;

use rsync_core::Cancelled;

/// Why files could not be protected, checked or mended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("cannot {operation}")]
    Io {
        /// What was tried, to read after "cannot".
        operation: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A share of redundancy that there is not.
    #[error("{percent} is no share of parity: it is from 1 to 100 percent")]
    Share {
        /// What was asked for.
        percent: u32,
    },
    /// So many files, or such long names, that no parity can list them.
    #[error(
        "one parity is over at most {most} files and {most} shards, with names of at most 255 bytes"
    )]
    TooMany {
        /// The most there can be.
        most: usize,
    },
    /// Neither end of a parity file can be used.
    #[error("it is no parity file, or both of its ends are damaged: {problem}")]
    Unreadable {
        /// What is wrong with the head.
        problem: String,
    },
    /// A parity file of a later version.
    #[error("its version is {version}, and this program knows 1: use a later program")]
    Version {
        /// Which version.
        version: u32,
    },
    /// None of the files' bytes are those that the parity was made of.
    #[error(
        "no shard of it is as its parity has it: that is the parity of another file, or all of the file is damaged"
    )]
    Other,
    /// More is lost than the parity can make again.
    #[error("{lost} of {shards} shards are damaged, and the parity mends at most {mendable}")]
    Beyond {
        /// How many shards of the files are damaged.
        lost: usize,
        /// How many shards the files have.
        shards: usize,
        /// How many sound shards the parity has.
        mendable: usize,
    },
    /// What was mended, or was sound before, is not what the parity was made of: something has changed meanwhile.
    #[error(
        "the mended bytes are not those that were protected: the file or its parity changed meanwhile"
    )]
    Changed,
    /// [`Progress::cancel`](rsync_core::Progress::cancel) was called.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The code itself refused its input.
    #[error("cannot compute the parity")]
    Code(#[from] reed_solomon_simd::Error),
}

impl Error {
    pub(crate) fn io(operation: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { operation, source }
    }
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
