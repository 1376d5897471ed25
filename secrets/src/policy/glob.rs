//! Patterns for names: `*` stands for any text, `?` for one character.

use std::fmt;

/// A pattern. Letters are compared as they are.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Glob(String);

/// Why a text is no pattern.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum GlobError {
    /// It would match nothing.
    #[error("a pattern is not empty")]
    Empty,
    /// Too long.
    #[error("a pattern has at most {LONGEST} bytes")]
    Long,
    /// Bytes that no name that is shown has.
    #[error("a pattern consists of printable ASCII characters")]
    Unprintable,
}

/// Longer names are never shown, paths are not much longer.
const LONGEST: usize = 256;

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// The text is empty, too long, or not printable.
    pub fn new(text: &str) -> Result<Self, GlobError> {
        if text.is_empty() {
            return Err(GlobError::Empty);
        }
        if text.len() > LONGEST {
            return Err(GlobError::Long);
        }
        if text
            .bytes()
            .any(|byte| byte.is_ascii_control() || !byte.is_ascii())
        {
            return Err(GlobError::Unprintable);
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether the whole text is as the pattern says. Takes at most the product of both lengths.
    pub fn matches(&self, text: &str) -> bool {
        let (mut pattern, mut rest) = (self.0.as_bytes(), text.as_bytes());
        // Where to go on after the last star, with one byte more under it.
        let mut retry: Option<(&[u8], &[u8])> = None;
        loop {
            match (pattern, rest) {
                ([b'*', after @ ..], _) => {
                    retry = Some((after, rest));
                    pattern = after;
                }
                ([one, after @ ..], [byte, left @ ..]) if one == byte || *one == b'?' => {
                    (pattern, rest) = (after, left);
                }
                ([], []) => return true,
                _ => {
                    let Some((after, [_under, left @ ..])) = retry else {
                        return false;
                    };
                    retry = Some((after, left));
                    (pattern, rest) = (after, left);
                }
            }
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
