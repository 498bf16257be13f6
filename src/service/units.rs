//! Sizes and durations as operators write them: `1GiB`, `10MB`, `30s`, `1h30m`.

use std::time::Duration;

/// A text that is no size or duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// No size.
    #[error("{0:?} is no size: write a number of bytes or one with KiB, MiB, GiB, TiB (1024), KB, MB, GB, TB (1000)")]
    Size(String),
    /// No duration.
    #[error("{0:?} is no duration: write it as 250ms, 30s, 5m, 1h30m")]
    Duration(String),
}

const SIZE_UNITS: [(&str, u64); 10] = [
    ("tib", 1 << 40),
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("b", 1),
    ("", 1),
];

/// Bytes of `1GiB`, `256MiB`, `1.5GB`, `4096`; without regard to case and spaces. What is less than a byte is dropped.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let bad = || UnitError::Size(text.chars().take(40).collect());
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
    let digits = compact.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = compact.get(digits.len()..).ok_or_else(bad)?;
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?;
    let is_plain = |digits: &str| !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
    let (whole, part) = match digits.split_once('.') {
        // Nanobytes at the least: more digits say nothing.
        Some((whole, part)) if is_plain(part) && part.len() <= 9 => (whole, part),
        Some(_) => return Err(bad()),
        None => (digits, "0"),
    };
    let number: u64 = if is_plain(whole) { whole.parse().map_err(|_| bad())? } else { return Err(bad()) };
    let tenths: u64 = part.parse().map_err(|_| bad())?;
    let scale = 10u64.pow(u32::try_from(part.len()).map_err(|_| bad())?);
    let rest = u64::try_from(u128::from(tenths) * u128::from(*factor) / u128::from(scale)).map_err(|_| bad())?;
    number.checked_mul(*factor).and_then(|bytes| bytes.checked_add(rest)).ok_or_else(bad)
}

/// A duration in Go's form, and in days, whole numbers only: `250ms`, `30s`, `5m`, `1h30m`, `7d`, `0`.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let bad = || UnitError::Duration(text.chars().take(40).collect());
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let after_digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let (digits, _) = rest.split_at(rest.len() - after_digits.len());
        let number: u64 = digits.parse().map_err(|_| bad())?;
        let tail = after_digits.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        let (unit, _) = after_digits.split_at(after_digits.len() - tail.len());
        let part = match unit {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(3600).map(Duration::from_secs),
            "d" => number.checked_mul(86_400).map(Duration::from_secs),
            _ => None,
        };
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(bad)?;
        rest = tail;
    }
    if text.is_empty() { Err(bad()) } else { Ok(total) }
}

/// Bytes for people: `27.4 KB`, `1.07 GB` (powers of 1000, three digits).
#[must_use]
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64 / 1000.0;
    let mut unit = "KB";
    for bigger in UNITS.iter().skip(1) {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = bigger;
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_and_nonsense_does_not() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("1GiB", 1 << 30),
            ("256MiB", 256 << 20),
            ("10MB", 10_000_000),
            ("64 kib", 65536),
            ("1.5GB", 1_500_000_000),
            ("0.5 KiB", 512),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for bad in [
            "",
            "GiB",
            "-1",
            "1.GiB",
            ".5GiB",
            "1.5.0GiB",
            "1.0000000001GB",
            "1XB",
            "+1",
            "99999999999999999999",
            "99999999TiB",
            "1 GiB x",
        ] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_parse_and_nonsense_does_not() {
        for (text, millis) in [("30s", 30_000), ("250ms", 250), ("1h30m", 5_400_000), ("2d", 172_800_000), ("0", 0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "30", "s", "-1s", "1w", "1s2", "99999999999999999999h", "18446744073709551615h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_read_well() {
        for (bytes, text) in
            [(0, "0 B"), (999, "999 B"), (27_412, "27.4 KB"), (1 << 30, "1.07 GB"), (999_999, "1.00 MB")]
        {
            assert_eq!(format_bytes(bytes), text);
        }
    }
}
