//! CI services beside GitHub and GitLab, and tokens of all of them that only a name tells from others.

use super::shape::{ALNUM, Alphabet, BASE64_URL, Cursor, HEX, begins, whole};
use super::token::{Meaning, Part, STATIC, simple};
use super::{About, Credential, Format, Mark, Sighting};
use crate::credential::{Class, Confidence, Life, Rule};
use crate::placeholder::is_placeholder;
use crate::scratch::Scratch;

pub(super) const FORMATS: &[Format] = &[
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
            id: "actions-job-token",
            title: "GitHub Actions token of a job, by name",
        },
        marks: &[Mark::Named(&[
            "ACTIONS_RUNTIME_TOKEN",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        ])],
        about: About {
            check: "name, shape; a JWT is `jwt`",
            life: "the job's",
            classes: &[Class::JobToken],
        },
        read: |sighting, _| {
            // Today it is one, which says more of itself.
            let is_jwt = sighting.text.trim_ascii().starts_with(b"eyJ");
            (!is_jwt).then(|| by_name(sighting, Class::JobToken, Life::Short))?
        },
    },
    Format {
        rule: Rule {
            id: "gitlab-job-token-legacy",
            title: "GitLab CI job token, by name",
        },
        marks: &[Mark::Named(&[
            "CI_JOB_TOKEN",
            "CI_REGISTRY_PASSWORD",
            "CI_DEPENDENCY_PROXY_PASSWORD",
        ])],
        about: About {
            check: "name, shape",
            life: "the job's",
            classes: &[Class::JobToken],
        },
        read: |sighting, _| by_name(sighting, Class::JobToken, Life::Short),
    },
    Format {
        rule: Rule {
            id: "gitlab-deploy-password",
            title: "GitLab deploy token, by name",
        },
        marks: &[Mark::Named(&["CI_DEPLOY_PASSWORD"])],
        about: About {
            check: "name, shape",
            life: "until revoked",
            classes: &[Class::Static],
        },
        read: |sighting, _| by_name(sighting, Class::Static, Life::Long),
    },
    Format {
        rule: Rule {
            id: "buildkite-agent-access-token-legacy",
            title: "Buildkite agent session token, by name",
        },
        marks: &[Mark::Named(&["BUILDKITE_AGENT_ACCESS_TOKEN"])],
        about: About {
            check: "name, shape",
            life: "while the agent is connected",
            classes: &[Class::JobToken],
        },
        read: |sighting, _| by_name(sighting, Class::JobToken, Life::Short),
    },
];

/// A value of one word that is not read by a prefix of its own.
fn by_name(sighting: &Sighting<'_>, class: Class, life: Life) -> Option<Credential> {
    let span = whole(sighting.text, BASE64_URL.and(Alphabet::of(b".")), 16..=1024)?;
    (!is_placeholder(sighting.text.get(span.clone())?)).then_some(())?;
    Some(Credential::new(span, class, life, Confidence::Medium))
}

/// A job's token is a JWT behind its prefix.
const BUILDKITE_JOB: Alphabet = BASE64_URL.and(Alphabet::of(b"."));

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
