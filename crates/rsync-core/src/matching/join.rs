//! Joins the matches of scans of neighbouring ranges into one list of copies. Must not know sums or
//! encodings.

use super::scan::{Scanned, extend_match};
use super::{Match, Part, Work, matcher::Matcher};
use std::ops::Range;

/// Takes matches in the order of the new data and makes copies of them. No two copies overlap. No copy
/// continues the one before it both in the base and in the new data. The data between copies is literal.
pub(crate) struct Joiner<'m, 's> {
    matcher: &'m Matcher<'s>,
    /// Finished copies. The caller may take them away at any time.
    pub(crate) copies: Vec<Match>,
    /// The last copy, which may still grow. Its length is 0 at the beginning.
    last: Match,
    /// Strong hashes computed so far.
    pub(crate) strong_hashes: u64,
}

impl<'m, 's> Joiner<'m, 's> {
    pub(crate) fn new(matcher: &'m Matcher<'s>) -> Self {
        let last = Match { new: 0, base: 0, len: 0 };
        Joiner { matcher, copies: Vec::new(), last, strong_hashes: 0 }
    }

    /// Where the last copy, which may still grow, begins in the new data.
    pub(crate) fn last_start(&self) -> u64 {
        self.last.new
    }

    /// Adds the result of the scan of the windows that begin in `starts`. `part` has all bytes from the last
    /// copy's end to the end of the matches.
    pub(crate) fn add(&mut self, scanned: Scanned, part: Part<'_>, starts: Range<usize>) {
        self.strong_hashes += scanned.work.strong_hashes;
        self.extend_last(&scanned.matches, part, starts);
        for found in scanned.matches {
            self.add_match(found, part);
        }
    }

    /// Extends a last copy that reaches into the range `starts`, as one scan of all data would extend it.
    ///
    /// The scan of the range did not know this copy. Among equal or periodic blocks it may have found other
    /// blocks than those that continue the copy, or the same blocks at shifted places.
    fn extend_last(&mut self, matches: &[Match], part: Part<'_>, starts: Range<usize>) {
        let reached = self.last.new_end();
        let (start, end) = (part.offset + starts.start as u64, part.offset + starts.end as u64);
        let contested = matches.first().is_some_and(|first| first.new <= reached);
        if self.last.len == 0 || !contested || !(start..end).contains(&reached) {
            return;
        }
        let diagonal = self.last.base.wrapping_sub(self.last.new);
        let agrees = |found: &Match| found.base.wrapping_sub(found.new) == diagonal;
        let agreeing = matches.iter().filter(|found| agrees(found));
        let known = agreeing.map(|found| found.new..found.new_end());
        let (len, strong_hashes) = extend_match(self.matcher, part, self.last, end, known);
        self.last.len += len;
        self.strong_hashes += strong_hashes;
    }

    fn add_match(&mut self, found: Match, part: Part<'_>) {
        let overlap = self.last.new_end().saturating_sub(found.new);
        if overlap >= found.len {
            return;
        }
        let Match { new, base, len } = found;
        let rest = Match { new: new + overlap, base: base + overlap, len: len - overlap };
        let continues = self.last.new_end() == rest.new && self.last.base_end() == rest.base;
        if self.last.len > 0 && continues {
            self.last.len += rest.len;
        } else {
            self.finish_last(rest.new, part);
            self.last = rest;
        }
    }

    /// Finishes the last copy: a gap up to `gap_end` follows it.
    fn finish_last(&mut self, gap_end: u64, part: Part<'_>) {
        if let Some(gap) = part.slice(self.last.new_end(), gap_end) {
            let mut work = Work::default();
            let tail = self.matcher.tail_after(self.last.base_end(), gap, &mut work);
            self.last.len += tail.unwrap_or(0);
            self.strong_hashes += work.strong_hashes;
        }
        let none = Match { new: self.last.new_end(), base: 0, len: 0 };
        let copy = std::mem::replace(&mut self.last, none);
        if copy.len > 0 {
            self.copies.push(copy);
        }
    }

    /// Says that all windows that begin before `end` are scanned. A copy that ends before `end` is finished.
    pub(crate) fn settle(&mut self, end: u64, part: Part<'_>) {
        if self.last.new_end() < end {
            self.finish_last(end, part);
            self.last = Match { new: end, base: 0, len: 0 };
        }
    }

    /// Says that the new data ends with `part`. Looks there for the base's short last block, and finishes all
    /// copies.
    pub(crate) fn finish(&mut self, part: Part<'_>) {
        let end = part.offset + part.bytes.len() as u64;
        let mut tail = None;
        if let Some(gap) = part.slice(self.last.new_end(), end) {
            let mut work = Work::default();
            tail = self.matcher.tail_at_end(gap, &mut work);
            self.strong_hashes += work.strong_hashes;
        }
        if let Some((base, len)) = tail {
            self.add_match(Match { new: end - len, base, len }, part);
        }
        self.finish_last(end, part);
    }
}
