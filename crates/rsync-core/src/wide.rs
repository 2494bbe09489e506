//! The loops that are worth the widest vectors the processor has. Knows bytes and sums; nothing of what they are for.
//!
//! They are plain loops, written so that compilers turn them into vector code. A program is compiled for the least processor
//! of its kind; here each loop is compiled again for processors with more, and which of them runs is decided when it runs.
#![allow(unsafe_code, reason = "calls of functions that need more than the least processor")]

use crate::filter::Filter;
use crate::sample::{SEEN, WEIGHTS};
use crate::weak::Rolling;

/// Positions that are looked at together.
pub(crate) const TOGETHER: usize = 64;

/// Windows that a sum is moved over at a time.
pub(crate) const ROLLED: usize = RUN * RUNS;
/// Windows of a run: as many as a word has bytes. Two registers of eight runs keep the processor busier than one.
const RUN: usize = 8;
const RUNS: usize = 16;

/// Makes `$name`, which is `$plain` compiled for the processor at hand.
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
                    // SAFETY: the processor was just asked.
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
    /// Σ xᵢ·`factor`ⁿ⁻¹⁻ⁱ modulo 2⁶⁴ over the window's n bytes.
    polynomial is polynomial_plain(window: &[u8], factor: u64) -> u64
}

/// Moves `sum` over [`ROLLED`] windows, given the bytes that leave and those that enter. `found` becomes those of these windows,
/// counted from 0 and in order, whose values the filter may contain, and these values.
pub(crate) fn roll<W: Rolling>(
    sum: &mut W,
    leaving: &[u8; ROLLED],
    entering: &[u8; ROLLED],
    filter: &Filter,
    found: &mut Vec<(usize, u64)>,
) {
    found.clear();
    // Vectors that cannot multiply words of 64 bits are slower here than none.
    if has_avx512() {
        roll_side_by_side(sum, leaving, entering, filter, found);
    } else {
        roll_one_by_one(sum, leaving, entering, filter, found);
    }
}

widest! {
    /// [`roll`], many windows at once.
    roll_side_by_side<W: Rolling> is roll_side_by_side_plain(
        sum: &mut W, leaving: &[u8; ROLLED], entering: &[u8; ROLLED], filter: &Filter, found: &mut Vec<(usize, u64)>
    ) -> ()
}

/// Whether the processor has what functions here mean by AVX-512; -BW and -DQ both include -F.
fn has_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("bmi2");
    #[cfg(not(target_arch = "x86_64"))]
    false
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

/// Thirty-two polynomials in factor³² side by side: the processor works at all of them at once.
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
    leaving: &[u8; ROLLED],
    entering: &[u8; ROLLED],
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

/// The windows are cut into runs of [`RUN`], which are rolled over side by side. What each run gains by itself tells the sums
/// that they begin with.
#[inline(always)]
fn roll_side_by_side_plain<W: Rolling>(
    sum: &mut W,
    leaving: &[u8; ROLLED],
    entering: &[u8; ROLLED],
    filter: &Filter,
    found: &mut Vec<(usize, u64)>,
) {
    let start = *sum;
    let (leaving, entering) = (words(leaving), words(entering));
    let (mut gains, mut totals) = ([[0; RUNS]; RUN], [0; RUNS]);
    for (step, gains) in gains.iter_mut().enumerate() {
        for run in 0..RUNS {
            let byte = |words: &[u64; RUNS]| (words[run] >> (8 * step)) as u8;
            gains[run] = start.gain(byte(&leaving), byte(&entering));
            totals[run] = times_plus(totals[run], W::FACTOR, gains[run]);
        }
    }
    let leap = W::FACTOR.wrapping_pow(RUN as u32);
    let (mut begin, mut sums) = (start.sum(), [0; RUNS]);
    for run in 0..RUNS {
        sums[run] = begin;
        begin = times_plus(begin, leap, totals[run]);
    }
    *sum = start.with_sum(begin);
    let mut values = [0; ROLLED];
    let (steps, _) = values.as_chunks_mut::<RUNS>();
    for (values, gains) in steps.iter_mut().zip(gains) {
        for run in 0..RUNS {
            values[run] = start.with_sum(sums[run]).value();
            sums[run] = times_plus(sums[run], W::FACTOR, gains[run]);
        }
    }
    for (part, values) in values.as_chunks::<TOGETHER>().0.iter().enumerate() {
        let mut hits = filter.hits(values);
        while hits != 0 {
            let index = hits.trailing_zeros() as usize;
            hits &= hits - 1;
            let (step, run) = ((TOGETHER * part + index) / RUNS, index % RUNS);
            found.push((RUN * run + step, values[index]));
        }
    }
    // The values lie step by step, not window by window.
    found.sort_unstable();
}

#[inline(always)]
fn times_plus(sum: u64, factor: u64, gain: u64) -> u64 {
    sum.wrapping_mul(factor).wrapping_add(gain)
}

/// The runs' bytes, a word each.
#[inline(always)]
fn words(bytes: &[u8; ROLLED]) -> [u64; RUNS] {
    let mut words = [0; RUNS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<RUN>().0) {
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
    use crate::anchor::Unanchored;
    use crate::weak::{RabinKarp, Rollsum};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_widest_is_the_plain_one(
            data in prop::collection::vec(any::<u8>(), 0..2000), at in 0usize..100, threshold in any::<u16>(),
            factor: u64,
        ) {
            prop_assert_eq!(search(&data, at, threshold), search_plain(&data, at, threshold));
            prop_assert_eq!(rolling_sum(&data), rolling_sum_plain(&data));
            let sum = data.iter().fold(0u64, |sum, &x| sum.wrapping_mul(factor).wrapping_add(x.into()));
            prop_assert_eq!(polynomial(&data, factor), sum);
            prop_assert_eq!(polynomial_plain(&data, factor), sum);
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

        /// Whatever rolls, it goes over the sums of the windows, and finds those in the filter: few, or all.
        #[test]
        fn rolling_finds_what_the_filter_has(
            data in prop::collection::vec(any::<u8>(), ROLLED + 1..ROLLED + 300),
            known in prop::collection::vec(0..ROLLED, 0..9), all: bool,
        ) {
            rolls_over::<Unanchored>(&data, &known, all);
            rolls_over::<RollingSum>(&data, &known, all);
            rolls_over::<Rollsum>(&data, &known, all);
            rolls_over::<RabinKarp>(&data, &known, all);
        }
    }

    fn rolls_over<W: Rolling>(data: &[u8], known: &[usize], all: bool) {
        let len = data.len() - ROLLED;
        let value = |at: usize| W::of(&data[at..at + len]).value();
        let mut filter = Filter::new(known.len());
        known.iter().for_each(|&at| filter.insert(value(at)));
        (0..ROLLED).filter(|_| all).for_each(|at| filter.insert(value(at)));
        let values = (0..ROLLED).map(|at| (at, value(at)));
        let want: Vec<_> = values.filter(|&(_, value)| filter.may_contain(value)).collect();
        let leaving = data.first_chunk().unwrap();
        let entering = data[len..].first_chunk().unwrap();
        for roll in [roll, roll_side_by_side, roll_side_by_side_plain, roll_one_by_one] {
            let (mut sum, mut found) = (W::of(&data[..len]), Vec::new());
            roll(&mut sum, leaving, entering, &filter, &mut found);
            assert_eq!(sum.value(), value(ROLLED));
            assert_eq!(found, want);
        }
    }
}
