//! The report of the secret sweep: what was looked into, what was done, and then what was found.
//!
//! The types here are the report's JSON, field for field. Whoever keeps the sweep's ledger builds a
//! [`SweepReport`] from it and calls [`SweepReport::concluded`]; the rest is the egress report's
//! way: rendered for people, stated, signed, verified.
//!
//! **Invariants**: no field holds a byte of a secret; everything is ordered, so that the same facts
//! give the same bytes; the verdict follows from coverage and findings and nobody chooses it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::attested::Attested;
use super::{JobFacts, Platform};

mod coverage;
mod finding;
#[cfg(test)]
pub(crate) mod fixture;
pub(in crate::report) mod line;
mod policy;
mod predicate;
pub mod sarif;
mod tables;
pub mod text;
mod verdict;
pub(in crate::report) mod words;

pub use coverage::{
    Coverage, Execs, Held, LastSweep, Processes, Sweep, SweepKind, Undecoded, Unreadable, Why,
};
pub use finding::{
    Checksum, Class, Confidence, Entry, Fact, Finding, Letter, Life, LifeKind, Severity, Source,
    SweptProcess, Variable,
};
pub use line::line;
pub use policy::{
    Action, Allowance, AllowanceState, OnFinding, Scanner, SweepDefault, SweepPolicyFacts, Taken,
    Windows,
};
pub use predicate::{Database, Omitted, PREDICATE_TYPE, ScanTimes, ScannerFacts, SweepPredicate};
pub use verdict::{Gap, Verdict};

/// Value of [`SweepReport::schema`].
pub const SCHEMA: &str = "cordon/secret-sweep/v1";

/// File name of the report, and name of its statement's first subject.
pub const REPORT_NAME: &str = "secret-sweep.json";

/// File name of the bundle.
pub const BUNDLE_NAME: &str = "secret-sweep.sigstore.json";

/// File name of the findings in SARIF.
pub const SARIF_NAME: &str = "secret-sweep.sarif";

/// The report of the secret sweep of one job, or of processes that a person asked about.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SweepReport {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// What coverage and findings come to; set by [`SweepReport::concluded`].
    pub verdict: Verdict,
    /// What was looked into and what was not: nothing below can be read without it.
    pub coverage: Coverage,
    /// What was done about a finding.
    pub action: Action,
    /// Secrets that the policy does not want where they were: violations, then warnings.
    pub findings: Vec<Finding>,
    /// What a reviewer may want to know, and the policy does not mind.
    pub notes: Vec<Finding>,
    /// Secrets that are where the policy expects or allows them.
    pub expected: Vec<Finding>,
    /// The policy's allow list, in its order; `allowance` of a finding is an index into it.
    pub allowances: Vec<Allowance>,
    /// What was wanted.
    pub policy: SweepPolicyFacts,
    /// What looked.
    pub scanner: Scanner,
    /// The job; absent where a person had processes swept without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobFacts>,
    /// What ran: kernel, agent, BPF object.
    pub platform: Platform,
}

impl SweepReport {
    /// From when to when was looked: the time of the job, or else of the passes. Nothing where there
    /// was neither.
    #[must_use]
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let job = self.job.as_ref().map(|job| (job.started, job.finished));
        let sweeps = self.coverage.sweeps.iter();
        let spans = sweeps.map(|sweep| (sweep.started, sweep.finished));
        spans
            .chain(job)
            .reduce(|(from, to), (start, end)| (from.min(start), to.max(end)))
    }
}

impl Attested for SweepReport {
    type Predicate = SweepPredicate;

    const SCHEMA: &'static str = SCHEMA;
    const REPORT_NAME: &'static str = REPORT_NAME;
    const BUNDLE_NAME: &'static str = BUNDLE_NAME;

    fn predicate(&self, report_sha256: &str, key_id: &str) -> SweepPredicate {
        SweepPredicate::new(self, report_sha256, key_id)
    }

    fn contradiction(&self) -> Option<String> {
        let (says, is) = (self.verdict, self.came_to());
        (says != is).then(|| {
            format!(
                "its verdict is `{}`, and its coverage and findings come to `{}`",
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
    use crate::report::{fixture as files, json};

    #[test]
    fn the_report_file_is_the_golden_one_and_is_read_back_the_same() {
        let text = json::pretty(&fixture::report()).unwrap();
        files::assert_golden("secret-sweep.json", &text);
        let read = parse_report::<SweepReport>(text.as_bytes()).unwrap();
        assert_eq!(read, fixture::report());
    }

    #[test]
    fn the_statement_is_the_golden_one_and_is_about_its_file_only() {
        let statement = Statement::new(&fixture::report(), b"file", "SHA256:key", &[]);
        files::assert_golden(
            "secret-sweep-statement.json",
            &json::pretty(&statement).unwrap(),
        );
        let bytes = statement.to_bytes().unwrap();
        assert_eq!(
            Statement::<SweepPredicate>::parse(&bytes).unwrap(),
            statement
        );
        assert!(statement.is_about(&sha256_hex(b"file")));
        assert!(!statement.is_about(&sha256_hex(b"fil3")));
    }

    #[test]
    fn an_unknown_field_is_refused_at_any_depth() {
        let text = json::pretty(&fixture::report()).unwrap();
        for place in [
            "\"verdict\":",
            "\"seen\":",
            "\"rule\":",
            "\"kind\": \"named\",",
            "\"state\":",
            "\"keyId\":",
        ] {
            let more = text.replacen(place, &format!("\"more\": 1, {place}"), 1);
            assert_ne!(more, text, "{place}");
            parse_report::<SweepReport>(more.as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn the_order_in_which_facts_arrive_does_not_matter() {
        let mut report = fixture::report();
        report.findings.reverse();
        report.coverage.sweeps.reverse();
        report.coverage.unreadable.reverse();
        for finding in &mut report.findings {
            finding.processes.reverse();
        }
        assert_ne!(report, fixture::report());
        assert_eq!(report.concluded(), fixture::report());
    }

    #[test]
    fn lists_that_do_not_fit_into_the_statement_are_counted() {
        let mut report = fixture::report();
        let mut finding = report.findings[0].clone();
        finding.processes[0].chain = vec!["x".repeat(1 << 20)];
        report.findings = vec![finding; 14];
        let predicate = SweepPredicate::new(&report, "00", "SHA256:x");
        assert_eq!(predicate.findings.len(), 11);
        assert_eq!(predicate.omitted.findings, 3);
        let size = serde_json::to_vec(&predicate).unwrap().len();
        assert!(size < crate::report::envelope::MAX_PAYLOAD, "{size}");
    }
}
