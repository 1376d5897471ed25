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

/// Follows where units of an encoding decode to text, letting single ones pass that do not.
#[derive(Clone, Copy, Default)]
struct Streak {
    /// The unit it begins with.
    from: usize,
    /// Units of text in it.
    good: usize,
    /// The unit after the last one of text.
    end: usize,
}

impl Streak {
    /// Takes the next unit; gives the streak back that it ends.
    fn take(&mut self, unit: usize, is_text: bool) -> Option<Self> {
        if is_text {
            if self.good == 0 {
                self.from = unit;
            }
            self.good = self.good.saturating_add(1);
            self.end = unit.saturating_add(1);
            return None;
        }
        let gap = unit.saturating_sub(self.end);
        (self.good > 0 && gap > 0).then(|| std::mem::take(self))
    }
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
