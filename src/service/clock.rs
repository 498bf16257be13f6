//! The one place where the wall clock is read: everything else takes the time as an argument, so that certificate and
//! lease tests can shift it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (year, month, day) = civil_date(since.as_secs() / 86_400);
    let second_of_day = since.as_secs() % 86_400;
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{:03} UTC", since.subsec_millis())
}

/// Year, month and day of a day counted from 1970-01-01: Gregorian, counted in cycles of 400 years that start in March,
/// so that the leap day comes last.
fn civil_date(days_since_1970: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468; // from 0000-03-01
    const DAYS_IN_CYCLE: u64 = 146_097; // 400 years
    let days = days_since_1970.saturating_add(DAYS_TO_1970);
    let (cycle, day) = (days / DAYS_IN_CYCLE, days % DAYS_IN_CYCLE);
    let year_of_cycle = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (cycle * 400 + year_of_cycle + u64::from(month <= 2), month, day_of_month)
}

#[cfg(test)]
mod tests {
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
