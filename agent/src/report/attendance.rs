//! Who asked for a job of a CI system, under which grant, and what was not as it should be about its start and
//! its end.
//!
//! What the asker says of the job (repository, commit, run) is the runner's word: it decided among the profiles
//! that the host's owner granted to this runner, and no more.

#![forbid(unsafe_code)]

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How a job of a CI system came to be.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Attendance {
    /// Name of the runner's cgroup below the slice; absent where somebody outside the slice asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    /// What the asker said of the job.
    pub identity: Identity,
    /// Where the grant stands that allowed it (`file:line`); absent where root of the host asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// Who asked.
    pub asked_by: Asker,
    /// Processes that were moved into the job at its start.
    pub moved: u64,
    /// What was not as it should be, in the order of time.
    pub findings: Vec<Irregularity>,
    /// Findings beyond those that are listed.
    #[serde(default)]
    pub findings_unlisted: u64,
    /// When the job narrowed its own policy. What the report says of the policy is what was left in the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub narrowed: Vec<Narrowing>,
}

/// A job gave up a part of what it was allowed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Narrowing {
    /// When. Before this, what it began with was in force, or what the narrowing before left of it.
    pub at: Timestamp,
    /// What the file was called by who sent it.
    pub file: String,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// BLAKE3 of the ruleset from then on, hex.
    pub ruleset_digest: String,
    /// Who asked for it.
    pub by: String,
}

/// What a CI system calls a job. All of it is what the asker said.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Identity {
    /// The CI system: `github`, `gitlab`, `buildkite`, `forgejo`, `jenkins` or another word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// `owner/name`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Name or file of the workflow, pipeline or project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// `refs/heads/main`
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Commit that was checked out, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Number of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Attempt of that run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    /// Name of the job in the workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// What started it: `push`, `pull_request`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Whether its commits come from a fork.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fork: Option<bool>,
}

/// Who asked for a job.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Asker {
    /// User id.
    pub uid: u32,
    /// Process.
    pub pid: u32,
    /// Its executable and those of its ancestors, nearest first.
    pub executables: Vec<String>,
}

/// Something about a job's start or end that was not as it should be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Irregularity {
    /// What.
    pub kind: Kind,
    /// When.
    pub at: Timestamp,
    /// In words.
    pub detail: String,
}

/// Kinds of irregularities.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Something in the job asked the daemon for what only others may have.
    RefusedRequest,
    /// The end of the job was announced, and it went on.
    EarlyFinish,
    /// The job ended, and its end was never announced.
    NoFinish,
    /// A worker of the runner ran without a job.
    NoStart,
    /// The runner was stopped while the job ran.
    RunnerGone,
}

impl Kind {
    /// As in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::RefusedRequest => "refused-request",
            Self::EarlyFinish => "early-finish",
            Self::NoFinish => "no-finish",
            Self::NoStart => "no-start",
            Self::RunnerGone => "runner-gone",
        }
    }
}

/// Irregularities that are listed. Who goes on after these is known.
const LISTED: usize = 64;
/// Bytes of one word of an identity.
pub const WORD_BYTES: usize = 512;

impl Attendance {
    /// Whether nothing is known and nothing was found: as of a command line of the host.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        *self == Self::default()
    }

    /// What people should know of it, but for the findings: labels and values, the job's words unescaped.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        let words: Vec<String> = self
            .identity
            .words()
            .into_iter()
            .filter_map(|(name, word)| Some(format!("{name} {}", word?)))
            .collect();
        if !words.is_empty() {
            facts.push(("Said to be", words.join(", ")));
        }
        match self.identity.fork {
            Some(true) => facts.push(("Commits", "of a fork".to_owned())),
            Some(false) => facts.push(("Commits", "of the repository itself".to_owned())),
            None => {}
        }
        facts.extend(self.runner.clone().map(|runner| ("Runner", runner)));
        facts.extend(self.grant.clone().map(|grant| ("Granted by", grant)));
        for narrowing in &self.narrowed {
            let Narrowing {
                at,
                file,
                sha256,
                ruleset_digest,
                by,
            } = narrowing;
            let text = format!(
                "at {at} by {file} (sha256 {sha256}), asked for by {by}; ruleset {ruleset_digest} from then on"
            );
            facts.push(("Narrowed", text));
        }
        if self.findings_unlisted > 0 {
            let more = format!("{} more findings than are listed", self.findings_unlisted);
            facts.push(("Findings", more));
        }
        facts
    }

    /// Adds what was found.
    pub fn note(&mut self, kind: Kind, detail: String) {
        if self.findings.len() >= LISTED {
            self.findings_unlisted = self.findings_unlisted.saturating_add(1);
            return;
        }
        self.findings.push(Irregularity {
            kind,
            at: Timestamp::now(),
            detail,
        });
    }
}

/// A word of an identity that cannot be what it says.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{name}` must be at most {WORD_BYTES} bytes without control characters")]
pub struct WordError {
    /// Which.
    pub name: &'static str,
}

impl Identity {
    /// The words of it, by their names in JSON.
    #[must_use]
    pub fn words(&self) -> [(&'static str, Option<&str>); 9] {
        let Self {
            provider,
            repository,
            workflow,
            reference,
            commit,
            run,
            attempt,
            job,
            event,
            fork: _,
        } = self;
        [
            ("provider", provider.as_deref()),
            ("repository", repository.as_deref()),
            ("workflow", workflow.as_deref()),
            ("ref", reference.as_deref()),
            ("commit", commit.as_deref()),
            ("run", run.as_deref()),
            ("attempt", attempt.as_deref()),
            ("job", job.as_deref()),
            ("event", event.as_deref()),
        ]
    }

    /// Checks that each word is one: what is unbounded or hides from a reader is refused where it comes in.
    ///
    /// # Errors
    /// One is too long or has control characters.
    pub fn check(&self) -> Result<(), WordError> {
        let bad = |text: &str| text.len() > WORD_BYTES || text.chars().any(char::is_control);
        match self
            .words()
            .into_iter()
            .find(|(_, text)| text.is_some_and(bad))
        {
            Some((name, _)) => Err(WordError { name }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_short_and_visible() {
        let long = "x".repeat(WORD_BYTES + 1);
        for bad in ["a\nb", "\u{1b}[2J", "\0", long.as_str()] {
            let identity = Identity {
                reference: Some(bad.to_owned()),
                ..Identity::default()
            };
            assert_eq!(identity.check(), Err(WordError { name: "ref" }));
        }
        let good = Identity {
            reference: Some("refs/heads/главная".to_owned()),
            ..Identity::default()
        };
        assert_eq!(good.check(), Ok(()));
    }

    #[test]
    fn what_is_found_is_bounded_and_counted() {
        let mut attendance = Attendance::default();
        for _ in 0..LISTED + 3 {
            attendance.note(Kind::RefusedRequest, "again".to_owned());
        }
        assert_eq!(attendance.findings.len(), LISTED);
        assert_eq!(attendance.findings_unlisted, 3);
    }

    #[test]
    fn a_kind_is_called_what_json_calls_it() {
        for kind in [
            Kind::RefusedRequest,
            Kind::EarlyFinish,
            Kind::NoFinish,
            Kind::NoStart,
            Kind::RunnerGone,
        ] {
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json.trim_matches('"'), kind.word());
        }
    }
}
