//! JSON at the edges of evidence: read without tolerance, written so that it can be shown as it is.
//!
//! **Invariants**: an object that names a key twice is refused wherever it stands, because two
//! readers could see two different values; what is written is ASCII, so that no string of the job
//! can steer the terminal of whoever prints the file.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Reads a document: the whole input, no duplicate key, at most serde's 128 levels deep.
///
/// # Errors
/// It is not such a document, or not a `T`.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let Unambiguous(value) = serde_json::from_slice(bytes)?;
    serde_json::from_value(value)
}

/// Writes a document for people, in ASCII, with a newline at its end.
///
/// # Errors
/// The value has no JSON form.
pub fn pretty<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    let text = serde_json::to_string_pretty(value)?;
    let mut ascii = String::with_capacity(text.len().saturating_add(1));
    for character in text.chars() {
        push_ascii(&mut ascii, character);
    }
    ascii.push('\n');
    Ok(ascii)
}

/// Writes a document in one line, in ASCII, without a line feed.
///
/// # Errors
/// The value has no JSON form.
pub fn line<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let text = serde_json::to_string(value)?;
    if text.bytes().all(|byte| byte.is_ascii() && byte != 0x7f) {
        return Ok(text.into_bytes());
    }
    let mut ascii = String::with_capacity(text.len().saturating_mul(2));
    for character in text.chars() {
        push_ascii(&mut ascii, character);
    }
    Ok(ascii.into_bytes())
}

/// Characters outside ASCII, and DEL, occur only inside strings: there an escape means the same.
fn push_ascii(ascii: &mut String, character: char) {
    if character.is_ascii() && character != '\u{7f}' {
        ascii.push(character);
        return;
    }
    for unit in character.encode_utf16(&mut [0; 2]) {
        ascii.extend(["\\u", &format!("{unit:04x}")]);
    }
}

/// Any JSON value in which no object has a key twice.
struct Unambiguous(Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk).map(Self)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unambiguous(item)) = seq.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            let Unambiguous(value) = map.next_value()?;
            if object.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(format_args!("duplicate key {key:?}")));
            }
        }
        Ok(Value::Object(object.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::{Report, fixture};

    #[test]
    fn the_report_file_is_the_golden_one_and_is_read_back_the_same() {
        let text = pretty(&fixture::report()).unwrap();
        fixture::assert_golden("egress-report.json", &text);
        assert_eq!(parse::<Report>(text.as_bytes()).unwrap(), fixture::report());
    }

    #[test]
    fn a_key_given_twice_is_refused_at_any_depth() {
        parse::<Value>(br#"{"a":1,"b":{"a":2}}"#).unwrap();
        parse::<Value>(br#"{"a":1,"a":1}"#).unwrap_err();
        parse::<Value>(br#"[{"x":{"a":1,"\u0061":2}}]"#).unwrap_err();
    }

    #[test]
    fn what_follows_the_document_is_refused() {
        parse::<Value>(b"{} {}").unwrap_err();
        parse::<Value>(b"{}\0").unwrap_err();
    }

    #[test]
    fn depth_is_bounded() {
        parse::<Value>("[".repeat(100_000).as_bytes()).unwrap_err();
    }

    proptest! {
        #[test]
        fn any_string_is_written_in_ascii_and_read_back_the_same(text in any::<String>()) {
            let written = pretty(&text).unwrap();
            prop_assert!(written.trim_end().bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            prop_assert_eq!(parse::<String>(written.as_bytes()).unwrap(), text);
        }

        #[test]
        fn parsing_is_total(bytes in any::<Vec<u8>>()) {
            drop(parse::<Value>(&bytes));
        }
    }
}
