//! Tokens of CI platforms that only their variables' names tell from others.

use super::shape::{Alphabet, BASE64_URL, whole};
use super::{About, Credential, Format, Mark, Sighting};
use crate::credential::{Class, Confidence, Life, Rule};
use crate::placeholder::is_placeholder;

pub(super) const FORMATS: &[Format] = &[
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
