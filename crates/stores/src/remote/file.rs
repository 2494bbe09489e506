//! [`RemoteFile`]: an object that is read in ranges. Knows nothing of what is in it.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use container::ReadAt;

use super::blocks::{BLOCK_LEN, Key};
use super::{Inner, Object};

/// Who reads on from where the last read ended gets twice as many blocks ahead each time, up to this: 4 MiB.
const MOST_AHEAD: u64 = (4 << 20) / BLOCK_LEN;

/// An object, read in ranges of blocks. What is read on and on is read ahead.
pub(super) struct RemoteFile {
    inner: Arc<Inner>,
    object: Object,
    key: Key,
    /// The block after the last one that was fetched, and how many were fetched ahead.
    next: AtomicU64,
    ahead: AtomicU64,
    /// Whether what was at hand was thrown away once.
    is_anew: AtomicBool,
}

impl RemoteFile {
    pub(super) fn new(inner: Arc<Inner>, object: Object) -> RemoteFile {
        let key = Key::of(&object);
        RemoteFile {
            inner,
            object,
            key,
            next: AtomicU64::new(u64::MAX),
            ahead: AtomicU64::new(0),
            is_anew: AtomicBool::new(false),
        }
    }

    /// How many blocks the object has.
    fn blocks(&self) -> u64 {
        self.object.size.div_ceil(BLOCK_LEN)
    }

    /// Fetches the blocks from `from` on that are wanted, up to `to`, and more if this is one read of many.
    fn fetch(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let goes_on = self.next.load(Ordering::Relaxed) == from;
        let ahead = match goes_on {
            true => (self.ahead.load(Ordering::Relaxed) * 2).clamp(1, MOST_AHEAD),
            false => 0,
        };
        let to = (to + ahead).min(self.blocks());
        self.ahead.store(ahead, Ordering::Relaxed);
        self.next.store(to, Ordering::Relaxed);
        let range = from * BLOCK_LEN..(to * BLOCK_LEN).min(self.object.size);
        let wanted = range.end - range.start;
        let got = self.inner.transport.get(&self.object, range);
        if got.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            // What was listed is there no more: it has to be listed anew.
            self.inner.known().at = None;
        }
        let bytes = got?;
        if bytes.len() as u64 != wanted {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.inner.keep(&self.object, from, &bytes);
        Ok(bytes)
    }
}

impl ReadAt for RemoteFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.object.size)
    }

    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.object.size);
        let end = end.ok_or(ErrorKind::UnexpectedEof)?;
        let mut block = offset / BLOCK_LEN;
        let last = end.div_ceil(BLOCK_LEN);
        // Copies what of `bytes`, which begin with block `from`, is wanted.
        let mut copy = |from: u64, bytes: &[u8]| {
            let (start, stop) = (from * BLOCK_LEN, from * BLOCK_LEN + bytes.len() as u64);
            let (first, past) = (start.max(offset), stop.min(end));
            if first < past {
                let of = |range: std::ops::Range<u64>, base: u64| {
                    (range.start - base) as usize..(range.end - base) as usize
                };
                let part = bytes.get(of(first..past, start)).unwrap_or_default();
                if let Some(wanted) = buffer.get_mut(of(first..past, offset)) {
                    wanted.copy_from_slice(part);
                }
            }
        };
        while block < last {
            if let Some(bytes) = self.inner.block(&self.object, self.key, block) {
                copy(block, &bytes);
                block += 1;
                continue;
            }
            let is_missing = |block: &u64| !self.inner.has_block(self.key, *block);
            let run = (block + 1..last).take_while(is_missing).count() as u64 + 1;
            let bytes = self.fetch(block, block + run)?;
            copy(block, &bytes);
            block += run;
        }
        Ok(())
    }

    /// What is at hand may have come damaged over the line: it is fetched anew, once.
    fn heal(&self) -> bool {
        !self.is_anew.swap(true, Ordering::Relaxed) && self.inner.forget(self.key)
    }
}
