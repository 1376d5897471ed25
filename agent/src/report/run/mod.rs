//! The run report: one page that says of a job what a release depends on, and its place in the
//! host's chain of sealed evidence.
//!
//! It holds nothing that the egress report and the secret sweep do not say at length; it is what
//! those come to, with their digests.
//!
//! **Invariants**: the verdict follows from the rest and nobody chooses it; everything is ordered,
//! so that the same facts give the same bytes.

use serde::{Deserialize, Serialize};

use super::attested::Attested;
use super::ocsf::chain::EventFacts;
use super::sweep::{Gap, SweepReport, Taken};
use super::{JobFacts, Losses, Outcome, Platform, ProfileFacts, Report, ReportMode, Summary};
use crate::limits::evidence::Limits;

#[cfg(test)]
pub(super) mod fixture;
mod limits;
mod predicate;
pub mod text;
mod verdict;

pub use limits::{LimitFacts, MetFacts, PinnedFacts};
pub use predicate::{PREDICATE_TYPE, RunPredicate, RunTimes};
pub use verdict::Verdict;

/// Value of [`RunReport::schema`].
pub const SCHEMA: &str = "cordon/runner-run/v1";

/// File name of the report, and name of its statement's first subject.
pub const REPORT_NAME: &str = "run.json";

/// File name of the bundle.
pub const BUNDLE_NAME: &str = "run.sigstore.json";

/// How a blind spot begins that says that a program did not stay attached, or that the ruleset did
/// not stay in force, until the command had ended.
pub const ENFORCEMENT_GAP: &str = "ENFORCEMENT HAD A GAP";

/// What a job's evidence comes to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunReport {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// What all that follows comes to; set by [`RunReport::new`].
    pub verdict: Verdict,
    /// [`Report::mode`]
    pub mode: ReportMode,
    /// What was lost, and when nobody looked. All zero: nothing was.
    pub integrity: Integrity,
    /// Which layers enforced.
    pub coverage: CoverageFacts,
    /// [`Report::summary`]
    pub egress: Summary,
    /// What the sweep for secrets came to; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<SweepFacts>,
    /// What became of the job's limits, and what it used; absent where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitFacts>,
    /// [`Report::job`]
    pub job: JobFacts,
    /// Who or what ended the command.
    pub ended_by: EndedBy,
    /// What the job was allowed.
    pub policy: PolicyIdentity,
    /// Name of the host (`uname -n`), as the host says it of itself.
    pub host: String,
    /// [`Report::platform`]
    pub platform: Platform,
    /// The reports of the same job, in the order of their names.
    pub reports: Vec<FileDigest>,
    /// The single events of the same job; absent where none were kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<EventFacts>,
    /// Its place among the runs whose evidence this key has sealed.
    pub chain: Link,
}

/// What is missing from a job's evidence, and when enforcement or recording was not whole.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Integrity {
    /// [`Report::losses`]
    pub losses: Losses,
    /// Times in which nobody recorded, because cordon was killed while the job ran.
    pub interruptions: u64,
    /// Blind spots that begin with [`ENFORCEMENT_GAP`].
    pub enforcement_gaps: u64,
    /// What the sweep for secrets did not look into, by the sum of its gaps.
    pub sweep_gaps: u64,
    /// Limits that were to hold, and of which that is not proved.
    #[serde(default)]
    pub limits_unproved: u64,
}

/// Which layers enforced.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CoverageFacts {
    /// Names of those that were active from before the command started until it had ended, in order.
    pub active: Vec<String>,
    /// Names of those that were not, in order.
    pub inactive: Vec<String>,
    /// How many blind spots the egress report lists.
    pub blind_spots: u64,
}

/// What the sweep for secrets came to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SweepFacts {
    /// [`SweepReport::verdict`]
    pub verdict: super::sweep::Verdict,
    /// Secrets that the policy does not want where they were.
    pub findings: u64,
    /// What was done about them.
    pub taken: Taken,
}

/// Who or what ended a command.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum EndedBy {
    /// It ended by itself.
    Command,
    /// A signal.
    Signal,
    /// The worker of a CI system ended.
    Worker,
    /// Cordon, because a process of the job carried a secret.
    Secret,
    /// It was never started: it could not be executed.
    NotStarted,
    /// Nobody knows: who waited for it was killed.
    Unknown,
}

/// What a job was allowed, by digests.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyIdentity {
    /// [`super::PolicyFacts::name`]
    pub name: String,
    /// [`super::PolicyFacts::ruleset_digest`]: BLAKE3, hex.
    pub ruleset_digest: String,
    /// [`super::PolicyFacts::profiles`]
    pub profiles: Vec<ProfileFacts>,
}

/// A file of the evidence and its content.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileDigest {
    /// Its name in the evidence directory.
    pub name: String,
    /// Its SHA-256, lower-case hex.
    pub sha256: String,
}

/// The place of a run among all those whose evidence one key has sealed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Link {
    /// Counts up by one, from 1; never used twice. A number that is missing is evidence that is
    /// missing.
    pub sequence: u64,
    /// SHA-256 (lower-case hex) of the seal before, whether or not that was written in the end;
    /// absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
}

impl RunReport {
    /// What the reports of a job come to. `reports` are their files.
    #[must_use]
    pub fn new(
        egress: &Report,
        sweep: Option<&SweepReport>,
        mut reports: Vec<FileDigest>,
        host: &str,
        chain: Link,
    ) -> Self {
        reports.sort();
        let mut run = Self {
            schema: SCHEMA.to_owned(),
            verdict: Verdict::Incomplete,
            mode: egress.mode,
            integrity: Integrity::of(egress, sweep),
            coverage: CoverageFacts::of(egress),
            egress: egress.summary,
            sweep: sweep.map(SweepFacts::of),
            limits: egress.limits.as_ref().map(LimitFacts::of),
            job: egress.job.clone(),
            ended_by: EndedBy::of(egress.job.outcome, sweep),
            policy: PolicyIdentity {
                name: egress.policy.name.clone(),
                ruleset_digest: egress.policy.ruleset_digest.clone(),
                profiles: egress.policy.profiles.clone(),
            },
            host: host.to_owned(),
            platform: egress.platform.clone(),
            reports,
            events: None,
            chain,
        };
        run.verdict = run.came_to();
        run
    }

    /// The same, of a job whose single events are kept.
    #[must_use]
    pub fn with_events(mut self, events: Option<EventFacts>) -> Self {
        self.events = events;
        self
    }
}

impl Integrity {
    fn of(egress: &Report, sweep: Option<&SweepReport>) -> Self {
        let spots = egress.coverage.blind_spots.iter();
        let gaps = spots.filter(|spot| spot.starts_with(ENFORCEMENT_GAP));
        let swept = sweep.into_iter().flat_map(SweepReport::gaps);
        let limits = egress.limits.iter().flat_map(Limits::unproved);
        Self {
            losses: egress.losses,
            interruptions: egress.interruptions.len() as u64,
            enforcement_gaps: gaps.count() as u64,
            sweep_gaps: swept.map(Gap::count).fold(0, u64::saturating_add),
            limits_unproved: limits.count() as u64,
        }
    }
}

impl CoverageFacts {
    fn of(egress: &Report) -> Self {
        let names = |active| {
            let layers = egress.coverage.layers.iter();
            let of = layers.filter(|layer| layer.active == active);
            let mut names: Vec<_> = of.map(|layer| layer.name.clone()).collect();
            names.sort();
            names
        };
        Self {
            active: names(true),
            inactive: names(false),
            blind_spots: egress.coverage.blind_spots.len() as u64,
        }
    }
}

impl SweepFacts {
    fn of(sweep: &SweepReport) -> Self {
        Self {
            verdict: sweep.verdict,
            findings: sweep.findings.len() as u64,
            taken: sweep.action.taken,
        }
    }
}

impl EndedBy {
    fn of(outcome: Outcome, sweep: Option<&SweepReport>) -> Self {
        let taken = sweep.map_or(Taken::None, |sweep| sweep.action.taken);
        match (taken, outcome) {
            (Taken::Killed | Taken::Frozen, _) => Self::Secret,
            (Taken::None, Outcome::Exited { .. }) => Self::Command,
            (Taken::None, Outcome::Signalled { .. }) => Self::Signal,
            (Taken::None, Outcome::NotStarted) => Self::NotStarted,
            (Taken::None, Outcome::Unknown) => Self::Unknown,
            (Taken::None, Outcome::Finished) => Self::Worker,
        }
    }

    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Signal => "signal",
            Self::Worker => "worker",
            Self::Secret => "secret",
            Self::NotStarted => "not-started",
            Self::Unknown => "unknown",
        }
    }
}

impl Attested for RunReport {
    type Predicate = RunPredicate;

    const SCHEMA: &'static str = SCHEMA;
    const REPORT_NAME: &'static str = REPORT_NAME;
    const BUNDLE_NAME: &'static str = BUNDLE_NAME;

    fn predicate(&self, report_sha256: &str, key_id: &str) -> RunPredicate {
        RunPredicate::new(self, report_sha256, key_id)
    }

    fn contradiction(&self) -> Option<String> {
        let (says, is) = (self.verdict, self.came_to());
        (says != is).then(|| {
            format!(
                "its verdict is `{}`, and its facts come to `{}`",
                says.name(),
                is.name()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::statement::{Statement, sha256_hex};
    use crate::report::verify::parse_report;
    use crate::report::{fixture as files, json, sweep};

    #[test]
    fn the_report_file_is_the_golden_one_and_is_read_back_the_same() {
        let text = json::pretty(&fixture::report()).unwrap();
        files::assert_golden("run.json", &text);
        let read = parse_report::<RunReport>(text.as_bytes()).unwrap();
        assert_eq!(read, fixture::report());
    }

    #[test]
    fn the_statement_is_the_golden_one_and_is_about_its_file_only() {
        let statement = Statement::new(&fixture::report(), b"file", "SHA256:key", &[]);
        files::assert_golden("run-statement.json", &json::pretty(&statement).unwrap());
        let bytes = statement.to_bytes().unwrap();
        assert_eq!(Statement::<RunPredicate>::parse(&bytes).unwrap(), statement);
        assert!(statement.is_about(&sha256_hex(b"file")));
        assert!(!statement.is_about(&sha256_hex(b"fil3")));
    }

    #[test]
    fn an_unknown_field_is_refused_at_any_depth() {
        let text = json::pretty(&fixture::report()).unwrap();
        for place in [
            "\"verdict\":",
            "\"interruptions\":",
            "\"sequence\":",
            "\"taken\":",
        ] {
            let more = text.replacen(place, &format!("\"more\": 1, {place}"), 1);
            assert_ne!(more, text, "{place}");
            parse_report::<RunReport>(more.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn who_ended_the_command_is_told() {
        let mut swept = sweep::fixture::report();
        swept.action.taken = Taken::None;
        for (outcome, by) in [
            (Outcome::Exited { code: 0 }, EndedBy::Command),
            (Outcome::Signalled { signal: 9 }, EndedBy::Signal),
            (Outcome::NotStarted, EndedBy::NotStarted),
            (Outcome::Unknown, EndedBy::Unknown),
        ] {
            assert_eq!(EndedBy::of(outcome, None), by);
            assert_eq!(EndedBy::of(outcome, Some(&swept)), by);
        }
        swept.action.taken = Taken::Killed;
        let killed = Outcome::Signalled { signal: 9 };
        assert_eq!(EndedBy::of(killed, Some(&swept)), EndedBy::Secret);
    }
}
