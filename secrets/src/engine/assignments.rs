//! `name=value` and its kin inside a text: query strings, headers, connection strings, JSON.

use std::ops::Range;

use super::units::is_name;

/// Names inside a text are at most so long, in bytes, on either side of the word that tells.
const REACH: usize = 48;
/// Values are read no further. Longer ones are documents, or encoded, and are looked into otherwise.
const LONGEST_VALUE: usize = 4096;

/// What a name is given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Given {
    pub(super) value: Range<usize>,
    /// From where on another assignment may begin.
    pub(super) next: usize,
}

/// Whether the name around a word is followed by a sign that gives it a value: a cheap first look.
pub(super) fn may_be_assigned(text: &[u8], word: usize) -> bool {
    let after = text.get(word..).unwrap_or_default();
    let name = after
        .iter()
        .take(REACH)
        .take_while(|byte| is_name(**byte))
        .count();
    matches!(
        after.get(name),
        Some(b'=' | b':' | b'"' | b'\'' | b'\\' | 0 | b' ')
    )
}

/// The name that is around a word.
pub(super) fn name_around(text: &[u8], word: usize) -> Option<Range<usize>> {
    let (before, after) = text.split_at_checked(word)?;
    let left = before
        .iter()
        .rev()
        .take(REACH)
        .take_while(|byte| is_name(**byte))
        .count();
    let right = after
        .iter()
        .take(REACH)
        .take_while(|byte| is_name(**byte))
        .count();
    // The dashes of an option are not its name.
    let begin = word.saturating_sub(left);
    let dashes = before.get(begin..)?.iter();
    let dashes = dashes
        .take_while(|byte| matches!(byte, b'-' | b'.'))
        .count();
    Some(begin.saturating_add(dashes)..word.saturating_add(right))
}

/// What the name that ends at a place is given.
pub(super) fn given(text: &[u8], name_end: usize) -> Option<Given> {
    let (gap, quote) = separator(text.get(name_end..)?)?;
    let start = name_end.saturating_add(gap);
    let value = text.get(start..)?;
    let value = value.get(..value.len().min(LONGEST_VALUE))?;
    let length = match quote {
        Some(quote) => memchr::memchr2(quote, b'\\', value)?,
        None => value
            .iter()
            .position(|byte| ends_value(*byte))
            .unwrap_or(value.len()),
    };
    // What something else fills in.
    let references: [&[u8]; 5] = [b"${", b"$(", b"{{", b"#{", b"<%"];
    if references
        .iter()
        .any(|reference| value.starts_with(reference))
    {
        return None;
    }
    // A user's password in base64 is a format of its own.
    if is_basic(value) {
        return None;
    }
    let scheme = scheme(value.get(..length)?);
    let mut value = start.saturating_add(scheme)..start.saturating_add(length);
    // A header without quotes: the scheme is a word of its own, the value is the next.
    if quote.is_none() && is_scheme(text.get(value.clone())?) && text.get(value.end) == Some(&b' ')
    {
        let start = value.end.saturating_add(1);
        let rest = text.get(start..)?;
        let rest = rest.get(..rest.len().min(LONGEST_VALUE))?;
        let length = rest
            .iter()
            .position(|byte| ends_value(*byte))
            .unwrap_or(rest.len());
        value = start..start.saturating_add(length);
    }
    // Another one may be inside quotes; inside a value without any, nothing is looked at twice.
    let next = if quote.is_some() { start } else { value.end };
    (!value.is_empty()).then_some(Given { value, next })
}

/// What is between a name and its value: how long it is, and the quote that it ends with.
fn separator(rest: &[u8]) -> Option<(usize, Option<u8>)> {
    // The quote that ends the name, perhaps behind a backslash.
    let mut gap = rest
        .iter()
        .take(2)
        .take_while(|byte| **byte == b'\\')
        .count();
    let closing = matches!(rest.get(gap), Some(b'"' | b'\''));
    gap = if closing { gap.saturating_add(1) } else { gap };
    let white = |from: usize| {
        rest.iter()
            .skip(from)
            .take(4)
            .take_while(|byte| matches!(byte, b' ' | b'\t'))
            .count()
    };
    gap = gap.saturating_add(white(gap));
    if !matches!(rest.get(gap), Some(b'=' | b':')) {
        return None;
    }
    gap = gap.saturating_add(1);
    gap = gap.saturating_add(white(gap));
    let slashes = rest
        .iter()
        .skip(gap)
        .take(2)
        .take_while(|byte| **byte == b'\\')
        .count();
    let quoted = gap.saturating_add(slashes);
    match rest.get(quoted) {
        Some(quote @ (b'"' | b'\'')) => Some((quoted.saturating_add(1), Some(*quote))),
        _ => Some((gap, None)),
    }
}

/// Whether a byte ends a value without quotes.
const fn ends_value(byte: u8) -> bool {
    byte.is_ascii_whitespace()
        || matches!(byte, b';' | b'&' | b',' | b'"' | b'\'' | b'}' | b'\\' | 0)
}

/// Whether a value is that of the basic scheme, which is a format by itself.
pub(super) fn is_basic(value: &[u8]) -> bool {
    value
        .get(..6)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic "))
}

/// How long the authorization scheme is that a value begins with, with the space after it.
pub(super) fn scheme(value: &[u8]) -> usize {
    let word = value
        .iter()
        .take(12)
        .take_while(|byte| byte.is_ascii_alphanumeric())
        .count();
    let is_one = value.get(..word).is_some_and(is_scheme) && value.get(word) == Some(&b' ');
    if is_one { word.saturating_add(1) } else { 0 }
}

fn is_scheme(word: &[u8]) -> bool {
    let schemes: [&[u8]; 6] = [
        b"bearer",
        b"basic",
        b"token",
        b"apikey",
        b"negotiate",
        b"digest",
    ];
    schemes
        .iter()
        .any(|scheme| word.eq_ignore_ascii_case(scheme))
}

#[cfg(test)]
#[expect(clippy::string_slice, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read_in_the_forms_they_are_written_in() {
        for (text, name, value) in [
            (
                "https://x.test/?a=1&access_token=abc&b=2",
                "access_token",
                "abc",
            ),
            ("Server=x;Password=p w;User=y", "Password", "p"),
            ("Authorization: Bearer abc.def", "Authorization", "abc.def"),
            ("X-Auth-Token: abc", "X-Auth-Token", "abc"),
            (r#"{"api_token": "abc def"}"#, "api_token", "abc def"),
            (r#"{\"api_token\":\"abc\"}"#, "api_token", "abc"),
            ("token = 'abc'", "token", "abc"),
            ("export TOKEN=abc; run", "TOKEN", "abc"),
            (r#"h: "Authorization: token abc""#, "Authorization", "abc"),
            (r#""auth":"Bearer abc""#, "auth", "abc"),
        ] {
            let lower = text.to_ascii_lowercase();
            let word = ["auth", "token", "password"]
                .iter()
                .find_map(|word| lower.find(word))
                .unwrap();
            assert!(may_be_assigned(text.as_bytes(), word), "{text}");
            let found_name = name_around(text.as_bytes(), word).unwrap();
            let found = given(text.as_bytes(), found_name.end).unwrap();
            assert_eq!(
                (&text[found_name], &text[found.value]),
                (name, value),
                "{text}"
            );
        }
    }

    #[test]
    fn what_gives_no_value_is_none() {
        for text in ["token", "token=", "token x", "a token: ", "token\\"] {
            let word = text.find("token").unwrap();
            assert_eq!(given(text.as_bytes(), word + 5), None, "{text}");
        }
    }
}
