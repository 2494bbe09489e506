//! The errors of this crate: what failed, and where. Must not know algorithms.

use crate::{Cancelled, DeltaFault, Digest, SignatureFault};
use std::io;

/// Every failure of this crate.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system or the caller's reader or writer failed.
    #[error("cannot {operation}")]
    Io {
        /// The operation, for example `read the delta`.
        operation: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The file or buffer changed after the work on it began.
    #[error("the data changed while it was read")]
    Changed,
    /// [`Progress::cancel`](crate::Progress::cancel) was called.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// Options that no signature can have.
    #[error("impossible signature options: {0}")]
    Options(&'static str),
    /// A signature that is damaged, or of a kind that this version does not know.
    #[error("bad signature at byte {offset}: {fault}")]
    Signature {
        /// Offset in the signature.
        offset: u64,
        /// What is wrong there.
        fault: SignatureFault,
    },
    /// A delta that is damaged, or does not fit this base.
    #[error("bad delta at byte {offset}: {fault}")]
    Delta {
        /// Offset in the delta of the command or field that is wrong.
        offset: u64,
        /// What is wrong there.
        fault: DeltaFault,
    },
    /// The delta's seal names another base.
    #[error(
        "the old file is not the one that the delta was made for: it has the BLAKE3 {found}, the delta needs {wanted}"
    )]
    WrongBase {
        /// The digest that the base must have.
        wanted: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// The delta is undamaged, but its result is not the one that its seal names.
    #[error(
        "the new file has the BLAKE3 {found}, but the delta was made for {wanted}: the old file is not the right one, \
         or the delta was made from a damaged signature"
    )]
    WrongResult {
        /// The digest that the result must have.
        wanted: Digest,
        /// The digest that it has.
        found: Digest,
    },
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Adds the operation to an I/O result.
pub(crate) trait During<T> {
    fn during(self, operation: &'static str) -> Result<T>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, operation: &'static str) -> Result<T> {
        self.map_err(|source| Error::Io { operation, source })
    }
}
