//! The search for the next window that is a block, where nothing continues the last match. Owns the order of
//! the windows; of blocks it must know weak sums only.
//!
//! For this crate's own signatures it looks up the samples of the new data (see
//! [`anchor`]). For other signatures, and for windows without a sample, a rolling
//! sum moves over the data, many windows at a time. Three tests follow: a bitmap filter, a table of weak
//! sums, the strong hash. Each costs less than the next, and a window that is no block passes a test only by
//! chance.
//!
//! Bound for crafted input: work that ends in no match may cost [`WASTE_PER_BYTE`] bytes of hashing for each
//! byte of data passed, plus a few windows ([`free_waste`]). Beyond that, windows are skipped and their data
//! stays literal, until enough data is passed. The bound depends on the input alone.

use super::{AHEAD, NextSample, Scan, WindowMatch};
use crate::matching::context_table::ContextTable;
use crate::weak_sum::WeakSum;
use crate::weak_sum::anchor::{self, CONTEXT_LEN, Unanchored};
use crate::weak_sum::rolling::{RabinKarp, Rolling, RollingSum, Rollsum};
use crate::weak_sum::vector::{self, ROLL_LEN};
use std::ops::Range;

const WASTE_PER_BYTE: u64 = 1;
/// The cost of one look-up, in bytes of hashing.
const LOOK_UP_COST: u64 = 16;
/// How many bytes are summed at the cost of hashing one.
const SUMMED_PER_HASHED: usize = 8;

impl Scan<'_, '_> {
    /// The first of the windows that begin in `starts` that is a block.
    pub(super) fn search(&mut self, starts: Range<usize>) -> Option<WindowMatch> {
        match self.matcher.shape.sums.weak() {
            WeakSum::Anchor => self.search_samples(starts),
            WeakSum::Rsync => self.search_rolling::<RollingSum>(starts),
            WeakSum::Rollsum => self.search_rolling::<Rollsum>(starts),
            WeakSum::RabinKarp => self.search_rolling::<RabinKarp>(starts),
        }
    }

    /// The first window that the bound on wasted work allows.
    fn first_allowed(&self) -> usize {
        let beyond = self.found.work.wasted.saturating_sub(free_waste(self.matcher.block_len()));
        self.start + (beyond / WASTE_PER_BYTE) as usize
    }

    /// Rolls over the windows, one block length of them at a time. In a run of one byte all windows are
    /// equal: one look-up answers for all of them.
    fn search_rolling<W: Rolling>(&mut self, starts: Range<usize>) -> Option<WindowMatch> {
        let block_len = self.matcher.block_len();
        let data = &self.part.bytes[..starts.end - 1 + block_len];
        let mut at = starts.start.max(self.first_allowed());
        let mut fresh = None;
        while at < starts.end {
            let mut sum = fresh.unwrap_or_else(|| W::of(&data[at..at + block_len]));
            let run = run_len(&data[at..data.len().min(at + AHEAD * block_len)]);
            let (end, next) = if run > block_len {
                (at + 1, at + run - block_len + 1)
            } else {
                let end = starts.end.min(at + block_len);
                (end, end)
            };
            if let Some(found) = self.roll(&mut sum, at..end) {
                return Some(found);
            }
            at = next.max(self.first_allowed());
            fresh = (at == end).then_some(sum);
        }
        None
    }

    /// Rolls `sum` from the first of the windows to the one after the last, if there is one. Stops at a
    /// window that is a block.
    fn roll<W: Rolling>(&mut self, sum: &mut W, starts: Range<usize>) -> Option<WindowMatch> {
        let (filter, block_len) = (&self.matcher.weak_table().filter, self.matcher.block_len());
        let leaving = &self.part.bytes[starts.clone()];
        let entering = &self.part.bytes[starts.start + block_len..];
        let mut at = starts.start;
        let mut hits = Vec::new();
        let groups = leaving.as_chunks::<ROLL_LEN>().0.iter().zip(entering.as_chunks().0);
        for (leaving, entering) in groups {
            vector::roll(sum, leaving, entering, filter, &mut hits);
            for &(index, weak) in &hits {
                if at + index >= self.first_allowed()
                    && let Some(found) = self.look_up(at + index, weak)
                {
                    return Some(found);
                }
            }
            at += ROLL_LEN;
        }
        for at in at..starts.end {
            if filter.may_contain(sum.value())
                && at >= self.first_allowed()
                && let Some(found) = self.look_up(at, sum.value())
            {
                return Some(found);
            }
            if let Some(&in_) = self.part.bytes.get(at + block_len) {
                sum.roll(self.part.bytes[at], in_);
            }
        }
        None
    }

    /// The first sample at or after `from`. `from` never gets smaller from call to call.
    fn sample_from(&mut self, from: usize) -> Option<usize> {
        match self.next_sample {
            NextSample::At(sample) if sample >= from => Some(sample),
            NextSample::NoMore => None,
            _ => {
                self.samples.skip_to(from);
                let sample = self.samples.by_ref().find(|&sample| sample >= from);
                self.next_sample = sample.map_or(NextSample::NoMore, NextSample::At);
                sample
            }
        }
    }

    /// Goes from sample to sample. Each is the first sample of the windows that begin after the sample before
    /// it.
    fn search_samples(&mut self, starts: Range<usize>) -> Option<WindowMatch> {
        let (matcher, block_len) = (self.matcher, self.matcher.block_len());
        let contexts = matcher.context_table(&self.anchoring);
        let mut from = starts.start.max(self.first_allowed());
        while from < starts.end {
            let sample = self.sample_from(from);
            // Windows that end before the end of this sample's context have no sample.
            let anchored = sample.map_or(starts.end, |sample| {
                (sample + CONTEXT_LEN).saturating_sub(block_len).clamp(from, starts.end)
            });
            if from < anchored
                && contexts.some_unanchored
                && let Some(found) = self.search_rolling::<Unanchored>(from..anchored)
            {
                return Some(found);
            }
            let sample = sample.filter(|_| anchored < starts.end)?;
            let windows = anchored..starts.end.min(sample + 1);
            from = windows.end;
            self.found.work.wasted += LOOK_UP_COST;
            if let Some(context) = anchor::context(self.part.bytes, sample)
                && contexts.may_contain(context)
                && let Some(found) = self.look_around(sample, context, windows, contexts)
            {
                return Some(found);
            }
            from = from.max(self.first_allowed());
        }
        None
    }

    /// The first of the windows that begin in `windows` that is a block. `sample` is the first sample of all
    /// of them.
    fn look_around(
        &mut self,
        sample: usize,
        context: u32,
        windows: Range<usize>,
        contexts: &ContextTable,
    ) -> Option<WindowMatch> {
        let block_len = self.matcher.block_len();
        let offsets = sample - (windows.end - 1)..=sample - windows.start;
        let mut last: Option<(usize, RollingSum)> = None;
        for offset in contexts.offsets(context, offsets).rev() {
            let at = sample - offset;
            self.found.work.wasted += LOOK_UP_COST;
            let near = last.filter(|(from, _)| at - from < block_len / SUMMED_PER_HASHED);
            let sum = match near {
                Some((from, mut sum)) => {
                    let data = &self.part.bytes[from..at + block_len];
                    let rolled = data.iter().zip(&data[block_len..]);
                    rolled.for_each(|(&out, &in_)| sum.roll(out, in_));
                    self.found.work.wasted += (at - from) as u64;
                    sum
                }
                None => {
                    self.found.work.wasted += (block_len / SUMMED_PER_HASHED) as u64;
                    RollingSum::of(self.window(at))
                }
            };
            last = Some((at, sum));
            let word = self.anchoring.word(offset, context, sum);
            if self.matcher.weak_table().filter.may_contain(word)
                && let Some(found) = self.look_up(at, word)
            {
                return Some(found);
            }
        }
        None
    }

    /// The block that equals the window at `at`, whose weak sum is `weak`.
    fn look_up(&mut self, at: usize, weak: u64) -> Option<WindowMatch> {
        let on_diagonal = self.on_diagonal(at);
        let window = self.window(at);
        let block = self.matcher.look_up(weak, window, on_diagonal, &mut self.found.work)?;
        Some(WindowMatch { at, block })
    }
}

/// What a scan may waste before it passed any data, in bytes of hashing: 64 windows of short blocks, four of
/// long ones.
fn free_waste(block_len: usize) -> u64 {
    (64 * block_len).min(512 << 10).max(4 * block_len) as u64
}

/// How many bytes at the beginning of `data` are equal.
fn run_len(data: &[u8]) -> usize {
    let Some(&first) = data.first() else { return 0 };
    let (groups, _) = data.as_chunks::<64>();
    let len = 64 * groups.iter().take_while(|group| **group == [first; 64]).count();
    len + data[len..].iter().take_while(|&&byte| byte == first).count()
}
