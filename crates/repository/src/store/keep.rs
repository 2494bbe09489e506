//! [`Keep`]: which of many snapshots are worth keeping. Pure.

use std::collections::BTreeSet;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, ISOWeekDate};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::SnapshotId;

/// Rules, each of which keeps some snapshots; a snapshot is kept if any rule keeps it, and the newest always
/// is. The last ones are those that were made last; days, weeks (from Monday), months and years are those of UTC; of each the last snapshot is kept, and
/// only those that have a snapshot count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// The last so many snapshots.
    pub last: usize,
    /// All that were made so long before the newest, or later.
    pub within: Option<Within>,
    /// The last snapshot of each of the last so many hours.
    pub hourly: usize,
    /// … days.
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
        if let (Some(within), Some((_, newest))) = (self.within, newest_first.first()) {
            let since = within.before(*newest);
            let recent = newest_first.iter().filter(|(_, time)| time.secs() >= since);
            kept.extend(recent.map(|(snapshot, _)| *snapshot));
        }
        let mut rule = |count: usize, period: fn(DateTime) -> DateTime| {
            let mut last = None;
            let begins = |(_, time): &&(SnapshotId, SnapshotId)| {
                let now = Some(period(moment(*time)));
                std::mem::replace(&mut last, now) != now
            };
            kept.extend(
                newest_first.iter().filter(begins).take(count).map(|(snapshot, _)| *snapshot),
            );
        };
        rule(self.hourly, |time| time.date().at(time.hour(), 0, 0, 0));
        rule(self.daily, |time| time.start_of_day());
        rule(self.weekly, |time| monday(time.date()).into());
        rule(self.monthly, |time| time.date().first_of_month().into());
        rule(self.yearly, |time| time.date().first_of_year().into());
        kept
    }
}

impl Keep {
    /// Whether any rule asks when a snapshot was made.
    #[must_use]
    pub fn asks_for_times(&self) -> bool {
        let Keep { last: _, within, hourly, daily, weekly, monthly, yearly } = self;
        within.is_some() || [hourly, daily, weekly, monthly, yearly].iter().any(|&&count| count > 0)
    }
}

fn moment(snapshot: SnapshotId) -> DateTime {
    let time = Timestamp::from_second(snapshot.secs()).unwrap_or_default();
    TimeZone::UTC.to_datetime(time)
}

/// A stretch of time, written `1y6m2w3d12h`: years, months, weeks, days and hours, each at most once, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Within {
    months: u32,
    hours: u32,
}

impl Within {
    /// The moment so long before `snapshot`, in seconds since 1970 in UTC. Of a month that is too short it is the last day.
    fn before(self, snapshot: SnapshotId) -> i64 {
        let span = Span::new().months(i64::from(self.months)).hours(i64::from(self.hours));
        let before = moment(snapshot).checked_sub(span);
        let before = before.and_then(|before| TimeZone::UTC.to_timestamp(before));
        // So long ago was nothing.
        before.map_or(i64::MIN, Timestamp::as_second)
    }
}

/// What is no stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no stretch of time, such as 30d or 1y6m: numbers, each with y, m, w, d or h after it")]
pub struct InvalidWithin;

impl FromStr for Within {
    type Err = InvalidWithin;

    fn from_str(text: &str) -> Result<Within, InvalidWithin> {
        let mut rest = text;
        let mut number = |unit: char| {
            let Some((digits, after)) = rest.split_once(unit) else { return Ok(0) };
            rest = after;
            let number = digits.parse::<u32>().ok().filter(|number| *number < 10_000);
            number.filter(|_| !digits.starts_with('+')).ok_or(InvalidWithin)
        };
        let [years, months, weeks, days, hours] =
            [number('y'), number('m'), number('w'), number('d'), number('h')];
        let months = years? * 12 + months?;
        let hours = (weeks? * 7 + days?) * 24 + hours?;
        match rest.is_empty() && !text.is_empty() {
            true => Ok(Within { months, hours }),
            false => Err(InvalidWithin),
        }
    }
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

    /// Who keeps by the rules as they are said: each snapshot is asked whether it is the last of its period, and how many
    /// later periods have one.
    fn naive(keep: Keep, all: &[SnapshotId]) -> BTreeSet<SnapshotId> {
        let text = |snapshot: SnapshotId, format: &str| {
            Timestamp::from_second(snapshot.secs()).unwrap().strftime(format).to_string()
        };
        let rules = [
            (keep.hourly, "%Y%m%d%H"),
            (keep.daily, "%Y%m%d"),
            (keep.weekly, "%G%V"),
            (keep.monthly, "%Y%m"),
            (keep.yearly, "%Y"),
        ];
        let is_kept = |at: usize| {
            let (snapshot, later) = (all[at], &all[at + 1..]);
            let by_period = rules.iter().any(|(count, format)| {
                let own = text(snapshot, format);
                let periods: BTreeSet<String> = later.iter().map(|s| text(*s, format)).collect();
                !periods.contains(&own) && periods.len() < *count
            });
            let hours = |within: Within| i64::from(within.hours) * 3600;
            let newest = all.last().unwrap().secs();
            let recent = keep.within.is_some_and(|w| snapshot.secs() >= newest - hours(w));
            later.len() < keep.last.max(1) || recent || by_period
        };
        (0..all.len()).filter(|&at| is_kept(at)).map(|at| all[at]).collect()
    }

    proptest! {
        /// Promise: what is kept is what the rules say, read word for word.
        #[test]
        fn rules_mean_what_they_say(
            secs in proptest::collection::btree_set(0..40_000i64, 1..40),
            step in prop_oneof![Just(1i64), Just(600), Just(7_000), Just(90_000)],
            [last, hourly, daily, weekly, monthly, yearly] in [0..5usize, 0..5, 0..5, 0..5, 0..5, 0..5],
            hours in proptest::option::of(0..2_000u32),
        ) {
            let all: Vec<_> = secs.iter().map(|s| SnapshotId::from_secs(s * step).unwrap()).collect();
            let within = hours.map(|hours| Within { months: 0, hours });
            let keep = Keep { last, within, hourly, daily, weekly, monthly, yearly };
            prop_assert_eq!(keep.of(all.iter().copied()), naive(keep, &all));
        }
    }

    /// Promise: a stretch is as long as the calendar says, back from the newest snapshot.
    #[test]
    fn stretches_of_time() {
        let within = |text: &str| Keep { within: Some(text.parse().unwrap()), ..Keep::default() };
        assert_eq!(kept(within("1d"), &IDS), IDS[8..]);
        assert_eq!(kept(within("23h"), &IDS), IDS[9..]);
        assert_eq!(
            kept(within("3d"), &IDS),
            IDS[6..].iter().filter(|id| **id >= "20260102T000000").copied().collect::<Vec<_>>()
        );
        assert_eq!(
            kept(within("1y"), &IDS),
            IDS[1..].iter().filter(|id| **id >= "20250105T000000").copied().collect::<Vec<_>>()
        );
        assert_eq!(kept(within("11m1w"), &IDS), IDS[3..]);
        assert_eq!(kept(within("9999y"), &IDS), IDS);
        for bad in ["", "30", "d", "1d2", "-1d", "+1d", "1h1d", "1.5d", "10000d", "1d1d"] {
            assert!(bad.parse::<Within>().is_err(), "{bad}");
        }
    }
}
