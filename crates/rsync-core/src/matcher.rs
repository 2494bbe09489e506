//! Finding the blocks of a signature in new data. Knows windows, sums and tables; nothing of commands or files.
//!
//! Three steps, each cheaper than the next and passed wrongly only by chance: a bitmap filter (four bits of one word for each
//! weak sum, sized for the second-level cache), a table of weak sums, the strong hash. Before them, the block that follows
//! the last match is tried, then several at once: long equal stretches touch no table.
//!
//! Bounds against crafted input: of blocks that share a weak sum but not a strong hash the first [`CANDIDATES`] are kept, so
//! a look-up compares at most that many; strong hashes that end in no match may cost [`WASTE_PER_BYTE`] bytes of hashing for
//! each byte of data passed (plus [`WASTE_FREE`] windows), beyond which weak matches are not followed and the data stays
//! literal. Both bounds depend on the input alone.

use crate::lanes::LANES;
use crate::table::{CANDIDATES, Table};
use crate::weak::Rolling;
use crate::{Signature, shape::Shape};
use std::ops::Range;
use std::sync::OnceLock;

const WASTE_PER_BYTE: u64 = 1;
const WASTE_FREE: u64 = 64;

/// Some bytes of the new data that are bytes of the base: `len` from `base` there, at `new` here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) new: u64,
    pub(crate) base: u64,
    pub(crate) len: u64,
}

impl Run {
    pub(crate) fn new_end(&self) -> u64 {
        self.new + self.len
    }
    pub(crate) fn base_end(&self) -> u64 {
        self.base + self.len
    }
}

/// What a scan found, in order; no two runs overlap.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    pub(crate) runs: Vec<Run>,
    /// Strong hashes computed, and the bytes of those that matched nothing.
    pub(crate) strong_hashes: u64,
    wasted: u64,
}

/// A signature made ready for look-ups.
pub(crate) struct Matcher<'s> {
    shape: Shape,
    packed: &'s [u8],
    /// Blocks of full length: those a window can match.
    full: usize,
    /// The length of the last block if it is known and short, else 0.
    tail_len: usize,
    /// False when the file's length, and so the last block's, is not known (librsync's signatures).
    exact: bool,
    table: OnceLock<Table>,
}

impl<'s> Matcher<'s> {
    pub(crate) fn new(signature: &'s Signature) -> Self {
        let shape = signature.shape();
        let block_len = u64::from(shape.block_len);
        Matcher {
            shape,
            packed: signature.packed(),
            full: (signature.file_len() / block_len) as usize,
            tail_len: (signature.file_len() % block_len) as usize,
            exact: signature.digest().is_some() || !shape.weak.is_librsync(),
            table: OnceLock::new(),
        }
    }

    pub(crate) fn block_len(&self) -> usize {
        self.shape.block_len as usize
    }

    fn packed_block(&self, index: usize) -> &'s [u8] {
        let width = self.shape.bytes_per_block();
        self.packed.get(index * width..(index + 1) * width).unwrap_or_default()
    }

    /// The full block that `base` is the start of.
    fn full_block_at(&self, base: u64) -> Option<usize> {
        let block_len = u64::from(self.shape.block_len);
        (base.is_multiple_of(block_len) && base / block_len < self.full as u64)
            .then_some((base / block_len) as usize)
    }

    /// Whether `bytes`, whose weak sum is `weak`, is block `index`.
    fn is_block(&self, index: usize, weak: u64, bytes: &[u8], scanned: &mut Scanned) -> bool {
        let packed = self.packed_block(index);
        if packed.is_empty() {
            return false;
        }
        let (block_weak, strong) = self.shape.unpack(packed);
        if block_weak != weak {
            return false;
        }
        scanned.strong_hashes += 1;
        let matches = self.shape.strong.of(bytes).starts_with(strong);
        if !matches {
            scanned.wasted += bytes.len() as u64;
        }
        matches
    }

    /// Finds blocks in the windows of `data` that begin in `starts`. `offset` is where `data` begins in the new data; windows
    /// that reach over the end of `data` are not looked at.
    pub(crate) fn scan<W: Rolling>(
        &self,
        data: &[u8],
        offset: u64,
        starts: Range<usize>,
    ) -> Scanned {
        let block_len = self.block_len();
        if self.full == 0 || data.len() < block_len {
            return Scanned::default();
        }
        let end = starts.end.min(data.len() - block_len + 1);
        let start = starts.start;
        let mut scan =
            Scan { matcher: self, data, offset, start, diagonal: 0, found: Scanned::default() };
        // A scan that begins amid a block of data that has not moved must not get out of step, as it would among equal blocks.
        let aligned = (offset + start as u64).next_multiple_of(block_len as u64) - offset;
        let aligned = usize::try_from(aligned).unwrap_or(end);
        if start < aligned && aligned < end && scan.follow::<W>(aligned, end, 1) > 0 {
            let mut after = std::mem::take(&mut scan.found.runs);
            scan.pass::<W>(start..aligned);
            if let Some(last) = scan.found.runs.last_mut() {
                last.len = last.len.min(offset + aligned as u64 - last.new);
            }
            scan.found.runs.append(&mut after);
            scan.diagonal = 0;
            scan.pass::<W>(aligned + block_len..end);
        } else {
            scan.pass::<W>(start..end);
        }
        scan.found
    }

    /// How far `run` goes on from its end, in windows that begin before `end` and until one of `known`, which are in order,
    /// is reached; and the strong hashes that took.
    pub(crate) fn follow_on<W: Rolling>(
        &self,
        data: &[u8],
        offset: u64,
        run: Run,
        end: u64,
        mut known: impl Iterator<Item = Range<u64>>,
    ) -> (u64, u64) {
        let diagonal = run.base.wrapping_sub(run.new);
        let end = ((end - offset) as usize).min((data.len() + 1).saturating_sub(self.block_len()));
        let mut scan =
            Scan { matcher: self, data, offset, start: 0, diagonal, found: Scanned::default() };
        let (mut at, mut ahead) = ((run.new_end() - offset) as usize, 1);
        let mut next = known.next();
        while at < end {
            let position = offset + at as u64;
            while next.as_ref().is_some_and(|range| range.end <= position) {
                next = known.next();
            }
            let followed = if next.as_ref().is_some_and(|range| range.contains(&position)) {
                0
            } else {
                scan.follow::<W>(at, end, ahead)
            };
            if followed == 0 {
                break;
            }
            at += followed * self.block_len();
            ahead = (ahead * 2).min(LANES);
        }
        (offset + at as u64 - run.new_end(), scan.found.strong_hashes)
    }

    /// The block that `window` is: the one on the diagonal if it is equal, else the first of its kind.
    fn look_up(
        &self,
        table: &Table,
        weak: u64,
        window: &[u8],
        on_diagonal: Option<usize>,
        scanned: &mut Scanned,
    ) -> Option<usize> {
        let mut strong_of_window = None;
        for &index in table.candidates(weak) {
            let (block_weak, strong) = self.shape.unpack(self.packed_block(index as usize));
            if block_weak != weak {
                continue;
            }
            let hash = strong_of_window.get_or_insert_with(|| {
                scanned.strong_hashes += 1;
                self.shape.strong.of(window)
            });
            if hash.starts_with(strong) {
                let same = on_diagonal
                    .filter(|&block| self.packed_block(block) == self.packed_block(index as usize));
                return Some(same.unwrap_or(index as usize));
            }
        }
        if strong_of_window.is_some() {
            scanned.wasted += window.len() as u64;
        }
        None
    }

    /// If a gap that follows base offset `base` begins with the short last block, its length.
    pub(crate) fn tail_after(&self, base: u64, gap: &[u8], scanned: &mut Scanned) -> Option<u64> {
        let tail_at = self.full as u64 * u64::from(self.shape.block_len);
        let tail = gap.get(..self.tail_len).filter(|tail| !tail.is_empty() && base == tail_at)?;
        self.is_block(self.full, self.shape.weak.of(tail), tail, scanned)
            .then_some(self.tail_len as u64)
    }

    /// If the new data's last gap, which `gap` is the end of, ends with the base's last, short block: its base offset and
    /// length. Where that length is not known, the longest that fits is taken.
    pub(crate) fn tail_at_end<W: Rolling>(
        &self,
        gap: &[u8],
        scanned: &mut Scanned,
    ) -> Option<(u64, u64)> {
        let block_len = self.block_len();
        if self.exact {
            let tail_at = (self.full * block_len) as u64;
            let tail = gap.get(gap.len().checked_sub(self.tail_len)?..)?;
            return self.tail_after(tail_at, tail, scanned).map(|len| (tail_at, len));
        }
        let last = self.full.checked_sub(1)?;
        let gap = &gap[gap.len().saturating_sub(block_len - 1)..];
        let (weak, _) = self.shape.unpack(self.packed_block(last));
        let mut sum = W::of(&[]);
        let mut fitting = Vec::new();
        for (start, &x) in gap.iter().enumerate().rev() {
            sum.prepend(x);
            if sum.value() == weak {
                fitting.push(start);
            }
        }
        let longest = fitting.iter().rev().take(CANDIDATES);
        let start =
            longest.copied().find(|&start| self.is_block(last, weak, &gap[start..], scanned))?;
        Some(((last * block_len) as u64, (gap.len() - start) as u64))
    }
}

/// A scan on its way through one part of the new data.
struct Scan<'a, 's> {
    matcher: &'a Matcher<'s>,
    data: &'a [u8],
    /// Where `data` begins in the new data.
    offset: u64,
    /// Where in `data` the scan began.
    start: usize,
    /// What is to be added to a place in the new data for its place in the base, if nothing has moved since the last match;
    /// at first, since the beginning.
    diagonal: u64,
    found: Scanned,
}

impl Scan<'_, '_> {
    /// Looks at the windows that begin in `starts`.
    fn pass<W: Rolling>(&mut self, starts: Range<usize>) {
        let block_len = self.matcher.block_len();
        let mut at = starts.start;
        let mut ahead = 1;
        while at < starts.end {
            let followed = self.follow::<W>(at, starts.end, ahead);
            if followed > 0 {
                at += followed * block_len;
                ahead = (ahead * 2).min(LANES);
                continue;
            }
            ahead = 1;
            let Some((found_at, block)) = self.search::<W>(at..starts.end) else { break };
            self.push(found_at, block, 1);
            at = found_at + block_len;
        }
    }

    fn push(&mut self, at: usize, block: usize, count: usize) {
        let block_len = self.matcher.block_len();
        let (base, len) = ((block * block_len) as u64, (count * block_len) as u64);
        let run = Run { new: self.offset + at as u64, base, len };
        self.diagonal = run.base.wrapping_sub(run.new);
        match self.found.runs.last_mut() {
            Some(last) if last.new_end() == run.new && last.base_end() == run.base => {
                last.len += len
            }
            _ => self.found.runs.push(run),
        }
    }

    /// The full block that lies at `at` if nothing has moved.
    fn on_diagonal(&self, at: usize) -> Option<usize> {
        self.matcher.full_block_at((self.offset + at as u64).wrapping_add(self.diagonal))
    }

    /// Tries whether up to `most` blocks from `at` on continue the diagonal, and adds those that do; how many.
    fn follow<W: Rolling>(&mut self, at: usize, end: usize, most: usize) -> usize {
        let Matcher { shape, full, .. } = *self.matcher;
        let block_len = shape.block_len as usize;
        let Some(block) = self.on_diagonal(at) else { return 0 };
        let windows = self.data[at..].chunks_exact(block_len).take((end - at).div_ceil(block_len));
        let expected = (block..full).map(|index| shape.unpack(self.matcher.packed_block(index)));
        let weakly = windows.zip(expected.clone()).take(most);
        let alike = weakly.take_while(|(window, (weak, _))| W::of(window).value() == *weak).count();
        let hashes = shape.strong_of_blocks(&self.data[at..at + alike * block_len]);
        let equal = hashes
            .iter()
            .zip(expected)
            .take(alike)
            .take_while(|(hash, (_, strong))| hash.starts_with(strong));
        let equal = equal.count();
        self.found.strong_hashes += alike as u64;
        self.found.wasted += ((alike - equal) * block_len) as u64;
        if equal > 0 {
            self.push(at, block, equal);
        }
        equal
    }

    /// Rolls to the first window that is a block; its place and the block.
    fn search<W: Rolling>(&mut self, starts: Range<usize>) -> Option<(usize, usize)> {
        let block_len = self.matcher.block_len();
        let table = self.matcher.table.get_or_init(|| {
            Table::new(&self.matcher.shape, self.matcher.packed, self.matcher.full)
        });
        let mut at = starts.start;
        let mut sum = W::of(&self.data[at..at + block_len]);
        loop {
            let leaving = &self.data[at..starts.end - 1];
            let entering = &self.data[at + block_len..starts.end + block_len - 1];
            at += table.skip(&mut sum, leaving, entering);
            let allowed = WASTE_PER_BYTE * (at - self.start) as u64 + WASTE_FREE * block_len as u64;
            if self.found.wasted <= allowed && table.may_contain(sum.value()) {
                let window = &self.data[at..at + block_len];
                let on_diagonal = self.on_diagonal(at);
                let found =
                    self.matcher.look_up(table, sum.value(), window, on_diagonal, &mut self.found);
                if let Some(block) = found {
                    return Some((at, block));
                }
            }
            if at + 1 >= starts.end {
                return None;
            }
            sum.roll(self.data[at], self.data[at + block_len]);
            at += 1;
        }
    }
}
