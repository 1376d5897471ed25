//! Numbers for people. The exact ones are in the JSON.

use jiff::Timestamp;

/// `1 name`, `2 names`, `2 processes`, `2 entries`.
pub(in crate::report) fn count(number: u64, noun: &str) -> String {
    match (number, noun.strip_suffix("ry")) {
        (1, _) => format!("{number} {noun}"),
        (_, Some(stem)) => format!("{number} {stem}ries"),
        (_, None) if noun.ends_with('s') => format!("{number} {noun}es"),
        (_, None) => format!("{number} {noun}s"),
    }
}

/// `999 B`, `1.4 KiB`, `45.9 MiB`: cut, not rounded, so that no size looks larger than it is.
pub(in crate::report) fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut size = number;
    let mut rest = 0;
    let mut name = "";
    for unit in UNITS {
        if size < 1024 {
            break;
        }
        rest = size % 1024;
        size /= 1024;
        name = unit;
    }
    format!("{size}.{} {name}", rest.saturating_mul(10) / 1024)
}

/// `101.5 s`
pub(in crate::report) fn duration(from: Timestamp, to: Timestamp) -> String {
    let milliseconds = to.duration_since(from).as_millis();
    format!(
        "{}.{} s",
        milliseconds / 1000,
        (milliseconds % 1000).abs() / 100
    )
}

/// `812 ns`, `9.6 us`, `1.2 ms`, `3.4 s`: cut, not rounded.
pub(in crate::report) fn nanoseconds(number: u64) -> String {
    let (tenths, name) = match number {
        0..1_000 => return format!("{number} ns"),
        1_000..1_000_000 => (number / 100, "us"),
        1_000_000..1_000_000_000 => (number / 100_000, "ms"),
        _ => (number / 100_000_000, "s"),
    };
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// UTC, to the second.
pub(in crate::report) fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_cut_to_one_digit() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(1024 * 1024 - 1), "1023.9 KiB");
        assert_eq!(bytes(48_211_004), "45.9 MiB");
        assert_eq!(bytes(u64::MAX), "15.9 EiB");
    }

    #[test]
    fn nouns_follow_their_number() {
        assert_eq!(count(0, "rule"), "0 rules");
        assert_eq!(count(1, "rule"), "1 rule");
        assert_eq!(count(2, "process"), "2 processes");
        assert_eq!(count(1, "entry"), "1 entry");
        assert_eq!(count(2, "entry"), "2 entries");
    }

    #[test]
    fn spans_of_time_are_cut_to_one_digit() {
        assert_eq!(nanoseconds(0), "0 ns");
        assert_eq!(nanoseconds(999), "999 ns");
        assert_eq!(nanoseconds(1_999), "1.9 us");
        assert_eq!(nanoseconds(999_999_999), "999.9 ms");
        assert_eq!(nanoseconds(u64::MAX), "18446744073.7 s");
    }
}
