//! The sweep in one line, for the end of `cordon run`. Pure.

use super::policy::{OnFinding, Taken};
use super::verdict::Verdict;
use super::{SweepReport, words};
use crate::report::text::quantity::count;

/// What was found, in how much of what was there, and what was done; without a word of the job's.
#[must_use]
pub fn line(report: &SweepReport) -> String {
    let gaps = report.gaps();
    let mut parts = vec![found(report), scanned(report)];
    // The worst gap stands for all; the report has the others.
    if let Some((worst, more)) = gaps.split_first() {
        let more = match more.len() {
            0 => String::new(),
            number => format!(" and {}", count(number as u64, "other gap")),
        };
        parts.push(format!("INCOMPLETE: {}{more}", words::gap(*worst)));
    }
    if let Some(done) = done(report) {
        parts.push(done.into());
    }
    format!("secrets: {}", parts.join(", "))
}

fn found(report: &SweepReport) -> String {
    match report.came_to() {
        Verdict::Clean => "none found".into(),
        Verdict::Incomplete => "none found in what was seen".into(),
        Verdict::Findings => count(report.findings.len() as u64, "finding"),
    }
}

/// How many processes were scanned, of those that have something to scan.
pub(in crate::report) fn scanned(report: &SweepReport) -> String {
    let coverage = &report.coverage;
    let seen = coverage.processes.seen;
    let readable = seen.saturating_sub(coverage.nothing_to_read);
    format!(
        "{} of {} scanned",
        coverage.processes.scanned,
        count(readable, "process")
    )
}

/// What was done about findings; nothing where nothing was to be done.
fn done(report: &SweepReport) -> Option<&'static str> {
    match (report.action.taken, report.action.on_finding) {
        (Taken::Killed, _) => Some("the job was killed"),
        (Taken::Frozen, _) => Some("the job was frozen"),
        (Taken::None, _) if report.findings.is_empty() => None,
        (Taken::None, OnFinding::Kill) => Some("the job was NOT killed"),
        (Taken::None, OnFinding::Freeze) => Some("the job was NOT frozen"),
        (Taken::None, OnFinding::Report) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sweep::fixture;

    #[test]
    fn it_says_what_was_found_in_how_much_and_what_was_done() {
        assert_eq!(
            line(&fixture::clean()),
            "secrets: none found, 14 of 14 processes scanned"
        );
        let mut report = fixture::clean();
        report.findings = fixture::report().findings;
        assert_eq!(
            line(&report),
            "secrets: 2 findings, 14 of 14 processes scanned, the job was NOT killed"
        );
        report.action.on_finding = OnFinding::Report;
        assert_eq!(
            line(&report),
            "secrets: 2 findings, 14 of 14 processes scanned"
        );
        report.action.taken = Taken::Frozen;
        report.coverage.execs.lost = 1;
        assert_eq!(
            line(&report),
            "secrets: 2 findings, 14 of 14 processes scanned, INCOMPLETE: 1 program start not seen, \
             the job was frozen"
        );
        report.findings.clear();
        report.coverage.last_sweep = None;
        assert_eq!(
            line(&report),
            "secrets: none found in what was seen, 14 of 14 processes scanned, INCOMPLETE: running \
             processes were never swept and 1 other gap, the job was frozen"
        );
    }

    #[test]
    fn processes_with_nothing_to_read_are_not_asked_for() {
        let mut report = fixture::clean();
        report.coverage.processes.seen = 16;
        report.coverage.nothing_to_read = 2;
        assert!(line(&report).contains("14 of 14 processes"));
    }

    #[test]
    fn it_repeats_no_word_of_the_job() {
        let text = "MARKER\u{1b}[2J";
        assert!(!line(&fixture::report_saying(text)).contains("MARKER"));
    }
}
