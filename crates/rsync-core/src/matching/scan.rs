//! Finds matches in a range of the new data. Owns the windows and the order to look at them; must not know
//! how a block is recognized: it asks the matcher.
//!
//! Data that has not moved needs no table. The block that follows the last match is tried first, then several
//! at once. This is called *following the diagonal*: the line of all places whose distance between new data
//! and base is the same. Where the diagonal ends, [`search`] finds the next window.

mod search;

use super::{Match, Part, Work, matcher::Matcher};
use crate::weak_sum::WeakSum;
use crate::weak_sum::anchor::Anchoring;
use crate::weak_sum::sample::Samples;
use blake3::hazmat::ChainingValue;
use std::ops::Range;

/// How many blocks of the diagonal are tried at once, at most; also how far a run of equal bytes is measured,
/// in blocks.
const AHEAD: usize = 16;

/// What a scan found, in order. No two matches overlap.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    pub(crate) matches: Vec<Match>,
    pub(crate) work: Work,
}

/// Finds blocks in the windows that begin in `starts`. Skips windows that reach past the end of `part`.
///
/// `chaining_values` are those of the new data's blocks from `starts.start` on, each at its own place, as far
/// as they are known. For data that has not moved they are the strong hashes to look for.
pub(crate) fn scan(
    matcher: &Matcher<'_>,
    part: Part<'_>,
    starts: Range<usize>,
    chaining_values: &[ChainingValue],
) -> Scanned {
    let block_len = matcher.block_len();
    if matcher.full_blocks == 0 || part.bytes.len() < block_len {
        return Scanned::default();
    }
    let end = starts.end.min(part.bytes.len() - block_len + 1);
    let start = starts.start;
    let chaining_values = if matcher.one_block { &[] } else { chaining_values };
    let mut scan = Scan { chaining_values, ..Scan::new(matcher, part, start..end, 0) };
    // A range may begin inside a block of data that has not moved. Among equal blocks, a scan from there
    // would find the blocks at shifted places. So try the next whole block first.
    let aligned = (part.offset + start as u64).next_multiple_of(block_len as u64) - part.offset;
    let aligned = usize::try_from(aligned).unwrap_or(end);
    if start < aligned && aligned < end && scan.follow(aligned, end, 1) > 0 {
        let mut after = std::mem::take(&mut scan.found.matches);
        scan.pass(start..aligned);
        if let Some(last) = scan.found.matches.last_mut() {
            last.len = last.len.min(part.offset + aligned as u64 - last.new);
        }
        scan.found.matches.append(&mut after);
        scan.diagonal = 0;
        scan.pass(aligned + block_len..end);
    } else {
        scan.pass(start..end);
    }
    scan.found
}

/// By how much `found` can be extended on its diagonal, and the strong hashes that took. Looks at windows
/// that begin before `end`. Stops at the first of the `known` ranges, which are in order.
pub(crate) fn extend_match(
    matcher: &Matcher<'_>,
    part: Part<'_>,
    found: Match,
    end: u64,
    mut known: impl Iterator<Item = Range<u64>>,
) -> (u64, u64) {
    let block_len = matcher.block_len();
    let end = ((end - part.offset) as usize).min((part.bytes.len() + 1).saturating_sub(block_len));
    let mut scan = Scan::new(matcher, part, 0..end, found.base.wrapping_sub(found.new));
    let (mut at, mut ahead) = ((found.new_end() - part.offset) as usize, 1);
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
    (part.offset + at as u64 - found.new_end(), scan.found.work.strong_hashes)
}

/// The state of a scan.
struct Scan<'a, 's> {
    matcher: &'a Matcher<'s>,
    part: Part<'a>,
    /// Where in the part the scan began.
    start: usize,
    /// Place in the base minus place in the new data, modulo 2⁶⁴, for data that did not move since the last
    /// match. At first it is 0.
    diagonal: u64,
    chaining_values: &'a [ChainingValue],
    anchoring: Anchoring,
    /// The samples of all windows of the scan.
    samples: Samples<'a>,
    next_sample: NextSample,
    found: Scanned,
}

/// The sample that was taken last.
#[derive(Clone, Copy)]
enum NextSample {
    NotTaken,
    At(usize),
    NoMore,
}

/// A window that equals a block.
struct WindowMatch {
    at: usize,
    block: usize,
}

impl<'a, 's> Scan<'a, 's> {
    fn new(matcher: &'a Matcher<'s>, part: Part<'a>, starts: Range<usize>, diagonal: u64) -> Self {
        let anchoring = Anchoring::new(matcher.shape.block_len);
        let end = part.bytes.len().min((starts.end + matcher.block_len()).saturating_sub(1));
        Scan {
            matcher,
            part,
            start: starts.start,
            diagonal,
            chaining_values: &[],
            anchoring,
            samples: anchoring.samples(&part.bytes[..end], starts.start),
            next_sample: NextSample::NotTaken,
            found: Scanned::default(),
        }
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
        let found = Match { new: self.part.offset + at as u64, base, len };
        self.diagonal = found.base.wrapping_sub(found.new);
        match self.found.matches.last_mut() {
            Some(last) if last.new_end() == found.new && last.base_end() == found.base => {
                last.len += len
            }
            _ => self.found.matches.push(found),
        }
    }

    /// The full block that lies at `at` if the data did not move.
    fn on_diagonal(&self, at: usize) -> Option<usize> {
        self.matcher.full_block_at((self.part.offset + at as u64).wrapping_add(self.diagonal))
    }

    /// The window that begins at `at`.
    fn window(&self, at: usize) -> &'a [u8] {
        &self.part.bytes[at..at + self.matcher.block_len()]
    }

    /// Tries whether up to `most` blocks from `at` on continue the diagonal. Adds those that do, and returns
    /// their number.
    fn follow(&mut self, at: usize, end: usize, most: usize) -> usize {
        let block_len = self.matcher.block_len();
        let Some(block) = self.on_diagonal(at) else { return 0 };
        let equal = if let Some(values) = self.known_chaining_values(at) {
            self.matcher.count_with_nodes(block, values)
        } else {
            let blocks = block..self.matcher.full_blocks;
            let expected = blocks.map_while(|index| self.matcher.block(index));
            let most = most.min((end - at).div_ceil(block_len));
            let windows = self.part.bytes[at..].chunks_exact(block_len);
            let likely = windows.zip(expected).take(most);
            let likely =
                likely.take_while(|(window, (weak, _))| self.may_be(*weak, window)).count();
            let bytes = &self.part.bytes[at..at + likely * block_len];
            let hashes = self.matcher.strong_of_blocks(block, bytes, &mut self.found.work);
            let equal = self.matcher.count_equal(block, &hashes);
            self.found.work.wasted += ((likely - equal) * block_len) as u64;
            equal
        };
        if equal > 0 {
            self.push(at, block, equal);
        }
        equal
    }

    /// The known chaining values from `at` on, if a block begins there and the data did not move.
    fn known_chaining_values(&self, at: usize) -> Option<&'a [ChainingValue]> {
        let (index, block_len) = (at.checked_sub(self.start)?, self.matcher.block_len());
        let here = self.diagonal == 0 && index.is_multiple_of(block_len);
        let values = if here { self.chaining_values.get(index / block_len..) } else { None };
        values.filter(|values| !values.is_empty())
    }

    /// Whether a window may be a block with this weak sum. `false` is certain.
    fn may_be(&self, weak: u64, window: &[u8]) -> bool {
        match self.matcher.shape.sums.weak() {
            WeakSum::Anchor => self.anchoring.fits(weak, window),
            _ => self.matcher.shape.weak_of(window) == weak,
        }
    }
}
