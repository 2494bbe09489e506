//! Joining the runs that scans of neighbouring segments found into one list. Knows runs; nothing of sums or encodings.

use crate::matcher::{Matcher, Run, Scanned};
use crate::weak::Rolling;
use std::ops::Range;

/// Takes runs in the order of the new data and keeps the copies that result: no two overlap, none touches the next on both
/// sides. What lies between copies is literal.
pub(crate) struct Joiner<'m, 's> {
    matcher: &'m Matcher<'s>,
    /// Finished copies; the caller may take them away at any time.
    pub(crate) copies: Vec<Run>,
    /// The copy that may still grow; of length 0 at the beginning.
    last: Run,
    /// Strong hashes computed so far.
    pub(crate) strong_hashes: u64,
}

impl<'m, 's> Joiner<'m, 's> {
    pub(crate) fn new(matcher: &'m Matcher<'s>) -> Self {
        Joiner {
            matcher,
            copies: Vec::new(),
            last: Run { new: 0, base: 0, len: 0 },
            strong_hashes: 0,
        }
    }

    /// Where the copy that may still grow begins and ends in the new data.
    pub(crate) fn last(&self) -> (u64, u64) {
        (self.last.new, self.last.new_end())
    }

    /// Adds what the scan of the windows that begin in `starts` gave. `data` begins at `offset` of the new data and has all
    /// bytes from the last copy's end to the end of the runs.
    pub(crate) fn add<W: Rolling>(
        &mut self,
        scanned: Scanned,
        data: &[u8],
        offset: u64,
        starts: Range<usize>,
    ) {
        self.strong_hashes += scanned.strong_hashes;
        self.follow_last::<W>(&scanned.runs, data, offset, starts);
        for run in scanned.runs {
            self.add_run(run, data, offset);
        }
    }

    /// Lets a copy that reaches into the segment go on as one scan over everything would have let it.
    ///
    /// The segment's own scan began in the dark: among equal or periodic blocks it may have found others than those that
    /// continue the copy, or the same out of step.
    fn follow_last<W: Rolling>(
        &mut self,
        runs: &[Run],
        data: &[u8],
        offset: u64,
        starts: Range<usize>,
    ) {
        let reached = self.last.new_end();
        let (start, end) = (offset + starts.start as u64, offset + starts.end as u64);
        let contested = runs.first().is_some_and(|first| first.new <= reached);
        if self.last.len == 0 || !contested || !(start..end).contains(&reached) {
            return;
        }
        let diagonal = self.last.base.wrapping_sub(self.last.new);
        let agrees = |run: &Run| run.base.wrapping_sub(run.new) == diagonal;
        let same = runs.iter().filter(|run| agrees(run)).map(|run| run.new..run.new_end());
        let (len, strong_hashes) = self.matcher.follow_on::<W>(data, offset, self.last, end, same);
        self.last.len += len;
        self.strong_hashes += strong_hashes;
    }

    fn add_run(&mut self, run: Run, data: &[u8], offset: u64) {
        let overlap = self.last.new_end().saturating_sub(run.new);
        if overlap >= run.len {
            return;
        }
        let run = Run { new: run.new + overlap, base: run.base + overlap, len: run.len - overlap };
        if self.last.len > 0 && self.last.new_end() == run.new && self.last.base_end() == run.base {
            self.last.len += run.len;
        } else {
            self.finish_last(run.new, data, offset);
            self.last = run;
        }
    }

    /// The last copy grows no more: a gap up to `gap_end` follows.
    fn finish_last(&mut self, gap_end: u64, data: &[u8], offset: u64) {
        if let Some(gap) = slice(data, offset, self.last.new_end(), gap_end) {
            let mut hashes = Scanned::default();
            self.last.len +=
                self.matcher.tail_after(self.last.base_end(), gap, &mut hashes).unwrap_or(0);
            self.strong_hashes += hashes.strong_hashes;
        }
        let done = Run { new: self.last.new_end(), base: 0, len: 0 };
        let copy = std::mem::replace(&mut self.last, done);
        if copy.len > 0 {
            self.copies.push(copy);
        }
    }

    /// All data up to `end` has been scanned: a copy that ends before cannot grow.
    pub(crate) fn settle(&mut self, end: u64, data: &[u8], offset: u64) {
        if self.last.new_end() < end {
            self.finish_last(end, data, offset);
            self.last = Run { new: end, base: 0, len: 0 };
        }
    }

    /// The new data ends with `data`: looks for the base's short last block there and finishes all copies.
    pub(crate) fn finish<W: Rolling>(&mut self, data: &[u8], offset: u64) {
        let end = offset + data.len() as u64;
        let gap_start = self.last.new_end();
        let mut tail = None;
        if let Some(gap) = slice(data, offset, gap_start, end) {
            let mut hashes = Scanned::default();
            tail = self.matcher.tail_at_end::<W>(gap, &mut hashes);
            self.strong_hashes += hashes.strong_hashes;
        }
        if let Some((base, len)) = tail {
            self.add_run(Run { new: end - len, base, len }, data, offset);
        }
        self.finish_last(end, data, offset);
    }
}

/// Bytes `from..to` of the new data, of which `data` begins at `offset`; `None` when empty or not all there.
fn slice(data: &[u8], offset: u64, from: u64, to: u64) -> Option<&[u8]> {
    let start = usize::try_from(from.checked_sub(offset)?).ok()?;
    let end = usize::try_from(to.checked_sub(offset)?).ok()?;
    data.get(start..end).filter(|slice| !slice.is_empty())
}
