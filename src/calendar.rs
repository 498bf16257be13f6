//! Points in time as people write them: UTC, in the Gregorian calendar.
//!
//! Decides no format; whoever prints a time puts the parts together. Below all layers, since most of them print times.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The parts of a time in UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Civil {
    /// `2025-03-01`.
    pub(crate) date: String,
    /// `14:51:34`.
    pub(crate) time_of_day: String,
    /// 0 to 999.
    pub(crate) millisecond: u32,
}

/// The parts of `time`; a time before 1970 counts as 1970.
pub(crate) fn civil(time: SystemTime) -> Civil {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (year, month, day) = civil_date(since.as_secs() / 86_400);
    let second_of_day = since.as_secs() % 86_400;
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    Civil {
        date: format!("{year:04}-{month:02}-{day:02}"),
        time_of_day: format!("{hour:02}:{minute:02}:{second:02}"),
        millisecond: since.subsec_millis(),
    }
}

/// `2025-03-01T14:51:34.803Z`, as RFC 3339 has it.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let Civil { date, time_of_day, millisecond } = civil(time);
    format!("{date}T{time_of_day}.{millisecond:03}Z")
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
    fn times_read_as_rfc_3339_has_them() {
        let leap_day = UNIX_EPOCH + Duration::from_millis(1_709_164_800_007);
        assert_eq!(rfc3339(leap_day), "2024-02-29T00:00:00.007Z");
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
    }
}
