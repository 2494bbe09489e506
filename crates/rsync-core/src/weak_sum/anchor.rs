//! Anchors: the weak sum of this crate's own signatures. Owns the anchor word of one block or window; must
//! not know tables or strong hashes.
//!
//! A rolling sum needs a look-up at every byte of the new data. An anchor needs far fewer. A block's *anchor*
//! is its first [sample](super::sample). The *anchor word* keeps the sample's offset in the block and a hash
//! of the 32 bytes there, the *context*. Wherever the whole block occurs, the same place in it is a sample
//! again, and no sample lies between the window's start and it. So only samples are looked up, and each gives
//! the few places where a window may begin.
//!
//! The content chooses the samples, some eight in a block, like winnowing chooses its fingerprints
//! (Schleimer, Wilkerson, Aiken: *Winnowing*, SIGMOD 2003), but without the sliding maximum. One block in a
//! hundred of source text and all long runs of one byte have no sample. There a rolling sum replaces the
//! anchor. So anchors find everything that a rolling sum finds.
//!
//! Contexts repeat, for example a licence at the head of each file. So the word also has bits of the block's
//! rolling sum. A context may allow many windows; only those with the right sum are hashed.

use super::rolling::{Rolling, RollingSum};
use super::sample::{SAMPLE_LEN, Samples};
use super::vector;

/// Bytes of a context: those that decide whether a position is a sample.
pub(crate) const CONTEXT_LEN: usize = SAMPLE_LEN;
/// The base of polynomials and the multiplier of hashes: 2⁶⁴ divided by the golden ratio, made odd.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
/// The longest block that has a short word. There the offset leaves room for at least seven bits of the sum.
const SHORT: u32 = 64 << 10;
/// Bytes of the words of short blocks, and of long ones.
const SHORT_WORD_LEN: usize = 6;
const LONG_WORD_LEN: usize = 8;
/// How many samples a block of random data has. Fewer would cost less to look up. But text repeats itself,
/// and many of its blocks would have none.
const SAMPLES_PER_BLOCK: u32 = 8;

/// How blocks of one length are anchored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Anchoring {
    threshold: u16,
    offset_bits: u32,
    word_len: usize,
}

/// The decoded anchor word of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    /// The first sample's offset in the block, and the hash of its context.
    Sample { offset: usize, context: u32 },
    /// The block has no sample. The whole word is a rolling sum.
    None,
}

/// Bytes of the word of a block of `block_len` bytes.
pub(crate) fn word_len(block_len: u32) -> usize {
    if block_len <= SHORT { SHORT_WORD_LEN } else { LONG_WORD_LEN }
}

impl Anchoring {
    /// Bits of a context's hash. A signature of automatic block length has 2²⁰ blocks at most, so few contexts agree by chance.
    pub(crate) const CONTEXT_BITS: u32 = 24;

    /// For blocks of `block_len` bytes, a power of two from 1024 to 16 MiB.
    pub(crate) fn new(block_len: u32) -> Anchoring {
        let rate = (SAMPLES_PER_BLOCK << 16) / block_len.max(1);
        let threshold = (1u32 << 16).saturating_sub(rate.max(1)).min(u16::MAX.into()) as u16;
        let word_len = word_len(block_len);
        Anchoring { threshold, offset_bits: block_len.max(1).ilog2(), word_len }
    }

    /// The word of a block, or of a shorter block at the end of a file.
    pub(crate) fn word_of(&self, block: &[u8]) -> u64 {
        let sample = Samples::new(block, 0, self.threshold).next();
        match sample.and_then(|offset| Some((offset, context(block, offset)?))) {
            Some((offset, context)) => self.word(offset, context, RollingSum::of(block)),
            None => Unanchored::of(block).value(),
        }
    }

    /// The word of a block whose first sample is at `offset` and has the context hash `context`. Bit 0 is 0.
    /// The offset, the context and as many bits of `sum` as fit follow.
    pub(crate) fn word(&self, offset: usize, context: u32, sum: RollingSum) -> u64 {
        let low = (u64::from(context) << self.offset_bits | offset as u64) << 1;
        let used = 1 + self.offset_bits + Self::CONTEXT_BITS;
        let unused = u64::BITS - 8 * self.word_len as u32;
        sum.value().wrapping_mul(FACTOR) >> unused >> used << used | low
    }

    pub(crate) fn anchor(&self, word: u64) -> Anchor {
        if word & 1 == 1 {
            return Anchor::None;
        }
        let offset = (word >> 1) as usize & ((1 << self.offset_bits) - 1);
        let context = (word >> (1 + self.offset_bits)) as u32 & ((1 << Self::CONTEXT_BITS) - 1);
        Anchor::Sample { offset, context }
    }

    /// Whether `window` has this word. Does not check that no sample lies before the anchor.
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

/// The hash of the context at `at`; `None` if `data` ends inside it.
#[inline]
pub(crate) fn context(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..)?.first_chunk::<CONTEXT_LEN>()?;
    let (words, _) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(0u64, |hash, word| {
        let mixed = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR);
        mixed ^ mixed >> 32
    });
    Some((hash.wrapping_mul(FACTOR) >> (64 - Anchoring::CONTEXT_BITS)) as u32)
}

/// The word of a block or window without a sample: the upper 48 bits of a polynomial over its bytes, Σ xᵢ·Mⁿ⁻¹⁻ⁱ modulo 2⁶⁴,
/// with bit 0 set to 1 (R. Karp, M. Rabin, IBM Journal of Research and Development 31, 1987). Data without samples
/// is often periodic, and there many windows have equal plain sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unanchored {
    sum: u64,
    /// Mⁿ for the window's length n.
    power: u64,
}

impl Rolling for Unanchored {
    const FACTOR: u64 = FACTOR;

    fn of(window: &[u8]) -> Self {
        let sum = vector::polynomial(window, FACTOR);
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
        self.sum >> (u64::BITS - 8 * SHORT_WORD_LEN as u32) | 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise: a rolled sum is the sum of the window.
    #[test]
    fn rolled_is_fresh() {
        let data: Vec<u8> = (0..3000u32).map(|i| ((i * i) >> 3) as u8).collect();
        let mut sum = Unanchored::of(&data[..1024]);
        for (start, window) in data.windows(1024).enumerate().skip(1) {
            sum.roll(data[start - 1], data[start + 1023]);
            assert_eq!(sum, Unanchored::of(window));
        }
    }

    /// Promise: a word gives its anchor back, and differs if the sum differs.
    #[test]
    fn words_come_apart() {
        for block_len in [1024, 4096, SHORT, 2 * SHORT, 1 << 24] {
            let anchoring = Anchoring::new(block_len);
            let sum = RollingSum::of(b"some bytes");
            for offset in [0, 1, block_len as usize - CONTEXT_LEN] {
                let anchor = Anchor::Sample { offset, context: 0xAB_CDEF };
                let word = anchoring.word(offset, 0xAB_CDEF, sum);
                assert_eq!(anchoring.anchor(word), anchor);
                assert_ne!(word, anchoring.word(offset, 0xAB_CDEF, RollingSum::of(b"others")));
                let unused = &word.to_le_bytes()[word_len(block_len)..];
                assert!(unused.iter().all(|byte| *byte == 0));
            }
            assert_eq!(anchoring.anchor(Unanchored::of(b"some bytes").value()), Anchor::None);
        }
    }

    /// Promise: look-ups are few, and few blocks need a rolling sum.
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
