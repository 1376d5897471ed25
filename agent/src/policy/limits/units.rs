//! Amounts as people write them.

/// The units of sizes, largest first.
const SIZES: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

/// A size as in `64MiB`; without a unit, bytes. `None`: it is none, or does not fit.
pub(super) fn parse_bytes(text: &str) -> Option<u64> {
    let unit = SIZES
        .iter()
        .find_map(|(unit, each)| Some((text.strip_suffix(unit)?, *each)));
    let (digits, each) = unit.unwrap_or((text, 1));
    parse_digits(digits)?.checked_mul(each)
}

/// A share of processors as in `150%`, which is one and a half of them.
pub(super) fn parse_percent(text: &str) -> Option<u64> {
    parse_digits(text.strip_suffix('%')?)
}

/// Digits only: `parse` would take a sign.
fn parse_digits(text: &str) -> Option<u64> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// A size in the largest unit in which it is whole.
pub(super) fn show_bytes(bytes: u64) -> String {
    let whole = SIZES
        .iter()
        .find(|(_, each)| bytes > 0 && bytes.is_multiple_of(*each));
    match whole {
        Some((unit, each)) => format!("{}{unit}", bytes.checked_div(*each).unwrap_or_default()),
        None => bytes.to_string(),
    }
}

/// A time in the largest unit in which it is whole.
pub(super) fn show_seconds(seconds: u64) -> String {
    crate::policy::secrets::show_time(std::time::Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_and_shares_have_their_units() {
        assert_eq!(parse_bytes("0"), Some(0));
        assert_eq!(parse_bytes("4096"), Some(4096));
        assert_eq!(parse_bytes("64KiB"), Some(65_536));
        assert_eq!(parse_bytes("3GiB"), Some(3 << 30));
        assert_eq!(parse_bytes("2TiB"), Some(2 << 40));
        assert_eq!(parse_percent("150%"), Some(150));
        for text in [
            "",
            "GiB",
            "1 GiB",
            "1.5GiB",
            "-1",
            "+1",
            "1GB",
            "1gib",
            "1Gi",
            "ä",
            "99999999TiB",
            "18446744073709551616",
        ] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
        for text in ["", "%", "150", "1.5%", "-1%", "1 %", "1%%"] {
            assert_eq!(parse_percent(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn sizes_are_read_as_they_are_shown(bytes in any::<u64>(), shift in 0u32..40) {
            for bytes in [bytes, bytes >> shift << shift.min(20)] {
                prop_assert_eq!(parse_bytes(&show_bytes(bytes)), Some(bytes));
            }
        }

        #[test]
        fn reading_is_total(text in any::<String>()) {
            let _size = parse_bytes(&text);
            let _share = parse_percent(&text);
        }
    }
}
