//! What runs and watches systems: secret stores, CI services, monitoring, data platforms.

use super::base64::{decode, decoded_len};
use super::shape::{
    ALNUM, Alphabet, BASE64, BASE64_URL, Cursor, DIGITS, HEX, HEX_ANY, LOWER_ALNUM, PADDING,
    UPPER_ALNUM, begins, ends, whole,
};
use super::token::{self, Meaning, Part, STATIC, STATIC_LIKELY, UNKNOWN, simple};
use super::{About, Credential, Format, Mark, Sighting};
use crate::checksum::crc;
use crate::credential::{Class, Confidence, Life, Rule};
use crate::json::Fields;
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[
    simple!(
        "vault-service-token",
        "HashiCorp Vault service token",
        b"hvs.",
        [Part::Run(BASE64_URL, 24, 160)],
        UNKNOWN
    ),
    simple!(
        "vault-batch-token",
        "HashiCorp Vault batch token",
        b"hvb.",
        [Part::Run(BASE64_URL, 138, 600)],
        Meaning::new(Class::Unknown, Life::Short, Confidence::High)
    ),
    simple!(
        "vault-recovery-token",
        "HashiCorp Vault recovery token",
        b"hvr.",
        [Part::Run(BASE64_URL, 24, 160)],
        UNKNOWN
    ),
    Format {
        rule: Rule {
            id: "vault-token-legacy",
            title: "HashiCorp Vault token (older)",
        },
        marks: &[Mark::Named(&["VAULT_TOKEN", "VAULT_DEV_ROOT_TOKEN_ID"])],
        about: About {
            check: "name, `s.`, `b.` or `r.`",
            life: "unknown",
            classes: &[Class::Unknown],
        },
        read: vault_legacy,
    },
    Format {
        rule: Rule {
            id: "terraform-token",
            title: "HCP Terraform token",
        },
        marks: &[Mark::Anywhere(b".atlasv1.")],
        about: About {
            check: "marker in the middle",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: terraform,
    },
    simple!(
        "pulumi-token",
        "Pulumi access token",
        b"pul-",
        [Part::Run(HEX, 40, 40)],
        STATIC
    ),
    doppler!(
        "doppler-personal-token",
        "Doppler personal token",
        b"dp.pt."
    ),
    simple!(
        "doppler-service-token",
        "Doppler service token",
        b"dp.st.",
        [Part::Run(DOPPLER, 40, 80)],
        STATIC
    ),
    doppler!("doppler-cli-token", "Doppler CLI token", b"dp.ct."),
    doppler!(
        "doppler-service-account-token",
        "Doppler service account token",
        b"dp.sa."
    ),
    doppler!("doppler-scim-token", "Doppler SCIM token", b"dp.scim."),
    doppler!("doppler-audit-token", "Doppler audit token", b"dp.audit."),
    Format {
        rule: Rule {
            id: "onepassword-service-account",
            title: "1Password service account token",
        },
        marks: &[Mark::Anywhere(b"ops_eyJ")],
        about: About {
            check: "base64 of JSON",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: |sighting, scratch| {
            encoded_json(sighting, scratch, b"ops_", 250..=4096, b"secretKey")
        },
    },
    simple!(
        "onepassword-secret-key",
        "1Password secret key",
        at_run: "A3-",
        [
            Part::Run(UPPER_ALNUM, 6, 6),
            Part::Text(b"-"),
            Part::Run(UPPER_ALNUM, 6, 11),
            Part::Text(b"-"),
            Part::Run(UPPER_ALNUM, 5, 5),
            Part::Text(b"-"),
            Part::Run(UPPER_ALNUM, 5, 5),
            Part::Text(b"-"),
            Part::Run(UPPER_ALNUM, 5, 5)
        ],
        STATIC_LIKELY
    ),
    simple!(
        "circleci-token",
        "CircleCI personal access token",
        b"CCIPAT_",
        [
            Part::Run(ALNUM, 22, 22),
            Part::Text(b"_"),
            Part::Run(HEX, 40, 40)
        ],
        STATIC
    ),
    simple!(
        "buildkite-user-token",
        "Buildkite API access token",
        b"bkua_",
        [Part::Run(HEX, 40, 40)],
        STATIC
    ),
    simple!(
        "buildkite-agent-token",
        "Buildkite agent registration token",
        b"bkct_",
        [Part::Run(ALNUM, 36, 100)],
        Meaning::new(Class::RunnerIdentity, Life::Long, Confidence::Medium)
    ),
    simple!(
        "buildkite-agent-access-token",
        "Buildkite agent session token",
        b"bkaa_",
        [Part::Run(ALNUM, 36, 100)],
        Meaning::new(Class::RunnerIdentity, Life::Short, Confidence::Medium)
    ),
    simple!(
        "buildkite-job-token",
        "Buildkite job token",
        b"bkaj_",
        [Part::Run(BUILDKITE_JOB, 36, 2048)],
        Meaning::new(Class::JobToken, Life::Short, Confidence::Medium)
    ),
    Format {
        rule: Rule {
            id: "tailscale-key",
            title: "Tailscale key",
        },
        marks: &[Mark::Anywhere(b"tskey-")],
        about: About {
            check: "kind, two parts",
            life: "until revoked, 90 days at most",
            classes: &[Class::Static],
        },
        read: tailscale,
    },
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
        read: |sighting, scratch| encoded_json(sighting, scratch, b"glc_", 32..=400, b"k"),
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
        read: |sighting, scratch| encoded_json(sighting, scratch, b"", 60..=400, b"k"),
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
    super::clouds::named!(
        "datadog-api-key",
        "Datadog API key",
        ["DD_API_KEY", "DATADOG_API_KEY"],
        HEX,
        32
    ),
    super::clouds::named!(
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
    Format {
        rule: Rule {
            id: "databricks-token",
            title: "Databricks access token",
        },
        marks: &[Mark::Anywhere(b"dapi")],
        about: About {
            check: "shape",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: databricks,
    },
    Format {
        rule: Rule {
            id: "snowflake-pat",
            title: "Snowflake programmatic access token",
        },
        marks: &[Mark::Named(&[
            "SNOWFLAKE_PAT",
            "SNOWFLAKE_TOKEN",
            "SNOWFLAKE_PASSWORD",
        ])],
        about: About {
            check: "name, shape",
            life: "until revoked, a year at most",
            classes: &[Class::Static],
        },
        read: snowflake,
    },
];

macro_rules! doppler {
    ($id:literal, $title:literal, $prefix:literal) => {
        simple!($id, $title, $prefix, [Part::Run(ALNUM, 40, 44)], STATIC)
    };
}
use doppler;

/// A service token may have the name of its configuration before it (`dp.st.prd.…`).
const DOPPLER: Alphabet = BASE64_URL.and(Alphabet::of(b"."));
/// A job's token is a JWT behind its prefix.
const BUILDKITE_JOB: Alphabet = BASE64_URL.and(Alphabet::of(b"."));

fn vault_legacy(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let span = whole(sighting.text, BASE64_URL.and(Alphabet::of(b".")), 26..=400)?;
    let token = sighting.text.get(span.clone())?;
    let (kind, body) = token.split_at_checked(2)?;
    matches!(kind, b"s." | b"b." | b"r.").then_some(())?;
    (!is_placeholder(body)).then_some(())?;
    Some(Credential::new(
        span,
        Class::Unknown,
        Life::Unknown,
        Confidence::Medium,
    ))
}

/// Fourteen characters, the marker, 60 to 70.
fn terraform(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    let start = at.checked_sub(14)?;
    begins(text, start, ALNUM).then_some(())?;
    let mut cursor = Cursor::new(text, start);
    cursor.run(ALNUM, 14..=14)?;
    cursor.literal(b".atlasv1.")?;
    let secret = cursor.run(BASE64_URL, 60..=70)?;
    cursor.ends(BASE64_URL)?;
    (!is_placeholder(secret)).then_some(())?;
    Some(Credential::new(
        start..cursor.at(),
        Class::Static,
        Life::Long,
        Confidence::High,
    ))
}

/// `tskey-KIND-ID-SECRET`, without kind in older ones.
fn tailscale(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    begins(text, at, BASE64_URL).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    cursor.literal(b"tskey-")?;
    let kinds = [
        &b"api-"[..],
        b"auth-",
        b"client-",
        b"scim-",
        b"webhook-",
        b"",
    ];
    kinds
        .iter()
        .any(|kind| cursor.literal(kind).is_some())
        .then_some(())?;
    let id = cursor.run(ALNUM, 10..=20)?;
    cursor.literal(b"-")?;
    let secret = cursor.run(ALNUM, 20..=40)?;
    cursor.ends(BASE64_URL)?;
    (!is_placeholder(secret) && !is_placeholder(id)).then_some(())?;
    Some(Credential::new(
        at..cursor.at(),
        Class::Static,
        Life::Long,
        Confidence::High,
    ))
}

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

/// Base64 of a JSON object that has this key, behind a prefix.
fn encoded_json(
    sighting: &Sighting<'_>,
    scratch: &mut Scratch<'_>,
    prefix: &[u8],
    lengths: std::ops::RangeInclusive<usize>,
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

/// 32 digits, in some `-` and one more.
fn databricks(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    begins(text, at, BASE64_URL).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    cursor.literal(b"dapi")?;
    let body = cursor.run(HEX, 32..=32)?;
    let mut cloud = cursor;
    if cloud.literal(b"-").is_some() && cloud.run(DIGITS, 1..=1).is_some() {
        cursor = cloud;
    }
    cursor.ends(BASE64_URL)?;
    (!is_placeholder(body)).then_some(())?;
    Some(Credential::new(
        at..cursor.at(),
        Class::Static,
        Life::Long,
        Confidence::High,
    ))
}

/// Nothing tells it from other long values but its name; a key pair is PEM and read as such.
fn snowflake(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let span = whole(sighting.text, BASE64_URL.and(Alphabet::of(b".")), 100..=500)?;
    (!is_placeholder(sighting.text.get(span.clone())?)).then_some(())?;
    Some(Credential::new(
        span,
        Class::Static,
        Life::Long,
        Confidence::Medium,
    ))
}
