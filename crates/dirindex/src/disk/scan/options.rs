//! [`ScanOptions`]: how a tree is scanned. Must not know how that is done.

use std::sync::Arc;

use rsync_core::{Progress, SignatureOptions};

use crate::{FileId, LazyIndex};

/// How a tree is scanned.
#[derive(Debug, Clone)]
pub struct ScanOptions {
    /// Of the signatures: not librsync's sums, and 10 bytes or more of the strong hash, of SHA-256 16. `None`: the index has no signatures.
    /// It says what has changed and what is corrupt all the same; against it, a changed file is stored whole.
    pub signature: Option<SignatureOptions>,
    /// The state of which something is kept where it cannot be read; `None`: the previous index's. For
    /// who scans with a previous index of a state that was never backed up.
    pub keep: Option<LazyIndex>,
    /// Counts the files and bytes that are done, and shows the path that is being read. The caller can cancel through it.
    pub progress: Option<Arc<Progress>>,
    /// Whether large files may be mapped into memory. Without maps they are read, which takes a
    /// little longer.
    pub maps: bool,
    /// Read also what looks unchanged, and report as [`ProblemKind::BitRot`](crate::ProblemKind::BitRot) what is
    /// no longer the same.
    pub verify: bool,
    /// Whether a file that changes while it is read may be taken as it was read the first time, if it is large. For who
    /// reads it again when its content is stored, and then [amends](LazyIndex::amended) the index.
    pub provisional: bool,
    /// Whether a file that is the same has the fingerprint in the new index that it has now. Without, it has that of the previous index: for
    /// who compares, and scans by the previous index again later. Then a tree that was copied takes as little memory as one in which nothing
    /// changed.
    pub fingerprints: bool,
    /// A directory that is not to be in the tree, by whatever name or mount: where the backup
    /// goes to.
    pub barred: Option<FileId>,
}

/// Signatures as [`SignatureOptions::default`], with maps and fingerprints, without verifying.
impl Default for ScanOptions {
    fn default() -> ScanOptions {
        ScanOptions {
            signature: Some(SignatureOptions::default()),
            keep: None,
            progress: None,
            maps: true,
            verify: false,
            provisional: false,
            fingerprints: true,
            barred: None,
        }
    }
}
