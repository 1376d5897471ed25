//! Patterns of names: `*` stands for any characters but `/`, `**` for any at all.

#![forbid(unsafe_code)]

use std::fmt;

/// Longest pattern, in bytes.
const MOST_BYTES: usize = 256;

/// A pattern of repositories, workflows, refs or units. Letters are compared as they are.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Pattern(String);

impl Pattern {
    /// Reads one; `None` if it is empty, too long, or has control characters.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let usable =
            !text.is_empty() && text.len() <= MOST_BYTES && !text.chars().any(char::is_control);
        usable.then(|| Self(text.to_owned()))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for this name. Takes no more steps than the product of both lengths.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        // Which positions of the pattern can have been reached after each byte of the name.
        let tokens = self.tokens();
        let mut reached = vec![false; tokens.len().saturating_add(1)];
        if let Some(first) = reached.first_mut() {
            *first = true;
        }
        skip_stars(&tokens, &mut reached);
        for byte in name.bytes() {
            let mut next = vec![false; reached.len()];
            for (at, token) in tokens.iter().enumerate() {
                if reached.get(at) != Some(&true) {
                    continue;
                }
                let stays = match token {
                    Token::Any => true,
                    Token::Segment => byte != b'/',
                    Token::Byte(wanted) => {
                        if *wanted == byte
                            && let Some(after) = next.get_mut(at.saturating_add(1))
                        {
                            *after = true;
                        }
                        false
                    }
                };
                if stays && let Some(here) = next.get_mut(at) {
                    *here = true;
                }
            }
            skip_stars(&tokens, &mut next);
            reached = next;
        }
        reached.last() == Some(&true)
    }

    fn tokens(&self) -> Vec<Token> {
        let mut tokens = Vec::new();
        for byte in self.0.bytes() {
            match (byte, tokens.last()) {
                (b'*', Some(Token::Segment | Token::Any)) => {
                    tokens.pop();
                    tokens.push(Token::Any);
                }
                (b'*', _) => tokens.push(Token::Segment),
                (byte, _) => tokens.push(Token::Byte(byte)),
            }
        }
        tokens
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.0)
    }
}

/// One piece of a pattern.
#[derive(Clone, Copy, Debug)]
enum Token {
    Byte(u8),
    Segment,
    Any,
}

/// A star can stand for nothing: what is before it is also after it.
fn skip_stars(tokens: &[Token], reached: &mut [bool]) {
    for (at, token) in tokens.iter().enumerate() {
        let star = matches!(token, Token::Segment | Token::Any);
        if star
            && reached.get(at) == Some(&true)
            && let Some(after) = reached.get_mut(at.saturating_add(1))
        {
            *after = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(name)
    }

    #[test]
    fn a_star_stays_in_its_segment_and_two_do_not() {
        for (pattern, name, expected) in [
            ("acme/*", "acme/app", true),
            ("acme/*", "acme/app/x", false),
            ("acme/**", "acme/app/x", true),
            ("acme/*", "acme/", true),
            ("acme/*", "acmeapp", false),
            ("*", "", true),
            ("*", "a/b", false),
            ("**", "a/b", true),
            ("***", "a/b", true),
            ("refs/heads/release-*", "refs/heads/release-1", true),
            ("refs/heads/release-*", "refs/heads/release-1/x", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
            ("Acme/*", "acme/app", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in ["", "a\nb", &"x".repeat(MOST_BYTES + 1)] {
            assert_eq!(Pattern::parse(bad), None);
        }
    }

    /// The obvious one, which can take exponential time.
    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', b'*', rest @ ..] => {
                naive(rest, name)
                    || name
                        .split_first()
                        .is_some_and(|(_, name)| naive(pattern, name))
                    || (rest.first() == Some(&b'*') && naive(rest, name))
            }
            [b'*', rest @ ..] => {
                naive(rest, name)
                    || name
                        .split_first()
                        .is_some_and(|(byte, name)| *byte != b'/' && naive(pattern, name))
            }
            [byte, rest @ ..] => name
                .split_first()
                .is_some_and(|(first, name)| first == byte && naive(rest, name)),
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_obvious_one(pattern in "[ab/*]{1,8}", name in "[ab/]{0,8}") {
            // Runs of stars mean the same as two.
            let squeezed = {
                let mut text = pattern.clone();
                while text.contains("***") {
                    text = text.replace("***", "**");
                }
                text
            };
            prop_assert_eq!(matches(&pattern, &name), naive(squeezed.as_bytes(), name.as_bytes()));
        }
    }
}
