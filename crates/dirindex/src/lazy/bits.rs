//! Sets of numbers below a bound, a bit for each. Knows nothing of what is numbered.

#[cfg(feature = "scan")]
use std::sync::atomic::{AtomicU64, Ordering};

/// A set of numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bits(Vec<u64>);

/// The word that a number is in, and its bit there.
fn place(number: usize) -> (usize, u64) {
    (number / 64, 1 << (number % 64))
}

impl Bits {
    /// All numbers below `len`.
    pub(crate) fn all(len: usize) -> Bits {
        let mut words = vec![u64::MAX; len.div_ceil(64)];
        if let Some(last) = words.last_mut().filter(|_| !len.is_multiple_of(64)) {
            *last = (1 << (len % 64)) - 1;
        }
        Bits(words)
    }

    pub(crate) fn has(&self, number: usize) -> bool {
        let (word, bit) = place(number);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Adds a number below the bound, or takes it out.
    pub(crate) fn set(&mut self, number: usize, has: bool) {
        let (word, bit) = place(number);
        if let Some(word) = self.0.get_mut(word) {
            if has { *word |= bit } else { *word &= !bit }
        }
    }
}

/// A set of numbers that several threads add to.
#[derive(Debug)]
#[cfg(feature = "scan")]
pub(crate) struct SharedBits(Vec<AtomicU64>);

#[cfg(feature = "scan")]
impl SharedBits {
    /// None of the numbers below `len`.
    pub(crate) fn none(len: usize) -> SharedBits {
        SharedBits(std::iter::repeat_with(AtomicU64::default).take(len.div_ceil(64)).collect())
    }

    /// Adds a number below the bound.
    pub(crate) fn insert(&self, number: usize) {
        let (word, bit) = place(number);
        if let Some(word) = self.0.get(word) {
            // The set is read when all threads have ended.
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    pub(crate) fn into_bits(self) -> Bits {
        Bits(self.0.into_iter().map(AtomicU64::into_inner).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_added() {
        for len in [0, 1, 63, 64, 65, 200] {
            let mut bits = Bits::all(len);
            assert!((0..len).all(|number| bits.has(number)) && !bits.has(len), "{len}");
            assert_eq!(bits.count(), len);
            (0..len).for_each(|number| bits.set(number, number % 3 == 0));
            assert!((0..len).all(|number| bits.has(number) == (number % 3 == 0)), "{len}");
            #[cfg(feature = "scan")]
            {
                let shared = SharedBits::none(len);
                (0..len).step_by(3).for_each(|number| shared.insert(number));
                assert_eq!(shared.into_bits(), bits);
            }
        }
    }
}
