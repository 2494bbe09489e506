//! Sampling positions by content. Knows 32 bytes at a time; nothing of blocks.
//!
//! A position is a *sample* when the sum of eight of the 32 bytes from it on, each times a constant, modulo 2¹⁶, reaches a
//! threshold. Whether it is depends on these bytes alone, so equal data has equal samples wherever it lies (U. Manber:
//! *Finding similar files in a large file system*, USENIX 1994). Eight bytes side by side would repeat too often in text.

use crate::wide::{self, TOGETHER};

/// How far a sample's bytes reach.
pub(crate) const SEEN: usize = 32;
/// Which bytes a sample is decided by, and their weights: odd numbers of no meaning, but that their sum is 254 modulo 2¹⁶.
/// Equal bytes x have the sum 254·x, under every threshold there is, and long runs of one byte have no samples.
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
    /// Samples that were found and not yet handed out: bit i stands for `found_at` + i.
    found: u64,
    found_at: usize,
}

impl<'d> Samples<'d> {
    /// The samples of `data` from `start` on.
    pub(crate) fn new(data: &'d [u8], start: usize, threshold: u16) -> Samples<'d> {
        Samples { data, threshold, at: start, found: 0, found_at: 0 }
    }

    /// Passes over what lies before `start` without looking at it.
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
        if self.found == 0 {
            (self.found_at, self.found) = wide::search(self.data, self.at, self.threshold)?;
            self.at = self.found_at + TOGETHER;
        }
        let sample = self.found_at + self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
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
        let windows = data.windows(SEEN).enumerate().skip(start);
        windows.filter(|(_, seen)| sum(seen) >= threshold).map(|(at, _)| at).collect()
    }

    proptest! {
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

    #[test]
    fn runs_of_one_byte_have_none() {
        assert_eq!(WEIGHTS.iter().fold(0u16, |sum, (_, weight)| sum.wrapping_add(*weight)), 254);
        for byte in 0..=255 {
            assert_eq!(Samples::new(&[byte; 300], 0, u16::MAX - 511).count(), 0);
        }
    }
}
