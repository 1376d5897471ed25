//! Azure: client secrets, shared access signatures, account keys, pipelines.
//!
//! Keys that carry a signature of their service are in `azure_keys`.

use std::ops::Range;

use super::shape::{
    Alphabet, BASE32_LOWER, BASE64, BASE64_URL, Cursor, HEX_ANY, PADDING, begins, ends, whole,
};
use super::{About, Credential, Format, Mark, Sighting, time};
use crate::checksum::{crc, marvin};
use crate::credential::{Class, Confidence, Life, Rule};
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[
    Format {
        rule: Rule {
            id: "azure-client-secret",
            title: "Microsoft Entra client secret",
        },
        marks: &[
            Mark::Named(CLIENT_SECRET_NAMES),
            Mark::Anywhere(b"8Q~"),
            Mark::Anywhere(b"7Q~"),
        ],
        about: About {
            check: "signature `Q~`, Marvin32; by name if older",
            life: "until revoked, two years at most",
            classes: &[Class::Static],
        },
        read: client_secret,
    },
    Format {
        rule: Rule {
            id: "azure-devops-pat-legacy",
            title: "Azure DevOps personal access token (52 characters)",
        },
        marks: &[Mark::Named(&[
            "AZURE_DEVOPS_EXT_PAT",
            "AZURE_DEVOPS_PAT",
            "AZURE_DEVOPS_TOKEN",
            "ADO_PAT",
            "ADO_TOKEN",
            "AZP_TOKEN",
            "VSTS_PAT",
            "VSTS_TOKEN",
            "VSS_NUGET_ACCESSTOKEN",
            "SYSTEM_ACCESSTOKEN",
        ])],
        about: About {
            check: "CRC-32",
            life: "until revoked, a year at most",
            classes: &[Class::JobToken, Class::Static],
        },
        read: devops_legacy,
    },
    Format {
        rule: Rule {
            id: "azure-pipelines-job-token",
            title: "Azure Pipelines job token",
        },
        marks: &[Mark::Named(&["SYSTEM_ACCESSTOKEN"])],
        about: About {
            check: "name, shape",
            life: "the job's",
            classes: &[Class::JobToken],
        },
        read: job_token,
    },
    Format {
        rule: Rule {
            id: "azure-sas",
            title: "Azure shared access signature",
        },
        marks: &[Mark::Anywhere(b"sig=")],
        about: About {
            check: "parameters of a signature",
            life: "its `se`",
            classes: &[Class::ShortLived, Class::Static, Class::Unknown],
        },
        read: shared_access,
    },
    Format {
        rule: Rule {
            id: "azure-account-key",
            title: "Azure account key, in a connection string or by name",
        },
        marks: &[
            Mark::Anywhere(b"ntKey="),
            Mark::Anywhere(b"ssKey="),
            Mark::Named(ACCOUNT_KEY_NAMES),
        ],
        about: About {
            check: "base64 of 32 or 64 bytes",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: account_key,
    },
];

const CLIENT_SECRET_NAMES: &[&str] = &[
    "AZURE_CLIENT_SECRET",
    "ARM_CLIENT_SECRET",
    "AAD_CLIENT_SECRET",
    "AZURE_AD_CLIENT_SECRET",
    "SERVICEPRINCIPALKEY",
];
const ACCOUNT_KEY_NAMES: &[&str] = &[
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "ARM_ACCESS_KEY",
];

/// What client secrets are made of, in the order in which their checksum counts them.
const SECRET_DIGITS: &[u8; 66] =
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ1234567890.-_~";
const SECRET: Alphabet = Alphabet::of(SECRET_DIGITS);
/// Three characters, a digit, `Q~`; forty in all with `8`, thirty-seven with `7`.
fn client_secret(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    let signature = text.get(at..)?.get(..3)?;
    let is_signed = matches!(signature, b"8Q~" | b"7Q~");
    let span = match at.checked_sub(3) {
        Some(start) if is_signed => {
            begins(text, start, SECRET).then_some(())?;
            let mut cursor = Cursor::new(text, start);
            cursor.run(SECRET, 37..=40)?;
            start..cursor.at()
        }
        // By its name.
        _ => {
            sighting.is_named(CLIENT_SECRET_NAMES).then_some(())?;
            whole(text, SECRET, 32..=44)?
        }
    };
    let secret = text.get(span.clone())?;
    (!is_placeholder(secret)).then_some(())?;
    let found = |confidence| Credential::new(span.clone(), Class::Static, Life::Long, confidence);
    match (secret.get(3..6)?, secret.len()) {
        (b"8Q~", 40) => Some(found(Confidence::High).checked(is_sum_right(secret)?)),
        (b"7Q~", 37) => Some(found(Confidence::High)),
        // Older ones have no structure at all.
        _ if sighting.is_named(CLIENT_SECRET_NAMES) => Some(found(Confidence::Medium)),
        _ => None,
    }
}

/// The last three characters are the first three digits of the Marvin32 of those before.
fn is_sum_right(secret: &[u8]) -> Option<bool> {
    let (before, sum) = secret.split_last_chunk::<3>()?;
    let mut rest = marvin::hash32(before, *b"AadPwd00");
    // Digits come the last first; the three that were last to come are the first.
    let mut digits = [0; 3];
    while rest > 0 {
        let digit = usize::try_from(rest % 66).ok()?;
        digits = [*SECRET_DIGITS.get(digit)?, digits[0], digits[1]];
        rest /= 66;
    }
    Some(digits == *sum)
}

/// Base32 of 32 bytes, four of which are a checksum.
fn devops_legacy(sighting: &Sighting<'_>, scratch: &mut Scratch<'_>) -> Option<Credential> {
    let span = whole(sighting.text, BASE32_LOWER, 52..=52)?;
    let token = sighting.text.get(span.clone())?;
    (!is_placeholder(token)).then_some(())?;
    let valid = scratch
        .with(32, |memory, _| {
            let bytes: &mut [u8; 32] = memory.try_into().ok()?;
            base32(token, bytes)?;
            Some(crc::azure_devops(bytes))
        })
        .flatten()?;
    let (class, life) = if sighting.is_named(&["SYSTEM_ACCESSTOKEN"]) {
        (Class::JobToken, Life::Short)
    } else {
        (Class::Static, Life::Long)
    };
    Some(Credential::new(span, class, life, Confidence::Medium).checked(valid))
}

/// The first 32 bytes of lower-case base32.
fn base32(text: &[u8], into: &mut [u8; 32]) -> Option<()> {
    let mut characters = text.iter();
    let mut bits: u32 = 0;
    let mut held: u32 = 0;
    for slot in into {
        while held < 8 {
            let value = match characters.next()? {
                letter @ b'a'..=b'z' => letter.wrapping_sub(b'a'),
                digit @ b'2'..=b'7' => digit.wrapping_sub(b'2').wrapping_add(26),
                _ => return None,
            };
            bits = bits.wrapping_shl(5) | u32::from(value);
            held = held.saturating_add(5);
        }
        held = held.saturating_sub(8);
        *slot = bits.wrapping_shr(held).to_le_bytes().first().copied()?;
    }
    Some(())
}

/// Neither a JWT nor of 52 characters, both of which are read as what they are.
fn job_token(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let span = whole(sighting.text, BASE64_URL, 32..=4096)?;
    let token = sighting.text.get(span.clone())?;
    (token.len() != 52 && !is_placeholder(token)).then_some(())?;
    Some(Credential::new(
        span,
        Class::JobToken,
        Life::Short,
        Confidence::Medium,
    ))
}

/// Bytes on both sides of the signature in which its other parameters are.
const QUERY_MAX: usize = 1024;
/// A day: what lives no longer is short-lived.
const SHORT: i64 = 86_400;

/// `sv=…&se=…&sp=…&sig=…` of storage, `sr=…&sig=…&se=…&skn=…` of messaging.
fn shared_access(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    let before = text.get(..at)?;
    let edge = before.last();
    edge.is_none_or(|edge| b"?&; \"'=".contains(edge))
        .then_some(())?;
    let start = at.checked_add(4)?;
    let length = signature_len(text.get(start..)?)?;
    let end = start.checked_add(length)?;
    (!is_placeholder(text.get(start..end)?)).then_some(())?;
    let query = query_around(text, at, end)?;
    let mut seen = Parameters::default();
    for parameter in query.split(|byte| *byte == b'&' || *byte == b'?' || *byte == b' ') {
        match parameter {
            [b's', b'v', b'=', _, ..] => seen.version = true,
            [b's', b'r', b'=', _, ..] => seen.resource = true,
            [b's', b'e', b'=', value @ ..] => seen.expires = moment(value),
            [b's', b't', b'=', value @ ..] => seen.starts = moment(value),
            _ => {}
        }
    }
    (seen.version || seen.resource).then_some(())?;
    let expires = seen.expires?;
    let class = match seen.starts {
        Some(starts) if expires.saturating_sub(starts) <= SHORT => Class::ShortLived,
        Some(_) => Class::Static,
        None => Class::Unknown,
    };
    let life = Life::Until {
        issued: seen.starts,
        expires,
    };
    Some(Credential::new(start..end, class, life, Confidence::High))
}

#[derive(Default)]
struct Parameters {
    version: bool,
    resource: bool,
    starts: Option<i64>,
    expires: Option<i64>,
}

/// Bytes of a signature: base64 of 32 bytes, perhaps percent-encoded.
fn signature_len(text: &[u8]) -> Option<usize> {
    let mut at: usize = 0;
    let mut characters: usize = 0;
    loop {
        let step = match text.get(at..)? {
            [b'%', high, low, ..] if HEX_ANY.has(*high) && HEX_ANY.has(*low) => 3,
            [byte, ..] if BASE64.and(PADDING).has(*byte) => 1,
            _ => break,
        };
        at = at.checked_add(step)?;
        characters = characters.checked_add(1)?;
        (characters <= 44).then_some(())?;
    }
    (characters >= 43).then_some(at)
}

/// The query that holds the signature, without what is not of it.
fn query_around(text: &[u8], at: usize, end: usize) -> Option<&[u8]> {
    let outside = Alphabet::of(b"?\"'`<>\\,;\r\n\t");
    let back = text.get(at.saturating_sub(QUERY_MAX)..at)?;
    let first = back
        .iter()
        .rev()
        .take_while(|byte| !outside.has(**byte))
        .count();
    let rest = text.get(end..)?;
    let ahead = rest
        .iter()
        .take(QUERY_MAX)
        .take_while(|byte| !outside.has(**byte) && **byte != b' ')
        .count();
    text.get(at.saturating_sub(first)..end.saturating_add(ahead))
}

/// A time of a signature, as text or in seconds; its colons may be percent-encoded.
fn moment(value: &[u8]) -> Option<i64> {
    if let Some(seconds) = time::number(value) {
        return Some(seconds);
    }
    let mut plain = [0; 32];
    let mut length: usize = 0;
    let mut rest = value;
    while let [first, others @ ..] = rest {
        let (byte, after) = match (first, others) {
            (b'%', [b'3', b'A' | b'a', after @ ..]) => (b':', after),
            (first, others) => (*first, others),
        };
        *plain.get_mut(length)? = byte;
        length = length.checked_add(1)?;
        rest = after;
    }
    time::extended(plain.get(..length)?)
}

/// Base64 of 64 bytes (storage, databases) or 32 (messaging, devices).
fn account_key(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    let before = text.get(..at)?;
    let mut cursor = Cursor::new(text, at);
    let is_key = (before.ends_with(b"Accou") && cursor.literal(b"ntKey=").is_some())
        || (before.ends_with(b"SharedAcce") && cursor.literal(b"ssKey=").is_some());
    let span: Range<usize> = if is_key {
        let start = cursor.at();
        cursor.run(BASE64, 43..=86)?;
        cursor.pass(PADDING, 2);
        ends(text, cursor.at(), BASE64.and(PADDING)).then_some(start..cursor.at())?
    } else {
        sighting.is_named(ACCOUNT_KEY_NAMES).then_some(())?;
        whole(text, BASE64.and(PADDING), 88..=88)?
    };
    let key = text.get(span.clone())?;
    let whole_key = matches!(key, [.., b'=', b'='] if key.len() == 88)
        || matches!(key, [.., b'='] if key.len() == 44);
    (whole_key && !is_placeholder(key)).then_some(())?;
    Some(Credential::new(
        span,
        Class::Static,
        Life::Long,
        Confidence::High,
    ))
}
