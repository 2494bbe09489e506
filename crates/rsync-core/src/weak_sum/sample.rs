//! Sampling of positions by content. Owns the rule for one position, which looks at 32 bytes; must not know
//! blocks.
//!
//! Eight of the 32 bytes from a position on are multiplied by constants and summed modulo 2¹⁶. The position
//! is a *sample* if the sum reaches a threshold. The rule depends on these bytes alone, so equal data has
//! equal samples wherever it lies (U. Manber: *Finding similar files in a large file system*, USENIX 1994).
//! Eight bytes side by side would repeat too often in text.

use super::vector::{self, GROUP_LEN};

/// Over how many bytes the rule reaches.
pub(crate) const SAMPLE_LEN: usize = 32;
/// Which bytes decide, and their weights. The weights are arbitrary odd numbers whose sum is 254 modulo 2¹⁶.
/// So equal bytes x have the sum 254·x. That is below every threshold in use, and long runs of one byte have
/// no samples.
pub(crate) const WEIGHTS: [(usize, u16); 8] = [
    (0, 0x9E37),
    (3, 0x79B9),
    (7, 0x7F4B),
    (12, 0xC15D),
    (16, 0xF39D),
    (21, 0x5EED),
    (26, 0xB547),
    (31, 0xA095),
];
/// The samples of some data, in order.
#[derive(Debug, Clone)]
pub(crate) struct Samples<'d> {
    data: &'d [u8],
    threshold: u16,
    /// Where the next search begins.
    at: usize,
    /// Samples that were found but not yet returned: bit i means position `pending_at` + i.
    pending: u64,
    pending_at: usize,
}

impl<'d> Samples<'d> {
    /// The samples of `data` from `start` on.
    pub(crate) fn new(data: &'d [u8], start: usize, threshold: u16) -> Samples<'d> {
        Samples { data, threshold, at: start, pending: 0, pending_at: 0 }
    }

    /// Skips the data before `start` without a look at it.
    pub(crate) fn skip_to(&mut self, start: usize) {
        if self.at <= start {
            *self = Samples::new(self.data, start, self.threshold);
        }
    }
}

impl Iterator for Samples<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.pending == 0 {
            (self.pending_at, self.pending) =
                vector::find_samples(self.data, self.at, self.threshold)?;
            self.at = self.pending_at + GROUP_LEN;
        }
        let sample = self.pending_at + self.pending.trailing_zeros() as usize;
        self.pending &= self.pending - 1;
        Some(sample)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(data: &[u8], start: usize, threshold: u16) -> Vec<usize> {
        let sum = |seen: &[u8]| {
            let terms = WEIGHTS.map(|(place, weight)| u64::from(seen[place]) * u64::from(weight));
            terms.iter().sum::<u64>() as u16
        };
        let windows = data.windows(SAMPLE_LEN).enumerate().skip(start);
        windows.filter(|(_, seen)| sum(seen) >= threshold).map(|(at, _)| at).collect()
    }

    proptest! {
        /// Promise: samples are the positions of the definition.
        #[test]
        fn samples_are_the_definition(
            data in prop::collection::vec(any::<u8>(), 0..400), start in 0usize..100,
            threshold in prop_oneof![Just(0u16), Just(u16::MAX), any::<u16>()],
        ) {
            let want = naive(&data, start, threshold);
            prop_assert_eq!(&Samples::new(&data, start, threshold).collect::<Vec<_>>(), &want);
            let mut skipping = Samples::new(&data, 0, threshold);
            let first = skipping.next();
            skipping.skip_to(start);
            let rest = want.into_iter().filter(|&at| Some(at) != first);
            prop_assert!(skipping.filter(|&at| at >= start).eq(rest));
        }
    }

    /// Promise: long runs of one byte do not cost a look-up at every byte.
    #[test]
    fn runs_of_one_byte_have_none() {
        assert_eq!(WEIGHTS.iter().fold(0u16, |sum, (_, weight)| sum.wrapping_add(*weight)), 254);
        for byte in 0..=255 {
            assert_eq!(Samples::new(&[byte; 300], 0, u16::MAX - 511).count(), 0);
        }
    }
}
