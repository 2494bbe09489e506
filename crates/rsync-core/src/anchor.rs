//! Anchors: the weak part of this crate's own signatures. Knows one block or window at a time; no table and no strong hash.
//!
//! A rolling sum must be looked up for every byte of the new data. It need not: give each block an *anchor*, its first
//! [sample](crate::sample), kept as the sample's offset in the block and a hash of the 32 bytes there, its *context*. Wherever
//! the whole block occurs, the same place in it is again a sample, with no sample between the window's start and it; so only
//! samples are looked up, and each gives the few places where a window may begin. Samples are chosen by content, some eight
//! a block, as winnowing chooses its fingerprints (Schleimer, Wilkerson, Aiken: *Winnowing*, SIGMOD 2003), but without the
//! sliding maximum: where a block or a window has no sample at all, one in a hundred of source text and all long runs, a
//! rolling sum takes its place. Nothing that a rolling sum would find is lost.
//!
//! Contexts repeat (a licence at the head of each file), so the word of a block also has bits of its rolling sum: of all the
//! windows that a context allows, only those whose sum is right too are hashed.

use crate::sample::{SEEN, Samples};
use crate::weak::{Rolling, RollingSum};
use crate::wide;

/// Bytes of a context: those that make it a sample.
pub(crate) const CONTEXT: usize = SEEN;
/// The base of polynomials and the multiplier of hashes: 2⁶⁴ by the golden ratio, made odd.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
/// How many samples a block of random data has. Fewer cost less to look up, but text, which repeats itself, would be left
/// with many blocks that have none.
const SAMPLES_PER_BLOCK: u32 = 8;

/// How blocks of one length are anchored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Anchoring {
    threshold: u16,
    offset_bits: u32,
}

/// What a block's word says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// The first sample's offset in the block, and its context's hash.
    Sample { offset: usize, context: u32 },
    /// The block has no sample; the whole word is of its rolling sum.
    None,
}

impl Anchoring {
    /// Bits of a context's hash.
    pub(crate) const CONTEXT_BITS: u32 = 28;

    /// For blocks of `block_len`, a power of two from 1024 to 16 MiB.
    pub(crate) fn new(block_len: u32) -> Anchoring {
        let rate = (SAMPLES_PER_BLOCK << 16) / block_len.max(1);
        let threshold = (1u32 << 16).saturating_sub(rate.max(1)).min(u16::MAX.into()) as u16;
        Anchoring { threshold, offset_bits: block_len.max(1).ilog2() }
    }

    /// The word of a block, or of a shorter one at a file's end.
    pub(crate) fn word_of(&self, block: &[u8]) -> u64 {
        let sample = Samples::new(block, 0, self.threshold).next();
        match sample.and_then(|offset| Some((offset, context(block, offset)?))) {
            Some((offset, context)) => self.word(offset, context, RollingSum::of(block)),
            None => Unanchored::of(block).value(),
        }
    }

    /// The word of a block whose first sample is at `offset`, with the context's hash `context`:
    /// bit 0 is 0, then the offset, the context, and as many bits of the sum as there is room for.
    pub(crate) fn word(&self, offset: usize, context: u32, sum: RollingSum) -> u64 {
        let low = (u64::from(context) << self.offset_bits | offset as u64) << 1;
        let used = 1 + self.offset_bits + Self::CONTEXT_BITS;
        sum.value().wrapping_mul(FACTOR) >> used << used | low
    }

    pub(crate) fn anchor(&self, word: u64) -> Anchor {
        if word & 1 == 1 {
            return Anchor::None;
        }
        let offset = (word >> 1) as usize & ((1 << self.offset_bits) - 1);
        let context = (word >> (1 + self.offset_bits)) as u32 & ((1 << Self::CONTEXT_BITS) - 1);
        Anchor::Sample { offset, context }
    }

    /// Whether `window` has this word, but for samples before the anchor, which are not looked for.
    pub(crate) fn fits(&self, word: u64, window: &[u8]) -> bool {
        match self.anchor(word) {
            Anchor::Sample { offset, context: wanted } => {
                context(window, offset) == Some(wanted)
                    && self.word(offset, wanted, RollingSum::of(window)) == word
            }
            Anchor::None => Unanchored::of(window).value() == word,
        }
    }

    pub(crate) fn samples<'d>(&self, data: &'d [u8], start: usize) -> Samples<'d> {
        Samples::new(data, start, self.threshold)
    }
}

/// The hash of the context at `at`, if all of it is in `data`.
#[inline]
pub(crate) fn context(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..)?.first_chunk::<CONTEXT>()?;
    let (words, _) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(0u64, |hash, word| {
        let mixed = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR);
        mixed ^ mixed >> 32
    });
    Some((hash.wrapping_mul(FACTOR) >> (64 - Anchoring::CONTEXT_BITS)) as u32)
}

/// The word of a block or window without a sample: a polynomial over its bytes, Σ xᵢ·Mⁿ⁻¹⁻ⁱ modulo 2⁶⁴, whose bit 0 is set
/// to 1. What has no samples is often periodic, and there the plain sums of many windows are equal (R. Karp, M. Rabin, IBM
/// Journal of Research and Development 31, 1987).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unanchored {
    sum: u64,
    /// Mⁿ for the window's length n.
    power: u64,
}

impl Rolling for Unanchored {
    const FACTOR: u64 = FACTOR;

    fn of(window: &[u8]) -> Self {
        let sum = wide::polynomial(window, FACTOR);
        Unanchored { sum, power: FACTOR.wrapping_pow(window.len() as u32) }
    }
    #[inline(always)]
    fn sum(self) -> u64 {
        self.sum
    }
    #[inline(always)]
    fn with_sum(self, sum: u64) -> Self {
        Unanchored { sum, ..self }
    }
    #[inline(always)]
    fn gain(self, out: u8, in_: u8) -> u64 {
        u64::from(in_).wrapping_sub(self.power.wrapping_mul(out.into()))
    }
    #[inline(always)]
    fn value(self) -> u64 {
        self.sum | 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rolled_is_fresh() {
        let data: Vec<u8> = (0..3000u32).map(|i| ((i * i) >> 3) as u8).collect();
        let mut sum = Unanchored::of(&data[..1024]);
        for (start, window) in data.windows(1024).enumerate().skip(1) {
            sum.roll(data[start - 1], data[start + 1023]);
            assert_eq!(sum, Unanchored::of(window));
        }
    }

    #[test]
    fn words_come_apart() {
        for block_len in [1024, 4096, 1 << 24] {
            let anchoring = Anchoring::new(block_len);
            let sum = RollingSum::of(b"some bytes");
            for offset in [0, 1, block_len as usize - CONTEXT] {
                let anchor = Anchor::Sample { offset, context: 0xABC_DEF1 };
                let word = anchoring.word(offset, 0xABC_DEF1, sum);
                assert_eq!(anchoring.anchor(word), anchor);
                assert_ne!(word, anchoring.word(offset, 0xABC_DEF1, RollingSum::of(b"others")));
            }
            assert_eq!(anchoring.anchor(Unanchored::of(b"some bytes").value()), Anchor::None);
        }
    }

    #[test]
    fn eight_samples_a_block_and_few_blocks_without() {
        let mut state = 1u64;
        let bytes = std::iter::repeat_with(|| {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            (state >> 56) as u8
        });
        let data: Vec<u8> = bytes.take(4 << 20).collect();
        for block_len in [1024, 2048, 16384] {
            let anchoring = Anchoring::new(block_len);
            let blocks = data.len() / block_len as usize;
            let samples = anchoring.samples(&data, 0).count();
            assert!((7 * blocks..9 * blocks).contains(&samples), "{samples} in {blocks}");
            let words = data.chunks(block_len as usize).map(|block| anchoring.word_of(block));
            let without = words.filter(|&word| anchoring.anchor(word) == Anchor::None).count();
            assert!(without <= 1 + blocks / 500, "{without} of {blocks}");
        }
    }
}
