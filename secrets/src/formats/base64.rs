//! Base64 into memory of the caller.

/// The value of a character, of either alphabet.
const fn value(character: u8) -> Option<u32> {
    let value = match character {
        b'A'..=b'Z' => character.wrapping_sub(b'A'),
        b'a'..=b'z' => character.wrapping_sub(b'a').wrapping_add(26),
        b'0'..=b'9' => character.wrapping_sub(b'0').wrapping_add(52),
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(value as u32)
}

/// Bytes that so many characters decode to, at most.
pub(crate) const fn decoded_len(characters: usize) -> usize {
    characters.div_ceil(4).saturating_mul(3)
}

/// Decodes characters of either alphabet, padded or not, as far as `into` reaches.
///
/// `None` if there is another character than those or padding, or a lone last one. The last bits,
/// which a strict decoder wants to be zero, may be anything: what a token carries matters, not how
/// it was written.
pub(crate) fn decode<'m>(text: &[u8], into: &'m mut [u8]) -> Option<&'m [u8]> {
    let text = match text {
        [rest @ .., b'=', b'='] | [rest @ .., b'='] => rest,
        all => all,
    };
    (text.len() % 4 != 1).then_some(())?;
    let mut written: usize = 0;
    let mut bits: u32 = 0;
    let mut held: u32 = 0;
    for character in text {
        bits = bits.wrapping_shl(6) | value(*character)?;
        held = held.saturating_add(6);
        if held >= 8 {
            held = held.saturating_sub(8);
            let Some(slot) = into.get_mut(written) else {
                break;
            };
            *slot = bits.wrapping_shr(held).to_le_bytes().first().copied()?;
            written = written.saturating_add(1);
        }
    }
    into.get(..written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648_decode() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zg", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            let mut memory = [0; 8];
            assert_eq!(decode(text.as_bytes(), &mut memory), Some(bytes.as_bytes()));
        }
    }

    #[test]
    fn both_alphabets_decode_and_other_characters_do_not() {
        let mut memory = [0; 8];
        assert_eq!(decode(b"-_-_", &mut memory), Some(&[0xfb, 0xff, 0xbf][..]));
        assert_eq!(decode(b"+/+/", &mut memory), Some(&[0xfb, 0xff, 0xbf][..]));
        for wrong in ["Zm9 ", "Z", "Zm=v", "Zm9v\n"] {
            assert_eq!(decode(wrong.as_bytes(), &mut memory), None, "{wrong:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut memory = [0; 4];
        assert_eq!(decode(b"Zm9vYmFy", &mut memory), Some(&b"foob"[..]));
    }
}
