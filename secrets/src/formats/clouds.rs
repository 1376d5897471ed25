//! Hosting, CDNs, infrastructure: everyone but the three large clouds.

use super::shape::{
    ALNUM, Alphabet, BASE64, BASE64_URL, Cursor, HEX, LOWER_ALNUM, begins, ends, whole,
};
use super::token::{self, Meaning, Part, STATIC, UNKNOWN, named, simple};
use super::{About, Credential, Format, Mark, Sighting};
use crate::checksum::crc;
use crate::credential::{Class, Confidence, Life, Rule};
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[
    simple!(
        "digitalocean-pat",
        "DigitalOcean personal access token",
        b"dop_v1_",
        [Part::Run(HEX, 64, 64)],
        STATIC
    ),
    simple!(
        "digitalocean-oauth",
        "DigitalOcean OAuth token",
        b"doo_v1_",
        [Part::Run(HEX, 64, 64)],
        Meaning::new(Class::Unknown, Life::Unknown, Confidence::High)
    ),
    simple!(
        "digitalocean-refresh",
        "DigitalOcean refresh token",
        b"dor_v1_",
        [Part::Run(HEX, 64, 64)],
        STATIC
    ),
    simple!(
        "heroku-key",
        "Heroku API key",
        b"HRKU-AA",
        [Part::Run(BASE64_URL, 58, 58)],
        STATIC
    ),
    Format {
        rule: Rule {
            id: "heroku-key-legacy",
            title: "Heroku API key (UUID)",
        },
        marks: &[Mark::Named(&["HEROKU_API_KEY", "HEROKU_API_TOKEN"])],
        about: About {
            check: "name, UUID",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: heroku_legacy,
    },
    cloudflare!("cloudflare-user-key", "Cloudflare global API key", b"cfk_"),
    cloudflare!(
        "cloudflare-user-token",
        "Cloudflare user API token",
        b"cfut_"
    ),
    cloudflare!(
        "cloudflare-account-token",
        "Cloudflare account API token",
        b"cfat_"
    ),
    simple!(
        "cloudflare-origin-ca-key",
        "Cloudflare origin CA key",
        b"v1.0-",
        [
            Part::Run(HEX, 24, 24),
            Part::Text(b"-"),
            Part::Run(HEX, 146, 146)
        ],
        STATIC
    ),
    named!(
        "cloudflare-token-legacy",
        "Cloudflare API token (40 characters)",
        ["CLOUDFLARE_API_TOKEN", "CF_API_TOKEN"],
        BASE64_URL,
        40
    ),
    named!(
        "cloudflare-key-legacy",
        "Cloudflare global API key (37 digits)",
        ["CLOUDFLARE_API_KEY", "CF_API_KEY"],
        HEX,
        37
    ),
    named!(
        "fastly-token",
        "Fastly API token",
        ["FASTLY_API_TOKEN", "FASTLY_API_KEY", "FASTLY_KEY"],
        BASE64_URL,
        32
    ),
    Format {
        rule: Rule {
            id: "fly-token",
            title: "Fly.io access token",
        },
        marks: &[
            Mark::Anywhere(b"FlyV1 "),
            Mark::Anywhere(b"fm2_"),
            Mark::Anywhere(b"fm1r_"),
            Mark::Anywhere(b"fm1a_"),
        ],
        about: About {
            check: "list of macaroons",
            life: "unknown",
            classes: &[Class::Unknown],
        },
        read: fly,
    },
    simple!(
        "vercel-pat",
        "Vercel personal access token",
        b"vcp_",
        [Part::Run(ALNUM, 56, 56)],
        STATIC
    ),
    simple!(
        "vercel-integration-token",
        "Vercel integration token",
        b"vci_",
        [Part::Run(ALNUM, 56, 56)],
        STATIC
    ),
    simple!(
        "vercel-app-token",
        "Vercel app access token",
        b"vca_",
        [Part::Run(ALNUM, 56, 56)],
        UNKNOWN
    ),
    simple!(
        "vercel-refresh-token",
        "Vercel app refresh token",
        b"vcr_",
        [Part::Run(ALNUM, 56, 56)],
        STATIC
    ),
    simple!(
        "vercel-ai-key",
        "Vercel AI gateway key",
        b"vck_",
        [Part::Run(ALNUM, 56, 56)],
        STATIC
    ),
    named!(
        "vercel-token-legacy",
        "Vercel access token (24 characters)",
        ["VERCEL_TOKEN", "NOW_TOKEN"],
        ALNUM,
        24
    ),
    simple!(
        "netlify-pat",
        "Netlify personal access token",
        b"nfp_",
        [Part::Run(ALNUM, 36, 36)],
        STATIC
    ),
    Format {
        rule: Rule {
            id: "netlify-token-legacy",
            title: "Netlify access token, by name",
        },
        marks: &[Mark::Named(&["NETLIFY_AUTH_TOKEN", "NETLIFY_TOKEN"])],
        about: About {
            check: "name, shape",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: netlify_legacy,
    },
    simple!(
        "supabase-pat",
        "Supabase personal access token",
        b"sbp_",
        [Part::Run(HEX, 40, 40)],
        STATIC
    ),
    simple!(
        "supabase-secret-key",
        "Supabase secret key",
        b"sb_secret_",
        [Part::Run(BASE64_URL, 31, 31)],
        STATIC
    ),
    simple!(
        "planetscale-token",
        "PlanetScale service token",
        b"pscale_tkn_",
        [Part::Run(PLANETSCALE, 32, 64)],
        STATIC
    ),
    simple!(
        "planetscale-password",
        "PlanetScale database password",
        b"pscale_pw_",
        [Part::Run(PLANETSCALE, 32, 64)],
        STATIC
    ),
    simple!(
        "planetscale-oauth",
        "PlanetScale OAuth token",
        b"pscale_oauth_",
        [Part::Run(PLANETSCALE, 32, 64)],
        UNKNOWN
    ),
];

const PLANETSCALE: Alphabet = BASE64_URL.and(Alphabet::of(b"."));

macro_rules! cloudflare {
    ($id:literal, $title:literal, $prefix:literal) => {
        Format {
            rule: Rule {
                id: $id,
                title: $title,
            },
            marks: &[Mark::Anywhere($prefix)],
            about: About {
                check: "CRC-32",
                life: "until revoked",
                classes: &[Class::Static],
            },
            read: |sighting, _| read_cloudflare(sighting, $prefix),
        }
    };
}
use cloudflare;

/// Forty characters and the eight digits of their checksum.
fn read_cloudflare(sighting: &Sighting<'_>, prefix: &[u8]) -> Option<Credential> {
    let parts = [Part::Run(ALNUM, 48, 48)];
    let (start, body, end) = token::span(sighting.text, sighting.at, prefix, &parts)?;
    let body = sighting.text.get(body..end)?;
    (!is_placeholder(body)).then_some(())?;
    let found = Credential::new(start..end, Class::Static, Life::Long, Confidence::High);
    // What does not even end with digits of a checksum has a wrong one.
    Some(found.checked(crc::hex_at_end(body) == Some(true)))
}

fn heroku_legacy(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let span = whole(sighting.text, HEX.and(Alphabet::of(b"-")), 36..=36)?;
    let key = sighting.text.get(span.clone())?;
    let groups = key.split(|byte| *byte == b'-').map(<[u8]>::len);
    groups.eq([8, 4, 4, 4, 12]).then_some(())?;
    (!is_placeholder(key)).then_some(())?;
    Some(Credential::new(
        span,
        Class::Static,
        Life::Long,
        Confidence::Medium,
    ))
}

fn netlify_legacy(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let span = whole(sighting.text, BASE64_URL, 40..=64)?;
    let key = sighting.text.get(span.clone())?;
    let is_long = key.iter().all(|byte| LOWER_ALNUM.has(*byte)) && key.len() >= 60;
    ((key.len() <= 46 || is_long) && !key.starts_with(b"nfp_") && !is_placeholder(key))
        .then_some(())?;
    Some(Credential::new(
        span,
        Class::Static,
        Life::Long,
        Confidence::Medium,
    ))
}

/// Macaroons in a list, and how long one of them is, at most.
const FLY_LIST_MAX: usize = 16;
const FLY_MACAROON_MAX: usize = 4096;

const FLY_KINDS: [&[u8]; 4] = [b"fm2_", b"fm1r_", b"fm1a_", b"fo1_"];

/// Whether a macaroon and a comma are right before.
fn follows_macaroon(before: &[u8]) -> bool {
    let Some(before) = before.strip_suffix(b",") else {
        return false;
    };
    let body = BASE64.and(BASE64_URL).and(super::shape::PADDING);
    let length = body.run_back(before, FLY_MACAROON_MAX);
    let run = before.get(before.len().saturating_sub(length)..);
    run.is_some_and(|run| FLY_KINDS.iter().any(|kind| run.starts_with(kind)))
}

/// `FlyV1 fm2_…,fm2_…`: one credential, with a space in it. Without the word at its front as well.
fn fly(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    let own = BASE64.and(Alphabet::of(b"_"));
    begins(text, at, own).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    if cursor.literal(b"FlyV1 ").is_none() {
        let before = text.get(..at)?;
        // It was read with its word, or with the one before it in a list.
        (!before.ends_with(b"FlyV1 ") && !follows_macaroon(before)).then_some(())?;
    }
    let mut end = None;
    for _ in 0..FLY_LIST_MAX {
        if !FLY_KINDS.iter().any(|kind| cursor.literal(kind).is_some()) {
            break;
        }
        let body = cursor.run(BASE64.and(Alphabet::of(b"-_")), 40..=FLY_MACAROON_MAX)?;
        (!is_placeholder(body)).then_some(())?;
        cursor.pass(super::shape::PADDING, 2);
        ends(text, cursor.at(), own).then_some(())?;
        end = Some(cursor.at());
        if cursor.literal(b",").is_none() {
            break;
        }
    }
    Some(Credential::new(
        at..end?,
        Class::Unknown,
        Life::Unknown,
        Confidence::High,
    ))
}
