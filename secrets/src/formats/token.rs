//! Formats that are a prefix and a body of known length: most of them, one line each.

use std::ops::RangeInclusive;

use super::base64::{decode, decoded_len};
use super::shape::{Alphabet, BASE64, BASE64_URL, Cursor, PADDING, begins, ends, whole};
use super::{Credential, Sighting};
use crate::credential::{Class, Confidence, Life};
use crate::json::Fields;
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

/// A piece of a token.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    /// Exactly this text.
    Text(&'static [u8]),
    /// Exactly as many characters of an alphabet; the next piece may go on with the same.
    Just(Alphabet, usize),
    /// All that follow of an alphabet: from so many to so many.
    Run(Alphabet, usize, usize),
}

/// What can be said of each token of the format.
#[derive(Clone, Copy)]
pub(crate) struct Meaning {
    pub(crate) class: Class,
    pub(crate) life: Life,
    pub(crate) confidence: Confidence,
}

impl Meaning {
    pub(crate) const fn new(class: Class, life: Life, confidence: Confidence) -> Self {
        Self {
            class,
            life,
            confidence,
        }
    }
}

/// Declares such a format.
///
/// ```text
/// simple!("npm-token", "npm access token", b"npm_", [Just(ALNUM, 36)], STATIC)
/// ```
///
/// Where a prefix begins like ordinary words, its mark is what follows some of its bytes (`from`).
/// A prefix of fewer than four bytes (`at_run:`, as text) is looked for where a run begins, and glued to
/// an escaped equals sign. One of two bytes is looked for with the digits that follow (`at_hex:`), or it would
/// be seen in every other word.
macro_rules! simple {
    ($id:literal, $title:literal, at_run: $prefix:literal, [$($part:expr),+], $meaning:expr) => {
        $crate::formats::token::simple!(
            @ $id,
            $title,
            [
                $crate::formats::Mark::AtRun($prefix.as_bytes()),
                $crate::formats::Mark::Anywhere(concat!("%3D", $prefix).as_bytes())
            ],
            0,
            $prefix.as_bytes(),
            [$($part),+],
            $meaning
        )
    };
    ($id:literal, $title:literal, $prefix:literal from $shift:literal, [$($part:expr),+], $meaning:expr) => {
        $crate::formats::token::simple!(
            @ $id,
            $title,
            [$crate::formats::Mark::Anywhere($prefix.split_at($shift).1)],
            $shift,
            $prefix,
            [$($part),+],
            $meaning
        )
    };
    ($id:literal, $title:literal, at_hex: $prefix:literal, [$($part:expr),+], $meaning:expr) => {
        $crate::formats::token::simple!(
            @hex $id, $title, $prefix, [$($part),+], $meaning,
            "0" "1" "2" "3" "4" "5" "6" "7" "8" "9" "a" "b" "c" "d" "e" "f"
        )
    };
    (@hex $id:literal, $title:literal, $prefix:literal, $parts:tt, $meaning:expr, $($digit:literal)+) => {
        $crate::formats::token::simple!(
            @ $id,
            $title,
            [
                $($crate::formats::Mark::AtRun(concat!($prefix, $digit).as_bytes()),)+
                $crate::formats::Mark::Anywhere(concat!("%3D", $prefix).as_bytes())
            ],
            0,
            $prefix.as_bytes(),
            $parts,
            $meaning
        )
    };
    ($id:literal, $title:literal, $prefix:literal, [$($part:expr),+], $meaning:expr) => {
        $crate::formats::token::simple!(
            @ $id, $title, [$crate::formats::Mark::Anywhere($prefix)], 0, $prefix, [$($part),+], $meaning
        )
    };
    (@ $id:literal, $title:literal, $marks:tt, $shift:expr, $prefix:expr, [$($part:expr),+], $meaning:expr) => {
        $crate::formats::Format {
            rule: $crate::credential::Rule { id: $id, title: $title },
            marks: &$marks,
            about: $crate::formats::About {
                check: "shape",
                life: $crate::formats::token::life_in_words($meaning.life),
                classes: &[$meaning.class],
            },
            read: |sighting, _| {
                $crate::formats::token::read(&sighting.back($shift)?, $prefix, &[$($part),+], $meaning)
            },
        }
    };
}
pub(crate) use simple;

/// Until revoked.
pub(crate) const STATIC: Meaning = Meaning::new(Class::Static, Life::Long, Confidence::High);
/// Until revoked, with a prefix or a body that something else could have as well.
///
/// Tokens that are less than sure must stand alone, with no `-` or `_` beside them.
pub(crate) const STATIC_LIKELY: Meaning =
    Meaning::new(Class::Static, Life::Long, Confidence::Medium);
/// The lifetime is the server's to know.
pub(crate) const UNKNOWN: Meaning = Meaning::new(Class::Unknown, Life::Unknown, Confidence::High);

/// What the table of rules says of a lifetime that is the same for all.
pub(crate) const fn life_in_words(life: Life) -> &'static str {
    match life {
        Life::Unknown => "unknown",
        Life::Short => "hours at most",
        Life::Long => "until revoked",
        Life::Until { .. } => "as it says",
    }
}

/// Reads such a token.
pub(crate) fn read(
    sighting: &Sighting<'_>,
    prefix: &[u8],
    parts: &[Part],
    meaning: Meaning,
) -> Option<Credential> {
    let (start, body, end) = span(sighting.text, unglued(sighting), prefix, parts)?;
    // What could be something else is no part of a longer name: `cache-key-…`.
    let text = sighting.text;
    let alone = || begins(text, start, BASE64_URL) && ends(text, end, BASE64_URL);
    (meaning.confidence == Confidence::High || alone()).then_some(())?;
    (!is_placeholder(text.get(body..end)?)).then_some(())?;
    Some(Credential::new(
        start..end,
        meaning.class,
        meaning.life,
        meaning.confidence,
    ))
}

/// Where the token begins, if the mark has the escaped equals sign that is glued to it.
pub(crate) fn unglued(sighting: &Sighting<'_>) -> usize {
    let rest = sighting.text.get(sighting.at..).unwrap_or_default();
    if rest.starts_with(b"%3D") {
        sighting.at.saturating_add(3)
    } else {
        sighting.at
    }
}

/// Where the token, its body and what follows it begin.
///
/// The boundary on both sides is that of the piece that is there: a token is no part of a longer word.
pub(crate) fn span(
    text: &[u8],
    at: usize,
    prefix: &[u8],
    parts: &[Part],
) -> Option<(usize, usize, usize)> {
    let alphabet = |part: &Part| match *part {
        Part::Text(_) => None,
        Part::Just(alphabet, _) | Part::Run(alphabet, ..) => Some(alphabet),
    };
    // First, so that in a row of prefixes only one body is read.
    begins(text, at, parts.iter().find_map(alphabet)?).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    cursor.literal(prefix)?;
    let body = cursor.at();
    for part in parts {
        match *part {
            Part::Text(literal) => cursor.literal(literal)?,
            Part::Just(alphabet, count) => {
                cursor.take(alphabet, count)?;
            }
            Part::Run(alphabet, low, high) => {
                cursor.run(alphabet, low..=high)?;
            }
        }
    }
    cursor.ends(parts.iter().rev().find_map(alphabet)?)?;
    Some((at, body, cursor.at()))
}

/// A value that only its variable's name tells from others.
macro_rules! named {
    ($id:literal, $title:literal, [$($name:literal),+], $alphabet:expr, $length:literal) => {
        $crate::formats::Format {
            rule: $crate::credential::Rule { id: $id, title: $title },
            marks: &[$crate::formats::Mark::Named(&[$($name),+])],
            about: $crate::formats::About {
                check: "name, shape",
                life: "until revoked",
                classes: &[$crate::credential::Class::Static],
            },
            read: |sighting, _| $crate::formats::token::read_named(sighting, $alphabet, $length),
        }
    };
}
pub(crate) use named;

/// Reads such a value: exactly so many characters.
pub(crate) fn read_named(
    sighting: &Sighting<'_>,
    alphabet: Alphabet,
    length: usize,
) -> Option<Credential> {
    let span = whole(sighting.text, alphabet, length..=length)?;
    (!is_placeholder(sighting.text.get(span.clone())?)).then_some(())?;
    Some(Credential::new(
        span,
        Class::Static,
        Life::Long,
        Confidence::Medium,
    ))
}

/// Base64 of a JSON object that has this key, behind a prefix.
pub(crate) fn encoded_json(
    sighting: &Sighting<'_>,
    scratch: &mut Scratch<'_>,
    prefix: &[u8],
    lengths: RangeInclusive<usize>,
    key: &[u8],
) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    begins(text, at, BASE64_URL).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    cursor.literal(prefix)?;
    let body = cursor.run(BASE64.and(BASE64_URL), lengths)?;
    cursor.pass(PADDING, 2);
    // Behind a dot more of a JWT would follow.
    ends(text, cursor.at(), BASE64_URL.and(Alphabet::of(b"."))).then_some(())?;
    scratch
        .with(decoded_len(body.len()), |memory, _| {
            let json = decode(body, memory)?;
            let mut fields = Fields::of(json, 0, json.len());
            let mut has_key = false;
            for field in fields.by_ref() {
                has_key |= field.depth == 1 && field.key.raw == key;
            }
            fields.end()?;
            has_key.then_some(())
        })
        .flatten()?;
    Some(Credential::new(
        at..cursor.at(),
        Class::Static,
        Life::Long,
        Confidence::High,
    ))
}
