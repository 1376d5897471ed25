//! Numbers for people. The exact ones are in the JSON.

use jiff::Timestamp;

/// `1 name`, `2 names`, `2 processes`.
pub(super) fn count(number: u64, noun: &str) -> String {
    let plural = match (number, noun.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{number} {noun}{plural}")
}

/// `999 B`, `1.4 KiB`, `45.9 MiB`: cut, not rounded, so that no size looks larger than it is.
pub(super) fn bytes(number: u64) -> String {
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
pub(super) fn duration(from: Timestamp, to: Timestamp) -> String {
    let milliseconds = to.duration_since(from).as_millis();
    format!(
        "{}.{} s",
        milliseconds / 1000,
        (milliseconds % 1000).abs() / 100
    )
}

/// UTC, to the second.
pub(super) fn time(time: Timestamp) -> String {
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
    }
}
