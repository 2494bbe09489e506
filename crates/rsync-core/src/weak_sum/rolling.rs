//! The three rolling sums of pyrsync and librsync. Must not know files, blocks or tables.

use super::vector;

/// The rolling sum of rsync over a window of `n` bytes x₀ … xₙ₋₁, kept at full width:
/// a = Σ xᵢ and b = Σ (n − i)·xᵢ, both modulo 2³².
///
/// Source: Tridgell and Mackerras, *The rsync algorithm*, TR-CS-96-05, section 3 (there modulo 2¹⁶).
///
/// ```
/// use rsync_core::RollingSum;
/// let data = b"the quick brown fox";
/// let mut sum = RollingSum::of(&data[0..9]);
/// sum.roll(data[0], data[9]);
/// assert_eq!(sum, RollingSum::of(&data[1..10]));
/// assert_eq!(RollingSum::of(b"contents1").pyrsync(), 315687839);
/// ```
///
/// Windows have at most 16 MiB ([`MAX_BLOCK_LEN`](crate::MAX_BLOCK_LEN)). So a cannot wrap, and both words
/// are kept and rolled as one, b·2³² + a.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RollingSum {
    value: u64,
    /// n·2³².
    len: u64,
}

impl RollingSum {
    /// The sum of a window.
    #[must_use]
    pub fn of(window: &[u8]) -> RollingSum {
        let (a, b) = vector::rolling_sum(window);
        RollingSum { value: u64::from(b) << 32 | u64::from(a), len: (window.len() as u64) << 32 }
    }

    /// Moves the window by one byte: `out` leaves at the front, `in_` enters at the back.
    #[inline(always)]
    pub fn roll(&mut self, out: u8, in_: u8) {
        Rolling::roll(self, out, in_);
    }

    /// Both words as one: b in the upper 32 bits, a in the lower.
    #[inline(always)]
    #[must_use]
    pub fn value(self) -> u64 {
        self.value
    }

    /// The number that pyrsync computes for the same window: b·2¹⁶ | a.
    #[must_use]
    pub fn pyrsync(self) -> u64 {
        self.value >> 32 << 16 | u64::from(self.a())
    }

    fn a(self) -> u32 {
        self.value as u32
    }

    fn b(self) -> u32 {
        (self.value >> 32) as u32
    }

    fn len(self) -> u32 {
        (self.len >> 32) as u32
    }
}

/// A sum over a window that moves in constant time. A move by one byte gives [`FACTOR`](Self::FACTOR) · sum +
/// [`gain`](Self::gain) modulo 2⁶⁴. All sums have this form, so the same vector code rolls all of them.
pub(crate) trait Rolling: Copy {
    const FACTOR: u64;

    fn of(window: &[u8]) -> Self;

    /// The number that is rolled.
    fn sum(self) -> u64;

    /// The state for another window of this length, with the number `sum`.
    fn with_sum(self, sum: u64) -> Self;

    /// What is added to the sum when `out` leaves and `in_` enters. It is the same for all windows of this
    /// length.
    fn gain(self, out: u8, in_: u8) -> u64;

    /// The number that is looked up.
    fn value(self) -> u64;

    /// Moves the window by one byte.
    #[inline(always)]
    fn roll(&mut self, out: u8, in_: u8) {
        let sum = self.sum().wrapping_mul(Self::FACTOR).wrapping_add(self.gain(out, in_));
        *self = self.with_sum(sum);
    }
}

/// A sum whose window can also grow by one byte at its front.
pub(crate) trait Growing: Rolling {
    fn prepend(&mut self, x: u8);
}

impl Rolling for RollingSum {
    const FACTOR: u64 = 1 << 32 | 1;

    fn of(window: &[u8]) -> Self {
        RollingSum::of(window)
    }
    #[inline(always)]
    fn sum(self) -> u64 {
        self.value
    }
    #[inline(always)]
    fn with_sum(self, value: u64) -> Self {
        RollingSum { value, ..self }
    }
    /// With x = in − out: a gains x, and b gains the new a minus n·out. Together + x + (a + x)·2³² −
    /// n·out·2³².
    #[inline(always)]
    fn gain(self, out: u8, in_: u8) -> u64 {
        let leaving = u64::from(out).wrapping_mul(self.len.wrapping_add(Self::FACTOR));
        u64::from(in_).wrapping_mul(Self::FACTOR).wrapping_sub(leaving)
    }
    #[inline(always)]
    fn value(self) -> u64 {
        RollingSum::value(self)
    }
}

impl Growing for RollingSum {
    fn prepend(&mut self, x: u8) {
        self.len += 1 << 32;
        self.value =
            self.value.wrapping_add(self.len.wrapping_mul(x.into())).wrapping_add(x.into());
    }
}

/// librsync's first sum: rsync's sum with 31 added to every byte, both words modulo 2¹⁶. Only `value` adds
/// the 31s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rollsum {
    plain: RollingSum,
    /// What the 31s add to a and b in a window of this length.
    added: [u32; 2],
}

impl Rollsum {
    fn new(plain: RollingSum) -> Self {
        let n = u64::from(plain.len());
        Rollsum { plain, added: [(31 * n) as u32, (31 * (n * (n + 1) / 2)) as u32] }
    }
}

impl Rolling for Rollsum {
    const FACTOR: u64 = RollingSum::FACTOR;

    fn of(window: &[u8]) -> Self {
        Rollsum::new(RollingSum::of(window))
    }
    #[inline(always)]
    fn sum(self) -> u64 {
        self.plain.value
    }
    #[inline(always)]
    fn with_sum(self, sum: u64) -> Self {
        Rollsum { plain: self.plain.with_sum(sum), ..self }
    }
    #[inline(always)]
    fn gain(self, out: u8, in_: u8) -> u64 {
        self.plain.gain(out, in_)
    }
    #[inline(always)]
    fn value(self) -> u64 {
        let (a, b) = (
            self.plain.a().wrapping_add(self.added[0]),
            self.plain.b().wrapping_add(self.added[1]),
        );
        (b << 16 | a & 0xffff).into()
    }
}

impl Growing for Rollsum {
    fn prepend(&mut self, x: u8) {
        self.plain.prepend(x);
        *self = Rollsum::new(self.plain);
    }
}

/// librsync's second sum, a polynomial over the bytes: h = Mⁿ + Σ xᵢ·Mⁿ⁻¹⁻ⁱ. Its value is the lower 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RabinKarp {
    hash: u64,
    /// Mⁿ for the window's length n.
    power: u64,
}

impl RabinKarp {
    /// The factor of the power of its place that a byte at the front contributes. It includes the change of
    /// Mⁿ.
    #[inline(always)]
    fn front(x: u8) -> u64 {
        u64::from(x) + (Self::FACTOR - 1)
    }
}

impl Rolling for RabinKarp {
    const FACTOR: u64 = 0x0810_4225;

    fn of(window: &[u8]) -> Self {
        let power = Self::FACTOR.wrapping_pow(window.len() as u32);
        RabinKarp { hash: vector::polynomial(window, Self::FACTOR).wrapping_add(power), power }
    }
    #[inline(always)]
    fn sum(self) -> u64 {
        self.hash
    }
    #[inline(always)]
    fn with_sum(self, hash: u64) -> Self {
        RabinKarp { hash, ..self }
    }
    #[inline(always)]
    fn gain(self, out: u8, in_: u8) -> u64 {
        u64::from(in_).wrapping_sub(self.power.wrapping_mul(Self::front(out)))
    }
    #[inline(always)]
    fn value(self) -> u64 {
        self.hash & 0xFFFF_FFFF
    }
}

impl Growing for RabinKarp {
    fn prepend(&mut self, x: u8) {
        self.hash = self.hash.wrapping_add(self.power.wrapping_mul(Self::front(x)));
        self.power = self.power.wrapping_mul(Self::FACTOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Debug;

    fn rolls<S: Growing + Debug + PartialEq>(data: &[u8], len: usize) {
        let mut sum = S::of(&data[..len]);
        for start in 1..=data.len() - len {
            sum.roll(data[start - 1], data[start + len - 1]);
            assert_eq!(sum, S::of(&data[start..start + len]));
            let mut longer = sum;
            longer.prepend(data[start - 1]);
            assert_eq!(longer, S::of(&data[start - 1..start + len]));
        }
    }

    proptest! {
        /// Promise: a rolled or grown sum is the sum of the window.
        #[test]
        fn rolled_is_fresh(data in proptest::collection::vec(any::<u8>(), 0..700), len in any::<proptest::sample::Index>()) {
            let len = len.index(data.len() + 1);
            rolls::<RollingSum>(&data, len);
            rolls::<Rollsum>(&data, len);
            rolls::<RabinKarp>(&data, len);
        }

        /// Promise: the sum is the one of the definition.
        #[test]
        fn block_sum_is_the_definition(data in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let (mut a, mut b) = (0u32, 0u32);
            for (i, &x) in data.iter().enumerate() {
                a = a.wrapping_add(x.into());
                b = b.wrapping_add(((data.len() - i) as u32).wrapping_mul(x.into()));
            }
            prop_assert_eq!(RollingSum::of(&data).value(), u64::from(b) << 32 | u64::from(a));
        }
    }

    /// Promise: b wraps modulo 2³², a does not.
    #[test]
    fn wraps_as_defined() {
        let ones = vec![255u8; 1 << 20];
        let n = ones.len() as u64;
        let b = (255 * n * (n + 1) / 2) as u32;
        assert_eq!(RollingSum::of(&ones).value(), (u64::from(b) << 32) | (255 * n));
    }

    /// Promise: sums are the numbers that pyrsync prints.
    #[test]
    fn pyrsync_numbers() {
        for (text, want) in [
            ("contents1", 315687839),
            ("contents2", 315753376),
            ("print \"ok\"", 349242219),
            ("inside subdir1", 693962070),
            ("excluded_dir/\n*.pyc", 1213728457),
            ("inside dir2", 431817741),
        ] {
            assert_eq!(RollingSum::of(text.as_bytes()).pyrsync(), want, "{text}");
        }
    }
}
