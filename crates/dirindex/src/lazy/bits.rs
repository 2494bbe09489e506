//! [`Bits`]: sets of numbers below a bound, a bit for each. Knows nothing of what is numbered.

use std::sync::atomic::{AtomicU64, Ordering};

/// A set of numbers that several threads add to. It is read when they have ended.
#[derive(Debug)]
pub(crate) struct Bits(Vec<AtomicU64>);

/// The word that a number is in, and its bit there.
fn place(number: usize) -> (usize, u64) {
    (number / 64, 1 << (number % 64))
}

impl Bits {
    /// None of the numbers below `len`.
    pub(crate) fn none(len: usize) -> Bits {
        Bits(std::iter::repeat_with(AtomicU64::default).take(len.div_ceil(64)).collect())
    }

    /// Adds a number below the bound.
    pub(crate) fn insert(&self, number: usize) {
        let (word, bit) = place(number);
        if let Some(word) = self.0.get(word) {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    pub(crate) fn has(&self, number: usize) -> bool {
        let (word, bit) = place(number);
        self.0.get(word).is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_added() {
        for len in [0, 1, 63, 64, 65, 200] {
            let bits = Bits::none(len);
            assert!((0..len).all(|number| !bits.has(number)));
            (0..len).step_by(3).for_each(|number| bits.insert(number));
            assert!(
                (0..len + 3).all(|number| bits.has(number) == (number < len && number % 3 == 0))
            );
        }
    }
}
