//! [`RemoteFile`]: an object that is read in ranges. Knows nothing of what is in it.

use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use container::ReadAt;

use super::blocks::{BLOCK_LEN, Key};
use super::{Inner, Object, locked};

/// A sequential read fetches twice as much as the one before it, up to this: 8 MiB.
const MOST_AHEAD: u64 = (8 << 20) / BLOCK_LEN;
/// The first read at the start or the end of an object fetches so much there: 128 KiB. At the start of an encrypted object are its head
/// and the list of changes, at the end its table and trailer. A shorter object is fetched whole.
const EDGE_BLOCKS: u64 = (128 << 10) / BLOCK_LEN;
/// So many sequential readers of one file are remembered. The one that was idle longest is forgotten.
const MOST_STREAMS: usize = 4;

/// An object, read in ranges of blocks. Sequential reads are fetched ahead. A thread waits for blocks that another one is fetching.
pub(super) struct RemoteFile {
    inner: Arc<Inner>,
    object: Object,
    key: Key,
    fetching: Mutex<Fetching>,
    /// A fetch has ended, well or not.
    arrived: Condvar,
    /// Whether what was at hand was thrown away once.
    is_anew: AtomicBool,
}

/// Which blocks are being fetched, and where reads will go on.
#[derive(Default)]
struct Fetching {
    under_way: Vec<Range<u64>>,
    /// The one that was used last is the last.
    streams: Vec<Stream>,
    /// The range that a reader announced.
    announced: Range<u64>,
}

/// Blocks that are read in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stream {
    /// The block after the last one that was asked for.
    next: u64,
    /// How many blocks were asked for at once.
    len: u64,
}

impl Fetching {
    fn is_under_way(&self, block: u64) -> bool {
        self.under_way.iter().any(|range| range.contains(&block))
    }

    /// Which blocks to fetch, where `wanted` are missing, of an object of so many blocks. They include the first of `wanted`, which
    /// nobody is fetching.
    fn ask(&mut self, wanted: Range<u64>, blocks: u64) -> Range<u64> {
        let count = wanted.end - wanted.start;
        // Threads that share a stream come out of order, but not far.
        let goes_on =
            |stream: &Stream| (stream.next..=stream.next + stream.len).contains(&wanted.start);
        let asked = match self.streams.iter().position(goes_on) {
            _ if self.announced.contains(&wanted.start) => {
                let most = self.announced.end.min(wanted.start + MOST_AHEAD);
                wanted.start..most.max(wanted.end)
            }
            Some(at) => {
                let Stream { next, len } = self.streams.remove(at);
                next..wanted.end.max(next + (2 * len).min(MOST_AHEAD)).min(blocks)
            }
            None if blocks <= EDGE_BLOCKS => 0..blocks,
            None if wanted.end == blocks => wanted.start.min(blocks - EDGE_BLOCKS)..blocks,
            None if wanted.start == 0 => 0..wanted.end.max(EDGE_BLOCKS),
            None => wanted.clone(),
        };
        let is_ahead = |range: &&Range<u64>| range.start > wanted.start;
        let stop = self.under_way.iter().filter(is_ahead).map(|range| range.start).min();
        let behind = self.under_way.iter().filter(|range| range.end <= wanted.start);
        let start =
            behind.map(|range| range.end).max().map_or(asked.start, |end| end.max(asked.start));
        let asked = start..stop.unwrap_or(blocks).min(asked.end);
        self.streams.push(Stream { next: asked.end, len: count.max(asked.end - asked.start) });
        if self.streams.len() > MOST_STREAMS {
            self.streams.remove(0);
        }
        self.under_way.push(asked.clone());
        asked
    }
}

/// Blocks that a thread is fetching, until it has them or has failed.
struct UnderWay<'a> {
    file: &'a RemoteFile,
    blocks: Range<u64>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        locked(&self.file.fetching).under_way.retain(|range| *range != self.blocks);
        self.file.arrived.notify_all();
    }
}

impl RemoteFile {
    pub(super) fn new(inner: Arc<Inner>, object: Object) -> RemoteFile {
        let key = Key::of(&object);
        let (fetching, arrived, is_anew) = Default::default();
        RemoteFile { inner, object, key, fetching, arrived, is_anew }
    }

    /// How many blocks the object has.
    fn blocks(&self) -> u64 {
        self.object.size.div_ceil(BLOCK_LEN)
    }

    /// Fetches blocks from the first of `wanted` on, which was not at hand: as many of `wanted` as are not, and more if this is one read
    /// of many. `None` if another thread fetched it meanwhile, or tried to.
    fn fetch(&self, wanted: Range<u64>) -> io::Result<Option<(u64, Vec<u8>)>> {
        let mut fetching = locked(&self.fetching);
        if fetching.is_under_way(wanted.start) {
            while fetching.is_under_way(wanted.start) {
                fetching = self.arrived.wait(fetching).unwrap_or_else(PoisonError::into_inner);
            }
            return Ok(None);
        }
        let is_missing = |block: &u64| !self.inner.has_block(self.key, *block);
        if !is_missing(&wanted.start) {
            return Ok(None);
        }
        let run = wanted.clone().take_while(is_missing).count() as u64;
        let asked = fetching.ask(wanted.start..wanted.start + run, self.blocks());
        drop(fetching);
        let under_way = UnderWay { file: self, blocks: asked };
        let bytes = self.get(under_way.blocks.clone())?;
        Ok(Some((under_way.blocks.start, bytes)))
    }

    fn get(&self, blocks: Range<u64>) -> io::Result<Vec<u8>> {
        let range = blocks.start * BLOCK_LEN..(blocks.end * BLOCK_LEN).min(self.object.size);
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
        self.inner.keep(&self.object, blocks.start, &bytes);
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
        // Copies what of `bytes`, which begin with block `from`, is wanted. Gives the block after them.
        let mut copy = |from: u64, bytes: &[u8]| {
            let (start, stop) = (from * BLOCK_LEN, from * BLOCK_LEN + bytes.len() as u64);
            let (first, past) = (start.max(offset), stop.min(end));
            if first < past {
                let of = |range: Range<u64>, base: u64| {
                    (range.start - base) as usize..(range.end - base) as usize
                };
                let part = bytes.get(of(first..past, start)).unwrap_or_default();
                if let Some(wanted) = buffer.get_mut(of(first..past, offset)) {
                    wanted.copy_from_slice(part);
                }
            }
            stop.div_ceil(BLOCK_LEN)
        };
        while block < last {
            if let Some(bytes) = self.inner.block(&self.object, self.key, block) {
                block = copy(block, &bytes);
            } else if let Some((from, bytes)) = self.fetch(block..last)? {
                block = copy(from, &bytes);
            }
        }
        Ok(())
    }

    fn will_read(&self, range: Range<u64>) {
        let blocks = range.start / BLOCK_LEN..range.end.div_ceil(BLOCK_LEN).min(self.blocks());
        locked(&self.fetching).announced = blocks;
    }

    /// What is at hand may have come damaged over the line: it is fetched anew, once.
    fn heal(&self) -> bool {
        !self.is_anew.swap(true, Ordering::Relaxed) && self.inner.forget(self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: u64 = 16_384;

    /// What is asked for where these ranges are wanted one after the other, and each comes at once.
    fn asked(
        announced: Range<u64>,
        wanted: impl IntoIterator<Item = Range<u64>>,
    ) -> Vec<Range<u64>> {
        let mut fetching = Fetching { announced, ..Fetching::default() };
        let (mut asked, mut there) = (Vec::new(), vec![false; BLOCKS as usize]);
        for range in wanted {
            while let Some(first) = range.clone().find(|block| !there[*block as usize]) {
                let got = fetching.ask(first..range.end, BLOCKS);
                assert!(got.contains(&first) && got.end <= BLOCKS, "{got:?} for {range:?}");
                got.clone().for_each(|block| there[block as usize] = true);
                fetching.under_way.clear();
                asked.push(got);
            }
        }
        asked
    }

    fn len(ranges: &[Range<u64>]) -> u64 {
        ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// A restore of 256 MiB reads 1,366 frames, one half of the object beside the other. It asked as often.
    #[test]
    fn threads_that_read_on_ask_seldom() {
        let half = |from: u64| {
            (from..from + BLOCKS / 2).step_by(12).map(move |at| at..(at + 12).min(BLOCKS))
        };
        let by_turns = half(0).zip(half(BLOCKS / 2)).flat_map(|(a, b)| [a, b]);
        let asked = asked(0..0, by_turns);
        assert!(asked.len() < 50, "{}", asked.len());
        // Where the halves meet, a little comes twice.
        assert!(len(&asked) <= BLOCKS + MOST_AHEAD, "{}", len(&asked));
    }

    /// Two threads take the next frame by turns, and one of them is always late.
    #[test]
    fn what_comes_out_of_order_is_still_read_on() {
        let frames: Vec<Range<u64>> = (0..BLOCKS - 4).step_by(4).map(|at| at..at + 4).collect();
        let late = frames.chunks(2).flat_map(|two| two.iter().rev().cloned());
        let asked = asked(0..0, late);
        assert!(asked.len() < 60, "{}", asked.len());
    }

    #[test]
    fn what_is_announced_is_asked_for_at_once_and_no_more() {
        let reads = (100..400).map(|at| at..at + 1);
        let once = asked(100..400, reads);
        assert!(once.len() == 1 && once.first() == Some(&(100..400)), "{once:?}");
        let long = (0..2000).map(|at| at..at + 1);
        assert_eq!(asked(0..1100, long.take(1100)), [0..512, 512..1024, 1024..1100]);
    }

    #[test]
    fn single_reads_ask_for_themselves_and_the_end_for_the_table() {
        let (table, frame) = (BLOCKS - 1..BLOCKS, 700..719);
        assert_eq!(asked(0..0, [table, frame.clone()]), [BLOCKS - EDGE_BLOCKS..BLOCKS, frame]);
        let long = BLOCKS - EDGE_BLOCKS - 1..BLOCKS;
        assert_eq!(asked(0..0, [long.clone()]).first(), Some(&long));
        let head = 0..1;
        assert_eq!(asked(0..0, [head, 1..EDGE_BLOCKS]).first(), Some(&(0..EDGE_BLOCKS)));
        assert_eq!(Fetching::default().ask(3..4, 5), 0..5);
    }

    /// What another thread is fetching is not asked for again.
    #[test]
    fn what_is_under_way_is_left_out() {
        let mut fetching = Fetching::default();
        assert_eq!(fetching.ask(8..16, BLOCKS), 8..16);
        assert_eq!(fetching.ask(4..20, BLOCKS), 4..8);
        assert_eq!(fetching.ask(16..20, BLOCKS), 16..32);
        assert!(fetching.is_under_way(31) && !fetching.is_under_way(32));
    }
}
