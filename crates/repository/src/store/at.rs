//! Times as a person types them. Knows calendars and time zones, and no snapshot.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use super::AtError;

/// The last second of the time that `at` names: of a day, an hour, a minute or a second. Without an offset (`+02:00`, `Z`) or a
/// time zone (`[Europe/Berlin]`) it is one in UTC.
///
/// # Errors
/// [`AtError::Unknown`] for what is no time; [`AtError::Zone`] for a zone that nobody knows: it is never taken for another.
pub(super) fn until(at: &str) -> Result<i64, AtError> {
    let unknown = || AtError::Unknown(at.into());
    let (time, zone) = match at.strip_suffix(']').map(|at| at.split_once('[')) {
        None => (at, None),
        Some(Some((time, name))) => {
            let zone = || AtError::Zone { at: at.into(), zone: name.into() };
            (time, Some(TimeZone::get(name).map_err(|_| zone())?))
        }
        Some(None) => return Err(unknown()),
    };
    // Behind the day, which has hyphens of its own.
    let clock = time.find(['T', 't', ' ']);
    let offset = clock.and_then(|clock| {
        let offset = time.get(clock..)?.find(['Z', 'z', '+', '-'])?;
        Some(clock + offset)
    });
    let written = time.get(..offset.unwrap_or(time.len())).unwrap_or_default();
    if !written.bytes().all(|byte| byte.is_ascii_digit() || b"-:. Tt".contains(&byte)) {
        return Err(unknown());
    }
    let span = match written.bytes().filter(u8::is_ascii_digit).count() {
        8 => 1.day(),
        10 => 1.hour(),
        12 => 1.minute(),
        _ => 1.second(),
    };
    let end = match (offset, zone) {
        // An offset says which of two hours is meant when a clock is put back. It must be one that the zone has then.
        (Some(_), Some(_)) => {
            let begin = at.parse::<Zoned>().map_err(|_| unknown())?;
            begin.timestamp().checked_add(span)
        }
        (Some(_), None) => time.parse::<Timestamp>().map_err(|_| unknown())?.checked_add(span),
        (None, zone) => {
            let begin: DateTime = time.parse().map_err(|_| unknown())?;
            let zone = zone.unwrap_or(TimeZone::UTC);
            begin.checked_add(span).and_then(|end| zone.to_timestamp(end))
        }
    };
    Ok(end.map_err(|_| unknown())?.as_second() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(time: &str) -> i64 {
        time.parse::<Timestamp>().unwrap().as_second()
    }

    /// Promise: a time is what it says, and never silently one in UTC.
    #[test]
    fn a_time_is_in_the_zone_that_it_names() {
        for (at, last) in [
            ("2026-07-01", "2026-07-01T23:59:59Z"),
            ("2026-07-01T03", "2026-07-01T03:59:59Z"),
            ("2026-07-01T03:30", "2026-07-01T03:30:59Z"),
            ("2026-07-01 03:30:07", "2026-07-01T03:30:07Z"),
            ("20260701T033007", "2026-07-01T03:30:07Z"),
            ("2026-07-01T03:30Z", "2026-07-01T03:30:59Z"),
            ("2026-07-01T03:30:07Z", "2026-07-01T03:30:07Z"),
            ("2026-07-01T03:30:07.9z", "2026-07-01T03:30:07Z"),
            ("2026-07-01T03:30+02:00", "2026-07-01T01:30:59Z"),
            ("2026-07-01 03:30-0530", "2026-07-01T09:00:59Z"),
            ("2026-07-01T03:30[Europe/Berlin]", "2026-07-01T01:30:59Z"),
            ("2026-01-01T03:30[Europe/Berlin]", "2026-01-01T02:30:59Z"),
            ("2026-07-01T03:30+02:00[Europe/Berlin]", "2026-07-01T01:30:59Z"),
            ("2026-07-01[America/New_York]", "2026-07-02T03:59:59Z"),
            ("2026-07-01T03:30[UTC]", "2026-07-01T03:30:59Z"),
            // The clock is put back: the first of both hours, unless the offset says the second.
            ("2026-10-25T02:30[Europe/Berlin]", "2026-10-25T00:30:59Z"),
            ("2026-10-25T02:30+01:00[Europe/Berlin]", "2026-10-25T01:30:59Z"),
        ] {
            assert_eq!(until(at), Ok(second(last)), "{at}");
        }
        for at in
            ["2026-07-01T03:30[Europe/Nowhere]", "2026-07-01T03:30[]", "2026-07-01T03:30[CEST]"]
        {
            assert!(matches!(until(at), Err(AtError::Zone { .. })), "{at}");
        }
        for at in [
            "",
            "now",
            "2026-07-01Z",
            "2026-07-01+02:00",
            "2026-07-01T03:30CEST",
            "2026-07-01T03:30 CEST",
            "2026-07-01T03:30 Europe/Berlin",
            "2026-07-01T03:30+05:00[Europe/Berlin]",
            "2026-07-01T03:30[Europe/Berlin",
            "2026-07-01T03:30Europe/Berlin]",
            "2026-07-01T03:30+",
            "2026-07-01T03:30+99:00",
            "2026-13-01",
            "9999-12-31T23:59:59",
        ] {
            assert_eq!(until(at), Err(AtError::Unknown(at.into())), "{at}");
        }
    }
}
