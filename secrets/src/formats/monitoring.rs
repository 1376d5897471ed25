//! What watches systems: Grafana, Sentry, New Relic, Datadog.

use super::base64::{decode, decoded_len};
use super::shape::{
    ALNUM, BASE64, BASE64_URL, Cursor, HEX, HEX_ANY, LOWER_ALNUM, PADDING, UPPER_ALNUM, begins,
    ends,
};
use super::token::{self, Part, STATIC, STATIC_LIKELY, named, simple};
use super::{About, Credential, Format, Mark, Sighting};
use crate::checksum::crc;
use crate::credential::{Class, Confidence, Life, Rule};
use crate::json::Fields;
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[
    Format {
        rule: Rule {
            id: "grafana-service-account",
            title: "Grafana service account token",
        },
        marks: &[Mark::Anywhere(b"glsa_")],
        about: About {
            check: "CRC-32",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: grafana,
    },
    Format {
        rule: Rule {
            id: "grafana-cloud",
            title: "Grafana Cloud access policy token",
        },
        marks: &[Mark::Anywhere(b"glc_")],
        about: About {
            check: "base64 of JSON",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: |sighting, scratch| token::encoded_json(sighting, scratch, b"glc_", 32..=400, b"k"),
    },
    Format {
        rule: Rule {
            id: "grafana-api-key",
            title: "Grafana API key (older)",
        },
        marks: &[Mark::Anywhere(b"eyJrIjoi")],
        about: About {
            check: "base64 of JSON",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: |sighting, scratch| token::encoded_json(sighting, scratch, b"", 60..=400, b"k"),
    },
    Format {
        rule: Rule {
            id: "sentry-org-token",
            title: "Sentry organisation token",
        },
        marks: &[Mark::Anywhere(b"sntrys_")],
        about: About {
            check: "base64 of JSON with `iat`",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: sentry,
    },
    simple!(
        "sentry-user-token",
        "Sentry user token",
        b"sntryu_",
        [Part::Run(HEX, 64, 64)],
        STATIC
    ),
    simple!(
        "newrelic-user-key",
        "New Relic user key",
        b"NRAK-",
        [Part::Run(UPPER_ALNUM, 27, 27)],
        STATIC
    ),
    simple!(
        "newrelic-insert-key",
        "New Relic insert key",
        b"NRII-",
        [Part::Run(BASE64_URL, 32, 32)],
        STATIC
    ),
    simple!(
        "newrelic-query-key",
        "New Relic query key",
        b"NRIQ-",
        [Part::Run(BASE64_URL, 32, 32)],
        STATIC
    ),
    simple!(
        "newrelic-admin-key",
        "New Relic admin key",
        b"NRRA-",
        [Part::Run(HEX, 42, 42)],
        STATIC
    ),
    simple!(
        "newrelic-browser-key",
        "New Relic browser key",
        b"NRJS-",
        [Part::Run(HEX, 19, 19)],
        STATIC_LIKELY
    ),
    Format {
        rule: Rule {
            id: "newrelic-license-key",
            title: "New Relic licence key",
        },
        marks: &[Mark::Anywhere(b"NRAL")],
        about: About {
            check: "suffix",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: newrelic_license,
    },
    named!(
        "datadog-api-key",
        "Datadog API key",
        ["DD_API_KEY", "DATADOG_API_KEY"],
        HEX,
        32
    ),
    named!(
        "datadog-app-key",
        "Datadog application key",
        [
            "DD_APP_KEY",
            "DD_APPLICATION_KEY",
            "DATADOG_APP_KEY",
            "DATADOG_APPLICATION_KEY"
        ],
        ALNUM,
        40
    ),
];

/// 32 characters and the digits of a checksum of them and of the prefix.
fn grafana(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let parts = [
        Part::Run(ALNUM, 32, 32),
        Part::Text(b"_"),
        Part::Run(HEX_ANY, 8, 8),
    ];
    let (start, body, end) = token::span(sighting.text, sighting.at, b"glsa_", &parts)?;
    (!is_placeholder(sighting.text.get(body..end)?)).then_some(())?;
    let (rest, sum) = sighting.text.get(start..end)?.split_last_chunk::<8>()?;
    let valid = crc::hex_reversed(rest.strip_suffix(b"_")?, sum)?;
    let found = Credential::new(start..end, Class::Static, Life::Long, Confidence::High);
    Some(found.checked(valid))
}

/// Base64 of a JSON object with the time of issue and the URL, `_`, 43 characters.
fn sentry(sighting: &Sighting<'_>, scratch: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    begins(text, at, BASE64_URL).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    cursor.literal(b"sntrys_")?;
    let body = cursor.run(BASE64, 80..=800)?;
    cursor.pass(PADDING, 2);
    cursor.literal(b"_")?;
    cursor.run(BASE64, 43..=43)?;
    ends(text, cursor.at(), BASE64_URL).then_some(())?;
    let mut org = [0; 64];
    let length = scratch
        .with(decoded_len(body.len()), |memory, _| {
            let json = decode(body, memory)?;
            let mut fields = Fields::of(json, 0, json.len());
            let mut issued = None;
            let mut length = 0;
            for field in fields.by_ref() {
                issued = issued.or_else(|| field.top_number("iat"));
                if let Some(name) = field.top("org") {
                    length = name.unescape(&mut org).map_or(0, <[u8]>::len);
                }
            }
            fields.end()?;
            issued.map(|_| length)
        })
        .flatten()?;
    let found = Credential::new(at..cursor.at(), Class::Static, Life::Long, Confidence::High);
    Some(found.fact("organization", org.get(..length)?))
}

/// Forty characters that end with the mark.
fn newrelic_license(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    let end = at.checked_add(4)?;
    let start = end.checked_sub(40)?;
    (begins(text, start, ALNUM) && ends(text, end, BASE64_URL)).then_some(())?;
    let mut cursor = Cursor::new(text, start);
    let body = cursor.take(LOWER_ALNUM, 36)?;
    (!is_placeholder(body)).then_some(())?;
    Some(Credential::new(
        start..end,
        Class::Static,
        Life::Long,
        Confidence::High,
    ))
}
