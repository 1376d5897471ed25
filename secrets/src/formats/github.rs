//! GitHub: tokens by their prefix, and what belongs to the runner itself.

use super::base64::{decode, decoded_len};
use super::shape::{ALNUM, BASE64, Cursor, DIGITS, UPPER_ALNUM, begins, ends};
use super::token::{self, Part, STATIC, simple};
use super::{About, Credential, Format, Mark, Sighting, jwt};
use crate::checksum::crc;
use crate::credential::{Class, Confidence, Life, Rule};
use crate::json::Fields;
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[
    classic!(
        "github-pat",
        "GitHub personal access token (classic)",
        b"ghp_",
        Owner::Person
    ),
    simple!(
        "github-fine-grained-pat",
        "GitHub personal access token (fine-grained)",
        b"github_pat_" from 5,
        [
            Part::Just(ALNUM, 22),
            Part::Text(b"_"),
            Part::Run(ALNUM, 59, 59)
        ],
        STATIC
    ),
    classic!(
        "github-oauth",
        "GitHub OAuth access token",
        b"gho_",
        Owner::Person
    ),
    classic!(
        "github-app-user",
        "GitHub App user access token",
        b"ghu_",
        Owner::AppUser
    ),
    classic!(
        "github-refresh",
        "GitHub App refresh token",
        b"ghr_",
        Owner::Person
    ),
    Format {
        rule: Rule {
            id: "github-app-installation-stateless",
            title: "GitHub App installation token (stateless), as GITHUB_TOKEN",
        },
        marks: &[Mark::Anywhere(b"ghs_")],
        about: About {
            check: "app id, JWT",
            life: "its `exp`, else hours at most",
            classes: &[Class::JobToken, Class::ShortLived],
        },
        read: stateless,
    },
    classic!(
        "github-app-installation",
        "GitHub App installation token, as GITHUB_TOKEN",
        b"ghs_",
        Owner::Installation
    ),
    Format {
        rule: Rule {
            id: "actions-runner-jit-config",
            title: "GitHub Actions runner, just-in-time configuration",
        },
        marks: &[
            Mark::Named(&["ACTIONS_RUNNER_INPUT_JITCONFIG"]),
            Mark::Anywhere(b"eyIucnVubmVy"),
            Mark::Anywhere(b"eyIuY3JlZGVu"),
        ],
        about: About {
            check: "base64, JSON map of the runner's files",
            life: "until the runner is removed",
            classes: &[Class::RunnerIdentity],
        },
        read: jit_config,
    },
    Format {
        rule: Rule {
            id: "github-runner-registration",
            title: "GitHub Actions runner registration token",
        },
        marks: &[Mark::Named(&[
            "ACTIONS_RUNNER_INPUT_TOKEN",
            "RUNNER_TOKEN",
            "RUNNER_REGISTRATION_TOKEN",
        ])],
        about: About {
            check: "name, shape",
            life: "hours at most",
            classes: &[Class::RunnerIdentity],
        },
        read: registration,
    },
];

/// Whose token it is.
#[derive(Clone, Copy)]
enum Owner {
    /// Until revoked; refresh tokens half a year.
    Person,
    /// Eight hours, unless the app opted out.
    AppUser,
    /// An hour; a job's as long as the job.
    Installation,
}

/// A prefix and a body that ends with its CRC.
macro_rules! classic {
    ($id:literal, $title:literal, $prefix:literal, $owner:expr) => {
        Format {
            rule: Rule {
                id: $id,
                title: $title,
            },
            marks: &[Mark::Anywhere($prefix)],
            about: About {
                check: "CRC-32",
                life: match $owner {
                    Owner::Person => "until revoked",
                    Owner::AppUser => "unknown",
                    Owner::Installation => "hours at most",
                },
                classes: match $owner {
                    Owner::Person => &[Class::Static],
                    Owner::AppUser => &[Class::Unknown],
                    Owner::Installation => &[Class::JobToken, Class::ShortLived],
                },
            },
            read: |sighting, _| read_classic(sighting, $prefix, $owner),
        }
    };
}
use classic;

/// Characters of a body today, and what GitHub asks to plan for: 255 with the prefix.
const BODY: usize = 36;
const BODY_MAX: usize = 251;

/// Variables that hold the job's own token: by the platform's documents, or as inputs of actions.
const JOB_TOKENS: &[&str] = &[
    "GITHUB_TOKEN",
    "GH_TOKEN",
    "INPUT_TOKEN",
    "INPUT_GITHUB-TOKEN",
    "INPUT_GITHUB_TOKEN",
    "INPUT_REPO-TOKEN",
    "INPUT_REPO_TOKEN",
    "ACTIONS_RUNTIME_TOKEN",
];

fn read_classic(sighting: &Sighting<'_>, prefix: &[u8], owner: Owner) -> Option<Credential> {
    let parts = [Part::Run(ALNUM, BODY, BODY_MAX)];
    let (start, body, end) = token::span(sighting.text, sighting.at, prefix, &parts)?;
    let body = sighting.text.get(body..end)?;
    (!is_placeholder(body)).then_some(())?;
    let (class, life) = match owner {
        Owner::Person => (Class::Static, Life::Long),
        Owner::AppUser => (Class::Unknown, Life::Unknown),
        Owner::Installation => (installation(sighting), Life::Short),
    };
    let found = Credential::new(start..end, class, life, Confidence::High);
    let valid = crc::base62_at_end(body)?;
    if body.len() == BODY || valid {
        Some(found.checked(valid))
    } else {
        // Nobody has said that longer ones end with the same sum.
        Some(Credential {
            confidence: Confidence::Medium,
            ..found
        })
    }
}

/// An installation token is the job's own where the platform puts that one; elsewhere an app may have
/// made it for itself.
fn installation(sighting: &Sighting<'_>) -> Class {
    // `actions/checkout` and the runner give git its header this way.
    let is_header = sighting
        .name
        .is_some_and(|name| name.starts_with(b"GIT_CONFIG_VALUE_"));
    if is_header || sighting.is_named(JOB_TOKENS) {
        Class::JobToken
    } else {
        Class::ShortLived
    }
}

/// `ghs_`, the number of the app, `_`, a JWT: one token, since April 2026.
fn stateless(sighting: &Sighting<'_>, scratch: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    begins(text, at, ALNUM).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    cursor.literal(b"ghs_")?;
    let app = cursor.run(DIGITS, 1..=20)?;
    cursor.literal(b"_")?;
    let jwt = jwt::segments(text, cursor.at(), scratch)?;
    let life = jwt.claims.life(Life::Short);
    let found = Credential::new(at..jwt.end, installation(sighting), life, Confidence::High);
    Some(jwt.claims.tell(found).fact("app", app))
}

/// Characters of a JIT configuration, at most, and how many are decoded to see what it is.
const JIT_MAX: usize = 65_536;
const JIT_SEEN: usize = 16_384;

/// A JSON map from the names of the runner's files (`.runner`, `.credentials`,
/// `.credentials_rsaparams`) to their contents, as base64.
fn jit_config(sighting: &Sighting<'_>, scratch: &mut Scratch<'_>) -> Option<Credential> {
    let Sighting { text, at, .. } = *sighting;
    begins(text, at, BASE64).then_some(())?;
    let mut cursor = Cursor::new(text, at);
    let encoded = cursor.run(BASE64, 100..=JIT_MAX)?;
    cursor.pass(super::shape::PADDING, 2);
    ends(text, cursor.at(), BASE64).then_some(())?;
    let seen = encoded.get(..encoded.len().min(JIT_SEEN))?;
    let is_map = scratch.with(decoded_len(seen.len()), |memory, _| {
        let json = decode(seen.get(..seen.len() & !3)?, memory)?;
        // Of a long one only the beginning is here; its first file name is enough then.
        let first = Fields::of(json, 0, json.len()).next();
        let named = first.is_none_or(|field| field.depth == 1 && field.key.raw.starts_with(b"."));
        let known = [&b"{\".runner"[..], b"{\".credentials"];
        let begins_known = known.iter().any(|name| json.starts_with(name));
        (named && begins_known).then_some(())
    })?;
    is_map?;
    Some(Credential::new(
        at..cursor.at(),
        Class::RunnerIdentity,
        Life::Long,
        Confidence::High,
    ))
}

/// 29 upper-case letters and digits, good for an hour.
fn registration(sighting: &Sighting<'_>, _: &mut Scratch<'_>) -> Option<Credential> {
    let span = super::shape::whole(sighting.text, UPPER_ALNUM, 29..=29)?;
    (!is_placeholder(sighting.text.get(span.clone())?)).then_some(())?;
    Some(Credential::new(
        span,
        Class::RunnerIdentity,
        Life::Short,
        Confidence::Medium,
    ))
}
