//! Look-up of weak sums: a filter, and a hash table behind it. Knows packed blocks; nothing of data or windows.

use crate::shape::Shape;
use crate::weak::Rolling;
use hashbrown::HashTable;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

/// How many blocks with one weak sum and different strong hashes are kept.
pub(crate) const CANDIDATES: usize = 16;
/// The filter gets about this many bits for each block,
const FILTER_BITS_PER_BLOCK: usize = 32;
/// between these bounds, in words of 64 bits: 4 KiB and 1 MiB.
const FILTER_WORDS: Range<usize> = 512..128 << 10;

/// The filter and the table of weak sums. The key is random: it decides places, never results.
pub(crate) struct Table {
    key: u64,
    shift: u32,
    /// Words with the bits [`MASKS`] gives for the sums that fall to them.
    filter: Box<[u64]>,
    blocks: HashTable<u32>,
}

/// Pairs of different bits of a word.
const MASKS: [u64; 256] = {
    let mut masks = [0; 256];
    let mut i = 0;
    while i < 256 {
        let first = i * 41 % 64;
        masks[i] = 1 << first | 1 << ((first + 1 + i / 64 * 13 + i % 13) % 64);
        i += 1;
    }
    masks
};

impl Table {
    /// The table of the first `full` of the packed blocks.
    pub(crate) fn new(shape: &Shape, packed: &[u8], full: usize) -> Table {
        let words = (full * FILTER_BITS_PER_BLOCK / 64).next_power_of_two();
        let words = words.clamp(FILTER_WORDS.start, FILTER_WORDS.end);
        let mut table = Table {
            key: RandomState::new().hash_one(words) | 1,
            shift: 64 - words.ilog2(),
            filter: vec![0; words].into(),
            blocks: HashTable::with_capacity(full),
        };
        let width = shape.bytes_per_block();
        let block = |index: u32| {
            packed
                .get(index as usize * width..)
                .and_then(|rest| rest.get(..width))
                .unwrap_or(&[0; 40])
        };
        let weak_of = |index: u32| shape.unpack(block(index)).0;
        for index in 0..u32::try_from(full).unwrap_or(u32::MAX) {
            let weak = weak_of(index);
            let (mut rivals, mut known) = (0, false);
            for rival in table.candidates(weak) {
                known |= block(rival) == block(index);
                rivals += usize::from(weak_of(rival) == weak);
            }
            if known || rivals >= CANDIDATES {
                continue;
            }
            let (hash, key) = (table.hash(weak), table.key);
            table.blocks.insert_unique(spread(hash), index, |&other| {
                spread(weak_of(other).wrapping_mul(key))
            });
            if let Some(word) = table.filter.get_mut((hash >> table.shift) as usize) {
                *word |= mask(hash);
            }
        }
        table
    }

    #[inline(always)]
    fn hash(&self, weak: u64) -> u64 {
        weak.wrapping_mul(self.key)
    }

    #[inline(always)]
    pub(crate) fn may_contain(&self, weak: u64) -> bool {
        let hash = self.hash(weak);
        let word = self.filter.get((hash >> self.shift) as usize).copied().unwrap_or(0);
        let mask = mask(hash);
        word & mask == mask
    }

    /// Rolls `sum` over pairs of leaving and entering bytes until its value may be in the table; how many pairs that took.
    pub(crate) fn skip<W: Rolling>(&self, sum: &mut W, leaving: &[u8], entering: &[u8]) -> usize {
        let mut rolling = *sum;
        let mut count = 0;
        for (&out, &in_) in leaving.iter().zip(entering) {
            if self.may_contain(rolling.value()) {
                break;
            }
            rolling.roll(out, in_);
            count += 1;
        }
        *sum = rolling;
        count
    }

    /// Blocks whose weak sum is `weak`, and perhaps a few others.
    pub(crate) fn candidates(&self, weak: u64) -> impl Iterator<Item = u32> {
        self.blocks.iter_hash(spread(self.hash(weak))).copied()
    }
}

/// The bits of a filter word that stand for a sum: four, or three, of 64, in some 50,000 patterns.
#[inline(always)]
fn mask(hash: u64) -> u64 {
    MASKS[(hash >> 32) as u8 as usize] | MASKS[(hash >> 24) as u8 as usize].rotate_left(29)
}

/// The table takes its bucket from the low bits, and a product's good bits are the high ones.
fn spread(product: u64) -> u64 {
    product.rotate_left(32)
}
