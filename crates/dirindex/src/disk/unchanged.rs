//! Whether a file is as the previous index has it: by its stat fingerprint before it is read, by its digest after. Must not
//! know what a scan does with the answer.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rsync_core::SignatureOptions;
use rustix::fs::Stat;

use super::busy;
use super::read::{self, Content};
use crate::{Node, Record, StatFingerprint, Time};

/// Bytes of a file that are read at a time.
const BUFFER_LEN: usize = 256 << 10;

/// Whether a file with this `stat` looks as the one that `record` was made of. `started` is when the scan began.
pub(crate) fn is_unchanged(record: &Record, stat: &Stat, started: Time) -> bool {
    // What was read soon after a change is read again later, when whatever was stored through a
    // memory map meanwhile is settled.
    let now = fingerprint(stat).read_at(started);
    matches!(record.entry.node, Node::File { .. })
        && record.fingerprint.is_some_and(|known| known.is_of_same(&now))
        && record.fingerprint.is_some_and(|known| !known.is_early() || now.is_early())
        && record.entry.node.len() == read::len(stat)
        && record.entry.meta.mtime == read::mtime(stat)
}

/// Whether a file has the signature that is `wanted`. An empty one has none.
pub(crate) fn has_signature(record: &Record, wanted: &SignatureOptions) -> bool {
    let Some(signature) = &record.signature else { return record.entry.node.is_empty() };
    let shape = signature.shape();
    let automatic = rsync_core::block_len_for(record.entry.node.len());
    shape.sums == wanted.sums
        && shape.strong_len == wanted.strong_len
        && shape.block_len == wanted.block_len.unwrap_or(automatic)
}

/// Leaves what an earlier index had of unchanged files without the signatures that it had.
pub(crate) fn forget_signatures(records: &mut [Arc<Record>]) {
    for record in records.iter_mut().filter(|record| record.signature.is_some()) {
        Arc::make_mut(record).signature = None;
    }
}

pub(crate) fn fingerprint(stat: &Stat) -> StatFingerprint {
    StatFingerprint::new(read::ctime(stat), stat.st_ino)
}

/// Has the next scan read those files again that a program may go on storing to without a time to
/// show for it: they were read soon after their last change, and are mapped for writing.
pub(crate) fn forget_mapped(records: &mut [Arc<Record>]) {
    let is_early =
        |record: &Record| record.fingerprint.is_some_and(|fingerprint| fingerprint.is_early());
    if !records.iter().any(|record| is_early(record)) {
        return;
    }
    let mapped = busy::mapped_for_writing();
    for record in records.iter_mut().filter(|record| is_early(record)) {
        if record.fingerprint.is_some_and(|fingerprint| mapped.contains(&fingerprint.inode())) {
            Arc::make_mut(record).fingerprint = None;
        }
    }
}

/// Whether a file that looks as in `record`, and that held still, has another content, and no program
/// can have stored that.
pub(crate) fn has_bit_rot(record: &Record, content: &Content) -> bool {
    let Node::File { digest, .. } = &record.entry.node else { return false };
    content.stable
        && record
            .fingerprint
            .is_some_and(|known| !known.is_early() && known.is_of_same(&fingerprint(&content.stat)))
        && content.bytes.digest != *digest
}

/// The byte ranges of the blocks in which the file that `open` opens differs from what `record` has of it: all of it, where that cannot
/// be told.
pub(crate) fn differing(
    record: &Record,
    open: impl FnOnce() -> io::Result<OwnedFd>,
) -> Vec<(u64, u64)> {
    let Node::File { len, digest } = &record.entry.node else { return Vec::new() };
    let signature = record.signature.as_ref().and_then(|signature| signature.load(*digest).ok());
    let differing = signature.zip(open().ok()).and_then(|(signature, file)| {
        signature.differing(BufReader::with_capacity(BUFFER_LEN, File::from(file))).ok()
    });
    let ranges = differing.unwrap_or_default().into_iter();
    let ranges: Vec<(u64, u64)> = ranges.map(|range| (range.start, range.end)).collect();
    // Read again, it may be as it was.
    if ranges.is_empty() { vec![(0, *len)] } else { ranges }
}
