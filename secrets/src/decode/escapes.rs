//! Escapes with a backslash: those of JSON strings, `\x41`, and a shell's before any other byte.

use super::{Writer, hex_digit};

/// Whether a text holds an escape.
pub(crate) fn is_in(text: &[u8]) -> bool {
    memchr::memchr(b'\\', text).is_some_and(|at| at.saturating_add(1) < text.len())
}

/// Decodes a text; how many bytes that gave. Never more than it had.
pub(crate) fn decode(text: &[u8], to: &mut [u8]) -> Option<usize> {
    let mut writer = Writer::new(to);
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at_checked(at)?;
        writer.put(plain)?;
        let used = unescape(escape, &mut writer)?;
        rest = escape.get(used..).unwrap_or_default();
    }
    writer.put(rest)?;
    Some(writer.length())
}

/// Decodes the escape that a text begins with; how many bytes of it that took.
fn unescape(escape: &[u8], writer: &mut Writer<'_>) -> Option<usize> {
    let Some(letter) = escape.get(1) else {
        writer.put(b"\\")?;
        return Some(1);
    };
    match letter {
        b'n' => writer.put(b"\n")?,
        b'r' => writer.put(b"\r")?,
        b't' => writer.put(b"\t")?,
        b'b' | b'f' | b'0' => writer.put(b" ")?,
        b'x' => {
            if let Some(number) = digits::<2>(escape) {
                let [byte, ..] = number.to_le_bytes();
                writer.put(&[byte])?;
                return Some(4);
            }
            writer.put(b"x")?;
        }
        b'u' => {
            if let Some(number) = digits::<4>(escape) {
                // Halves of surrogate pairs are in no secret.
                let character = char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER);
                let mut utf8 = [0; 4];
                writer.put(character.encode_utf8(&mut utf8).as_bytes())?;
                return Some(6);
            }
            writer.put(b"u")?;
        }
        other => writer.put(&[*other])?,
    }
    Some(2)
}

/// The number in the hexadecimal digits after the letter of an escape.
fn digits<const N: usize>(escape: &[u8]) -> Option<u32> {
    let digits = escape.get(2..).and_then(|rest| rest.first_chunk::<N>())?;
    digits.iter().try_fold(0, |number, digit| {
        Some(number << 4 | u32::from(hex_digit(*digit)?))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &str) -> String {
        let mut to = vec![0; text.len()];
        let length = decode(text.as_bytes(), &mut to).unwrap();
        String::from_utf8(to[..length].to_vec()).unwrap()
    }

    #[test]
    fn each_escape_is_what_it_stands_for() {
        assert_eq!(
            decoded(r#"a\nb\tc\"d\\e\/f\u0041\x42\u00e9"#),
            "a\nb\tc\"d\\e/fAB\u{e9}"
        );
        assert_eq!(decoded(r"it\'s \$5 \u12 \xg"), "it's $5 u12 xg");
        assert_eq!(decoded("end\\"), "end\\");
        assert!(!is_in(b"end\\"));
    }

    proptest! {
        #[test]
        fn it_never_needs_more_room_than_the_text(text in "(\\\\(u[0-9a-f]{0,5}|x[0-9a-f]{0,3}|.)|[ -~]){0,40}") {
            let mut to = vec![0; text.len()];
            prop_assert!(decode(text.as_bytes(), &mut to).is_some());
        }
    }
}
