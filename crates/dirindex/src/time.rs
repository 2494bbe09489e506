//! [`Time`]: a time as a file has it. Must not know clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point in time: seconds since 1970 UTC (negative before) and nanoseconds after that second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

impl Time {
    /// Before all others.
    pub const MIN: Time = Time { secs: i64::MIN, nanos: 0 };
    /// After all that a file has.
    pub const MAX: Time = Time { secs: i64::MAX, nanos: 999_999_999 };
}

/// Every time that Linux has is a [`Time`].
impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Time {
        let secs = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Time { secs: secs(after), nanos: after.subsec_nanos() },
            Err(error) => {
                // Whole seconds are rounded down.
                let before = error.duration();
                let (rest, secs) = (before.subsec_nanos(), -secs(before));
                match rest {
                    0 => Time { secs, nanos: 0 },
                    rest => Time { secs: secs - 1, nanos: 1_000_000_000 - rest },
                }
            }
        }
    }
}

/// Fails where the system cannot hold the time. Linux holds every time.
impl TryFrom<Time> for SystemTime {
    type Error = TimeOutOfRange;

    fn try_from(time: Time) -> Result<SystemTime, TimeOutOfRange> {
        let whole = Duration::from_secs(time.secs.unsigned_abs());
        let seconds = match time.secs {
            0.. => UNIX_EPOCH.checked_add(whole),
            _ => UNIX_EPOCH.checked_sub(whole),
        };
        let time = seconds.and_then(|at| at.checked_add(Duration::from_nanos(time.nanos.into())));
        time.ok_or(TimeOutOfRange)
    }
}

/// The system cannot hold a time that far away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time that this system cannot hold")]
pub struct TimeOutOfRange;
