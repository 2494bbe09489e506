//! The one error type of the crate: what is wrong with a container, and where. Knows no wording of callers.

use std::io;

/// What is wrong with a container, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SectionError {
    /// The bytes are not such a file, cut short, damaged, or of an unknown version.
    #[error("at byte {offset}: {problem}")]
    Damaged {
        /// Byte offset in the container.
        offset: u64,
        /// What was found.
        problem: String,
    },
    /// A value that is too large for a section, or that cannot be encoded.
    #[error("cannot encode a section: {0}")]
    Encode(String),
    /// Reading the bytes failed.
    #[error("reading the sections")]
    Read(#[source] io::Error),
    /// Writing the bytes failed.
    #[error("writing the sections")]
    Write(#[source] io::Error),
}

pub(crate) fn damaged(offset: usize, problem: impl Into<String>) -> SectionError {
    SectionError::Damaged { offset: offset as u64, problem: problem.into() }
}
