//! Taking encodings off: pure functions from bytes to a buffer of the caller's.
//!
//! What they write is a secret or may be one, so they write nowhere else.

pub(crate) mod base64;
pub(crate) mod escapes;
pub(crate) mod hex;
pub(crate) mod percent;

/// A buffer that bytes are written to, one after the other.
pub(crate) struct Writer<'b> {
    to: &'b mut [u8],
    length: usize,
}

impl<'b> Writer<'b> {
    pub(crate) const fn new(to: &'b mut [u8]) -> Self {
        Self { to, length: 0 }
    }

    /// Writes some bytes. `None` if there is no room for them.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.length.checked_add(bytes.len())?;
        self.to.get_mut(self.length..end)?.copy_from_slice(bytes);
        self.length = end;
        Some(())
    }

    /// How much was written.
    pub(crate) const fn length(&self) -> usize {
        self.length
    }
}

/// Whether a byte is one of text: printable ASCII, white space, or the zero that stands beside each
/// character in UTF-16.
pub(crate) const fn is_text(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r' | 0)
}

/// Turns UTF-16 of ASCII characters into ASCII: takes the zeros out of a text of which a third and more
/// are zeros. How long it is then.
pub(crate) fn squeeze(text: &mut [u8]) -> usize {
    let zeros = memchr::memchr_iter(0, text).count();
    if zeros.saturating_mul(3) < text.len() || zeros == 0 {
        return text.len();
    }
    let mut length = 0_usize;
    for at in 0..text.len() {
        let byte = text.get(at).copied().unwrap_or_default();
        if byte != 0 {
            if let Some(place) = text.get_mut(length) {
                *place = byte;
            }
            length = length.saturating_add(1);
        }
    }
    length
}

/// The lower half.
const fn low_half(bits: u128) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lower half of 128 bits"
    )]
    let half = bits as u64;
    half
}

/// How many units from the first one decode to text: so many in a row, then more, of which every second one
/// at least is text. `None` if there are not so many.
fn stretch(units: impl Iterator<Item = bool>, shortest: usize) -> Option<usize> {
    let (mut count, mut end, mut gap) = (0_usize, 0_usize, 0_usize);
    for is_text in units {
        count = count.saturating_add(1);
        if is_text {
            (end, gap) = (count, 0);
            continue;
        }
        gap = gap.saturating_add(1);
        if count <= shortest || gap > 1 {
            break;
        }
    }
    (end >= shortest).then_some(end)
}

/// The value of a hexadecimal digit.
pub(crate) const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Some(byte.wrapping_sub(b'A').wrapping_add(10)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf_16_becomes_ascii_and_other_text_stays() {
        let mut text = *b"t\0o\0k\0e\0n\0";
        let length = squeeze(&mut text);
        assert_eq!(&text[..length], b"token");
        let mut text = *b"one\0two";
        assert_eq!(squeeze(&mut text), 7);
        assert_eq!(squeeze(&mut []), 0);
    }
}
