//! When snapshots were made, when the clock was not always right. Pure.
//!
//! The order of snapshots is certain: each was made after the one before it. Where a time does not fit into the order, the clock
//! was wrong, then or before. The times that most others agree with count.

/// For each of `times`, which are in the order in which they were noted, the time that fits into the order: itself, when it is one
/// of the longest sequence that never goes back; else that of the one before it in this sequence, or after it where none is before.
pub(super) fn in_order(times: &[i64]) -> Vec<i64> {
    let kept = longest_sequence(times);
    let Some(&first) = kept.first() else { return Vec::new() };
    let mut last = times.get(first).copied().unwrap_or_default();
    let mut kept = kept.into_iter().peekable();
    let mut place = |(at, &time): (usize, &i64)| {
        if kept.next_if_eq(&at).is_some() {
            last = time;
        }
        last
    };
    times.iter().enumerate().map(&mut place).collect()
}

/// Where the longest sequence in `times` is that never goes back.
fn longest_sequence(times: &[i64]) -> Vec<usize> {
    // Of all sequences of a length that were found, the one that ends the earliest: by the place of its end.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(times.len());
    let time_at = |at: usize| times.get(at).copied().unwrap_or_default();
    for (at, &time) in times.iter().enumerate() {
        let len = ends.partition_point(|&end| time_at(end) <= time);
        before.push(len.checked_sub(1).and_then(|last| ends.get(last).copied()));
        match ends.get_mut(len) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let last = ends.last().copied();
    let mut row: Vec<usize> =
        std::iter::successors(last, |&at| before.get(at).copied().flatten()).collect();
    row.reverse();
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_does_not_fit_takes_the_time_of_the_one_before() {
        for (times, fitting) in [
            (&[][..], &[][..]),
            (&[5], &[5]),
            (&[1, 2, 2, 3], &[1, 2, 2, 3]),
            (&[1, 99, 2, 3], &[1, 1, 2, 3]),
            (&[99, 1, 2, 3], &[1, 1, 2, 3]),
            (&[5, 6, 0, 7], &[5, 6, 6, 7]),
            (&[5, 6, 7, 0], &[5, 6, 7, 7]),
            (&[0, 5, 6], &[0, 5, 6]),
        ] {
            assert_eq!(in_order(times), fitting, "{times:?}");
        }
    }

    proptest! {
        #[test]
        fn they_never_go_back_and_most_are_kept(times in proptest::collection::vec(0..50i64, 0..30)) {
            let fitting = in_order(&times);
            prop_assert_eq!(fitting.len(), times.len());
            prop_assert!(fitting.is_sorted());
            // No pair of neighbours in order is lost for nothing.
            let kept = times.iter().zip(&fitting).filter(|(a, b)| a == b).count();
            let row = |from: usize| times[from..].iter().fold((0, i64::MIN), |(len, last), &time| {
                if time >= last { (len + 1, time) } else { (len, last) }
            }).0;
            prop_assert!((0..times.len()).all(|from| row(from) <= kept));
        }
    }
}
