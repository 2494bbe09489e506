//! The search for the next window that is a block, where nothing continues what was found before. Knows the order to look at
//! windows in; of blocks it knows weak sums.
//!
//! For this crate's own signatures the samples of the new data are looked up (see [`anchor`](crate::anchor)); for the others,
//! and for windows without a sample, a rolling sum moves over the data, many windows at a time, and three steps follow, each
//! cheaper than the next and passed wrongly only by chance: a bitmap filter, a table of weak sums, the strong hash.
//!
//! Bounds against crafted input: work that ends in no match may cost [`WASTE_PER_BYTE`] bytes of hashing for each byte of
//! data passed (plus a few windows, [`waste_free`]); beyond it windows are passed over, and the data stays literal, until that is
//! made up for. The bound depends on the input alone.

use super::{AHEAD, Match, Scan};
use crate::WeakSum;
use crate::anchor::{self, CONTEXT, Unanchored};
use crate::contexts::Contexts;
use crate::weak::{RabinKarp, Rolling, RollingSum, Rollsum};
use crate::wide::{self, ROLLED};
use std::ops::Range;

const WASTE_PER_BYTE: u64 = 1;
/// What one look-up costs, in bytes of hashing.
const LOOK_UP_COST: u64 = 16;
/// How many bytes are summed at the cost of hashing one.
const SUMMED_PER_HASHED: usize = 8;

impl Scan<'_, '_> {
    /// The first of the windows that begin in `starts` that is a block.
    pub(super) fn search(&mut self, starts: Range<usize>) -> Option<Match> {
        match self.matcher.shape.weak {
            WeakSum::Anchor => self.search_samples(starts),
            WeakSum::Rsync => self.search_rolling::<RollingSum>(starts),
            WeakSum::Rollsum => self.search_rolling::<Rollsum>(starts),
            WeakSum::RabinKarp => self.search_rolling::<RabinKarp>(starts),
        }
    }

    /// The first window that work may be spent on: as much as was in vain has to be made up for by bytes passed.
    fn affordable(&self) -> usize {
        let beyond = self.found.work.wasted.saturating_sub(waste_free(self.matcher.block_len()));
        self.start + (beyond / WASTE_PER_BYTE) as usize
    }

    /// Rolls over the windows, a block's length of them at a time; windows in a run of one byte are equal, and one of them is
    /// looked up for all.
    fn search_rolling<W: Rolling>(&mut self, starts: Range<usize>) -> Option<Match> {
        let block_len = self.matcher.block_len();
        let data = &self.part.bytes[..starts.end - 1 + block_len];
        let mut at = starts.start.max(self.affordable());
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
            at = next.max(self.affordable());
            fresh = (at == end).then_some(sum);
        }
        None
    }

    /// Rolls `sum` from the first of the windows to the one after the last, if there is one, unless one of them is a block.
    fn roll<W: Rolling>(&mut self, sum: &mut W, starts: Range<usize>) -> Option<Match> {
        let (filter, block_len) = (&self.matcher.table().filter, self.matcher.block_len());
        let leaving = &self.part.bytes[starts.clone()];
        let entering = &self.part.bytes[starts.start + block_len..];
        let mut at = starts.start;
        let mut hits = Vec::new();
        let groups = leaving.as_chunks::<ROLLED>().0.iter().zip(entering.as_chunks::<ROLLED>().0);
        for (leaving, entering) in groups {
            wide::roll(sum, leaving, entering, filter, &mut hits);
            for &(index, weak) in &hits {
                if at + index >= self.affordable()
                    && let Some(found) = self.look_up(at + index, weak)
                {
                    return Some(found);
                }
            }
            at += ROLLED;
        }
        for at in at..starts.end {
            if filter.may_contain(sum.value())
                && at >= self.affordable()
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

    /// The first sample at or after `from`, which never goes back.
    fn sample_from(&mut self, from: usize) -> Option<usize> {
        match self.taken {
            Some(taken) if taken.is_none_or(|sample| sample >= from) => taken,
            _ => {
                self.samples.skip_to(from);
                let sample = self.samples.by_ref().find(|&sample| sample >= from);
                self.taken = Some(sample);
                sample
            }
        }
    }

    /// Goes from sample to sample: each is the first of the windows that begin after the one before.
    fn search_samples(&mut self, starts: Range<usize>) -> Option<Match> {
        let (matcher, block_len) = (self.matcher, self.matcher.block_len());
        let contexts = matcher.contexts(&self.anchoring);
        let mut from = starts.start.max(self.affordable());
        while from < starts.end {
            let sample = self.sample_from(from);
            // Windows that end before this sample's context does have no sample.
            let anchored = sample.map_or(starts.end, |sample| {
                (sample + CONTEXT).saturating_sub(block_len).clamp(from, starts.end)
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
            from = from.max(self.affordable());
        }
        None
    }

    /// The first of the windows that begin in `windows`, all of which have `sample` as their first, that is a block.
    fn look_around(
        &mut self,
        sample: usize,
        context: u32,
        windows: Range<usize>,
        contexts: &Contexts,
    ) -> Option<Match> {
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
            if self.matcher.table().filter.may_contain(word)
                && let Some(found) = self.look_up(at, word)
            {
                return Some(found);
            }
        }
        None
    }

    /// What block the window at `at`, whose weak sum is `weak`, is.
    fn look_up(&mut self, at: usize, weak: u64) -> Option<Match> {
        let on_diagonal = self.on_diagonal(at);
        let window = self.window(at);
        let block = self.matcher.look_up(weak, window, on_diagonal, &mut self.found.work)?;
        Some(Match { at, block })
    }
}

/// What a scan may waste before any data has been passed: 64 windows of short blocks, four of long ones.
fn waste_free(block_len: usize) -> u64 {
    (64 * block_len).min(512 << 10).max(4 * block_len) as u64
}

/// How many bytes at the beginning of `data` are equal.
fn run_len(data: &[u8]) -> usize {
    let Some(&first) = data.first() else { return 0 };
    let (groups, _) = data.as_chunks::<64>();
    let len = 64 * groups.iter().take_while(|group| **group == [first; 64]).count();
    len + data[len..].iter().take_while(|&&byte| byte == first).count()
}
