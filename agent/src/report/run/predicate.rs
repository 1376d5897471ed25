//! The predicate of a run: its report under a type of its own, with the keys that all of cordon's
//! sealed statements share.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    CoverageFacts, EndedBy, FileDigest, Integrity, LimitFacts, PolicyIdentity, RunReport,
    SweepFacts, Verdict,
};
use crate::report::attested::Attestation;
use crate::report::ocsf::chain::EventFacts;
use crate::report::predicate::{Digest, MonitoredProcess};
use crate::report::{Outcome, Platform, ReportMode, Summary};

/// Type of the predicate; its number changes when its meaning does.
pub const PREDICATE_TYPE: &str = "urn:cordon:attestation:runner-run:v1";

/// [`PREDICATE_TYPE`]
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RunPredicate {
    /// [`RunReport::verdict`]
    pub verdict: Verdict,
    /// [`RunReport::mode`]
    pub mode: ReportMode,
    /// [`RunReport::integrity`]
    pub integrity: Integrity,
    /// [`RunReport::coverage`]
    pub coverage: CoverageFacts,
    /// [`RunReport::egress`]
    pub egress: Summary,
    /// [`RunReport::sweep`]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<SweepFacts>,
    /// [`RunReport::limits`]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitFacts>,
    /// What was watched: the host, and which job.
    pub monitored_process: MonitoredProcess,
    /// How the command ended.
    pub outcome: Outcome,
    /// [`RunReport::ended_by`]
    pub ended_by: EndedBy,
    /// Processes that were still there when the command had ended, and were killed.
    pub survivors: u64,
    /// [`RunReport::policy`]
    pub policy: PolicyIdentity,
    /// [`RunReport::host`]
    pub host: String,
    /// When.
    pub metadata: RunTimes,
    /// [`RunReport::platform`]
    pub platform: Platform,
    /// [`RunReport::reports`]
    pub reports: Vec<FileDigest>,
    /// [`RunReport::events`]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<EventFacts>,
    /// How the key is kept that signs this: [`Platform::key_protection`].
    pub cordon_key_protection: String,
    /// [`super::Link::sequence`]
    pub cordon_sequence: u64,
    /// [`super::Link::previous`]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordon_previous: Option<String>,
    /// The report this statement is about.
    pub report: Digest,
}

/// When the command ran.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RunTimes {
    /// [`crate::report::JobFacts::started`]
    pub started_on: Timestamp,
    /// [`crate::report::JobFacts::finished`]
    pub finished_on: Timestamp,
}

impl RunPredicate {
    /// The predicate of a report, whose file has this digest and is signed by the key of this id.
    #[must_use]
    pub fn new(report: &RunReport, report_sha256: &str, key_id: &str) -> Self {
        let RunReport {
            schema: _,
            verdict,
            mode,
            integrity,
            coverage,
            egress,
            sweep,
            limits,
            job,
            ended_by,
            policy,
            host,
            platform,
            reports,
            events,
            chain,
        } = report;
        Self {
            verdict: *verdict,
            mode: *mode,
            integrity: *integrity,
            coverage: coverage.clone(),
            egress: *egress,
            sweep: *sweep,
            limits: limits.clone(),
            monitored_process: MonitoredProcess::job(key_id, &job.id),
            outcome: job.outcome,
            ended_by: *ended_by,
            survivors: job.survivors,
            policy: policy.clone(),
            host: host.clone(),
            metadata: RunTimes {
                started_on: job.started,
                finished_on: job.finished,
            },
            platform: platform.clone(),
            reports: reports.clone(),
            events: events.clone(),
            cordon_key_protection: platform.key_protection.clone(),
            cordon_sequence: chain.sequence,
            cordon_previous: chain.previous.clone(),
            report: Digest {
                sha256: report_sha256.into(),
            },
        }
    }
}

impl Attestation for RunPredicate {
    const TYPE: &'static str = PREDICATE_TYPE;
    const ABOUT: &'static str = "a run";

    fn report_sha256(&self) -> &str {
        &self.report.sha256
    }
}
