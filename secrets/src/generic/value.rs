//! What can be said of a value by looking at its characters.

/// Random secrets of fewer characters are told from words with too little certainty.
const SHORTEST_RANDOM: usize = 16;
/// Longer values are documents.
const LONGEST_RANDOM: usize = 4096;
/// Passwords that people make up.
const SHORTEST_PASSWORD: usize = 6;
const LONGEST_PASSWORD: usize = 64;

/// Whether a value is something that is no secret, by its form: a path, a URL, a number, a time, an
/// identifier of some kind, words.
pub(super) fn is_harmless(value: &[u8]) -> bool {
    is_path(value)
        || memchr::memmem::find(value, b"://").is_some()
        || is_number(value)
        || is_uuid(value)
        || is_address(value)
        || [
            &b"arn:"[..],
            b"urn:",
            b"sha256:",
            b"sha512:",
            b"sha256-",
            b"sha384-",
            b"sha512-",
            b"ssh-rsa ",
            b"ssh-ed25519 ",
        ]
        .iter()
        .any(|beginning| value.starts_with(beginning))
}

/// Whether a value looks as if a machine had made it: long enough, no words, and characters that vary as
/// random ones do.
pub(super) fn is_random(value: &[u8]) -> bool {
    let is_length = (SHORTEST_RANDOM..=LONGEST_RANDOM).contains(&value.len());
    if !is_length || !value.iter().all(u8::is_ascii_graphic) || is_wordy(value) {
        return false;
    }
    // Bits for each character, times eight. Sixteen random hexadecimal digits have about three bits, other random
    // texts of that length three and a half, text in words less for its length.
    let is_hex = value.iter().all(u8::is_ascii_hexdigit);
    let floor = if is_hex { 20 } else { 24 };
    entropy(value) >= floor
}

/// Whether a value could be a password that somebody made up: characters of two kinds, or several words.
pub(super) fn is_plausible(value: &[u8]) -> bool {
    let is_length = (SHORTEST_PASSWORD..=LONGEST_PASSWORD).contains(&value.len());
    if !is_length || value.iter().any(u8::is_ascii_control) {
        return false;
    }
    let has = |is: fn(&u8) -> bool| value.iter().any(is);
    let letters = has(u8::is_ascii_alphabetic);
    let digits = has(u8::is_ascii_digit);
    let signs = has(|byte| byte.is_ascii_punctuation() && !b"_-./".contains(byte));
    let words = value.split(|byte| *byte == b' ').count();
    let is_command = has(|byte| b"<>|;\"`".contains(byte));
    let kinds = [letters, digits, signs]
        .into_iter()
        .filter(|has| *has)
        .count();
    !is_command && if words == 1 { kinds >= 2 } else { words >= 3 }
}

/// The Shannon entropy of a value's bytes: bits for each, times eight.
fn entropy(value: &[u8]) -> u32 {
    let mut counts = [0_u32; 256];
    for byte in value {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count = count.saturating_add(1);
        }
    }
    // In sixty-fourths of a bit: sum of n (log2 N - log2 n), over N.
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
    let of_length = log2(length);
    let sum = counts
        .iter()
        .filter(|count| **count > 0)
        .fold(0_u64, |sum, count| {
            let bits = of_length.saturating_sub(log2(*count));
            sum.saturating_add(u64::from(*count).saturating_mul(u64::from(bits)))
        });
    let each = sum
        .checked_div(u64::from(length).saturating_mul(8))
        .unwrap_or(0);
    u32::try_from(each).unwrap_or(u32::MAX)
}

/// The binary logarithm in sixty-fourths, rounded down, exact to one of them.
fn log2(number: u32) -> u32 {
    let Some(whole) = number.checked_ilog2() else {
        return 0;
    };
    // The mantissa in 1..2, as 32.32; each squaring gives one bit more.
    let mut mantissa = u64::from(number) << 32 >> whole;
    let mut bits = whole;
    for _bit in 0..6 {
        let square = u128::from(mantissa).wrapping_mul(u128::from(mantissa)) >> 32;
        let over = u32::from(square >> 33 != 0);
        mantissa = u64::try_from(square >> over).unwrap_or(u64::MAX);
        bits = bits << 1 | over;
    }
    bits
}

/// Whether a value consists of words, and short numbers: `my-production-secret-2`, `SomeClassName`.
fn is_wordy(value: &[u8]) -> bool {
    value
        .split(|byte| !byte.is_ascii_alphanumeric())
        .all(|part| {
            let digits = part
                .iter()
                .rev()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            let (letters, _number) = part.split_at(part.len().saturating_sub(digits));
            let is_short = digits <= 4 || letters.is_empty() && digits <= 8;
            is_short && is_camel(letters)
        })
}

/// Whether letters are one word or several in camel case: no capital stands alone between small letters
/// more often than words begin.
fn is_camel(letters: &[u8]) -> bool {
    if !letters.iter().all(u8::is_ascii_alphabetic) {
        return false;
    }
    let words = letters
        .chunk_by(|one, next| !(one.is_ascii_lowercase() && next.is_ascii_uppercase()))
        .count();
    // Words have four letters and more, on average.
    words <= 1 || words.saturating_mul(4) <= letters.len()
}

fn is_path(value: &[u8]) -> bool {
    let [first, rest @ ..] = value else {
        return true;
    };
    match first {
        // Base64 may begin with a slash, and has digits and capitals where paths have words.
        b'/' => value.split(|byte| *byte == b'/').all(is_wordy_name),
        b'.' | b'~' => rest.first() == Some(&b'/') || rest.starts_with(b"./"),
        _ => {
            value.len() >= 3
                && value.get(1..3).is_some_and(|drive| drive == b":\\")
                && first.is_ascii_alphabetic()
        }
    }
}

fn is_wordy_name(name: &[u8]) -> bool {
    is_wordy(name) || name.len() <= 12
}

/// Numbers, versions, times, sizes: digits and the signs between them.
fn is_number(value: &[u8]) -> bool {
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    let signs = value
        .iter()
        .all(|byte| byte.is_ascii_digit() || b"+-.,:/ TZe".contains(byte));
    signs && digits > 0
}

fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// A mail address, or a name with dots in it.
fn is_address(value: &[u8]) -> bool {
    let host = value
        .rsplit(|byte| *byte == b'@')
        .next()
        .unwrap_or_default();
    let mut labels = 0_usize;
    let wordy = host.split(|byte| *byte == b'.').all(|label| {
        labels = labels.saturating_add(1);
        !label.is_empty() && is_wordy(label)
    });
    let user = value.len() != host.len();
    wordy && (user && labels >= 2 || labels >= 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_exact_to_a_sixty_fourth() {
        for number in 1..10_000_u32 {
            let exact = f64::from(number).log2() * 64.0;
            let got = f64::from(log2(number));
            assert!(
                got <= exact + 1e-6 && got > exact - 1.001,
                "{number}: {got} {exact}"
            );
        }
    }

    #[test]
    fn entropy_is_in_eighths_of_a_bit() {
        assert_eq!(entropy(b"aaaaaaaa"), 0);
        assert_eq!(entropy(b"abababab"), 8);
        assert_eq!(entropy(b"0123456789abcdef"), 32);
    }

    #[test]
    fn random_texts_are_nearly_always_seen_as_random() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = |digits: &[u8], length: usize| -> Vec<u8> {
            (0..length)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    digits[usize::try_from(state % digits.len() as u64).unwrap()]
                })
                .collect()
        };
        let base62 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        for (digits, length, least) in [
            (&base62[..16], 32, 990),
            (&base62[..16], 20, 970),
            (base62, 20, 975),
            (base62, 40, 995),
            (&base62[..36], 24, 980),
        ] {
            let seen = (0..1000)
                .filter(|_| is_random(&random(digits, length)))
                .count();
            assert!(seen >= least, "{} of {length}: {seen}", digits.len());
        }
    }
}
