//! Alphabets, boundaries and a cursor: what the formats read with.
//!
//! Nothing here allocates or looks further than the caller's limits.

use std::ops::{Range, RangeInclusive};

/// A set of ASCII characters. A byte above 127 is in none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Alphabet(u128);

pub(crate) const DIGITS: Alphabet = Alphabet::of(b"0123456789");
pub(crate) const LOWER: Alphabet = Alphabet::of(b"abcdefghijklmnopqrstuvwxyz");
pub(crate) const UPPER: Alphabet = Alphabet::of(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ");
pub(crate) const LETTERS: Alphabet = LOWER.and(UPPER);
pub(crate) const ALNUM: Alphabet = LETTERS.and(DIGITS);
pub(crate) const LOWER_ALNUM: Alphabet = LOWER.and(DIGITS);
pub(crate) const UPPER_ALNUM: Alphabet = UPPER.and(DIGITS);
/// Hexadecimal as nearly all vendors write it: lower case.
pub(crate) const HEX: Alphabet = DIGITS.and(Alphabet::of(b"abcdef"));
pub(crate) const HEX_ANY: Alphabet = HEX.and(Alphabet::of(b"ABCDEF"));
/// Base64, without its padding.
pub(crate) const BASE64: Alphabet = ALNUM.and(Alphabet::of(b"+/"));
/// Base64 for URLs, without padding; also what a variable's or a token's name is made of.
pub(crate) const BASE64_URL: Alphabet = ALNUM.and(Alphabet::of(b"-_"));
/// What base64 may end with.
pub(crate) const PADDING: Alphabet = Alphabet::of(b"=");
pub(crate) const BASE32: Alphabet = UPPER.and(Alphabet::of(b"234567"));
pub(crate) const BASE32_LOWER: Alphabet = LOWER.and(Alphabet::of(b"234567"));

impl Alphabet {
    /// Exactly these characters.
    pub(crate) const fn of(mut characters: &[u8]) -> Self {
        let mut set = 0;
        while let [first, rest @ ..] = characters {
            set |= 1_u128.wrapping_shl(*first as u32);
            characters = rest;
        }
        Self(set)
    }

    /// Both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether this byte is one of them.
    pub(crate) const fn has(self, byte: u8) -> bool {
        byte.is_ascii() && self.0.wrapping_shr(byte as u32) & 1 == 1
    }

    /// How many bytes of the text, from its start and at most `limit`, are of it.
    pub(crate) fn run(self, text: &[u8], limit: usize) -> usize {
        text.iter()
            .take(limit)
            .take_while(|byte| self.has(**byte))
            .count()
    }

    /// The same from the text's end, backwards.
    pub(crate) fn run_back(self, text: &[u8], limit: usize) -> usize {
        text.iter()
            .rev()
            .take(limit)
            .take_while(|byte| self.has(**byte))
            .count()
    }
}

/// Whether a token of this alphabet can begin at `at`: what is before it is no part of it.
///
/// Letters and digits before it are, whatever the alphabet. The exception is the end of an escape,
/// by which a token is glued to what precedes it: `%3D`, `\n`, `\u003d`.
pub(crate) fn begins(text: &[u8], at: usize, alphabet: Alphabet) -> bool {
    let hex = |digits: &[u8]| digits.iter().all(|digit| HEX_ANY.has(*digit));
    let Some(before) = text.get(..at) else {
        return false;
    };
    match before {
        [] | [.., b'\\', b'n' | b'r' | b't'] => true,
        [.., last] if !alphabet.and(ALNUM).has(*last) => true,
        [.., b'%', high, low] | [.., b'\\', b'x', high, low] => hex(&[*high, *low]),
        [.., b'\\', b'u', a, b, c, d] => hex(&[*a, *b, *c, *d]),
        _ => false,
    }
}

/// Whether a token of this alphabet can end before `end`: neither a character of it nor a letter or
/// digit follows.
pub(crate) fn ends(text: &[u8], end: usize, alphabet: Alphabet) -> bool {
    text.get(end)
        .is_none_or(|next| !alphabet.and(ALNUM).has(*next))
}

/// Where the whole text is one run of the alphabet, but for white space and quotes around it.
pub(crate) fn whole(
    text: &[u8],
    alphabet: Alphabet,
    lengths: RangeInclusive<usize>,
) -> Option<Range<usize>> {
    let span = trimmed(text);
    let mut cursor = Cursor::new(text, span.start);
    cursor.run(alphabet, lengths)?;
    (cursor.at() == span.end).then_some(span)
}

/// The text without white space and one pair of quotes around it.
pub(crate) fn trimmed(text: &[u8]) -> Range<usize> {
    let inner = text.trim_ascii();
    let front = text.len().saturating_sub(text.trim_ascii_start().len());
    let (front, inner) = match inner {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => (front.saturating_add(1), inner),
        inner => (front, inner),
    };
    front..front.saturating_add(inner.len())
}

/// Reads a token from left to right; each step is there or the token is none.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Cursor<'t> {
    pub(crate) const fn new(text: &'t [u8], at: usize) -> Self {
        Self { text, at }
    }

    /// Where it stands.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// What is still unread.
    pub(crate) fn rest(&self) -> &'t [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Exactly these bytes.
    pub(crate) fn literal(&mut self, bytes: &[u8]) -> Option<()> {
        self.rest().starts_with(bytes).then_some(())?;
        self.skip(bytes.len())
    }

    /// Passes over this many bytes; none if there are not as many.
    pub(crate) fn skip(&mut self, count: usize) -> Option<()> {
        let next = self.at.checked_add(count)?;
        (next <= self.text.len()).then_some(())?;
        self.at = next;
        Some(())
    }

    /// Exactly `count` characters of the alphabet. More of them may follow.
    pub(crate) fn take(&mut self, alphabet: Alphabet, count: usize) -> Option<&'t [u8]> {
        (alphabet.run(self.rest(), count) == count).then_some(())?;
        let taken = self.rest().get(..count)?;
        self.skip(count)?;
        Some(taken)
    }

    /// All characters of the alphabet that follow, if there are as many as `lengths` says.
    pub(crate) fn run(
        &mut self,
        alphabet: Alphabet,
        lengths: RangeInclusive<usize>,
    ) -> Option<&'t [u8]> {
        // One more than wanted shows that it is too long; nothing reads further.
        let count = alphabet.run(self.rest(), lengths.end().saturating_add(1));
        lengths.contains(&count).then_some(())?;
        let run = self.rest().get(..count)?;
        self.skip(count)?;
        Some(run)
    }

    /// Passes over up to `limit` characters of the alphabet, perhaps none.
    pub(crate) fn pass(&mut self, alphabet: Alphabet, limit: usize) {
        let count = alphabet.run(self.rest(), limit);
        self.at = self.at.saturating_add(count);
    }

    /// Whether a token of this alphabet can end here.
    pub(crate) fn ends(&self, alphabet: Alphabet) -> Option<()> {
        ends(self.text, self.at, alphabet).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alphabet_has_its_characters_and_no_others() {
        for byte in 0..=u8::MAX {
            assert_eq!(HEX.has(byte), matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            assert_eq!(BASE32.has(byte), matches!(byte, b'A'..=b'Z' | b'2'..=b'7'));
            assert_eq!(ALNUM.has(byte), byte.is_ascii_alphanumeric());
        }
    }

    #[test]
    fn a_token_begins_after_what_is_not_its_own() {
        for (before, can) in [
            ("", true),
            ("=", true),
            (" ", true),
            (":", true),
            ("_", true),
            ("a", false),
            ("D", false),
            ("%3D", true),
            ("%zD", false),
            ("3D", false),
            ("\\n", true),
            ("n", false),
            ("\\u003d", true),
            ("u003d", false),
            ("\\x3d", true),
        ] {
            assert_eq!(
                begins(before.as_bytes(), before.len(), ALNUM),
                can,
                "{before:?}"
            );
        }
        assert!(!begins(b"_", 1, BASE64_URL));
    }

    #[test]
    fn a_run_that_is_too_long_is_none() {
        let mut cursor = Cursor::new(b"aaaa", 0);
        assert!(cursor.run(LOWER, 1..=3).is_none());
        assert_eq!(cursor.at(), 0);
        assert_eq!(cursor.run(LOWER, 1..=4), Some(&b"aaaa"[..]));
        assert!(cursor.ends(LOWER).is_some());
    }
}
