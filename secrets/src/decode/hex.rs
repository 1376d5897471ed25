//! Hexadecimal digits: where in a run they encode a text, and what it is.

use std::ops::Range;

use super::{Writer, hex_digit, is_text, low_half, stretch};

/// Pairs that must decode to text: 24 digits. Of random pairs three in eight do, so twelve in a row do
/// by chance once in a hundred thousand.
const SHORTEST: usize = 12;

/// Places, a bit each, that text may begin at, of those that may be the first digit of a byte of text: as many bytes in
/// a row as there must be. Those of 64 bytes behind the places are needed too.
#[inline]
pub(crate) const fn rows(one: u128) -> u64 {
    let two = one & one >> 2;
    let four = two & two >> 4;
    let eight = four & four >> 8;
    low_half(eight & four >> 16)
}

/// Calls `each` for the parts that encode text of the run of digits around a place, but for nothing before `from`;
/// where the run ends.
pub(crate) fn parts(
    text: &[u8],
    at: usize,
    from: usize,
    mut each: impl FnMut(Range<usize>),
) -> usize {
    let is_digit = |byte: &&u8| hex_digit(**byte).is_some();
    let after = text
        .get(at..)
        .unwrap_or_default()
        .iter()
        .take_while(is_digit)
        .count();
    let before = text
        .get(from..at)
        .unwrap_or_default()
        .iter()
        .rev()
        .take_while(is_digit)
        .count();
    let end = at.saturating_add(after);
    let start = at.saturating_sub(before);
    // A digit may be glued to the front.
    for mut begin in start..start.saturating_add(2) {
        while let Some(row) = text.get(begin..end).and_then(|run| run.get(..2 * SHORTEST)) {
            let (pairs, _none) = row.as_chunks::<2>();
            // From the back: what is no text there leaves the least to go on with.
            let last = pairs
                .iter()
                .rposition(|pair| !byte(*pair).is_some_and(is_text));
            if let Some(last) = last {
                begin = begin.saturating_add(last.saturating_add(1).saturating_mul(2));
                continue;
            }
            let (pairs, _odd) = text.get(begin..end).unwrap_or_default().as_chunks::<2>();
            let units = pairs.iter().map(|pair| byte(*pair).is_some_and(is_text));
            let count = stretch(units, SHORTEST).unwrap_or(SHORTEST);
            let next = begin.saturating_add(count.saturating_mul(2));
            each(begin..next);
            begin = next;
        }
    }
    end.max(at.saturating_add(1))
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
        let mut from = 0;
        for at in 0..text.len() {
            if at < from || hex_digit(text.as_bytes()[at]).is_none() {
                continue;
            }
            from = parts(text.as_bytes(), at, from, |part| {
                let mut to = vec![0; part.len() / 2];
                let length = decode(&text.as_bytes()[part], &mut to).unwrap();
                found.push(String::from_utf8_lossy(&to[..length]).into_owned());
            });
        }
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
        assert_eq!(
            found("a6120736563726574206f662074657874"),
            ["a secret of text"]
        );
        assert_eq!(found("61207365637265742"), Vec::<String>::new());
        assert_eq!(
            found("da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            Vec::<String>::new()
        );
    }
}
