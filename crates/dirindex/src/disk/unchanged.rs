//! Whether a file is as the previous index has it: by its stat fingerprint before it is read, by its digest after. Must not
//! know what a scan does with the answer.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::OwnedFd;

use rsync_core::SignatureOptions;
use rustix::fs::Stat;

use super::read::{self, Content};
use crate::lazy::{Bits, Edit, Layers};
use crate::{Error, Node, Record, Remarks, StatFingerprint, Time};

/// Bytes of a file that are read at a time.
const BUFFER_LEN: usize = 256 << 10;

/// How many seconds after the last time that shows a program may have stored to a file through a memory map
/// without another time showing: until the kernel has written the pages to the disk, which it does
/// after half a minute; ten minutes where it is set to save power.
const EARLY: i64 = 600;

/// Whether a file that was last changed at `ctime` is read early at the time `at`: see [`Remarks::early_from`].
pub(crate) fn is_early(ctime: Time, at: Time) -> bool {
    Time { secs: ctime.secs.saturating_add(EARLY), ..ctime } > at
}

/// Whether a file with this `stat` looks as the one that `record` was made of, which `remarks` are about. `started` is when the scan began.
pub(crate) fn is_unchanged(record: &Record, remarks: &Remarks, stat: &Stat, started: Time) -> bool {
    // What was read early is read again later, when whatever was stored through a memory map meanwhile is settled.
    let will_do =
        |known: &StatFingerprint| !remarks.is_early(known) || is_early(read::ctime(stat), started);
    matches!(record.entry.node, Node::File { .. })
        && record.fingerprint.is_some_and(|known| known == fingerprint(stat) && will_do(&known))
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

/// `record` so that the next scan reads the file again, if it was read early by what `remarks` say, and is `wanted` to be.
pub(crate) fn to_read_again(
    record: &Record,
    remarks: &Remarks,
    wanted: impl Fn(&StatFingerprint) -> bool,
) -> Option<Record> {
    let known = record.fingerprint.filter(|known| remarks.is_early(known) && wanted(known));
    known.map(|_| Record { fingerprint: None, ..record.clone() })
}

/// Has the next scan read those files [again](to_read_again) that are as the base has them, and that are `wanted` to be. Those numbered
/// in `early` were read early.
pub(crate) fn read_again(
    layers: &mut Layers,
    early: &Bits,
    remarks: &Remarks,
    wanted: impl Fn(&StatFingerprint) -> bool,
) -> Result<(), Error> {
    let mut edits = Vec::new();
    for block in 0..layers.base().blocks() {
        let numbers = layers.base().numbers(block);
        if numbers.clone().any(|number| early.has(number)) {
            let records = layers.base().block(block)?;
            let seen = numbers.zip(&*records).filter(|(number, _)| early.has(*number));
            let again = seen.filter_map(|(_, record)| to_read_again(record, remarks, &wanted));
            edits.extend(again.map(|record| Edit::Put(record.into())));
        }
    }
    layers.edit(edits)
}

/// Whether a file that looks as in `record`, which `remarks` are about, and that held still, has another content, and no program
/// can have stored that.
pub(crate) fn has_bit_rot(record: &Record, remarks: &Remarks, content: &Content) -> bool {
    let Node::File { digest, .. } = &record.entry.node else { return false };
    let is_same =
        |known: StatFingerprint| !remarks.is_early(&known) && known == fingerprint(&content.stat);
    content.stable && record.fingerprint.is_some_and(is_same) && content.bytes.digest != *digest
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
