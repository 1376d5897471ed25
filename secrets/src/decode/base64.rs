//! Base64 of either alphabet: where in a run of its digits a text is encoded, and what it is.

use std::ops::Range;

use super::{Writer, is_text, low_half, stretch};

/// Quads that must decode to text: 24 characters. Of random characters one quad in eighteen does, so
/// six in a row do by chance once in thirty million.
const SHORTEST: usize = 6;
/// Lines that others follow are at least so long; tools break at 60, 64 or 76.
const SHORTEST_LINE: usize = 48;

/// No digit.
const NONE: u8 = 0xff;
/// The value of each digit, of both alphabets at once: a text is written in one of them.
const VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut values = [NONE; 256];
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut value = 0_u8;
    while value < 64 {
        #[expect(
            clippy::indexing_slicing,
            reason = "evaluated by the compiler, within 64"
        )]
        let digit = digits[value as usize];
        #[expect(
            clippy::indexing_slicing,
            reason = "evaluated by the compiler, within 256"
        )]
        let place = &mut values[digit as usize];
        *place = value;
        value = value.wrapping_add(1);
    }
    #[expect(
        clippy::indexing_slicing,
        reason = "evaluated by the compiler, within 256"
    )]
    {
        values[b'-' as usize] = 62;
        values[b'_' as usize] = 63;
    }
    values
}

fn value(byte: u8) -> Option<u32> {
    let value = VALUES.get(usize::from(byte)).copied().unwrap_or(NONE);
    (value != NONE).then_some(u32::from(value))
}

/// Places, a bit each, that text may begin at, of those that may be the first, second and third digit of a quad: as many
/// quads in a row as there must be. Those of 64 bytes behind the places are needed too.
#[inline]
pub(crate) const fn rows([first, second, third]: [u128; 3]) -> u64 {
    let one = first & second >> 1 & third >> 2;
    let two = one & one >> 4;
    let four = two & two >> 8;
    low_half(four & two >> 16)
}

/// The part of `text` that begins at a place and encodes text.
pub(crate) fn part(text: &[u8], at: usize) -> Option<Range<usize>> {
    let (quads, _rest) = text.get(at..)?.as_chunks::<4>();
    let units = quads.iter().map_while(|quad| is_text_quad(*quad));
    let count = stretch(units, SHORTEST)?;
    let quads_end = at.saturating_add(count.saturating_mul(4));
    // With the odd digits after the last quad, and on over line breaks.
    let rest = text.get(quads_end..).unwrap_or_default();
    let odd = rest
        .iter()
        .take(4)
        .take_while(|byte| value(**byte).is_some())
        .count();
    let end = match odd {
        4 => quads_end,
        odd => wrapped_end(text, at, quads_end.saturating_add(odd)),
    };
    let padding = text.get(end..).unwrap_or_default().iter().take(2);
    let end = end.saturating_add(padding.take_while(|byte| **byte == b'=').count());
    Some(at..end)
}

/// Whether four digits are three bytes of text. `None` if they are not all digits.
#[inline]
fn is_text_quad(quad: [u8; 4]) -> Option<bool> {
    let bits = quad
        .iter()
        .try_fold(0_u32, |bits, digit| Some(bits << 6 | value(*digit)?))?;
    let [_none, bytes @ ..] = bits.to_be_bytes();
    Some(bytes.iter().all(|byte| is_text(*byte)))
}

/// Where base64 ends that is broken into lines, the first of which begins at `start` and ends at `end`.
fn wrapped_end(text: &[u8], start: usize, mut end: usize) -> usize {
    let mut line = end.saturating_sub(start);
    while line >= SHORTEST_LINE {
        let rest = text.get(end..).unwrap_or_default();
        let gap = rest
            .iter()
            .take_while(|byte| b"\r\n \t".contains(byte))
            .count();
        let broken = rest.get(..gap).is_some_and(|gap| gap.contains(&b'\n'));
        let digits = rest
            .iter()
            .skip(gap)
            .take_while(|byte| value(**byte).is_some())
            .count();
        if !broken || digits == 0 {
            break;
        }
        end = end.saturating_add(gap).saturating_add(digits);
        line = digits;
    }
    end
}

/// Whether a run of digits from a place is too long to be a word: 64 and more.
pub(crate) fn is_long(text: &[u8], at: usize) -> bool {
    let digits = text.get(at..).unwrap_or_default().iter().take(64);
    digits.filter(|byte| value(**byte).is_some()).count() == 64
}

/// Decodes the digits of `text`, passing over everything else; how many bytes that gave.
pub(crate) fn decode(text: &[u8], to: &mut [u8]) -> Option<usize> {
    let mut writer = Writer::new(to);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for digit in text.iter().filter_map(|byte| value(*byte)) {
        bits = bits << 6 | digit;
        count = count.wrapping_add(1);
        if count == 4 {
            let [_none, bytes @ ..] = bits.to_be_bytes();
            writer.put(&bytes)?;
            (bits, count) = (0, 0);
        }
    }
    match count {
        2 => writer.put(&[low_byte(bits >> 4)])?,
        3 => writer.put(&[low_byte(bits >> 10), low_byte(bits >> 2)])?,
        _ => {}
    }
    Some(writer.length())
}

fn low_byte(bits: u32) -> u8 {
    let [byte, ..] = bits.to_le_bytes();
    byte
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    reason = "tests"
)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn encode(bytes: &[u8], url: bool, pad: bool) -> String {
        let digits = if url {
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        } else {
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        };
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let mut three = [0; 3];
            three[..chunk.len()].copy_from_slice(chunk);
            let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
            for at in 0..=chunk.len() {
                text.push(char::from(digits[(bits >> (18 - 6 * at) & 63) as usize]));
            }
            if pad {
                text.push_str(&"=="[..3 - chunk.len()]);
            }
        }
        text
    }

    fn found(text: &str) -> Vec<String> {
        let text = text.as_bytes();
        let mut found = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let Some(part) = part(text, at) else {
                at += 1;
                continue;
            };
            at = part.end;
            let mut to = vec![0; text.len()];
            let length = decode(&text[part], &mut to).unwrap();
            found.push(String::from_utf8_lossy(&to[..length]).into_owned());
        }
        found
    }

    proptest! {
        #[test]
        fn a_text_is_found_wherever_it_stands(
            inner in "[ -~]{18,200}", url: bool, pad: bool, before in "[a-z/]{0,9}", break_at in prop_oneof![Just(1000_usize), Just(64), Just(76)]
        ) {
            let encoded = encode(inner.as_bytes(), url, pad);
            let lines: Vec<&str> = encoded.as_bytes().chunks(break_at).map(|line| std::str::from_utf8(line).unwrap()).collect();
            let text = format!("{before}{}", lines.join("\n"));
            let found = found(&text);
            prop_assert!(found.iter().any(|text| text.ends_with(&inner)), "{text} {found:?}");
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(text in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut to = [0; 75];
            prop_assert!(decode(&text, &mut to).is_some());
        }
    }

    #[test]
    fn what_is_no_text_is_left_alone() {
        assert_eq!(
            found("/usr/local/lib/python3/site-packages/with/a/long/path"),
            Vec::<String>::new()
        );
        assert_eq!(
            found("da39a3ee5e6b4b0d3255bfef95601890afd80709da39a3ee5e6b4b0d"),
            Vec::<String>::new()
        );
        assert_eq!(
            found("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"),
            Vec::<String>::new()
        );
    }
}
