//! Times as tokens write them, to seconds of the Unix epoch.

/// `2026-01-31T12:30:00Z`, without seconds or time as well: what a SAS has as its expiry. UTC only.
pub(crate) fn extended(text: &[u8]) -> Option<i64> {
    let text = text.strip_suffix(b"Z").unwrap_or(text);
    let (date, time) = match text.iter().position(|byte| *byte == b'T') {
        Some(at) => (text.get(..at)?, text.get(at.checked_add(1)?..)?),
        None => (text, &b""[..]),
    };
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *date else {
        return None;
    };
    let day = day(
        number(&[y1, y2, y3, y4])?,
        number(&[m1, m2])?,
        number(&[d1, d2])?,
    )?;
    // Fractions of a second are passed over.
    let time = time.split(|byte| *byte == b'.').next()?;
    let second = match *time {
        [] => 0,
        [h1, h2, b':', n1, n2] => clock([h1, h2], [n1, n2], *b"00")?,
        [h1, h2, b':', n1, n2, b':', s1, s2] => clock([h1, h2], [n1, n2], [s1, s2])?,
        _ => return None,
    };
    day.checked_mul(86_400)?.checked_add(second)
}

/// `20260131T123000Z`: what AWS signs with.
pub(crate) fn basic(text: &[u8]) -> Option<i64> {
    let [
        y1,
        y2,
        y3,
        y4,
        m1,
        m2,
        d1,
        d2,
        b'T',
        h1,
        h2,
        n1,
        n2,
        s1,
        s2,
        b'Z',
    ] = *text
    else {
        return None;
    };
    let day = day(
        number(&[y1, y2, y3, y4])?,
        number(&[m1, m2])?,
        number(&[d1, d2])?,
    )?;
    let second = clock([h1, h2], [n1, n2], [s1, s2])?;
    day.checked_mul(86_400)?.checked_add(second)
}

/// A decimal number of any length that fits.
pub(crate) fn number(digits: &[u8]) -> Option<i64> {
    (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit)).then_some(())?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn clock(hour: [u8; 2], minute: [u8; 2], second: [u8; 2]) -> Option<i64> {
    let (hour, minute, second) = (number(&hour)?, number(&minute)?, number(&second)?);
    // 60 is a leap second.
    (hour < 24 && minute < 60 && second <= 60).then_some(())?;
    let minutes = hour.checked_mul(60)?.checked_add(minute)?;
    minutes.checked_mul(60)?.checked_add(second)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar, from 1970 to 9999.
fn day(year: i64, month: i64, day: i64) -> Option<i64> {
    /// Days before each month of a common year.
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let in_range = (1970..=9999).contains(&year) && (1..=31).contains(&day);
    in_range.then_some(())?;
    let before = BEFORE.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let leap_day = i64::from(is_leap && month > 2);
    let passed = year.checked_sub(1)?;
    let leaps = |year: i64| (year / 4).wrapping_sub(year / 100).wrapping_add(year / 400);
    let years = year.checked_sub(1970)?.checked_mul(365)?;
    let leaps = leaps(passed).checked_sub(leaps(1969))?;
    [leaps, *before, leap_day, day.checked_sub(1)?]
        .iter()
        .try_fold(years, |sum, part| sum.checked_add(*part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_are_read() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2000-03-01", 951_868_800),
            ("2024-12-31T00:00Z", 1_735_603_200),
            ("2026-11-22T08:30:15.1234567Z", 1_795_336_215),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(extended(text.as_bytes()), Some(seconds), "{text}");
        }
        assert_eq!(basic(b"20000229T235959Z"), Some(951_868_799));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2026",
            "2026-13-01",
            "2026-00-01",
            "2026-01-01T25:00Z",
            "2026-01-01T1:00Z",
        ] {
            assert_eq!(extended(text.as_bytes()), None, "{text}");
        }
        assert_eq!(basic(b"20000229T235959"), None);
        assert_eq!(number(b"+5"), None);
    }
}
