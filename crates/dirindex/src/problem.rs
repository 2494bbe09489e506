//! [`Problem`]: what a scan could not take in as it should. Must not know what is done about it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::RelPath;

/// Something a scan could not take into the index as it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Problem {
    /// Where.
    pub path: RelPath,
    /// What.
    pub kind: ProblemKind,
    /// The system's word, for a person.
    pub detail: String,
    /// Of [`ProblemKind::BitRot`]: the byte ranges, from and up to, of the blocks that differ,
    /// ascending; none touches the next. The blocks are those of the file's signature.
    pub ranges: Vec<(u64, u64)>,
}

impl Problem {
    #[cfg(feature = "scan")]
    pub(crate) fn new(path: RelPath, kind: ProblemKind, detail: String) -> Problem {
        Problem { path, kind, detail, ranges: Vec::new() }
    }
}

/// The kinds of [`Problem`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ProblemKind {
    /// It could not be read. The index has what the previous one had, or nothing.
    Unreadable,
    /// It changed each time it was read, and the index has what was read last; or each time it was
    /// to be stored, and the index has what the previous one had, or nothing.
    Unstable,
    /// It is of a kind that no backup keeps: a socket.
    Unsupported,
    /// Its content is no longer what it was, though nothing says that it was changed: length,
    /// times, inode are as before, and it was read so long after its last change that what a program
    /// stored later would show. The index has what the previous one had.
    BitRot,
    /// It is an exclude file that cannot be used, or not all of its lines can, or a directory in
    /// which exclude files take too long. What was to be left out by it counts.
    Exclude,
    /// Some of its extended attributes could not be read. The index has of these what the previous
    /// one had, and the rest of it as it is.
    Attributes,
    /// It changed while its content was stored. The index has what was stored, which may be of no single moment.
    Changing,
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ProblemKind::Unreadable => "unreadable",
            ProblemKind::Unstable => "changed while it was read",
            ProblemKind::Unsupported => "of a kind that no backup keeps",
            ProblemKind::BitRot => "bit rot",
            ProblemKind::Exclude => "unusable exclude file",
            ProblemKind::Attributes => "unreadable attributes",
            ProblemKind::Changing => "stored while it changed",
        })
    }
}
