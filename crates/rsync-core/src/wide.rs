//! The three loops that are worth the widest vectors the processor has. Knows bytes and sums; nothing of what they are for.
//!
//! They are plain loops, written so that compilers turn them into vector code. A program is compiled for the least processor
//! of its kind; here each loop is compiled again for processors with more, and which of them runs is decided when it runs.
#![allow(unsafe_code, reason = "calls of functions that need more than the least processor")]

use crate::sample::{SEEN, WEIGHTS};

/// Positions that are looked at together.
pub(crate) const TOGETHER: usize = 64;

/// Makes `$name`, which is `$plain` compiled for the processor at hand.
macro_rules! widest {
    ($(#[$doc:meta])* $name:ident is $plain:ident($($arg:ident: $type:ty),*) -> $out:ty) => {
        $(#[$doc])*
        pub(crate) fn $name($($arg: $type),*) -> $out {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,bmi2")]
                fn avx512($($arg: $type),*) -> $out {
                    $plain($($arg),*)
                }
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $type),*) -> $out {
                    $plain($($arg),*)
                }
                if is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("bmi2")
                {
                    // SAFETY: the processor was just asked; both AVX-512BW and -DQ include AVX-512F.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor was just asked.
                    return unsafe { avx2($($arg),*) };
                }
            }
            $plain($($arg),*)
        }
    };
}

widest! {
    /// The first group of [`TOGETHER`] positions, counted from `at`, that has samples, and which these are: bit i for
    /// position i of the group.
    search is search_plain(data: &[u8], at: usize, threshold: u16) -> Option<(usize, u64)>
}

widest! {
    /// The words a and b of [`RollingSum`](crate::RollingSum).
    rolling_sum is rolling_sum_plain(window: &[u8]) -> (u32, u32)
}

widest! {
    /// Σ xᵢ·[`FACTOR`]ⁿ⁻¹⁻ⁱ modulo 2⁶⁴ over the window's n bytes.
    polynomial is polynomial_plain(window: &[u8]) -> u64
}

/// The polynomial's base: 2⁶⁴ by the golden ratio, made odd.
pub(crate) const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

#[inline(always)]
fn search_plain(data: &[u8], mut at: usize, threshold: u16) -> Option<(usize, u64)> {
    const WHOLE: usize = TOGETHER + SEEN - 1;
    let mut rest = data.get(at..)?;
    while let Some(group) = rest.first_chunk::<WHOLE>() {
        let samples = samples_of(group, threshold);
        if samples != 0 {
            return Some((at, samples));
        }
        at += TOGETHER;
        rest = rest.get(TOGETHER..)?;
    }
    let positions = (rest.len() + 1).saturating_sub(SEEN);
    let mut group = [0; WHOLE];
    group.get_mut(..rest.len())?.copy_from_slice(rest);
    let samples = samples_of(&group, threshold) & ((1 << positions) - 1);
    (samples != 0).then_some((at, samples))
}

#[inline(always)]
fn samples_of(group: &[u8; TOGETHER + SEEN - 1], threshold: u16) -> u64 {
    let mut sums = [0u16; TOGETHER];
    for (place, weight) in WEIGHTS {
        let bytes = group.iter().skip(place);
        for (sum, &byte) in sums.iter_mut().zip(bytes) {
            *sum = sum.wrapping_add(u16::from(byte).wrapping_mul(weight));
        }
    }
    if sums.iter().fold(0, |most, &sum| sum.max(most)) < threshold {
        return 0;
    }
    let flags = sums.map(|sum| u8::from(sum >= threshold));
    // Eight bytes of 0 or 1 become eight bits: the product's top byte gathers each flag at its own place.
    let (words, _) = flags.as_chunks::<8>();
    let bits = words
        .iter()
        .map(|word| u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56);
    bits.enumerate().fold(0, |all, (index, bits)| all | bits << (8 * index))
}

/// The sums of rows of bytes, each lane for itself: `acc` of a lane's bytes and `pre` of its earlier `acc`s, within a group in
/// 16 bits, which its 16 rows cannot overflow (16·255 and 120·255). Only at the end are the lanes put together.
#[inline(always)]
fn rolling_sum_plain(window: &[u8]) -> (u32, u32) {
    let (groups, rest) = window.as_chunks::<{ LANES * ROWS }>();
    let (mut accs, mut pres) = ([0u32; LANES], [0u32; LANES]);
    for group in groups {
        let (mut acc, mut pre) = ([0u16; LANES], [0u16; LANES]);
        for row in group.as_chunks::<LANES>().0 {
            for lane in 0..LANES {
                pre[lane] += acc[lane];
                acc[lane] += u16::from(row[lane]);
            }
        }
        for lane in 0..LANES {
            let before = accs[lane].wrapping_mul(ROWS as u32);
            pres[lane] = pres[lane].wrapping_add(before).wrapping_add(pre[lane].into());
            accs[lane] = accs[lane].wrapping_add(acc[lane].into());
        }
    }
    let (mut a, mut b) = (0u32, 0u32);
    for lane in 0..LANES {
        a = a.wrapping_add(accs[lane]);
        b = b.wrapping_add(pres[lane].wrapping_mul(LANES as u32));
        b = b.wrapping_add(accs[lane].wrapping_mul((LANES - lane) as u32));
    }
    for &x in rest {
        a = a.wrapping_add(x.into());
        b = b.wrapping_add(a);
    }
    (a, b)
}

/// Thirty-two polynomials in FACTOR³² side by side: the processor works at all of them at once.
#[inline(always)]
fn polynomial_plain(window: &[u8]) -> u64 {
    let (groups, rest) = window.as_chunks::<LANES>();
    let mut sums = [0u64; LANES];
    for group in groups {
        for (sum, &x) in sums.iter_mut().zip(group) {
            *sum = sum.wrapping_mul(const { FACTOR.wrapping_pow(LANES as u32) });
            *sum = sum.wrapping_add(x.into());
        }
    }
    let step = |sum: u64, x: u64| sum.wrapping_mul(FACTOR).wrapping_add(x);
    let sum = sums.into_iter().fold(0, step);
    rest.iter().fold(sum, |sum, &x| step(sum, x.into()))
}

const LANES: usize = 32;
const ROWS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_widest_is_the_plain_one(
            data in prop::collection::vec(any::<u8>(), 0..2000), at in 0usize..100, threshold in any::<u16>(),
        ) {
            prop_assert_eq!(search(&data, at, threshold), search_plain(&data, at, threshold));
            prop_assert_eq!(rolling_sum(&data), rolling_sum_plain(&data));
            let sum = data.iter().fold(0u64, |sum, &x| sum.wrapping_mul(FACTOR).wrapping_add(x.into()));
            prop_assert_eq!(polynomial(&data), sum);
            prop_assert_eq!(polynomial_plain(&data), sum);
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") {
                #[target_feature(enable = "avx2")]
                fn avx2(data: &[u8], at: usize, threshold: u16) -> (Option<(usize, u64)>, (u32, u32)) {
                    (search_plain(data, at, threshold), rolling_sum_plain(data))
                }
                // SAFETY: the processor was just asked.
                let (found, sums) = unsafe { avx2(&data, at, threshold) };
                prop_assert_eq!(found, search_plain(&data, at, threshold));
                prop_assert_eq!(sums, rolling_sum_plain(&data));
            }
        }
    }
}
