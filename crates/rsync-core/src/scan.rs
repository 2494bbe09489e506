//! Finding blocks in new data. Knows windows and the order to look at them in; what block a window is, it asks.
//!
//! Long equal stretches touch no table: the block that follows the last match is tried first, then several at once. What
//! comes after them is [`search`]ed for.

mod search;

use crate::WeakSum;
use crate::anchor::Anchoring;
use crate::matcher::{Matcher, Run, Work};
use crate::sample::Samples;
use blake3::hazmat::ChainingValue;
use std::ops::Range;

/// How many blocks of the diagonal are tried at once, and how far a run is followed.
const AHEAD: usize = 16;

/// What a scan found, in order; no two runs overlap.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    pub(crate) runs: Vec<Run>,
    pub(crate) work: Work,
}

/// New data, or a part of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'d> {
    pub(crate) bytes: &'d [u8],
    /// Where `bytes` begins in the new data.
    pub(crate) offset: u64,
}

impl<'d> Part<'d> {
    /// Bytes `from..to` of the new data; `None` when empty or not all in this part.
    pub(crate) fn slice(&self, from: u64, to: u64) -> Option<&'d [u8]> {
        let start = usize::try_from(from.checked_sub(self.offset)?).ok()?;
        let end = usize::try_from(to.checked_sub(self.offset)?).ok()?;
        self.bytes.get(start..end).filter(|slice| !slice.is_empty())
    }
}

/// Finds blocks in the windows that begin in `starts`; windows that reach over the end of `part` are not looked at.
///
/// `own` are the tree's values of the blocks of new data from `starts.start` on, each at its own place, as far as they are
/// known: among data that has not moved they are the strong hashes looked for.
pub(crate) fn scan(
    matcher: &Matcher<'_>,
    part: Part<'_>,
    starts: Range<usize>,
    own: &[ChainingValue],
) -> Scanned {
    let block_len = matcher.block_len();
    if matcher.full == 0 || part.bytes.len() < block_len {
        return Scanned::default();
    }
    let end = starts.end.min(part.bytes.len() - block_len + 1);
    let start = starts.start;
    let own = if matcher.alone { &[] } else { own };
    let mut scan = Scan { own, ..Scan::new(matcher, part, start..end, 0) };
    // A scan that begins amid a block of data that has not moved must not get out of step, as it would among equal blocks.
    let aligned = (part.offset + start as u64).next_multiple_of(block_len as u64) - part.offset;
    let aligned = usize::try_from(aligned).unwrap_or(end);
    if start < aligned && aligned < end && scan.follow(aligned, end, 1) > 0 {
        let mut after = std::mem::take(&mut scan.found.runs);
        scan.pass(start..aligned);
        if let Some(last) = scan.found.runs.last_mut() {
            last.len = last.len.min(part.offset + aligned as u64 - last.new);
        }
        scan.found.runs.append(&mut after);
        scan.diagonal = 0;
        scan.pass(aligned + block_len..end);
    } else {
        scan.pass(start..end);
    }
    scan.found
}

/// How far `run` goes on from its end, in windows that begin before `end` and until one of `known`, which are in order, is
/// reached; and the strong hashes that took.
pub(crate) fn follow_on(
    matcher: &Matcher<'_>,
    part: Part<'_>,
    run: Run,
    end: u64,
    mut known: impl Iterator<Item = Range<u64>>,
) -> (u64, u64) {
    let block_len = matcher.block_len();
    let end = ((end - part.offset) as usize).min((part.bytes.len() + 1).saturating_sub(block_len));
    let mut scan = Scan::new(matcher, part, 0..end, run.base.wrapping_sub(run.new));
    let (mut at, mut ahead) = ((run.new_end() - part.offset) as usize, 1);
    let mut next = known.next();
    while at < end {
        let position = part.offset + at as u64;
        while next.as_ref().is_some_and(|range| range.end <= position) {
            next = known.next();
        }
        let followed = if next.as_ref().is_some_and(|range| range.contains(&position)) {
            0
        } else {
            scan.follow(at, end, ahead)
        };
        if followed == 0 {
            break;
        }
        at += followed * block_len;
        ahead = (ahead * 2).min(AHEAD);
    }
    (part.offset + at as u64 - run.new_end(), scan.found.work.strong_hashes)
}

/// A scan on its way through one part of the new data.
struct Scan<'a, 's> {
    matcher: &'a Matcher<'s>,
    part: Part<'a>,
    /// Where in the part the scan began.
    start: usize,
    /// What is to be added to a place in the new data for its place in the base, if nothing has moved since the last match;
    /// at first, since the beginning.
    diagonal: u64,
    own: &'a [ChainingValue],
    anchoring: Anchoring,
    /// The samples of all windows to be looked at, and the last that was taken, if one was: none when there are no more.
    samples: Samples<'a>,
    taken: Option<Option<usize>>,
    found: Scanned,
}

/// A window that is a block.
struct Match {
    at: usize,
    block: usize,
}

impl<'a, 's> Scan<'a, 's> {
    fn new(matcher: &'a Matcher<'s>, part: Part<'a>, starts: Range<usize>, diagonal: u64) -> Self {
        let anchoring = Anchoring::new(matcher.shape.block_len);
        let end = part.bytes.len().min((starts.end + matcher.block_len()).saturating_sub(1));
        let samples = anchoring.samples(&part.bytes[..end], starts.start);
        let (start, found) = (starts.start, Scanned::default());
        Scan { matcher, part, start, diagonal, own: &[], anchoring, samples, taken: None, found }
    }

    /// Looks at the windows that begin in `starts`.
    fn pass(&mut self, starts: Range<usize>) {
        let block_len = self.matcher.block_len();
        let mut at = starts.start;
        let mut ahead = 1;
        while at < starts.end {
            let followed = self.follow(at, starts.end, ahead);
            if followed > 0 {
                at += followed * block_len;
                ahead = (ahead * 2).min(AHEAD);
                continue;
            }
            ahead = 1;
            let Some(found) = self.search(at..starts.end) else { break };
            self.push(found.at, found.block, 1);
            at = found.at + block_len;
        }
    }

    fn push(&mut self, at: usize, block: usize, count: usize) {
        let block_len = self.matcher.block_len();
        let (base, len) = ((block * block_len) as u64, (count * block_len) as u64);
        let run = Run { new: self.part.offset + at as u64, base, len };
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
        self.matcher.full_block_at((self.part.offset + at as u64).wrapping_add(self.diagonal))
    }

    /// The window that begins at `at`.
    fn window(&self, at: usize) -> &'a [u8] {
        &self.part.bytes[at..at + self.matcher.block_len()]
    }

    /// Tries whether up to `most` blocks from `at` on continue the diagonal, and adds those that do; how many.
    fn follow(&mut self, at: usize, end: usize, most: usize) -> usize {
        let block_len = self.matcher.block_len();
        let Some(block) = self.on_diagonal(at) else { return 0 };
        let expected = (block..self.matcher.full).map_while(|index| self.matcher.block(index));
        let equal = if let Some(own) = self.own_values(at) {
            own.iter()
                .zip(expected)
                .take_while(|(hash, (_, strong))| hash.starts_with(strong))
                .count()
        } else {
            let most = most.min((end - at).div_ceil(block_len));
            let windows = self.part.bytes[at..].chunks_exact(block_len);
            let likely = windows.zip(expected.clone()).take(most);
            let likely =
                likely.take_while(|(window, (weak, _))| self.may_be(*weak, window)).count();
            let bytes = &self.part.bytes[at..at + likely * block_len];
            let hashes = self.matcher.strong_of_blocks(block, bytes, &mut self.found.work);
            let equal = hashes.iter().zip(expected);
            let equal = equal.take_while(|(hash, (_, strong))| hash.starts_with(strong)).count();
            self.found.work.wasted += ((likely - equal) * block_len) as u64;
            equal
        };
        if equal > 0 {
            self.push(at, block, equal);
        }
        equal
    }

    /// The known values of the blocks from `at` on, if that is where one begins and nothing has moved.
    fn own_values(&self, at: usize) -> Option<&'a [ChainingValue]> {
        let (index, within) = (at.checked_sub(self.start)?, self.matcher.block_len());
        let here = self.diagonal == 0 && index.is_multiple_of(within);
        let own = if here { self.own.get(index / within..) } else { None };
        own.filter(|own| !own.is_empty())
    }

    /// Whether a window may be a block with this weak sum: surely not when false.
    fn may_be(&self, weak: u64, window: &[u8]) -> bool {
        match self.matcher.shape.weak {
            WeakSum::Anchor => self.anchoring.fits(weak, window),
            _ => self.matcher.shape.weak_of(window) == weak,
        }
    }
}
