//! The fields of a JSON document in a value, each with the name it has there.

use std::ops::Range;

use zeroize::Zeroize as _;

use super::inspect::Text;
use crate::decode::escapes;
use crate::json::{Fields, Value};

/// A text in a document.
pub(super) struct Field<'t> {
    /// Its key, as written.
    pub(super) name: &'t [u8],
    /// Where that begins in the text that the document is in.
    pub(super) name_at: usize,
    /// What is between the quotes, as written.
    pub(super) value: &'t [u8],
    /// Where that begins in the text that the document is in.
    pub(super) at: usize,
}

/// Whether a value looks like a document. Whether it is one shows when it is read.
pub(super) fn is_document(value: &[u8]) -> bool {
    matches!(value.trim_ascii().first(), Some(b'{' | b'['))
}

/// The texts of the document that the value is, up to where it is none.
pub(super) fn of(text: Text<'_>) -> Vec<Field<'_>> {
    Fields::of(text.bytes, text.value, text.bytes.len())
        .filter_map(|field| match field.value {
            Value::Text(value) => Some(Field {
                name: field.key.raw,
                name_at: field.key.at,
                value: value.raw,
                at: value.at,
            }),
            Value::Number(_) | Value::Word(_) => None,
        })
        .collect()
}

/// The field whose value a place in the text is in.
pub(super) fn around<'f, 't>(fields: &'f [Field<'t>], at: usize) -> Option<&'f Field<'t>> {
    let after = fields.partition_point(|field| field.at <= at);
    let field = fields.get(after.checked_sub(1)?)?;
    field.span().contains(&at).then_some(field)
}

impl Field<'_> {
    /// Where its value is in the text that the document is in.
    pub(super) fn span(&self) -> Range<usize> {
        self.at..self.at.saturating_add(self.value.len())
    }

    /// Where its name is.
    pub(super) fn name_span(&self) -> Range<usize> {
        self.name_at..self.name_at.saturating_add(self.name.len())
    }

    /// Whether it is written with escapes.
    pub(super) fn is_escaped(&self) -> bool {
        escapes::is_in(self.value)
    }
}

/// The longest name that is written in other ways.
const LONGEST: usize = 128;

/// Calls `known` with a name as it is written, and, if it does not know that one, with the way an environment variable
/// would be written: `clientSecret` and `client-secret` as `CLIENT_SECRET`.
pub(super) fn with_spellings(name: &[u8], mut known: impl FnMut(&[u8]) -> bool) {
    if known(name) || name.len() > LONGEST {
        return;
    }
    // In upper case, every small letter may have an underscore before it.
    let mut room = [0; LONGEST * 2];
    let length = spell(name, &mut room);
    let spelt = room.get(..length).unwrap_or_default();
    if spelt != name {
        known(spelt);
    }
    room.zeroize();
}

fn spell(name: &[u8], room: &mut [u8]) -> usize {
    let mut length = 0_usize;
    let mut put = |byte: u8| {
        if let Some(place) = room.get_mut(length) {
            *place = byte;
            length = length.saturating_add(1);
        }
    };
    let mut before = b'_';
    for byte in name {
        if before.is_ascii_lowercase() && byte.is_ascii_uppercase() {
            put(b'_');
        }
        put(if byte.is_ascii_alphanumeric() {
            byte.to_ascii_uppercase()
        } else {
            b'_'
        });
        before = *byte;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_also_known_as_variables_are_written() {
        for (name, spelt) in [
            ("clientSecret", "CLIENT_SECRET"),
            ("aws-secret-access-key", "AWS_SECRET_ACCESS_KEY"),
            ("spring.password", "SPRING_PASSWORD"),
            ("token2", "TOKEN2"),
        ] {
            let mut tried = Vec::new();
            with_spellings(name.as_bytes(), |name| {
                tried.push(String::from_utf8(name.to_vec()).unwrap());
                false
            });
            assert_eq!(tried, [name, spelt]);
        }
        let mut tried = 0;
        with_spellings(b"CLIENT_SECRET", |_name| {
            tried += 1;
            false
        });
        assert_eq!(tried, 1);
    }
}
