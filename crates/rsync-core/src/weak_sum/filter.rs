//! A bitmap filter of weak sums: says fast which sums are certainly not in a set. Must not know blocks or
//! data.
//!
//! It is a Bloom filter in which all bits of one sum lie in one word (F. Putze, P. Sanders, J. Singler:
//! *Cache-, hash- and space-efficient Bloom filters*, Journal of Experimental Algorithmics 14, 2009). So a
//! look-up reads memory once.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

/// About how many bits the filter has for each sum.
const BITS_PER_SUM: usize = 32;
/// The least and the most words of 64 bits that a filter has: 4 KiB and 1 MiB.
const WORDS: Range<usize> = 512..128 << 10;

/// A set of sums that may contain a few others. The key is random. It decides where a sum's bits are, never a
/// result of matching.
pub(crate) struct Filter {
    key: u64,
    shift: u32,
    words: Box<[u64]>,
}

impl Filter {
    /// An empty filter for about `count` sums.
    pub(crate) fn new(count: usize) -> Filter {
        let words = (count * BITS_PER_SUM / 64).next_power_of_two();
        let words = words.clamp(WORDS.start, WORDS.end);
        let key = RandomState::new().hash_one(words) | 1;
        Filter { key, shift: 64 - words.ilog2(), words: vec![0; words].into() }
    }

    /// The hash of a sum, for this filter and for other tables. The high bits are the better ones.
    #[inline(always)]
    pub(crate) fn hash(&self, sum: u64) -> u64 {
        sum.wrapping_mul(self.key)
    }

    pub(crate) fn insert(&mut self, sum: u64) {
        let hash = self.hash(sum);
        if let Some(word) = self.words.get_mut((hash >> self.shift) as usize) {
            *word |= mask(hash);
        }
    }

    /// Whether the sum may have been inserted. `false` is certain.
    #[inline(always)]
    pub(crate) fn may_contain(&self, sum: u64) -> bool {
        let hash = self.hash(sum);
        let word = self.words.get((hash >> self.shift) as usize).copied().unwrap_or(0);
        let mask = mask(hash);
        word & mask == mask
    }

    /// Which of the sums may have been inserted: bit i for sum i.
    #[inline(always)]
    pub(crate) fn hits(&self, sums: &[u64; 64]) -> u64 {
        let mut hashes = [0; 64];
        let mut places = [0; 64];
        for i in 0..64 {
            hashes[i] = self.hash(sums[i]);
            places[i] = hashes[i] >> self.shift;
        }
        let mut words = [0; 64];
        for i in 0..64 {
            let Some(word) = self.words.get(places[i] as usize) else { break };
            words[i] = *word;
        }
        let mut hits = 0;
        for i in 0..64 {
            let mask = mask(hashes[i]);
            hits |= u64::from(words[i] & mask == mask) << i;
        }
        hits
    }
}

/// The bits that a sum with this hash sets in its word.
#[inline(always)]
fn mask(hash: u64) -> u64 {
    let bit = |from: u32| 1u64 << (hash >> from & 63);
    bit(23) | bit(29) | bit(35) | bit(41)
}
