//! Joining the runs that scans of neighbouring segments found into one list. Knows runs; nothing of sums or encodings.

use crate::matcher::{Matcher, Run, Work};
use crate::scan::{Part, Scanned, follow_on};
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

    /// Adds what the scan of the windows that begin in `starts` gave. `part` has all bytes from the last copy's end to the end
    /// of the runs.
    pub(crate) fn add(&mut self, scanned: Scanned, part: Part<'_>, starts: Range<usize>) {
        self.strong_hashes += scanned.work.strong_hashes;
        self.follow_last(&scanned.runs, part, starts);
        for run in scanned.runs {
            self.add_run(run, part);
        }
    }

    /// Lets a copy that reaches into the segment go on as one scan over everything would have let it.
    ///
    /// The segment's own scan began in the dark: among equal or periodic blocks it may have found others than those that
    /// continue the copy, or the same out of step.
    fn follow_last(&mut self, runs: &[Run], part: Part<'_>, starts: Range<usize>) {
        let reached = self.last.new_end();
        let (start, end) = (part.offset + starts.start as u64, part.offset + starts.end as u64);
        let contested = runs.first().is_some_and(|first| first.new <= reached);
        if self.last.len == 0 || !contested || !(start..end).contains(&reached) {
            return;
        }
        let diagonal = self.last.base.wrapping_sub(self.last.new);
        let agrees = |run: &Run| run.base.wrapping_sub(run.new) == diagonal;
        let same = runs.iter().filter(|run| agrees(run)).map(|run| run.new..run.new_end());
        let (len, strong_hashes) = follow_on(self.matcher, part, self.last, end, same);
        self.last.len += len;
        self.strong_hashes += strong_hashes;
    }

    fn add_run(&mut self, run: Run, part: Part<'_>) {
        let overlap = self.last.new_end().saturating_sub(run.new);
        if overlap >= run.len {
            return;
        }
        let run = Run { new: run.new + overlap, base: run.base + overlap, len: run.len - overlap };
        if self.last.len > 0 && self.last.new_end() == run.new && self.last.base_end() == run.base {
            self.last.len += run.len;
        } else {
            self.finish_last(run.new, part);
            self.last = run;
        }
    }

    /// The last copy grows no more: a gap up to `gap_end` follows.
    fn finish_last(&mut self, gap_end: u64, part: Part<'_>) {
        if let Some(gap) = part.slice(self.last.new_end(), gap_end) {
            let mut work = Work::default();
            let tail = self.matcher.tail_after(self.last.base_end(), gap, &mut work);
            self.last.len += tail.unwrap_or(0);
            self.strong_hashes += work.strong_hashes;
        }
        let done = Run { new: self.last.new_end(), base: 0, len: 0 };
        let copy = std::mem::replace(&mut self.last, done);
        if copy.len > 0 {
            self.copies.push(copy);
        }
    }

    /// All data up to `end` has been scanned: a copy that ends before cannot grow.
    pub(crate) fn settle(&mut self, end: u64, part: Part<'_>) {
        if self.last.new_end() < end {
            self.finish_last(end, part);
            self.last = Run { new: end, base: 0, len: 0 };
        }
    }

    /// The new data ends with `part`: looks for the base's short last block there and finishes all copies.
    pub(crate) fn finish(&mut self, part: Part<'_>) {
        let end = part.offset + part.bytes.len() as u64;
        let mut tail = None;
        if let Some(gap) = part.slice(self.last.new_end(), end) {
            let mut work = Work::default();
            tail = self.matcher.tail_at_end(gap, &mut work);
            self.strong_hashes += work.strong_hashes;
        }
        if let Some((base, len)) = tail {
            self.add_run(Run { new: end - len, base, len }, part);
        }
        self.finish_last(end, part);
    }
}
