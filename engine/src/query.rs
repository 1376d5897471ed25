//! The query of a request: decoded once, allowed key by key, and written anew.
//!
//! The engine reads a key that is there twice in one way here and another way there; so it is refused.

use std::fmt::Write as _;

use crate::refusal::{Refusal, printable};

/// Keys with their values, decoded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what follows the `?`.
    ///
    /// # Errors
    /// It is not well-formed, or has a key twice.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        Self::parse_with(text, &[])
    }

    /// The same, where the engine reads some keys as lists.
    ///
    /// # Errors
    /// It is not well-formed, or has another key twice.
    pub fn parse_with(text: &str, lists: &[&str]) -> Result<Self, Refusal> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(key), Some(value)) = (decode(key), decode(value)) else {
                return Err(Refusal::unknown("the query of the request"));
            };
            if !lists.contains(&key.as_str()) && pairs.iter().any(|(known, _)| *known == key) {
                let what = format!("a query with `{}` twice", printable(&key));
                return Err(Refusal::unknown(what));
            }
            pairs.push((key, value));
        }
        Ok(Self(pairs))
    }

    /// Fails on a key that is not among these.
    ///
    /// # Errors
    /// One is not.
    pub fn allow(&self, known: &[&str]) -> Result<(), Refusal> {
        let other = self
            .0
            .iter()
            .find(|(key, value)| !value.is_empty() && !known.contains(&key.as_str()));
        match other {
            Some((key, _)) => Err(Refusal::unknown(format!(
                "the query key `{}`",
                printable(key)
            ))),
            None => Ok(()),
        }
    }

    /// A value; `None` if it is not there or empty.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == key)?;
        Some(found.1.as_str()).filter(|value| !value.is_empty())
    }

    /// All values of a key that is a list.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let values = self.0.iter().filter(move |(known, _)| known == key);
        values
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// Adds a value to a list.
    pub fn add(&mut self, key: &str, value: impl Into<String>) {
        self.0.push((key.to_owned(), value.into()));
    }

    /// Whether a flag is set, as the engine reads one.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| {
            let value = value.trim().to_ascii_lowercase();
            !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
        })
    }

    /// Sets a value in place of what is there.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.remove(key);
        self.0.push((key.to_owned(), value.into()));
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &str) {
        self.0.retain(|(known, _)| known != key);
    }

    /// The query with its `?`, or nothing.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.0 {
            text.push(if text.is_empty() { '?' } else { '&' });
            encode_into(&mut text, key);
            text.push('=');
            encode_into(&mut text, value);
        }
        text
    }
}

fn encode_into(text: &mut String, part: &str) {
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _written = write!(text, "%{byte:02X}");
        }
    }
}

fn decode(part: &str) -> Option<String> {
    let mut bytes = part.bytes();
    let mut decoded = Vec::with_capacity(part.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let (high, low) = (bytes.next()?, bytes.next()?);
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(high)?.checked_mul(16)?.checked_add(digit(low)?)?).ok()?
            }
            b'+' => b' ',
            b';' | b'#' | 0..=0x20 | 0x7f.. => return None,
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(pairs in proptest::collection::btree_map(".*", ".*", 0..5)) {
            let query = Query(pairs.into_iter().collect());
            let text = query.encode();
            prop_assert_eq!(Query::parse(text.trim_start_matches('?')).unwrap(), query);
        }

        #[test]
        fn any_query_is_read_or_refused(text in ".*") {
            let _either = Query::parse(&text);
        }
    }

    #[test]
    fn a_key_may_be_there_once() {
        Query::parse("a=1&a=2").unwrap_err();
        Query::parse("a=1&%61=2").unwrap_err();
        Query::parse("a=1;b=2").unwrap_err();
        let query = Query::parse_with("t=1&t=2&t=", &["t"]).unwrap();
        assert_eq!(query.all("t").collect::<Vec<_>>(), ["1", "2"]);
        Query::parse_with("t=1&t=2&a=1&a=1", &["t"]).unwrap_err();
    }

    #[test]
    fn flags_are_read_as_the_engine_reads_them() {
        let query = Query::parse("a=1&b=0&c=False&d=true&e=").unwrap();
        let set = ["a", "b", "c", "d", "e", "f"].map(|key| query.flag(key));
        assert_eq!(set, [true, false, false, true, false, false]);
    }
}
