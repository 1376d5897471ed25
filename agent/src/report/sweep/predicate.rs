//! The statement's predicate: the sweep's report, as far as it fits, under a type of its own.
//!
//! No vetted type says what was looked into. Where the type for vulnerability scans has a word for
//! something (`scanner`, `metadata.scanStartedOn`), it means the same here.
//!
//! **Invariants**: what the size bound leaves out is counted in [`Omitted`]; the whole of it is in
//! the report, whose digest is in the same statement.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::SweepReport;
use super::coverage::Coverage;
use super::finding::Finding;
use super::policy::{Action, Allowance, Scanner, SweepPolicyFacts};
use super::verdict::Verdict;
use crate::report::Platform;
use crate::report::attested::Attestation;
use crate::report::predicate::{Budget, Digest, LISTS_BUDGET, MonitoredProcess};

/// Type of the predicate; its number changes when its meaning does.
pub const PREDICATE_TYPE: &str = "urn:cordon:attestation:secret-sweep:v1";

/// What looks, as a resource.
const SCANNER_URI: &str = "urn:cordon:scanner:secrets:v1";

/// What it knows, as a resource.
const RULES_URI: &str = "urn:cordon:secret-rules:v1";

/// [`PREDICATE_TYPE`]
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SweepPredicate {
    /// [`SweepReport::verdict`]
    pub verdict: Verdict,
    /// [`SweepReport::coverage`]
    pub coverage: Coverage,
    /// [`SweepReport::action`]
    pub action: Action,
    /// What is in the report and, for its size, not in the lists below.
    pub omitted: Omitted,
    /// What was looked into: the host, and which job.
    pub monitored_process: MonitoredProcess,
    /// What looked.
    pub scanner: ScannerFacts,
    /// What was wanted.
    pub policy: SweepPolicyFacts,
    /// [`SweepReport::findings`]
    pub findings: Vec<Finding>,
    /// [`SweepReport::notes`]
    pub notes: Vec<Finding>,
    /// [`SweepReport::expected`]
    pub expected: Vec<Finding>,
    /// [`SweepReport::allowances`]
    pub allowances: Vec<Allowance>,
    /// When.
    pub metadata: ScanTimes,
    /// [`SweepReport::platform`]
    pub platform: Platform,
    /// The report this statement is about.
    pub report: Digest,
}

/// Entries left out of the lists.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Omitted {
    /// Of [`SweepPredicate::findings`].
    pub findings: usize,
    /// Of [`SweepPredicate::notes`].
    pub notes: usize,
    /// Of [`SweepPredicate::expected`].
    pub expected: usize,
    /// Of [`SweepPredicate::allowances`].
    pub allowances: usize,
}

/// What looked, in the words of a vulnerability scan.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ScannerFacts {
    /// `urn:cordon:scanner:secrets:v1`
    pub uri: String,
    /// Version of cordon.
    pub version: String,
    /// What it knows.
    pub db: Database,
    /// [`Scanner::key_id`]
    pub key_id: String,
}

/// The rules, in the words of a vulnerability scan.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// `urn:cordon:secret-rules:v1`
    pub uri: String,
    /// [`Scanner::rules_digest`]
    pub version: String,
    /// [`Scanner::rule_count`]
    pub rule_count: u64,
    /// [`Scanner::known_values`]
    pub known_values: u64,
}

/// From when to when was looked; absent where nobody did.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ScanTimes {
    /// Start of [`SweepReport::span`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan_started_on: Option<Timestamp>,
    /// End of [`SweepReport::span`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan_finished_on: Option<Timestamp>,
}

impl SweepPredicate {
    /// The predicate of a report, whose file has this digest and is signed by the key of this id.
    #[must_use]
    pub fn new(report: &SweepReport, report_sha256: &str, key_id: &str) -> Self {
        let SweepReport {
            schema: _,
            verdict,
            coverage,
            action,
            findings,
            notes,
            expected,
            allowances,
            policy,
            scanner,
            job,
            platform,
        } = report;
        let mut budget = Budget::new(LISTS_BUDGET);
        let (findings, findings_omitted) = budget.take(findings.iter().cloned());
        let (notes, notes_omitted) = budget.take(notes.iter().cloned());
        let (expected, expected_omitted) = budget.take(expected.iter().cloned());
        let (allowances, allowances_omitted) = budget.take(allowances.iter().cloned());
        let span = report.span();
        Self {
            verdict: *verdict,
            coverage: coverage.clone(),
            action: action.clone(),
            omitted: Omitted {
                findings: findings_omitted,
                notes: notes_omitted,
                expected: expected_omitted,
                allowances: allowances_omitted,
            },
            monitored_process: match job {
                Some(job) => MonitoredProcess::job(key_id, &job.id),
                None => MonitoredProcess::processes(key_id),
            },
            scanner: ScannerFacts::from(scanner),
            policy: policy.clone(),
            findings,
            notes,
            expected,
            allowances,
            metadata: ScanTimes {
                scan_started_on: span.map(|(from, _)| from),
                scan_finished_on: span.map(|(_, to)| to),
            },
            platform: platform.clone(),
            report: Digest {
                sha256: report_sha256.into(),
            },
        }
    }
}

impl Attestation for SweepPredicate {
    const TYPE: &'static str = PREDICATE_TYPE;
    const ABOUT: &'static str = "a secret sweep";

    fn report_sha256(&self) -> &str {
        &self.report.sha256
    }
}

impl From<&Scanner> for ScannerFacts {
    fn from(scanner: &Scanner) -> Self {
        let Scanner {
            name: _,
            version,
            rule_count,
            rules_digest,
            known_values,
            key_id,
        } = scanner;
        Self {
            uri: SCANNER_URI.into(),
            version: version.clone(),
            db: Database {
                uri: RULES_URI.into(),
                version: rules_digest.clone(),
                rule_count: *rule_count,
                known_values: *known_values,
            },
            key_id: key_id.clone(),
        }
    }
}
