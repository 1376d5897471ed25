//! Checks 2 to 6: the pieces of a job's evidence are found, and none is believed without a signature
//! that counts.

use super::decision::{Log, Refusal, SealFacts};
use super::piece::{Cabinet, Signed, unread};
use super::source::MAX_FILE;
use crate::report::Report;
use crate::report::attested::{Attestation as _, Attested};
use crate::report::predicate::Digest;
use crate::report::run::{FileDigest, RunReport};
use crate::report::seal::{self, SealPredicate};
use crate::report::statement::{Statement, sha256_hex};
use crate::report::sweep::SweepReport;
use crate::report::verify::parse_report;

/// All that was found of a job's evidence.
pub(super) struct Evidence<'q> {
    pub(super) seal: Option<Sealed<'q>>,
    pub(super) egress: Option<Part<'q, Report>>,
    pub(super) sweep: Option<Part<'q, SweepReport>>,
    pub(super) run: Option<Part<'q, RunReport>>,
    /// Other statements of trusted keys.
    pub(super) others: Vec<Signed<'q>>,
}

/// The seal.
pub(super) struct Sealed<'q> {
    pub(super) signed: Signed<'q>,
    pub(super) predicate: SealPredicate,
    pub(super) facts: SealFacts,
}

/// A report with the statement about it.
pub(super) struct Part<'q, R> {
    pub(super) signed: Signed<'q>,
    pub(super) report: Option<R>,
    sha256: String,
}

/// Finds the pieces.
pub(super) fn gather<'q>(cabinet: &Cabinet<'q>, log: &mut Log) -> Evidence<'q> {
    let seal = sealed(cabinet, log);
    let egress = part::<Report>(cabinet, log);
    let run = part::<RunReport>(cabinet, log);
    let listed = |name| {
        let seal = seal.as_ref();
        seal.is_some_and(|seal| seal.predicate.digest_of(name).is_some())
    };
    let names = cabinet.names();
    let swept = cabinet.policy.sweep.required
        || listed(SweepReport::BUNDLE_NAME)
        || names.iter().any(|name| name == SweepReport::BUNDLE_NAME);
    let sweep = swept.then(|| part::<SweepReport>(cabinet, log)).flatten();
    let known = [
        seal::BUNDLE_NAME,
        Report::BUNDLE_NAME,
        RunReport::BUNDLE_NAME,
        SweepReport::BUNDLE_NAME,
    ];
    let others = cabinet.others(log, &known);
    let evidence = Evidence {
        seal,
        egress,
        sweep,
        run,
        others,
    };
    let whole = evidence.seal.is_some()
        && evidence.egress.is_some()
        && evidence.run.is_some()
        && (evidence.sweep.is_some() || !swept);
    if whole {
        let count = evidence.inputs().len();
        for (check, text) in [
            ("find", format!("{count} signed pieces")),
            (
                "envelope",
                "each is a bundle of the exact form, with one signature".into(),
            ),
            ("signature", "each is signed by a key of the policy".into()),
            (
                "key",
                "each key counts now, and may sign what it signed".into(),
            ),
            (
                "statement",
                "each statement and report is of its type".into(),
            ),
        ] {
            if log.clean(check) {
                log.good(check, text);
            }
        }
        keys(log, &evidence);
    }
    evidence
}

/// The rest of check 5, which needs what was signed: hosts and times.
fn keys(log: &mut Log, evidence: &Evidence<'_>) {
    let Some((run, report)) = evidence.run() else {
        return;
    };
    let (key, host) = (run.signed.key, &report.host);
    let id = key.key.id();
    if !key.speaks_for(host) {
        let text = format!("key {id} does not speak for the host `{host}`");
        log.bad("key", Refusal::Untrusted, Some(&run.signed.name), text);
    }
    if !key.counted_at(report.job.finished) {
        let at = report.job.finished;
        let text = format!("key {id} did not count when the job ended, at {at}");
        log.bad("key", Refusal::Untrusted, Some(&run.signed.name), text);
    }
}

fn sealed<'q>(cabinet: &Cabinet<'q>, log: &mut Log) -> Option<Sealed<'q>> {
    let (signed, bundle) = cabinet.open(log, seal::BUNDLE_NAME)?;
    let statement = match seal::parse(&signed.payload) {
        Ok(statement) => statement,
        Err(error) => {
            let text = with_cause(&error);
            log.bad("statement", Refusal::Malformed, Some(&signed.name), text);
            return None;
        }
    };
    let predicate = statement.predicate;
    let facts = SealFacts {
        digest: Digest {
            sha256: sha256_hex(&bundle),
        },
        sequence: predicate.cordon_sequence,
        previous: predicate.cordon_previous.clone(),
        key_id: signed.key.key.id(),
        job: predicate.cordon_process.event.clone(),
    };
    Some(Sealed {
        signed,
        predicate,
        facts,
    })
}

fn part<'q, R: Attested>(cabinet: &Cabinet<'q>, log: &mut Log) -> Option<Part<'q, R>> {
    let (signed, bundle) = cabinet.open(log, R::BUNDLE_NAME)?;
    let statement = match Statement::<R::Predicate>::parse(&signed.payload) {
        Ok(statement) => statement,
        Err(error) => {
            let text = with_cause(&error);
            log.bad("statement", Refusal::Malformed, Some(&signed.name), text);
            return None;
        }
    };
    let sha256 = sha256_hex(&bundle);
    Some(Part {
        report: report::<R>(cabinet, log, &statement),
        signed,
        sha256,
    })
}

/// The file that a statement is about.
fn report<R: Attested>(
    cabinet: &Cabinet<'_>,
    log: &mut Log,
    statement: &Statement<R::Predicate>,
) -> Option<R> {
    let name = R::REPORT_NAME;
    let bytes = match cabinet.read(name, MAX_FILE) {
        Ok(bytes) => bytes,
        Err(error) => {
            unread(log, "completeness", name, &error);
            return None;
        }
    };
    let found = sha256_hex(&bytes);
    if !statement.is_about(&found) {
        let signed = statement.predicate.report_sha256();
        let text = format!("it has SHA-256 {found}, and what was signed has {signed}");
        log.bad("completeness", Refusal::Untrusted, Some(name), text);
        return None;
    }
    match parse_report::<R>(&bytes) {
        Ok(report) => Some(report),
        Err(error) => {
            log.bad(
                "statement",
                Refusal::Malformed,
                Some(name),
                with_cause(&error),
            );
            None
        }
    }
}

impl<'q> Evidence<'q> {
    pub(super) fn run(&self) -> Option<(&Part<'q, RunReport>, &RunReport)> {
        let part = self.run.as_ref()?;
        Some((part, part.report.as_ref()?))
    }

    pub(super) fn egress(&self) -> Option<(&Part<'q, Report>, &Report)> {
        let part = self.egress.as_ref()?;
        Some((part, part.report.as_ref()?))
    }

    /// The statements that belong to the job, but for the seal.
    pub(super) fn core(&self) -> impl Iterator<Item = &Signed<'q>> {
        let egress = self.egress.iter().map(|part| &part.signed);
        let sweep = self.sweep.iter().map(|part| &part.signed);
        egress
            .chain(sweep)
            .chain(self.run.iter().map(|part| &part.signed))
            .chain(self.seal.iter().map(|sealed| &sealed.signed))
    }

    /// The signed files of the job, in the order of names.
    pub(super) fn inputs(&self) -> Vec<FileDigest> {
        let file = |signed: &Signed<'_>, sha256: &str| FileDigest {
            name: signed.name.clone(),
            sha256: sha256.to_owned(),
        };
        let mut inputs = Vec::new();
        inputs.extend(
            self.egress
                .iter()
                .map(|part| file(&part.signed, &part.sha256)),
        );
        inputs.extend(
            self.sweep
                .iter()
                .map(|part| file(&part.signed, &part.sha256)),
        );
        inputs.extend(self.run.iter().map(|part| file(&part.signed, &part.sha256)));
        let seal = self.seal.iter();
        inputs.extend(seal.map(|sealed| file(&sealed.signed, &sealed.facts.digest.sha256)));
        inputs.sort();
        inputs
    }
}

/// An error and its causes.
pub(super) fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
