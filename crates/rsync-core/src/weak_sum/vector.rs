//! The loops that are compiled for the widest vectors the processor has. Owns loops over bytes and sums; must
//! not know what the results are for.
//!
//! These are plain loops in a form that the compiler turns into vector code. A program is compiled for the
//! least capable processor of its kind. Here each loop is also compiled for more capable ones, and the
//! program chooses when it runs.
//!
//! This module has `unsafe` code because a call of a function for more capable processors is unsafe.
#![allow(unsafe_code, reason = "calls functions that need more than the least processor")]

use super::filter::Filter;
use super::rolling::Rolling;
use super::sample::{SAMPLE_LEN, WEIGHTS};

/// Positions that are searched for samples together.
pub(crate) const GROUP_LEN: usize = 64;

/// How many windows a sum moves over at a time.
pub(crate) const ROLL_LEN: usize = STRIP_LEN * STRIPS;
/// Windows of one strip: as many as a word has bytes. Sixteen strips fill two registers; that keeps the
/// processor busier than one.
const STRIP_LEN: usize = 8;
const STRIPS: usize = 16;

/// Makes `$name`, which runs `$plain` compiled for the processor of this machine.
macro_rules! widest {
    (
        $(#[$doc:meta])*
        $name:ident$(<$kind:ident: $trait:ident>)? is $plain:ident($($arg:ident: $type:ty),*) -> $out:ty
    ) => {
        $(#[$doc])*
        pub(crate) fn $name$(<$kind: $trait>)?($($arg: $type),*) -> $out {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,bmi2")]
                fn avx512$(<$kind: $trait>)?($($arg: $type),*) -> $out {
                    $plain($($arg),*)
                }
                #[target_feature(enable = "avx2")]
                fn avx2$(<$kind: $trait>)?($($arg: $type),*) -> $out {
                    $plain($($arg),*)
                }
                if has_avx512() {
                    // SAFETY: the processor has these features, as the check in the line before says.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has this feature, as the check in the line before says.
                    return unsafe { avx2($($arg),*) };
                }
            }
            $plain($($arg),*)
        }
    };
}

widest! {
    /// The first group of [`GROUP_LEN`] positions, counted from `at`, that has samples: its start, and bit i
    /// for position i of the group.
    find_samples is find_samples_plain(data: &[u8], at: usize, threshold: u16) -> Option<(usize, u64)>
}

widest! {
    /// The words a and b of [`RollingSum`](crate::RollingSum).
    rolling_sum is rolling_sum_plain(window: &[u8]) -> (u32, u32)
}

widest! {
    /// Σ xᵢ·`factor`ⁿ⁻¹⁻ⁱ modulo 2⁶⁴ over the window's n bytes.
    polynomial is polynomial_plain(window: &[u8], factor: u64) -> u64
}

/// Moves `sum` over [`ROLL_LEN`] windows. `leaving` are the bytes that leave, `entering` those that enter.
/// `found` gets the windows whose values the filter may contain, counted from 0 and in order, with their
/// values.
pub(crate) fn roll<W: Rolling>(
    sum: &mut W,
    leaving: &[u8; ROLL_LEN],
    entering: &[u8; ROLL_LEN],
    filter: &Filter,
    found: &mut Vec<(usize, u64)>,
) {
    found.clear();
    // Vectors that cannot multiply words of 64 bits are slower here than no vectors.
    if has_avx512() {
        roll_side_by_side(sum, leaving, entering, filter, found);
    } else {
        roll_one_by_one(sum, leaving, entering, filter, found);
    }
}

widest! {
    /// [`roll`], many windows at once.
    roll_side_by_side<W: Rolling> is roll_side_by_side_plain(
        sum: &mut W, leaving: &[u8; ROLL_LEN], entering: &[u8; ROLL_LEN], filter: &Filter, found: &mut Vec<(usize, u64)>
    ) -> ()
}

/// Whether the processor has the features that `widest!` calls AVX-512. -BW and -DQ both include -F.
fn has_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("bmi2");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[inline(always)]
fn find_samples_plain(data: &[u8], mut at: usize, threshold: u16) -> Option<(usize, u64)> {
    const WHOLE: usize = GROUP_LEN + SAMPLE_LEN - 1;
    let mut rest = data.get(at..)?;
    while let Some(group) = rest.first_chunk::<WHOLE>() {
        let samples = samples_of(group, threshold);
        if samples != 0 {
            return Some((at, samples));
        }
        at += GROUP_LEN;
        rest = rest.get(GROUP_LEN..)?;
    }
    let positions = (rest.len() + 1).saturating_sub(SAMPLE_LEN);
    let mut group = [0; WHOLE];
    group.get_mut(..rest.len())?.copy_from_slice(rest);
    let samples = samples_of(&group, threshold) & ((1 << positions) - 1);
    (samples != 0).then_some((at, samples))
}

#[inline(always)]
fn samples_of(group: &[u8; GROUP_LEN + SAMPLE_LEN - 1], threshold: u16) -> u64 {
    let mut sums = [0u16; GROUP_LEN];
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
    // Eight bytes of 0 or 1 become eight bits: in the top byte of the product each flag has a bit of its own.
    let (words, _) = flags.as_chunks::<8>();
    let bits = words
        .iter()
        .map(|word| u64::from_le_bytes(*word).wrapping_mul(0x0102_0408_1020_4080) >> 56);
    bits.enumerate().fold(0, |all, (index, bits)| all | bits << (8 * index))
}

/// Sums rows of bytes, each lane by itself: `acc` of a lane's bytes, and `pre` of its earlier values of
/// `acc`. Within a group these have 16 bits, which 16 rows cannot overflow (16·255 and 120·255). The lanes
/// are combined at the end.
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

/// Thirty-two polynomials in factor³² side by side, so that the processor works at all of them at once.
#[inline(always)]
fn polynomial_plain(window: &[u8], factor: u64) -> u64 {
    let (groups, rest) = window.as_chunks::<LANES>();
    let mut sums = [0u64; LANES];
    let leap = factor.wrapping_pow(LANES as u32);
    for group in groups {
        for (sum, &x) in sums.iter_mut().zip(group) {
            *sum = times_plus(*sum, leap, x.into());
        }
    }
    let sum = sums.into_iter().fold(0, |sum, x| times_plus(sum, factor, x));
    rest.iter().fold(sum, |sum, &x| times_plus(sum, factor, x.into()))
}

/// [`roll`], window after window.
fn roll_one_by_one<W: Rolling>(
    sum: &mut W,
    leaving: &[u8; ROLL_LEN],
    entering: &[u8; ROLL_LEN],
    filter: &Filter,
    found: &mut Vec<(usize, u64)>,
) {
    let mut rolling = *sum;
    for (index, (&out, &in_)) in leaving.iter().zip(entering).enumerate() {
        let value = rolling.value();
        if filter.may_contain(value) {
            found.push((index, value));
        }
        rolling.roll(out, in_);
    }
    *sum = rolling;
}

/// Cuts the windows into strips of [`STRIP_LEN`] and rolls over the strips side by side. A first pass
/// computes what each strip adds to a sum; from that follow the sums at which the strips begin.
#[inline(always)]
fn roll_side_by_side_plain<W: Rolling>(
    sum: &mut W,
    leaving: &[u8; ROLL_LEN],
    entering: &[u8; ROLL_LEN],
    filter: &Filter,
    found: &mut Vec<(usize, u64)>,
) {
    let start = *sum;
    let (leaving, entering) = (strip_words(leaving), strip_words(entering));
    let (mut gains, mut totals) = ([[0; STRIPS]; STRIP_LEN], [0; STRIPS]);
    for (step, gains) in gains.iter_mut().enumerate() {
        for strip in 0..STRIPS {
            let byte = |words: &[u64; STRIPS]| (words[strip] >> (8 * step)) as u8;
            gains[strip] = start.gain(byte(&leaving), byte(&entering));
            totals[strip] = times_plus(totals[strip], W::FACTOR, gains[strip]);
        }
    }
    let leap = W::FACTOR.wrapping_pow(STRIP_LEN as u32);
    let (mut begin, mut sums) = (start.sum(), [0; STRIPS]);
    for strip in 0..STRIPS {
        sums[strip] = begin;
        begin = times_plus(begin, leap, totals[strip]);
    }
    *sum = start.with_sum(begin);
    let mut values = [0; ROLL_LEN];
    let (steps, _) = values.as_chunks_mut::<STRIPS>();
    for (values, gains) in steps.iter_mut().zip(gains) {
        for strip in 0..STRIPS {
            values[strip] = start.with_sum(sums[strip]).value();
            sums[strip] = times_plus(sums[strip], W::FACTOR, gains[strip]);
        }
    }
    for (part, values) in values.as_chunks::<GROUP_LEN>().0.iter().enumerate() {
        let mut hits = filter.hits(values);
        while hits != 0 {
            let index = hits.trailing_zeros() as usize;
            hits &= hits - 1;
            let (step, strip) = ((GROUP_LEN * part + index) / STRIPS, index % STRIPS);
            found.push((STRIP_LEN * strip + step, values[index]));
        }
    }
    // The values lie step by step, not window by window.
    found.sort_unstable();
}

#[inline(always)]
fn times_plus(sum: u64, factor: u64, gain: u64) -> u64 {
    sum.wrapping_mul(factor).wrapping_add(gain)
}

/// The bytes of each strip as a word.
#[inline(always)]
fn strip_words(bytes: &[u8; ROLL_LEN]) -> [u64; STRIPS] {
    let mut words = [0; STRIPS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<STRIP_LEN>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

const LANES: usize = 32;
const ROWS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RollingSum;
    use crate::weak_sum::anchor::Unanchored;
    use crate::weak_sum::rolling::{RabinKarp, Rollsum};
    use proptest::prelude::*;

    proptest! {
        /// Promise: results do not depend on the processor.
        #[test]
        fn the_widest_is_the_plain_one(
            data in prop::collection::vec(any::<u8>(), 0..2000), at in 0usize..100, threshold in any::<u16>(),
            factor: u64,
        ) {
            prop_assert_eq!(find_samples(&data, at, threshold), find_samples_plain(&data, at, threshold));
            prop_assert_eq!(rolling_sum(&data), rolling_sum_plain(&data));
            let sum = data.iter().fold(0u64, |sum, &x| sum.wrapping_mul(factor).wrapping_add(x.into()));
            prop_assert_eq!(polynomial(&data, factor), sum);
            prop_assert_eq!(polynomial_plain(&data, factor), sum);
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") {
                #[target_feature(enable = "avx2")]
                fn avx2(data: &[u8], at: usize, threshold: u16) -> (Option<(usize, u64)>, (u32, u32)) {
                    (find_samples_plain(data, at, threshold), rolling_sum_plain(data))
                }
                // SAFETY: the processor has this feature, as the check above says.
                let (found, sums) = unsafe { avx2(&data, at, threshold) };
                prop_assert_eq!(found, find_samples_plain(&data, at, threshold));
                prop_assert_eq!(sums, rolling_sum_plain(&data));
            }
        }

        /// Promise: every way to roll visits the sums of all windows and finds those in the filter, few or
        /// all.
        #[test]
        fn rolling_finds_what_the_filter_has(
            data in prop::collection::vec(any::<u8>(), ROLL_LEN + 1..ROLL_LEN + 300),
            known in prop::collection::vec(0..ROLL_LEN, 0..9), all: bool,
        ) {
            rolls_over::<Unanchored>(&data, &known, all);
            rolls_over::<RollingSum>(&data, &known, all);
            rolls_over::<Rollsum>(&data, &known, all);
            rolls_over::<RabinKarp>(&data, &known, all);
        }
    }

    fn rolls_over<W: Rolling>(data: &[u8], known: &[usize], all: bool) {
        let len = data.len() - ROLL_LEN;
        let value = |at: usize| W::of(&data[at..at + len]).value();
        let mut filter = Filter::new(known.len());
        known.iter().for_each(|&at| filter.insert(value(at)));
        (0..ROLL_LEN).filter(|_| all).for_each(|at| filter.insert(value(at)));
        let values = (0..ROLL_LEN).map(|at| (at, value(at)));
        let want: Vec<_> = values.filter(|&(_, value)| filter.may_contain(value)).collect();
        let leaving = data.first_chunk().unwrap();
        let entering = data[len..].first_chunk().unwrap();
        for roll in [roll, roll_side_by_side, roll_side_by_side_plain, roll_one_by_one] {
            let (mut sum, mut found) = (W::of(&data[..len]), Vec::new());
            roll(&mut sum, leaving, entering, &filter, &mut found);
            assert_eq!(sum.value(), value(ROLL_LEN));
            assert_eq!(found, want);
        }
    }
}
