//! Services that teams work with: mail, payments, shops, trackers, notes.

use super::shape::{
    ALNUM, Alphabet, BASE64_URL, Cursor, DIGITS, HEX, UPPER, begins, ends, trimmed, whole,
};
use super::token::{self, Meaning, Part, STATIC, STATIC_LIKELY, named, simple};
use super::{About, Credential, Format, Mark, Sighting};
use crate::checksum::crc;
use crate::credential::{Class, Confidence, Life, Rule};
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[
    simple!(
        "stripe-live-key",
        "Stripe secret key, live",
        b"sk_live_",
        [Part::Run(ALNUM, 10, 120)],
        STATIC
    ),
    simple!(
        "stripe-restricted-key",
        "Stripe restricted key, live",
        b"rk_live_",
        [Part::Run(ALNUM, 10, 120)],
        STATIC
    ),
    simple!(
        "stripe-test-key",
        "Stripe secret key, test mode",
        b"sk_test_",
        [Part::Run(ALNUM, 10, 120)],
        STATIC_LIKELY
    ),
    simple!(
        "stripe-organization-key",
        "Stripe organisation key",
        b"sk_org_",
        [Part::Run(ALNUM, 10, 120)],
        STATIC_LIKELY
    ),
    simple!(
        "sendgrid-key",
        "SendGrid API key",
        at_run: "SG.",
        [
            Part::Run(BASE64_URL, 22, 22),
            Part::Text(b"."),
            Part::Run(BASE64_URL, 43, 43)
        ],
        STATIC
    ),
    simple!("twilio-api-key", "Twilio API key", at_hex: "SK", [Part::Run(HEX, 32, 32)], STATIC_LIKELY),
    Format {
        rule: Rule {
            id: "twilio-account-sid",
            title: "Twilio account (names whose token it is, and opens nothing)",
        },
        marks: &[Mark::Named(&["TWILIO_ACCOUNT_SID", "TWILIO_SID"])],
        about: About {
            check: "name, shape",
            life: "unknown",
            classes: &[Class::Pointer],
        },
        read: |sighting, _| {
            let at = trimmed(sighting.text).start;
            let account = Sighting { at, ..*sighting };
            let meaning = Meaning::new(Class::Pointer, Life::Unknown, Confidence::Low);
            token::read(&account, b"AC", &[Part::Run(HEX, 32, 32)], meaning)
        },
    },
    named!(
        "twilio-auth-token",
        "Twilio auth token",
        ["TWILIO_AUTH_TOKEN"],
        HEX,
        32
    ),
    named!(
        "twilio-api-secret",
        "Twilio API key secret",
        ["TWILIO_API_SECRET", "TWILIO_API_KEY_SECRET"],
        ALNUM,
        32
    ),
    simple!(
        "mailgun-key",
        "Mailgun API key",
        b"key-",
        [Part::Run(HEX, 32, 32)],
        STATIC_LIKELY
    ),
    Format {
        rule: Rule {
            id: "mailgun-signing-key",
            title: "Mailgun key, by name",
        },
        marks: &[Mark::Named(&[
            "MAILGUN_API_KEY",
            "MAILGUN_KEY",
            "MAILGUN_SIGNING_KEY",
            "MG_API_KEY",
        ])],
        about: About {
            check: "name, groups of digits",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: mailgun,
    },
    Format {
        rule: Rule {
            id: "mailchimp-key",
            title: "Mailchimp API key",
        },
        marks: &[
            Mark::Anywhere(b"-us1"),
            Mark::Anywhere(b"-us2"),
            Mark::Anywhere(b"-us3"),
            Mark::Anywhere(b"-us4"),
            Mark::Anywhere(b"-us5"),
            Mark::Anywhere(b"-us6"),
            Mark::Anywhere(b"-us7"),
            Mark::Anywhere(b"-us8"),
            Mark::Anywhere(b"-us9"),
        ],
        about: About {
            check: "data centre behind it",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: mailchimp,
    },
    Format {
        rule: Rule {
            id: "atlassian-token",
            title: "Atlassian API token",
        },
        marks: &[Mark::Anywhere(b"ATT3"), Mark::Anywhere(b"CTT3")],
        about: About {
            check: "CRC-32",
            life: "until revoked, a year at most",
            classes: &[Class::Static],
        },
        read: atlassian,
    },
    simple!(
        "bitbucket-app-password",
        "Bitbucket app password",
        b"ATBB",
        [Part::Run(ALNUM, 32, 32)],
        STATIC_LIKELY
    ),
    simple!(
        "linear-key",
        "Linear API key",
        b"lin_api_" from 1,
        [Part::Run(ALNUM, 40, 40)],
        STATIC
    ),
    simple!(
        "linear-oauth-token",
        "Linear OAuth token",
        b"lin_oauth_" from 1,
        [Part::Run(ALNUM, 40, 64)],
        Meaning::new(Class::Unknown, Life::Unknown, Confidence::Medium)
    ),
    simple!(
        "notion-token",
        "Notion integration token",
        b"ntn_",
        [Part::Just(DIGITS, 11), Part::Run(ALNUM, 35, 35)],
        STATIC
    ),
    simple!(
        "notion-token-legacy",
        "Notion integration token (older)",
        b"secret_",
        [Part::Run(ALNUM, 43, 43)],
        STATIC_LIKELY
    ),
    simple!(
        "postman-key",
        "Postman API key",
        b"PMAK-",
        [
            Part::Run(HEX, 24, 24),
            Part::Text(b"-"),
            Part::Run(HEX, 34, 34)
        ],
        STATIC
    ),
    simple!(
        "shopify-admin-token",
        "Shopify admin API token",
        b"shpat_",
        [Part::Run(HEX, 32, 32)],
        STATIC
    ),
    simple!(
        "shopify-custom-app-token",
        "Shopify custom app token",
        b"shpca_",
        [Part::Run(HEX, 32, 32)],
        STATIC
    ),
    simple!(
        "shopify-private-app-token",
        "Shopify private app token",
        b"shppa_",
        [Part::Run(HEX, 32, 32)],
        STATIC
    ),
    simple!(
        "shopify-shared-secret",
        "Shopify app shared secret",
        b"shpss_",
        [Part::Run(HEX, 32, 32)],
        STATIC
    ),
    Format {
        rule: Rule {
            id: "square-access-token",
            title: "Square access token",
        },
        marks: &[Mark::Anywhere(b"EAAA")],
        about: About {
            check: "shape; less sure if shorter than today's",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: square,
    },
    simple!(
        "square-access-token-legacy",
        "Square access token (older)",
        b"sq0atp-",
        [Part::Run(BASE64_URL, 22, 22)],
        STATIC
    ),
    simple!(
        "square-application-secret",
        "Square application secret",
        b"sq0csp-",
        [Part::Run(BASE64_URL, 43, 43)],
        STATIC
    ),
];

/// 60 characters today, fewer in older ones.
fn square(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let older = Meaning::new(Class::Static, Life::Long, Confidence::Low);
    let lengths = [(60, 60, STATIC_LIKELY), (22, 59, older)];
    lengths.iter().find_map(|(low, high, meaning)| {
        let parts = [Part::Run(BASE64_URL, *low, *high)];
        token::read(sighting, b"EAAA", &parts, *meaning)
    })
}

/// 32 digits, eight, eight; or with the older prefix, which is read by its prefix.
fn mailgun(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let span = whole(sighting.text, HEX.and(Alphabet::of(b"-")), 32..=50)?;
    let key = sighting.text.get(span.clone())?;
    let groups = || key.split(|byte| *byte == b'-').map(<[u8]>::len);
    (groups().eq([32, 8, 8]) || groups().eq([32])).then_some(())?;
    (!is_placeholder(key)).then_some(())?;
    Some(Credential::new(
        span,
        Class::Static,
        Life::Long,
        Confidence::Medium,
    ))
}

/// 32 digits before `-us` and the number of a data centre.
fn mailchimp(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    let start = at.checked_sub(32)?;
    begins(text, start, BASE64_URL).then_some(())?;
    let mut cursor = Cursor::new(text, start);
    let body = cursor.run(HEX, 32..=32)?;
    cursor.literal(b"-us")?;
    cursor.run(DIGITS, 1..=2)?;
    cursor.ends(BASE64_URL)?;
    (!is_placeholder(body)).then_some(())?;
    Some(Credential::new(
        start..cursor.at(),
        Class::Static,
        Life::Long,
        Confidence::High,
    ))
}

/// 192 characters in all: the last eight, behind `=`, are the checksum of what is before them.
fn atlassian(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = sighting.back(2)?;
    begins(text, at, BASE64_URL).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    let body = cursor.run(BASE64_URL, 183..=183)?;
    (body.starts_with(b"ATATT3") || body.starts_with(b"ATCTT3")).then_some(())?;
    (!is_placeholder(body)).then_some(())?;
    cursor.literal(b"=")?;
    let before = at..cursor.at();
    let sum = cursor.run(UPPER.and(DIGITS), 8..=8)?;
    ends(text, cursor.at(), BASE64_URL).then_some(())?;
    let valid = crc::hex_after(text.get(before)?, sum) == Some(true);
    let found = Credential::new(at..cursor.at(), Class::Static, Life::Long, Confidence::High);
    Some(found.checked(valid))
}
