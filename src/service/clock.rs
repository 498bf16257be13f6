//! The one place where the wall clock is read: everything else takes the time as an argument, so that certificate and
//! lease tests can shift it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::calendar::{Civil, civil};

/// The wall time now.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one function that reads the wall clock")]
pub fn wall_time() -> SystemTime {
    SystemTime::now()
}

/// Seconds since 1970, 0 for a clock that stands before it.
#[must_use]
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `2025-03-01 14:51:34.803 UTC`: the form of Fabric's log lines (Go layout `2006-01-02 15:04:05.000 MST`).
#[must_use]
pub fn fabric_time(time: SystemTime) -> String {
    let Civil { date, time_of_day, millisecond } = civil(time);
    format!("{date} {time_of_day}.{millisecond:03} UTC")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_read_as_fabric_prints_them() {
        for (millis, text) in [
            (0, "1970-01-01 00:00:00.000 UTC"),
            (1_740_840_694_803, "2025-03-01 14:51:34.803 UTC"),
            (951_782_399_999, "2000-02-28 23:59:59.999 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00.000 UTC"),
            (1_735_689_599_000, "2024-12-31 23:59:59.000 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00.000 UTC"),
        ] {
            assert_eq!(fabric_time(UNIX_EPOCH + Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_clock_before_1970_counts_as_1970() {
        assert_eq!(unix_seconds(UNIX_EPOCH - Duration::from_secs(5)), 0);
    }
}
