//! [`Keep`]: which of many snapshots are worth keeping. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::{Date, ISOWeekDate};
use jiff::tz::TimeZone;

use super::SnapshotId;

/// Rules, each of which keeps some snapshots; a snapshot is kept if any rule keeps it, and the newest always
/// is. The last ones are those that were made last; days, weeks (from Monday), months and years are those of UTC; of each the last snapshot is kept, and
/// only those that have a snapshot count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// The last so many snapshots.
    pub last: usize,
    /// The last snapshot of each of the last so many days.
    pub daily: usize,
    /// … weeks.
    pub weekly: usize,
    /// … months.
    pub monthly: usize,
    /// … years.
    pub yearly: usize,
}

impl Keep {
    /// Those of `snapshots`, which are in order, that are kept.
    pub fn of(
        &self,
        snapshots: impl DoubleEndedIterator<Item = SnapshotId>,
    ) -> BTreeSet<SnapshotId> {
        self.of_dated(snapshots.map(|snapshot| (snapshot, snapshot)))
    }

    /// Those of `snapshots`, which are in order, that are kept; each with the time at which it was made, which is never before
    /// that of an earlier one.
    pub fn of_dated(
        &self,
        snapshots: impl DoubleEndedIterator<Item = (SnapshotId, SnapshotId)>,
    ) -> BTreeSet<SnapshotId> {
        let newest_first: Vec<(SnapshotId, SnapshotId)> = snapshots.rev().collect();
        let last = newest_first.iter().take(self.last.max(1));
        let mut kept: BTreeSet<SnapshotId> = last.map(|(snapshot, _)| *snapshot).collect();
        let mut rule = |count: usize, period: fn(Date) -> Date| {
            let mut last = None;
            let begins = |(_, time): &&(SnapshotId, SnapshotId)| {
                let now = Some(period(date(*time)));
                std::mem::replace(&mut last, now) != now
            };
            kept.extend(
                newest_first.iter().filter(begins).take(count).map(|(snapshot, _)| *snapshot),
            );
        };
        rule(self.daily, |date| date);
        rule(self.weekly, monday);
        rule(self.monthly, Date::first_of_month);
        rule(self.yearly, Date::first_of_year);
        kept
    }
}

impl Keep {
    /// Whether any rule asks when a snapshot was made.
    pub fn asks_for_times(&self) -> bool {
        [self.daily, self.weekly, self.monthly, self.yearly].iter().any(|&count| count > 0)
    }
}

fn date(snapshot: SnapshotId) -> Date {
    let time = Timestamp::from_second(snapshot.secs()).unwrap_or_default();
    TimeZone::UTC.to_datetime(time).date()
}

/// The first day of the week.
fn monday(date: Date) -> Date {
    ISOWeekDate::first_of_week(date.iso_week_date()).map_or(date, ISOWeekDate::date)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn snapshot(id: &str) -> SnapshotId {
        format!("{id}Z").parse().unwrap()
    }

    fn kept(keep: Keep, ids: &[&str]) -> Vec<String> {
        let snapshots = ids.iter().map(|id| snapshot(id));
        keep.of(snapshots).iter().map(|p| p.to_string().trim_end_matches('Z').to_owned()).collect()
    }

    const IDS: [&str; 10] = [
        "20241230T120000", // Monday of the first week of 2025
        "20250105T235959", // its Sunday
        "20250106T000000",
        "20250131T120000",
        "20250228T120000",
        "20260101T120000", // Thursday
        "20260102T080000",
        "20260102T200000",
        "20260104T000000", // Sunday
        "20260105T000000",
    ];

    #[test]
    fn each_rule_keeps_the_last_of_each_period() {
        let keep = Keep::default;
        assert_eq!(kept(keep(), &IDS), ["20260105T000000"], "the newest stays");
        assert_eq!(kept(Keep { last: 2, ..keep() }, &IDS), IDS[8..]);
        let daily = Keep { daily: 3, ..keep() };
        assert_eq!(kept(daily, &IDS), ["20260102T200000", "20260104T000000", "20260105T000000"]);
        let weekly = Keep { weekly: 10, ..keep() };
        assert_eq!(
            kept(weekly, &IDS),
            [
                "20250105T235959",
                "20250106T000000",
                "20250131T120000",
                "20250228T120000",
                "20260104T000000",
                "20260105T000000"
            ]
        );
        let monthly = Keep { monthly: 3, ..keep() };
        assert_eq!(kept(monthly, &IDS), ["20250131T120000", "20250228T120000", "20260105T000000"]);
        let yearly = Keep { yearly: 5, ..keep() };
        assert_eq!(kept(yearly, &IDS), ["20241230T120000", "20250228T120000", "20260105T000000"]);
        assert_eq!(kept(yearly, &[]), [""; 0]);
    }

    proptest! {
        /// More of a rule keeps no less, and rules add up.
        #[test]
        fn rules_add_up(secs in proptest::collection::btree_set(0..4_000_000i64, 0..40), a in 0..9usize, b in 0..9usize) {
            let snapshots = || secs.iter().map(|s| SnapshotId::from_secs(s * 997).unwrap());
            let keep = |last, daily| Keep { last, daily, ..Keep::default() }.of(snapshots());
            let both: BTreeSet<SnapshotId> = keep(a, 0).union(&keep(0, b)).copied().collect();
            prop_assert_eq!(&keep(a, b), &both);
            prop_assert!(keep(a, b).is_subset(&keep(a + 1, b + 1)));
            prop_assert_eq!(keep(a, 0).len(), secs.len().min(a.max(1)));
        }
    }
}
