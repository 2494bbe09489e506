//! Look-up of contexts: at which offsets of a signature's blocks each context lies. Owns the anchors of the
//! blocks; must not know data.

use crate::parallel;
use crate::weak_sum::anchor::{Anchor, Anchoring};
use std::ops::RangeInclusive;

/// About how many bits the filter has for each context. So few keep it in the second-level cache as long as
/// possible.
const FILTER_BITS_PER_CONTEXT: u64 = 8;

/// The contexts of all anchored blocks.
pub(crate) struct ContextTable {
    /// One bit for each value of the contexts' upper bits: whether a context has this value.
    filter: Box<[u64]>,
    filter_shift: u32,
    /// context · 2³² + offset, sorted, without duplicates.
    entries: Vec<u64>,
    /// Where in `entries` each group of contexts with equal upper bits begins, and at last the number of
    /// entries.
    starts: Box<[u32]>,
    shift: u32,
    /// Whether there are blocks without an anchor.
    pub(crate) some_unanchored: bool,
}

impl ContextTable {
    /// The contexts of blocks with these anchor words.
    pub(crate) fn new(anchoring: &Anchoring, words: impl Iterator<Item = u64>) -> ContextTable {
        let mut some_unanchored = false;
        let mut entries: Vec<u64> = Vec::with_capacity(words.size_hint().0);
        for word in words.take(u32::MAX as usize) {
            match anchoring.anchor(word) {
                Anchor::Sample { offset, context } => entries.push(entry(context, offset)),
                Anchor::None => some_unanchored = true,
            }
        }
        parallel::sort(&mut entries);
        entries.dedup();
        let bits_for =
            |groups: u64| groups.next_power_of_two().ilog2().min(Anchoring::CONTEXT_BITS);
        let filter_bits = bits_for(entries.len() as u64 * FILTER_BITS_PER_CONTEXT).max(6);
        let filter_shift = 32 + Anchoring::CONTEXT_BITS - filter_bits;
        let mut filter = vec![0u64; 1 << (filter_bits - 6)];
        for entry in &entries {
            let bit = (entry >> filter_shift) as usize;
            if let Some(word) = filter.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
        let bits = bits_for(entries.len() as u64);
        let shift = 32 + Anchoring::CONTEXT_BITS - bits;
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        for (index, entry) in entries.iter().enumerate() {
            let group = (entry >> shift) as usize;
            starts.resize(starts.len().max(group + 1), index as u32);
        }
        starts.resize((1 << bits) + 1, entries.len() as u32);
        let (filter, starts) = (filter.into(), starts.into());
        ContextTable { filter, filter_shift, entries, starts, shift, some_unanchored }
    }

    /// Whether a block may have this context. `false` is certain.
    #[inline]
    pub(crate) fn may_contain(&self, context: u32) -> bool {
        let bit = (entry(context, 0) >> self.filter_shift) as usize;
        self.filter.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    /// The offsets within `range` at which blocks have this context, ascending.
    #[inline]
    pub(crate) fn offsets(
        &self,
        context: u32,
        range: RangeInclusive<usize>,
    ) -> impl DoubleEndedIterator<Item = usize> {
        let group = (entry(context, 0) >> self.shift) as usize;
        let group = match self.starts.get(group..).and_then(<[u32]>::first_chunk) {
            Some(&[start, end]) => self.entries.get(start as usize..end as usize),
            None => None,
        };
        let group = group.unwrap_or_default();
        let first = group.partition_point(|&e| e < entry(context, *range.start()));
        let past = group.partition_point(|&e| e <= entry(context, *range.end()));
        group.get(first..past).unwrap_or_default().iter().map(|&entry| entry as u32 as usize)
    }
}

/// Offsets are below 2²⁴.
fn entry(context: u32, offset: usize) -> u64 {
    u64::from(context) << 32 | offset as u64 & 0xFFFF_FFFF
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RollingSum;
    use proptest::prelude::*;

    proptest! {
        /// Promise: the table loses no context and invents none.
        #[test]
        fn offsets_are_those_of_the_blocks(
            blocks in prop::collection::vec((0u32..40, 0usize..900), 0..200),
            context in 0u32..40, from in 0usize..900, to in 0usize..900,
        ) {
            // Contexts far apart, like hashes.
            let spread = |context: u32| context * 400_009;
            let anchoring = Anchoring::new(1024);
            let word = |&(c, offset): &(u32, usize)| anchoring.word(offset, spread(c), RollingSum::default());
            let contexts = ContextTable::new(&anchoring, blocks.iter().map(word));
            let mut want: Vec<usize> = blocks.iter().filter(|block| block.0 == context).map(|block| block.1).collect();
            want.sort_unstable();
            want.dedup();
            want.retain(|offset| (from..=to).contains(offset));
            prop_assert!(blocks.iter().all(|block| contexts.may_contain(spread(block.0))));
            prop_assert_eq!(contexts.offsets(spread(context), from..=to).collect::<Vec<_>>(), want);
        }
    }
}
