//! Hexadecimal digits: where in a run they encode a text, and what it is.

use std::ops::Range;

use super::{Writer, bits, hex_digit, is_text, stretches};

/// Pairs that must decode to text: 24 digits. Of random pairs three in eight do, so twelve in a row do
/// by chance once in a hundred thousand.
const SHORTEST: usize = 12;

/// Calls `each` for the parts of a run that encode text.
pub(crate) fn texts(text: &[u8], run: &Range<usize>, mut each: impl FnMut(Range<usize>)) {
    let digits = text.get(run.clone()).unwrap_or_default();
    if !may_be_text(digits) {
        return;
    }
    let mut from = run.start;
    for part in digits.split(|byte| hex_digit(*byte).is_none()) {
        let (pairs, _odd) = part.as_chunks::<2>();
        let place = |pair: usize| from.saturating_add(pair.saturating_mul(2));
        let units = pairs.iter().map(|pair| byte(*pair).is_some_and(is_text));
        stretches(units, SHORTEST, |begin, end| each(place(begin)..place(end)));
        from = from.saturating_add(part.len()).saturating_add(1);
    }
}

/// Whether so many pairs in a row, from any place, begin with a digit that text begins with: 2 to 7, and 0
/// for line breaks.
fn may_be_text(digits: &[u8]) -> bool {
    bits::any_block(digits, 2 * SHORTEST, |block| {
        let first = bits::mask(block, |byte| (byte.wrapping_sub(b'2') < 6) | (byte == b'0'));
        bits::in_a_row(first, 2, 12) != 0
    })
}

/// Decodes pairs of digits; how many bytes that gave. `None` if one is no digit, or there is no room.
pub(crate) fn decode(text: &[u8], to: &mut [u8]) -> Option<usize> {
    let (pairs, _odd) = text.as_chunks::<2>();
    let mut writer = Writer::new(to);
    for pair in pairs {
        writer.put(&[byte(*pair)?])?;
    }
    Some(writer.length())
}

fn byte([high, low]: [u8; 2]) -> Option<u8> {
    Some(hex_digit(high)? << 4 | hex_digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        texts(text.as_bytes(), &(0..text.len()), |part| {
            let mut to = vec![0; part.len() / 2];
            let length = decode(&text.as_bytes()[part], &mut to).unwrap();
            found.push(String::from_utf8_lossy(&to[..length]).into_owned());
        });
        found
    }

    #[test]
    fn text_is_found_in_either_case_and_after_other_letters() {
        assert_eq!(
            found("6120736563726574206f662074657874"),
            ["a secret of text"]
        );
        assert_eq!(
            found("0x6120736563726574206F662074657874z"),
            ["a secret of text"]
        );
        assert_eq!(found("61207365637265742"), Vec::<String>::new());
        assert_eq!(
            found("da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            Vec::<String>::new()
        );
    }
}
