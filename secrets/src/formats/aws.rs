//! AWS: access keys, their secrets, session tokens, Bedrock keys.

use std::ops::Range;

use super::base64::{decode, decoded_len};
use super::shape::{
    ALNUM, Alphabet, BASE32, BASE64, BASE64_URL, Cursor, PADDING, begins, ends, whole,
};
use super::{About, Credential, Format, Mark, Sighting, time};
use crate::credential::{Class, Confidence, Life, Rule};
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[
    Format {
        rule: Rule {
            id: "aws-access-key-id",
            title: "AWS access key id",
        },
        marks: KEY_IDS,
        about: About {
            check: "base32; account inside",
            life: "until revoked; hours for `ASIA`",
            classes: &[Class::ShortLived, Class::Static],
        },
        read: key_id,
    },
    Format {
        rule: Rule {
            id: "aws-secret-key",
            title: "AWS secret access key",
        },
        marks: &[
            Mark::Named(SECRET_NAMES),
            Mark::Anywhere(b"ecret_access_key"),
            Mark::Anywhere(b"ECRET_ACCESS_KEY"),
            Mark::Anywhere(b"ecretAccessKey"),
            Mark::Anywhere(b"AKIA"),
            Mark::Anywhere(b"ASIA"),
        ],
        about: About {
            check: "by name, by key, or beside an access key id; mixed characters",
            life: "that of its id",
            classes: &[Class::ShortLived, Class::Static, Class::Unknown],
        },
        read: secret_key,
    },
    Format {
        rule: Rule {
            id: "aws-session-token",
            title: "AWS session token",
        },
        marks: &[
            Mark::Named(TOKEN_NAMES),
            Mark::Anywhere(b"IQoJb3JpZ2lu"),
            Mark::Anywhere(b"FwoGZXIvYXdz"),
            Mark::Anywhere(b"FQoGZXIvYXdz"),
        ],
        about: About {
            check: "base64; its known beginning or the variable's name",
            life: "hours at most",
            classes: &[Class::ShortLived],
        },
        read: session_token,
    },
    Format {
        rule: Rule {
            id: "aws-bedrock-key",
            title: "Amazon Bedrock API key",
        },
        marks: &[Mark::Anywhere(b"ABSK")],
        about: About {
            check: "base64 of the user that AWS makes for it",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: bedrock,
    },
    Format {
        rule: Rule {
            id: "aws-bedrock-short-term-key",
            title: "Amazon Bedrock API key, short-term",
        },
        marks: &[Mark::Anywhere(b"bedrock-api-key-")],
        about: About {
            check: "base64 of a signed request to Bedrock",
            life: "the expiry inside",
            classes: &[Class::ShortLived],
        },
        read: bedrock_short,
    },
];

const SECRET_NAMES: &[&str] = &[
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SECRET",
    "INPUT_AWS-SECRET-ACCESS-KEY",
    "PLUGIN_AWS_SECRET_ACCESS_KEY",
    "PLUGIN_SECRET_KEY",
    "TF_VAR_AWS_SECRET_ACCESS_KEY",
];
const TOKEN_NAMES: &[&str] = &["AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"];

/// Long-term, STS, STS bearer, context-specific. Other prefixes name users and roles, not keys.
const KEY_IDS: &[Mark] = &[
    Mark::Anywhere(b"AKIA"),
    Mark::Anywhere(b"ASIA"),
    Mark::Anywhere(b"ABIA"),
    Mark::Anywhere(b"ACCA"),
];

/// A key id at a place.
struct KeyId<'t> {
    span: Range<usize>,
    body: &'t [u8],
    class: Class,
    life: Life,
}

fn id_at<'t>(sighting: &Sighting<'t>) -> Option<KeyId<'t>> {
    let Sighting { text, at, .. } = *sighting;
    begins(text, at, ALNUM).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    let (class, life) = match cursor.rest().first_chunk()? {
        b"ASIA" => (Class::ShortLived, Life::Short),
        b"AKIA" | b"ABIA" | b"ACCA" => (Class::Static, Life::Long),
        _ => return None,
    };
    cursor.skip(4)?;
    let body = cursor.run(BASE32, 16..=16)?;
    cursor.ends(ALNUM)?;
    let id = text.get(at..cursor.at())?;
    (!is_placeholder(id)).then_some(())?;
    Some(KeyId {
        span: at..cursor.at(),
        body,
        class,
        life,
    })
}

fn key_id(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let id = id_at(sighting)?;
    let found = Credential::new(id.span, id.class, id.life, Confidence::High);
    Some(match account(id.body) {
        Some(account) => found.fact("account", format!("{account:012}").as_bytes()),
        None => found,
    })
}

/// The account in the body of a key id: 40 of its first 48 bits. Ids from before 2019 have none; their
/// first bit, by which the others are known, is not set.
fn account(body: &[u8]) -> Option<u64> {
    let mut bits: u64 = 0;
    // Ten characters are 50 bits, the first 48 of which matter.
    for character in body.get(..10)? {
        let value = match character {
            b'A'..=b'Z' => character.wrapping_sub(b'A'),
            _ => character.wrapping_sub(b'2').wrapping_add(26),
        };
        bits = bits.wrapping_shl(5) | u64::from(value);
    }
    let bits = bits.wrapping_shr(2);
    let is_new = bits.wrapping_shr(47) & 1 == 1;
    let account = bits.wrapping_shr(7) & 0xff_ffff_ffff;
    (is_new && account < 1_000_000_000_000).then_some(account)
}

/// Characters of a secret key.
const SECRET: usize = 40;
/// What may stand between a key and its value: `= `, `":"`, `%3D`.
const BETWEEN: Alphabet = Alphabet::of(b" \t\"':=\\>");
/// Bytes on both sides of a key id in which its secret is looked for.
const NEAR: usize = 128;

fn secret_key(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    let mut cursor = Cursor::new(text, at);
    let is_id = id_at(sighting);
    if let Some(id) = is_id {
        let span = secret_near(text, &id.span)?;
        return Some(Credential::new(span, id.class, id.life, Confidence::High));
    }
    let keys = [
        &b"ecret_access_key"[..],
        b"ECRET_ACCESS_KEY",
        b"ecretAccessKey",
    ];
    let by_key = keys.iter().any(|key| cursor.literal(key).is_some());
    let span = if by_key {
        cursor.pass(BETWEEN, 8);
        let start = cursor.at();
        cursor.run(BASE64, SECRET..=SECRET)?;
        ends(text, cursor.at(), BASE64).then_some(start..cursor.at())?
    } else {
        // By its name; elsewhere a mark is part of something else.
        sighting.is_named(SECRET_NAMES).then_some(())?;
        whole(text, BASE64, SECRET..=SECRET)?
    };
    looks_random(text.get(span.clone())?).then_some(())?;
    // Whose secret it is, the id of which is in another variable, is not to be seen here.
    Some(Credential::new(
        span,
        Class::Unknown,
        Life::Unknown,
        Confidence::High,
    ))
}

/// The only run of forty characters after the id, or else before it.
fn secret_near(text: &[u8], id: &Range<usize>) -> Option<Range<usize>> {
    let after = id.end..id.end.saturating_add(NEAR).min(text.len());
    let before = id.start.saturating_sub(NEAR)..id.start;
    run_in(text, after).or_else(|| run_in(text, before))
}

fn run_in(text: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let mut at = range.start;
    while at < range.end {
        let rest = text.get(at..)?;
        let length = BASE64.run(rest, SECRET.saturating_add(1));
        let end = at.checked_add(length)?;
        let begins_here = begins(text, at, BASE64);
        if length == SECRET && begins_here && text.get(at..end).is_some_and(looks_random) {
            return Some(at..end);
        }
        at = end.checked_add(1)?;
    }
    None
}

/// Lower case, upper case, digits, and many different ones: random in base64, and neither a path nor a
/// hash in hexadecimal.
fn looks_random(text: &[u8]) -> bool {
    let mut seen = Alphabet::of(b"");
    let mut different: usize = 0;
    for byte in text {
        if !seen.has(*byte) {
            seen = seen.and(Alphabet::of(std::slice::from_ref(byte)));
            different = different.saturating_add(1);
        }
    }
    // Forty random characters of base64 have 30 different ones; one in a million has under 20.
    let mixed = text.iter().any(u8::is_ascii_lowercase)
        && text.iter().any(u8::is_ascii_uppercase)
        && text.iter().any(u8::is_ascii_digit);
    mixed && different >= 20 && !is_placeholder(text)
}

fn session_token(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    let known = [&b"IQoJb3JpZ2lu"[..], b"FwoGZXIvYXdz", b"FQoGZXIvYXdz"];
    let marked = |rest: &[u8]| known.iter().any(|beginning| rest.starts_with(beginning));
    let rest = text.get(at..)?;
    let span = if marked(rest) {
        begins(text, at, BASE64).then_some(())?;
        let mut cursor = Cursor::new(text, at);
        cursor.run(BASE64, 100..=4096)?;
        cursor.pass(PADDING, 2);
        ends(text, cursor.at(), BASE64_URL).then_some(())?;
        at..cursor.at()
    } else {
        sighting.is_named(TOKEN_NAMES).then_some(())?;
        whole(text, BASE64.and(PADDING), 100..=4096)?
    };
    let token = text.get(span.clone())?;
    (!is_placeholder(token)).then_some(())?;
    let confidence = if marked(token) {
        Confidence::High
    } else {
        Confidence::Medium
    };
    Some(Credential::new(
        span,
        Class::ShortLived,
        Life::Short,
        confidence,
    ))
}

/// `ABSK`, then base64 of `BedrockAPIKey-NAME-at-ACCOUNT:SECRET`.
fn bedrock(sighting: &Sighting<'_>, scratch: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    begins(text, at, BASE64).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    cursor.literal(b"ABSK")?;
    let body = cursor.run(BASE64, 100..=269)?;
    cursor.pass(PADDING, 2);
    ends(text, cursor.at(), BASE64_URL).then_some(())?;
    (!is_placeholder(body)).then_some(())?;
    let mut account = [0; 12];
    let is_user = scratch
        .with(decoded_len(body.len()), |memory, _| {
            let login = decode(body, memory)?.strip_prefix(b"BedrockAPIKey-")?;
            let colon = memchr::memchr(b':', login)?;
            let (user, digits) = login.get(..colon)?.split_last_chunk::<12>()?;
            let named = user.ends_with(b"-at-") && digits.iter().all(u8::is_ascii_digit);
            if named {
                account = *digits;
            }
            Some(())
        })
        .flatten();
    let confidence = match is_user {
        Some(()) => Confidence::High,
        None => Confidence::Low,
    };
    let found = Credential::new(at..cursor.at(), Class::Static, Life::Long, confidence);
    Some(match account {
        [0, ..] => found,
        account => found.fact("account", &account),
    })
}

/// `bedrock-api-key-`, then base64 of a presigned URL of STS credentials.
fn bedrock_short(sighting: &Sighting<'_>, scratch: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    begins(text, at, BASE64_URL).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    cursor.literal(b"bedrock-api-key-")?;
    let body = cursor.run(BASE64, 64..=8192)?;
    cursor.pass(PADDING, 2);
    ends(text, cursor.at(), BASE64_URL).then_some(())?;
    let life = scratch
        .with(decoded_len(body.len()), |memory, _| {
            let url = decode(body, memory)?;
            url.starts_with(b"bedrock.amazonaws.com").then_some(())?;
            Some(signed_life(url).unwrap_or(Life::Short))
        })
        .flatten()?;
    Some(Credential::new(
        at..cursor.at(),
        Class::ShortLived,
        life,
        Confidence::High,
    ))
}

/// When a presigned URL was signed and for how many seconds.
fn signed_life(url: &[u8]) -> Option<Life> {
    let query = url.split(|byte| *byte == b'?' || *byte == b'&');
    let mut issued = None;
    let mut seconds = None;
    for parameter in query {
        if let Some(date) = parameter.strip_prefix(b"X-Amz-Date=") {
            issued = time::basic(date);
        }
        if let Some(count) = parameter.strip_prefix(b"X-Amz-Expires=") {
            seconds = time::number(count);
        }
    }
    Some(Life::Until {
        issued,
        expires: issued?.checked_add(seconds?)?,
    })
}
