//! `%2F`: what a URL, a form or a cookie makes of bytes it cannot hold.

use super::{Writer, hex_digit};

/// Whether a text holds a byte written so.
pub(crate) fn is_in(text: &[u8]) -> bool {
    memchr::memchr_iter(b'%', text).any(|at| byte(text.get(at..).unwrap_or_default()).is_some())
}

/// Decodes a text; how many bytes that gave. What is no escape stays as it is.
pub(crate) fn decode(text: &[u8], to: &mut [u8]) -> Option<usize> {
    let mut writer = Writer::new(to);
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if let Some(byte) = byte(rest) {
            writer.put(&[byte])?;
            rest = rest.get(3..).unwrap_or_default();
        } else {
            writer.put(&[*first])?;
            rest = after;
        }
    }
    Some(writer.length())
}

/// The byte that a text begins with, if it is written so.
fn byte(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else {
        return None;
    };
    Some(hex_digit(*high)? << 4 | hex_digit(*low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_the_rest_is_kept() {
        let decoded = |text: &str| {
            let mut to = [0; 64];
            let length = decode(text.as_bytes(), &mut to).unwrap();
            String::from_utf8(to[..length].to_vec()).unwrap()
        };
        assert_eq!(decoded("a%2Fb%3d%zz%4"), "a/b=%zz%4");
        assert!(is_in(b"100% of a%20b"));
        assert!(!is_in(b"100% of %it%"));
        assert_eq!(decode(b"abc", &mut [0; 2]), None);
    }
}
