//! The sweep's report for a person at a terminal. Pure.
//!
//! The verdict and what was looked into stand first, because an empty list says nothing without
//! them; then what was done, then findings, notes and what was expected.
//!
//! **Invariants**: every string that a job can choose goes through [`escape`]; colour only repeats
//! what a word says.

use jiff::Timestamp;

use super::coverage::Held;
use super::finding::{Finding, Severity};
use super::line::scanned;
use super::policy::{OnFinding, SweepDefault, Taken};
use super::verdict::Verdict;
use super::{SweepReport, tables, words};
use crate::report::escape::escape;
use crate::report::text::layout::{Page, Tone};
use crate::report::text::quantity::{bytes, count, duration, nanoseconds, time};
use crate::report::text::{interrupted, platform};

/// The report as text of at most `width` columns (but not below 40).
#[must_use]
pub fn render(report: &SweepReport, width: usize, colour: bool) -> String {
    let mut page = Page::new(width, colour);
    let about = report.job.as_ref().map_or_else(
        || "Secret sweep of processes that are no job".to_owned(),
        |job| format!("Secret sweep of job {}", escape(&job.id)),
    );
    page.line(Tone::Strong, &about);
    page.gap();
    page.fact("Verdict", verdict_tone(report), &verdict(report));
    coverage(&mut page, report);
    action(&mut page, report);
    tables::write(&mut page, report);
    facts(&mut page, report);
    page.into_text()
}

/// What the verdict means, in a line: of what coverage and findings come to, whatever the report
/// calls itself.
#[must_use]
pub fn verdict(report: &SweepReport) -> String {
    match report.came_to() {
        Verdict::Clean => "clean: nothing found that the policy does not want".into(),
        Verdict::Incomplete => {
            "INCOMPLETE: nothing found, and not everything was looked into".into()
        }
        Verdict::Findings => {
            let violations = of_severity(report, Severity::Violation);
            let warnings = of_severity(report, Severity::Warning);
            let rest = if report.gaps().is_empty() {
                ""
            } else {
                "; not everything was looked into"
            };
            format!(
                "FINDINGS: {}, {}{rest}",
                count(violations, "violation"),
                count(warnings, "warning")
            )
        }
    }
}

/// How much was looked into, in a line.
#[must_use]
pub fn looked_into(report: &SweepReport) -> String {
    let gaps = report.gaps();
    if gaps.is_empty() {
        return scanned(report);
    }
    let gaps: Vec<_> = gaps.into_iter().map(words::gap).collect();
    format!("{}; MISSING: {}", scanned(report), gaps.join("; "))
}

fn of_severity(report: &SweepReport, severity: Severity) -> u64 {
    let of = |finding: &&Finding| finding.severity == severity;
    report.findings.iter().filter(of).count() as u64
}

fn verdict_tone(report: &SweepReport) -> Tone {
    match report.came_to() {
        Verdict::Clean => Tone::Good,
        Verdict::Incomplete => Tone::Warn,
        Verdict::Findings => Tone::Bad,
    }
}

fn coverage(page: &mut Page, report: &SweepReport) {
    let coverage = &report.coverage;
    let gaps = report.gaps();
    let tone = if gaps.is_empty() {
        Tone::Good
    } else {
        Tone::Warn
    };
    page.fact("Coverage", tone, &scanned(report));
    for gap in gaps {
        page.item(&format!("MISSING: {}", words::gap(gap)));
    }
    for interruption in &coverage.interruptions {
        page.item(&interrupted(interruption));
        for effect in &interruption.effects {
            page.item(&escape(effect));
        }
    }
    for line in &coverage.unreadable {
        let number = count(line.count, "process");
        page.item(&format!("{number}: {}", words::unreadable(line.why)));
    }
    if coverage.nothing_to_read > 0 {
        let number = count(coverage.nothing_to_read, "process");
        page.item(&format!(
            "{number} with nothing to read (zombies, kernel threads)"
        ));
    }
    page.item(&execs(report));
    page.item(&sweeps(report));
    page.item(&format!(
        "{} in {}, {} known from before",
        bytes(coverage.bytes),
        count(coverage.entries, "entry"),
        coverage.entries_seen_before
    ));
    if coverage.undecoded.compressed > 0 {
        let number = count(coverage.undecoded.compressed, "compressed value");
        page.item(&format!("{number} not decompressed"));
    }
    if let Some(held) = coverage.held {
        page.item(&self::held(held));
    }
    for spot in &coverage.blind_spots {
        page.item(&format!("not seen: {}", escape(spot)));
    }
}

fn execs(report: &SweepReport) -> String {
    let execs = report.coverage.execs;
    let rest = match execs.completed_from_proc {
        0 => String::new(),
        number => format!(", {number} completed from /proc"),
    };
    format!(
        "{}: {} copied whole{rest}",
        count(execs.seen, "program start"),
        execs.whole
    )
}

fn sweeps(report: &SweepReport) -> String {
    let coverage = &report.coverage;
    let listed = coverage.sweeps.len() as u64;
    let number = count(listed.saturating_add(coverage.sweeps_omitted), "sweep");
    let Some(last) = coverage.last_sweep else {
        return format!("{number} of running processes");
    };
    let kind = words::sweep(last.kind);
    let when = match (last.before_job_end_ns, coverage.job_end) {
        (Some(before), _) => format!(", {} before the job's end", nanoseconds(before)),
        (None, Some(_)) => ", after the job's end".into(),
        (None, None) => String::new(),
    };
    let at = time(last.finished);
    format!("{number} of running processes, the last one {kind}, {at}{when}")
}

fn held(held: Held) -> String {
    let Held {
        stopped,
        not_stopped,
        longest_ns,
        p50_ns,
        p99_ns,
    } = held;
    let ran = match not_stopped {
        0 => String::new(),
        number => format!("; {number} RAN before they were scanned"),
    };
    format!(
        "{} stopped until scanned: half within {}, 99 % within {}, the longest {}{ran}",
        count(stopped, "program start"),
        nanoseconds(p50_ns),
        nanoseconds(p99_ns),
        nanoseconds(longest_ns)
    )
}

fn action(page: &mut Page, report: &SweepReport) {
    let action = &report.action;
    let wanted = match action.on_finding {
        OnFinding::Report => "report",
        OnFinding::Freeze => "freeze",
        OnFinding::Kill => "kill",
    };
    let (tone, done) = match action.taken {
        Taken::Killed => (Tone::Bad, "the job was KILLED"),
        Taken::Frozen => (Tone::Bad, "the job was FROZEN"),
        Taken::None if report.findings.is_empty() => (Tone::Plain, "nothing was to be done"),
        Taken::None if action.on_finding == OnFinding::Report => {
            (Tone::Plain, "findings were written down")
        }
        Taken::None => (Tone::Warn, "NOTHING was done about the findings"),
    };
    let when = action.at.map_or_else(String::new, at);
    page.fact(
        "Action",
        tone,
        &format!("{done}{when} (the policy says {wanted})"),
    );
    if let Some(fingerprint) = &action.fingerprint {
        page.item(&format!("because of the secret {}", escape(fingerprint)));
    }
    let windows = action.windows.unwrap_or_default();
    let windows = [
        (windows.exec_to_verdict_ns, "it was judged"),
        (
            windows.exec_to_closed_ns,
            "the job could send nothing any more",
        ),
        (windows.exec_to_killed_ns, "its processes were gone"),
    ];
    for (window, what) in windows {
        if let Some(window) = window {
            let window = nanoseconds(window);
            page.item(&format!("{window} after the program had started, {what}"));
        }
    }
}

fn at(when: Timestamp) -> String {
    format!(" at {}", time(when))
}

fn facts(page: &mut Page, report: &SweepReport) {
    page.gap();
    let policy = &report.policy;
    let default = match policy.default {
        SweepDefault::OidcOnly => "short-lived credentials only",
        SweepDefault::Lenient => "lenient",
    };
    let name = escape(&policy.name);
    page.fact(
        "Policy",
        Tone::Plain,
        &format!(
            "{name}, {default}; swept every {} s",
            policy.interval_seconds
        ),
    );
    for profile in &policy.profiles {
        let (name, source) = (escape(&profile.name), escape(&profile.source));
        let sha256 = escape(&profile.sha256);
        page.item(&format!("profile {name} from {source}, sha256 {sha256}"));
    }
    for holder in &policy.holders {
        page.item(&format!("may hold job tokens: {}", escape(holder)));
    }
    for rule in &policy.rules_off {
        page.item(&format!("rule switched OFF: {}", escape(rule)));
    }
    let scanner = &report.scanner;
    page.fact(
        "Scanner",
        Tone::Plain,
        &format!(
            "{} (blake3 {}), {}",
            count(scanner.rule_count, "rule"),
            escape(&scanner.rules_digest),
            count(scanner.known_values, "known value")
        ),
    );
    page.item(&format!(
        "fingerprints under key {}",
        escape(&scanner.key_id)
    ));
    if let Some(job) = &report.job {
        let (from, to) = (time(job.started), time(job.finished));
        let ran = duration(job.started, job.finished);
        page.fact("Ran", Tone::Plain, &format!("{from} to {to} ({ran})"));
    }
    platform(page, &report.platform, None);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::escape::tests::HOSTILE;
    use crate::report::fixture::assert_golden;
    use crate::report::sweep::fixture;
    use crate::report::text::layout::columns;
    use crate::report::text::tests::{harmful, uncoloured};

    #[test]
    fn the_text_is_the_golden_one() {
        assert_golden(
            "secret-sweep-100.txt",
            &render(&fixture::report(), 100, false),
        );
        assert_golden(
            "secret-sweep-60.txt",
            &render(&fixture::report(), 60, false),
        );
        assert_golden(
            "secret-sweep-clean.txt",
            &render(&fixture::clean(), 100, false),
        );
    }

    #[test]
    fn coverage_stands_before_action_and_action_before_findings() {
        let text = render(&fixture::report(), 100, false);
        let position = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}\n{text}"));
        let order = [
            "Verdict",
            "Coverage",
            "INTERRUPTED",
            "Action",
            "Findings",
            "Notes",
            "Expected",
            "Allow list",
            "Scanner",
        ];
        assert!(order.map(position).is_sorted(), "{text}");
    }

    #[test]
    fn a_kill_that_did_not_happen_is_said() {
        let mut report = fixture::report();
        report.action.taken = Taken::None;
        let text = render(&report, 100, false);
        assert!(text.contains("NOTHING was done"), "{text}");
    }

    #[test]
    fn a_sweep_without_a_job_says_so() {
        let mut report = fixture::report();
        report.job = None;
        let text = render(&report, 100, false);
        assert!(
            text.starts_with("Secret sweep of processes that are no job"),
            "{text}"
        );
    }

    #[test]
    fn colour_only_repeats_what_the_words_say() {
        let coloured = render(&fixture::report(), 100, true);
        assert!(coloured.contains("\u{1b}[31m"));
        assert_eq!(
            uncoloured(&coloured),
            render(&fixture::report(), 100, false)
        );
    }

    #[test]
    fn hostile_words_are_harmless_in_every_place() {
        for words in HOSTILE {
            let report = fixture::report_saying(words);
            assert!(!harmful(&render(&report, 80, false)), "{words:?}");
            assert!(
                !harmful(&uncoloured(&render(&report, 80, true))),
                "{words:?}"
            );
            assert!(!harmful(&looked_into(&report)) && !harmful(&verdict(&report)));
        }
    }

    proptest! {
        #[test]
        fn no_control_character_survives(words in any::<String>(), width in 0usize..200) {
            let report = fixture::report_saying(&words);
            prop_assert!(!harmful(&render(&report, width, false)));
            prop_assert!(!harmful(&uncoloured(&render(&report, width, true))));
        }

        #[test]
        fn lines_keep_to_the_width(words in "\\PC{0,60}", width in 40usize..200) {
            for line in render(&fixture::report_saying(&words), width, false).lines() {
                prop_assert!(columns(line) <= width, "{}", line);
            }
        }
    }
}
