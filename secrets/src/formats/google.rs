//! Google: service accounts, API keys, OAuth.

use std::ops::Range;

use super::shape::{BASE64_URL, Cursor, begins};
use super::token::{Meaning, Part, STATIC, simple};
use super::{About, Credential, Format, Mark, Sighting, pem};
use crate::credential::{Class, Confidence, Life, Rule};
use crate::json::{Fields, Text};
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[
    Format {
        rule: Rule {
            id: "gcp-service-account",
            title: "Google Cloud service account key",
        },
        marks: &[Mark::Anywhere(b"e_account\"")],
        about: About {
            check: "JSON with `private_key`, PEM inside",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: service_account,
    },
    Format {
        rule: Rule {
            id: "gcp-external-account",
            title: "Google Cloud external account (workload identity)",
        },
        marks: &[Mark::Anywhere(b"l_account\"")],
        about: About {
            check: "JSON with `audience`; no secret inside",
            life: "unknown",
            classes: &[Class::Pointer],
        },
        read: external_account,
    },
    simple!(
        "gcp-api-key",
        "Google API key",
        b"AIza",
        [Part::Run(BASE64_URL, 35, 35)],
        STATIC
    ),
    simple!(
        "gcp-express-key",
        "Google Cloud API key bound to a service account",
        b"AQ.Ab8RN6",
        [Part::Run(BASE64_URL, 44, 44)],
        STATIC
    ),
    Format {
        rule: Rule {
            id: "gcp-oauth-access",
            title: "Google OAuth access token",
        },
        marks: &[Mark::Anywhere(b"ya29.")],
        about: About {
            check: "shape",
            life: "hours at most",
            classes: &[Class::ShortLived],
        },
        read: access_token,
    },
    simple!(
        "gcp-oauth-client-secret",
        "Google OAuth client secret",
        b"GOCSPX-",
        [Part::Run(BASE64_URL, 28, 28)],
        Meaning::new(Class::Static, Life::Long, Confidence::High)
    ),
];

/// Bytes of a document, at most, and how far before its type its brace may be.
const DOCUMENT_MAX: usize = 16_384;
const BACK_MAX: usize = 8192;
/// Braces before the type that are tried.
const BRACES_MAX: usize = 4;

/// What a document of credentials has in its outermost object.
#[derive(Default)]
struct Document<'t> {
    private_key: Option<Text<'t>>,
    email: Option<Text<'t>>,
    project: Option<Text<'t>>,
    audience: Option<Text<'t>>,
    whole: Option<Range<usize>>,
}

/// Reads the document around `"type": "…"`, if the type at this place is its type.
fn document<'t>(sighting: &Sighting<'t>, kind: &[u8]) -> Option<Document<'t>> {
    // The mark is the end of the type, from the letter before `_account"`.
    let mark = b"e_account\"".len();
    let Sighting { text, at, .. } = sighting.back(kind.len().checked_sub(mark)?)?;
    Cursor::new(text, at).literal(kind)?;
    // Cheap, and true of no other text with this word: a colon is before it.
    (text.get(..at)?.trim_ascii_end().last() == Some(&b':')).then_some(())?;
    let window_at = at.saturating_sub(BACK_MAX);
    let mut before = text.get(window_at..at)?;
    // Objects inside may stand before it, where keys are sorted.
    for _ in 0..BRACES_MAX {
        let brace = memchr::memrchr(b'{', before)?;
        before = before.get(..brace)?;
        let start = window_at.checked_add(brace)?;
        if let Some(document) = document_at(text, start, at.checked_add(1)?) {
            return Some(document);
        }
    }
    None
}

/// The document that begins at `start`, if the text at `type_at` is its type.
fn document_at(text: &[u8], start: usize, type_at: usize) -> Option<Document<'_>> {
    let mut fields = Fields::of(text, start, DOCUMENT_MAX);
    let mut document = Document::default();
    let mut typed = false;
    for field in fields.by_ref() {
        if let Some(kind) = field.top("type") {
            // Of several types none is the type, and each would be read to here.
            (kind.at == type_at && !typed).then_some(())?;
            typed = true;
        }
        document.private_key = field.top("private_key").or(document.private_key);
        document.email = field.top("client_email").or(document.email);
        document.project = field.top("project_id").or(document.project);
        document.audience = field.top("audience").or(document.audience);
    }
    typed.then_some(())?;
    document.whole = fields.end().map(|end| start..end);
    Some(document)
}

fn service_account<'t>(sighting: &Sighting<'t>, scratch: &mut Scratch<'_>) -> Option<Credential> {
    let document = document(sighting, b"\"service_account\"")?;
    let key = document.private_key?;
    (!is_placeholder(key.raw)).then_some(())?;
    let value = key.at..key.at.checked_add(key.raw.len())?;
    let inside = pem::span_within(sighting.text, value.clone(), scratch);
    let (span, confidence) = match inside {
        Some(span) => (span, Confidence::High),
        None => (value, Confidence::Medium),
    };
    (!span.is_empty()).then_some(())?;
    let found = Credential::new(span, Class::Static, Life::Long, confidence);
    let raw = |text: Option<Text<'t>>| text.map_or(&b""[..], |text| text.raw);
    Some(
        found
            .fact("account", raw(document.email))
            .fact("project", raw(document.project)),
    )
}

/// It says where a token is to be had, and holds none.
fn external_account(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let document = document(sighting, b"\"external_account\"")?;
    let audience = document.audience?;
    let found = Credential::new(
        document.whole?,
        Class::Pointer,
        Life::Unknown,
        Confidence::High,
    );
    Some(found.fact("audience", audience.raw))
}

/// Runs of base64url, joined by dots in some (`ya29.c.…`).
fn access_token(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    begins(text, at, BASE64_URL).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    cursor.literal(b"ya29.")?;
    let mut kind = cursor;
    if kind.run(BASE64_URL, 1..=4).is_some() && kind.literal(b".").is_some() {
        cursor = kind;
    }
    let body = cursor.run(BASE64_URL, 20..=2048)?;
    cursor.ends(BASE64_URL)?;
    (!is_placeholder(body)).then_some(())?;
    Some(Credential::new(
        at..cursor.at(),
        Class::ShortLived,
        Life::Short,
        Confidence::High,
    ))
}
