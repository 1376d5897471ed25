//! CRC-32 (IEEE), in the ways that vendors write it.

/// The digits of base 62 as GitHub and npm have them.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE36: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// GitHub and npm: the last six characters of the body are the CRC of those before, in base 62 and
/// padded with zeros; the prefix is not part of it. Described by GitHub on 2021-04-05.
pub(crate) fn base62_at_end(body: &[u8]) -> Option<bool> {
    let (random, sum) = body.split_last_chunk::<6>()?;
    Some(digits(crc32fast::hash(random), BASE62) == *sum)
}

/// Cloudflare: eight hexadecimal digits, of what is before them without the prefix.
pub(crate) fn hex_at_end(body: &[u8]) -> Option<bool> {
    let (random, sum) = body.split_last_chunk::<8>()?;
    Some(parse_hex(sum)? == crc32fast::hash(random))
}

/// Grafana service accounts: of prefix and body, the bytes of the sum in reverse.
pub(crate) fn hex_reversed(prefix_and_body: &[u8], sum: &[u8]) -> Option<bool> {
    Some(parse_hex(sum)?.swap_bytes() == crc32fast::hash(prefix_and_body))
}

/// Atlassian: of all before it, the `=` included.
pub(crate) fn hex_after(all_before: &[u8], sum: &[u8]) -> Option<bool> {
    Some(parse_hex(sum)? == crc32fast::hash(all_before))
}

/// GitLab's routable tokens: the last seven characters are the CRC of all before them, prefix and
/// dots included, in base 36.
pub(crate) fn base36_at_end(token: &[u8]) -> Option<bool> {
    let (before, sum) = token.split_last_chunk::<7>()?;
    Some(digits(crc32fast::hash(before), BASE36) == *sum)
}

/// Azure DevOps tokens of 52 characters: four of their 32 bytes, scattered, are the CRC of the other
/// 28, changed by a number for each kind (microsoft/security-utilities, `AdoPat`).
pub(crate) fn azure_devops(decoded: &[u8; 32]) -> bool {
    /// User tokens, application tokens.
    const KINDS: [u32; 2] = [0xe0b9_692d, 0x1019_f92e];
    const SUM_AT: [usize; 4] = [22, 8, 7, 2];
    let mut crc = crc32fast::Hasher::new();
    for (index, byte) in decoded.iter().enumerate() {
        if !SUM_AT.contains(&index) {
            crc.update(&[*byte]);
        }
    }
    let crc = crc.finalize();
    let sum = SUM_AT.map(|index| decoded.get(index).copied().unwrap_or_default());
    KINDS
        .iter()
        .any(|kind| crc ^ kind == u32::from_le_bytes(sum))
}

/// A number in a base of so many digits, padded with zeros on the left.
fn digits<const BASE: usize, const N: usize>(mut number: u32, of: &[u8; BASE]) -> [u8; N] {
    let base = u32::try_from(BASE).unwrap_or(u32::MAX);
    let mut text = [b'0'; N];
    for slot in text.iter_mut().rev() {
        let digit = usize::try_from(number.checked_rem(base).unwrap_or_default());
        *slot = *digit.ok().and_then(|digit| of.get(digit)).unwrap_or(&b'0');
        number = number.checked_div(base).unwrap_or_default();
    }
    text
}

/// Eight hexadecimal digits of either case.
fn parse_hex(text: &[u8]) -> Option<u32> {
    (text.len() == 8 && text.iter().all(u8::is_ascii_hexdigit)).then_some(())?;
    u32::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_padded_on_the_left() {
        assert_eq!(digits(0, BASE62), *b"000000");
        assert_eq!(digits(61, BASE62), *b"00000z");
        assert_eq!(digits(62, BASE62), *b"000010");
        assert_eq!(digits(u32::MAX, BASE62), *b"4gfFC3");
        assert_eq!(digits(u32::MAX, BASE36), *b"1z141z3");
    }

    #[test]
    fn the_sum_is_of_the_bytes_before_it() {
        // CRC-32 of "123456789" is cbf43926, the check value of its definition.
        assert_eq!(hex_at_end(b"123456789cbf43926"), Some(true));
        assert_eq!(hex_after(b"123456789", b"CBF43926"), Some(true));
        assert_eq!(hex_reversed(b"123456789", b"2639f4cb"), Some(true));
        assert_eq!(hex_at_end(b"123456789cbf43927"), Some(false));
        assert_eq!(hex_at_end(b"123456789cbf4392z"), None);
        assert_eq!(hex_at_end(b"short"), None);
    }
}
