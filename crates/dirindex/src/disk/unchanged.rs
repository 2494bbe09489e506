//! Whether a file is as the previous index has it: by its stat fingerprint before it is read, by its digest after. Must not
//! know what a scan does with the answer.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::OwnedFd;

use rsync_core::SignatureOptions;
use rustix::fs::Stat;

use super::read::{self, Content};
use crate::lazy::{Bits, Edit, Layers};
use crate::{Error, Node, Record, StatFingerprint, Time};

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
pub(crate) fn forget_signatures(layers: &mut Layers) -> Result<(), Error> {
    let mut edits = Vec::new();
    layers.for_each_chunk(|records| {
        let signed = records.iter().filter(|record| record.signature.is_some());
        edits.extend(
            signed.map(|it| Edit::Put(Record { signature: None, ..Record::clone(it) }.into())),
        );
        Ok(())
    })?;
    layers.edit(edits)
}

pub(crate) fn fingerprint(stat: &Stat) -> StatFingerprint {
    StatFingerprint::new(read::ctime(stat), stat.st_ino)
}

/// Whether the file was read soon after its last change.
pub(crate) fn is_early(record: &Record) -> bool {
    record.fingerprint.is_some_and(|fingerprint| fingerprint.is_early())
}

/// `record` so that the next scan reads the file again, if a program may go on storing to it without a time to show for it: it was read
/// soon after its last change, and its inode is one of those `mapped` for writing.
pub(crate) fn to_read_again(record: &Record, mapped: &HashSet<u64>) -> Option<Record> {
    let is_mapped = |known: &StatFingerprint| known.is_early() && mapped.contains(&known.inode());
    let known = record.fingerprint.filter(is_mapped);
    known.map(|_| Record { fingerprint: None, ..record.clone() })
}

/// Has the next scan read those files [again](to_read_again) that are as the base has them. Those numbered in `early` were read soon
/// after their last change.
pub(crate) fn read_again(
    layers: &mut Layers,
    early: &Bits,
    mapped: &HashSet<u64>,
) -> Result<(), Error> {
    let mut edits = Vec::new();
    let blocks = if mapped.is_empty() { 0 } else { layers.base().blocks() };
    for block in 0..blocks {
        let numbers = layers.base().numbers(block);
        if numbers.clone().any(|number| early.has(number)) {
            let records = layers.base().block(block)?;
            let seen = numbers.zip(&*records).filter(|(number, _)| early.has(*number));
            let again = seen.filter_map(|(_, record)| to_read_again(record, mapped));
            edits.extend(again.map(|record| Edit::Put(record.into())));
        }
    }
    layers.edit(edits)
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
