//! Telemetry: one line of JSON for each job that is over, for whoever ships logs. Pure; [`mod@file`] writes it.
//!
//! The types here are the line, field for field. It is no evidence, for nobody signs it; it names the seal that is. It
//! has no byte of a secret, and lists are cut at [`LISTED`] with the rest counted, so that a line is small whatever a
//! job does.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub mod file;

use crate::limits::estimate::Estimate;
use crate::limits::evidence::{Kind, Limits, Usage};
use crate::report::attendance::Identity;
use crate::report::sink::Written;
use crate::report::sweep::{Finding, Severity, SweepReport, Verdict};
use crate::report::{Denial, Losses, Outcome, Report, ReportMode};

/// Value of [`Line::schema`].
pub const SCHEMA: &str = "cordon/telemetry/v1";

/// Denials, and findings, that a line lists.
pub const LISTED: usize = 32;
/// Names of one destination that are listed.
const NAMES: usize = 4;
/// Bytes of a text that a job chooses.
const TEXT: usize = 512;

/// A job that is over.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Line {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// What the host calls itself; empty where it does not say.
    pub host: String,
    /// The job.
    pub job: Job,
    /// What it was allowed.
    pub policy: Policy,
    /// What it reached and did not.
    pub egress: Egress,
    /// Secrets that were found; absent where nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Secrets>,
    /// Limits it met; absent where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Hits>,
    /// What it used; absent where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What that is estimated to come to: energy, carbon, cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// Where the evidence is, and what it is known by.
    pub evidence: Evidence,
}

/// The job.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Job {
    /// Identifier, unique on the host; one that begins with `unit-` is a runner's.
    pub id: String,
    /// First word of the command.
    pub command: String,
    /// When it was released.
    pub started: Timestamp,
    /// When its last process was gone.
    pub finished: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// Processes that had to be killed.
    pub survivors: u64,
    /// The runner it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    /// What the CI system calls it: the runner's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Where the grant stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// What was not as it should be about its start and end.
    pub irregularities: u64,
    /// Times in which nobody recorded.
    pub interruptions: u64,
}

/// What a job was allowed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Its profile, or several joined by `+`.
    pub name: String,
    /// BLAKE3 of the compiled ruleset, hex.
    pub ruleset_digest: String,
    /// Whether what no rule allows was refused.
    pub mode: ReportMode,
}

/// What a job reached, and did not.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Egress {
    /// Allowed connects and sends.
    pub allowed: u64,
    /// Denied attempts, or in audit mode those that would have been.
    pub denied: u64,
    /// Different allowed destinations.
    pub destinations: u64,
    /// Bytes to them.
    pub bytes_out: u64,
    /// Bytes from them.
    pub bytes_in: u64,
    /// DNS questions.
    pub names_asked: u64,
    /// Of these, refused.
    pub names_denied: u64,
    /// The most frequent denials, at most 32.
    pub denials: Vec<Refused>,
    /// Those beyond.
    pub denials_omitted: u64,
    /// What is missing from the lists of the evidence.
    pub losses: Losses,
}

/// A destination that was refused.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refused {
    /// IP address.
    pub address: IpAddr,
    /// Port; 0 for protocols without ports.
    pub port: u16,
    /// `tcp`, `udp`, or `ip-N`.
    pub protocol: String,
    /// Names it was known by, at most 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The kernel's reason.
    pub reason: String,
    /// How often.
    pub attempts: u64,
}

/// Secrets that were found.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secrets {
    /// What the sweep comes to.
    pub verdict: Verdict,
    /// Violations and warnings, at most 32.
    pub findings: Vec<Found>,
    /// Those beyond.
    pub findings_omitted: u64,
}

/// A secret that was found, without itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Found {
    /// The format.
    pub rule: String,
    /// How much it matters.
    pub severity: Severity,
    /// The same for the same secret under the same key.
    pub fingerprint: String,
    /// When it was first seen.
    pub first_seen: Timestamp,
}

/// Limits a job met.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hits {
    /// Which, and how often.
    pub met: Vec<Hit>,
    /// Limits that somebody outside the job changed.
    pub changed: u64,
    /// Limits of which it is not proved that they held.
    pub unproved: u64,
}

/// A limit that was met.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hit {
    /// What happened.
    pub kind: Kind,
    /// How often.
    pub count: u64,
}

/// The evidence of a job.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Evidence {
    /// The directory.
    pub directory: String,
    /// SHA-256 of the seal (`seal.sigstore.json`), hex: it covers everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal_sha256: Option<String>,
    /// Its number in the chain of its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// SHA-256 of the egress report, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_sha256: Option<String>,
    /// Id of the key that signed.
    pub key_id: String,
}

/// The line of a job.
#[must_use]
pub fn line(host: &str, report: &Report, sweep: Option<&SweepReport>, written: &Written) -> Line {
    let attendance = report.job.attendance.as_ref();
    Line {
        schema: SCHEMA.to_owned(),
        host: host.to_owned(),
        job: Job {
            id: report.job.id.clone(),
            command: cut(&report.job.command),
            started: report.job.started,
            finished: report.job.finished,
            outcome: report.job.outcome,
            survivors: report.job.survivors,
            runner: attendance.and_then(|attendance| attendance.runner.clone()),
            identity: attendance.map(|attendance| attendance.identity.clone()),
            grant: attendance.and_then(|attendance| attendance.grant.clone()),
            irregularities: attendance.map_or(0, |attendance| {
                (attendance.findings.len() as u64).saturating_add(attendance.findings_unlisted)
            }),
            interruptions: report.interruptions.len() as u64,
        },
        policy: Policy {
            name: cut(&report.policy.name),
            ruleset_digest: report.policy.ruleset_digest.clone(),
            mode: report.mode,
        },
        egress: egress(report),
        secrets: sweep.map(secrets),
        limits: report.limits.as_ref().map(hits),
        usage: report.limits.as_ref().map(|limits| limits.usage.clone()),
        estimate: report.limits.as_ref().map(|limits| limits.estimate.clone()),
        evidence: evidence(written),
    }
}

impl Line {
    /// As it is written, with the newline that ends it.
    ///
    /// # Errors
    /// It has no JSON form.
    pub fn to_text(&self) -> serde_json::Result<String> {
        let mut text = serde_json::to_string(self)?;
        text.push('\n');
        Ok(text)
    }
}

fn egress(report: &Report) -> Egress {
    let summary = &report.summary;
    let listed = report.denials.iter().take(LISTED);
    Egress {
        allowed: summary.allowed,
        denied: summary.denied,
        destinations: summary.destinations,
        bytes_out: summary.bytes_out,
        bytes_in: summary.bytes_in,
        names_asked: summary.names_asked,
        names_denied: summary.names_denied,
        denials: listed.map(refused).collect(),
        denials_omitted: report.denials.len().saturating_sub(LISTED) as u64,
        losses: report.losses,
    }
}

fn refused(denial: &Denial) -> Refused {
    let to = &denial.destination;
    let names = to.names.iter().chain(&denial.shown_names).take(NAMES);
    Refused {
        address: to.address,
        port: to.port,
        protocol: cut(&to.protocol),
        names: names.map(|name| cut(name)).collect(),
        reason: cut(&denial.reason),
        attempts: denial.attempts,
    }
}

fn secrets(sweep: &SweepReport) -> Secrets {
    let found = |finding: &Finding| Found {
        rule: cut(&finding.rule),
        severity: finding.severity,
        fingerprint: finding.fingerprint.clone(),
        first_seen: finding.first_seen,
    };
    Secrets {
        verdict: sweep.verdict,
        findings: sweep.findings.iter().take(LISTED).map(found).collect(),
        findings_omitted: sweep.findings.len().saturating_sub(LISTED) as u64,
    }
}

fn hits(limits: &Limits) -> Hits {
    let hit = |met: &crate::limits::evidence::Met| Hit {
        kind: met.kind,
        count: met.count,
    };
    Hits {
        met: limits.events.iter().map(hit).collect(),
        changed: limits.changes.len() as u64,
        unproved: limits.unproved().count() as u64,
    }
}

fn evidence(written: &Written) -> Evidence {
    let seal = written.seal.as_ref();
    Evidence {
        directory: written.directory.display().to_string(),
        seal_sha256: seal.map(|seal| seal.sha256.clone()),
        sequence: seal.map(|seal| seal.sequence),
        // That of egress is the first.
        report_sha256: written.reports.first().map(|report| report.sha256.clone()),
        key_id: written.key_id.clone(),
    }
}

/// A text of a bounded size; one that was cut ends with an ellipsis.
fn cut(text: &str) -> String {
    if text.len() <= TEXT {
        return text.to_owned();
    }
    let end = (0..=TEXT).rev().find(|at| text.is_char_boundary(*at));
    let kept = text.get(..end.unwrap_or_default()).unwrap_or_default();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture as files;
    use crate::report::sink::{WrittenReport, WrittenSeal};
    use crate::report::sweep::fixture as sweeps;

    fn written() -> Written {
        Written {
            directory: "/var/lib/cordon/evidence/20261122".into(),
            reports: vec![WrittenReport {
                report: "egress-report.json".into(),
                sha256: "ab".repeat(32),
                bundle: "egress.sigstore.json".into(),
            }],
            seal: Some(WrittenSeal {
                bundle: "seal.sigstore.json".into(),
                sha256: "cd".repeat(32),
                sequence: 7,
            }),
            key_id: "SHA256:key".to_owned(),
        }
    }

    #[test]
    fn the_line_is_the_golden_one_and_is_read_back_the_same() {
        let line = line(
            "host",
            &files::report(),
            Some(&sweeps::report()),
            &written(),
        );
        files::assert_golden(
            "telemetry.json",
            &crate::report::json::pretty(&line).unwrap(),
        );
        let text = line.to_text().unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
    }

    #[test]
    fn a_line_is_small_and_one_whatever_a_job_does() {
        let mut report = files::report();
        let long = "\n\u{1b}\"\u{2028}".repeat(4000);
        report.job.command = long.clone();
        let mut denial = report.denials[0].clone();
        denial.destination.names = vec![long.clone(); 8];
        denial.reason = long;
        report.denials = vec![denial; 40];
        let mut sweep = sweeps::report();
        let finding = sweep.findings[0].clone();
        sweep.findings = vec![finding; 40];
        let line = line("host", &report, Some(&sweep), &written());
        assert_eq!(line.egress.denials.len(), LISTED);
        assert_eq!(line.egress.denials_omitted, 8);
        assert_eq!(line.secrets.as_ref().unwrap().findings_omitted, 8);
        let text = line.to_text().unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.len() < file::LARGEST, "{}", text.len());
    }
}
