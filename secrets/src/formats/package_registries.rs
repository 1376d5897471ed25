//! Package registries and the servers that stand in for them.

use super::base64::{decode, decoded_len};
use super::shape::{
    ALNUM, Alphabet, BASE32_LOWER, BASE64, BASE64_URL, Cursor, HEX, PADDING, begins, ends,
};
use super::token::{self, Part, STATIC, simple};
use super::{About, Credential, Format, Mark, Sighting, time};
use crate::checksum::crc;
use crate::credential::{Class, Confidence, Life, Rule};
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[
    Format {
        rule: Rule {
            id: "npm-token",
            title: "npm access token",
        },
        marks: &[Mark::Anywhere(b"npm_")],
        about: About {
            check: "CRC-32",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: npm,
    },
    Format {
        rule: Rule {
            id: "pypi-token",
            title: "PyPI API token",
        },
        marks: &[Mark::Anywhere(b"pypi-")],
        about: About {
            check: "macaroon: version, location",
            life: "until revoked, unless trusted publishing",
            classes: &[Class::Static],
        },
        read: pypi,
    },
    Format {
        rule: Rule {
            id: "cargo-registry-token",
            title: "Rust crate registry token",
        },
        marks: &[Mark::AtRun(b"cio"), Mark::Anywhere(b"%3Dcio")],
        about: About {
            check: "shape; sure by the variable's name only",
            life: "until revoked, unless trusted publishing",
            classes: &[Class::Static],
        },
        read: cargo,
    },
    simple!(
        "rubygems-api-key",
        "RubyGems API key",
        b"rubygems_" from 3,
        [Part::Run(HEX, 48, 48)],
        STATIC
    ),
    Format {
        rule: Rule {
            id: "nuget-api-key",
            title: "NuGet API key",
        },
        marks: &[Mark::AtRun(b"oy2"), Mark::Anywhere(b"%3Doy2")],
        about: About {
            check: "base32 with its fixed bits",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: nuget,
    },
    simple!(
        "docker-hub-pat",
        "Docker Hub personal access token",
        b"dckr_pat_",
        [Part::Run(BASE64_URL, 27, 27)],
        STATIC
    ),
    simple!(
        "docker-hub-org-token",
        "Docker Hub organisation access token",
        b"dckr_oat_",
        [Part::Run(BASE64_URL, 32, 32)],
        STATIC
    ),
    simple!(
        "jfrog-api-key",
        "JFrog API key",
        b"AKCp",
        [Part::Run(BASE58, 65, 69)],
        STATIC
    ),
    Format {
        rule: Rule {
            id: "jfrog-reference-token",
            title: "JFrog reference token",
        },
        marks: &[Mark::Anywhere(b"cmVmdGtu")],
        about: About {
            check: "base64 of `reftkn:`, version, expiry",
            life: "the expiry inside",
            classes: &[Class::ShortLived, Class::Static, Class::Unknown],
        },
        read: jfrog_reference,
    },
    simple!(
        "sonar-user-token",
        "SonarQube user token",
        b"squ_",
        [Part::Run(HEX, 40, 40)],
        STATIC
    ),
    simple!(
        "sonar-project-token",
        "SonarQube project analysis token",
        b"sqp_",
        [Part::Run(HEX, 40, 40)],
        STATIC
    ),
    simple!(
        "sonar-global-token",
        "SonarQube global analysis token",
        b"sqa_",
        [Part::Run(HEX, 40, 40)],
        STATIC
    ),
];

/// Base 58: without the characters that look alike.
const BASE58: Alphabet =
    Alphabet::of(b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz");

fn npm(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let parts = [Part::Run(ALNUM, 36, 36)];
    let (start, body, end) = token::span(sighting.text, sighting.at, b"npm_", &parts)?;
    let body = sighting.text.get(body..end)?;
    (!is_placeholder(body)).then_some(())?;
    let found = Credential::new(start..end, Class::Static, Life::Long, Confidence::High);
    Some(found.checked(crc::base62_at_end(body)?))
}

/// A macaroon of version 2: its version, then a field of type 1 with the host name of the index as
/// location, of eight bytes or, for the test index, thirteen; then the identifier and the signature.
fn pypi(sighting: &Sighting<'_>, scratch: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    begins(text, at, BASE64_URL).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    cursor.literal(b"pypi-")?;
    let body = cursor.run(BASE64_URL, 50..=1000)?;
    (body.starts_with(b"AgEIcHlwaS5vcmc") || body.starts_with(b"AgENdGVzdC5weXBpLm9yZ"))
        .then_some(())?;
    (!is_placeholder(body)).then_some(())?;
    let is_macaroon = scratch
        .with(decoded_len(body.len()), |memory, _| {
            decode(body, memory).and_then(macaroon)
        })
        .flatten();
    let confidence = match is_macaroon {
        Some(()) => Confidence::High,
        None => Confidence::Medium,
    };
    let span = at..cursor.at();
    Some(Credential::new(span, Class::Static, Life::Long, confidence))
}

/// Walks the fields of a macaroon to its signature, which is its last.
fn macaroon(bytes: &[u8]) -> Option<()> {
    const END: u8 = 0;
    const SIGNATURE: u8 = 6;
    let mut rest = bytes.strip_prefix(&[2])?;
    // Location, identifier, up to thirty caveats of three fields, and the ends of sections.
    for _ in 0..128 {
        let (kind, after) = rest.split_first()?;
        if *kind == END {
            rest = after;
            continue;
        }
        let (length, after) = varint(after)?;
        let field = after.get(..length)?;
        if *kind == SIGNATURE {
            return (field.len() == 32).then_some(());
        }
        rest = after.get(length..)?;
    }
    None
}

fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match *bytes {
        [low @ 0..=0x7f, ref rest @ ..] => Some((usize::from(low), rest)),
        [low, high @ 0..=0x7f, ref rest @ ..] => {
            let low = usize::from(low & 0x7f);
            Some((low | (usize::from(high) << 7), rest))
        }
        _ => None,
    }
}

fn cargo(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let parts = [Part::Run(ALNUM, 32, 32)];
    let (start, body, end) = token::span(sighting.text, token::unglued(sighting), b"cio", &parts)?;
    (!is_placeholder(sighting.text.get(body..end)?)).then_some(())?;
    let by_name = sighting.name.is_some_and(|name| {
        let of_registry = name.starts_with(b"CARGO_REGISTRIES_") && name.ends_with(b"_TOKEN");
        name == b"CARGO_REGISTRY_TOKEN" || of_registry
    });
    let confidence = if by_name {
        Confidence::High
    } else {
        Confidence::Low
    };
    Some(Credential::new(
        start..end,
        Class::Static,
        Life::Long,
        confidence,
    ))
}

/// 46 characters of base32 in all. Fields inside are aligned to bytes, so some characters have bits that
/// are always the same (microsoft/security-utilities, `NuGetApiKey`).
fn nuget(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    const FIXED: [(usize, &[u8]); 6] = [
        (3, b"abcdefghijklmnop"),
        (19, b"aq"),
        (31, b"eu"),
        (32, b"bdfhjlnprtvxz357"),
        (33, b"abcdefghijklmnop"),
        (45, b"aeimquy4"),
    ];
    let parts = [Part::Run(BASE32_LOWER, 43, 43)];
    let (start, body, end) = token::span(sighting.text, token::unglued(sighting), b"oy2", &parts)?;
    (!is_placeholder(sighting.text.get(body..end)?)).then_some(())?;
    let key = sighting.text.get(start..end)?;
    let fits = FIXED
        .iter()
        .all(|(at, of)| key.get(*at).is_some_and(|byte| of.contains(byte)));
    let confidence = if fits {
        Confidence::High
    } else {
        Confidence::Low
    };
    Some(Credential::new(
        start..end,
        Class::Static,
        Life::Long,
        confidence,
    ))
}

/// `reftkn:VERSION:EXPIRY:RANDOM` in base64, 64 characters. The expiry is in seconds, 0 for never.
fn jfrog_reference(sighting: &Sighting<'_>, scratch: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    begins(text, at, BASE64).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    let body = cursor.run(BASE64, 60..=128)?;
    cursor.pass(PADDING, 2);
    ends(text, cursor.at(), BASE64_URL).then_some(())?;
    let expires = scratch
        .with(decoded_len(body.len()), |memory, _| {
            let inner = decode(body, memory)?.strip_prefix(b"reftkn:")?;
            let mut pieces = inner.splitn(3, |byte| *byte == b':');
            let _version = time::number(pieces.next()?)?;
            let expires = time::number(pieces.next()?)?;
            (pieces.next()?.len() >= 16).then_some(expires)
        })
        .flatten()?;
    let (class, life) = match expires {
        0 => (Class::Static, Life::Long),
        expires => (
            // How long it was good for is not in it.
            Class::Unknown,
            Life::Until {
                issued: None,
                expires,
            },
        ),
    };
    Some(Credential::new(
        at..cursor.at(),
        class,
        life,
        Confidence::High,
    ))
}
