//! The two loops that are worth the widest vectors the processor has. Knows bytes and sums; nothing of what they are for.
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
                #[target_feature(enable = "avx512f,avx512bw,bmi2")]
                fn avx512($($arg: $type),*) -> $out {
                    $plain($($arg),*)
                }
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $type),*) -> $out {
                    $plain($($arg),*)
                }
                if is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("bmi2") {
                    // SAFETY: the processor was just asked; AVX-512BW includes AVX-512F.
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
    let flags = sums.map(|sum| u8::from(sum >= threshold));
    if flags.iter().fold(0, |any, flag| any | flag) == 0 {
        return 0;
    }
    // Eight bytes of 0 or 1 become eight bits: the product's top byte gathers each flag at its own place.
    let (words, _) = flags.as_chunks::<8>();
    let bits = words
        .iter()
        .map(|word| u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56);
    bits.enumerate().fold(0, |all, (index, bits)| all | bits << (8 * index))
}

#[inline(always)]
fn rolling_sum_plain(window: &[u8]) -> (u32, u32) {
    let (mut a, mut b) = (0u32, 0u32);
    let (groups, rest) = window.as_chunks::<{ LANES * ROWS }>();
    for group in groups {
        let (sum, weighted) = group_sums(group);
        b = b.wrapping_add(a.wrapping_mul((LANES * ROWS) as u32)).wrapping_add(weighted);
        a = a.wrapping_add(sum);
    }
    for &x in rest {
        a = a.wrapping_add(x.into());
        b = b.wrapping_add(a);
    }
    (a, b)
}

const LANES: usize = 32;
const ROWS: usize = 16;

/// a and b of some rows of bytes, in 16-bit lanes: `acc` of a lane's bytes, `pre` of its earlier `acc`s. Neither can overflow
/// within 16 rows (16·255 and 120·255).
#[inline(always)]
fn group_sums(group: &[u8; LANES * ROWS]) -> (u32, u32) {
    let (mut acc, mut pre) = ([0u16; LANES], [0u16; LANES]);
    for row in group.as_chunks::<LANES>().0 {
        for lane in 0..LANES {
            pre[lane] += acc[lane];
            acc[lane] += u16::from(row[lane]);
        }
    }
    let (mut sum, mut weighted) = (0u32, 0u32);
    for lane in 0..LANES {
        sum += u32::from(acc[lane]);
        weighted +=
            LANES as u32 * u32::from(pre[lane]) + (LANES - lane) as u32 * u32::from(acc[lane]);
    }
    (sum, weighted)
}

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
