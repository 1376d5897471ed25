//! The lists of a sweep's report: findings in full, notes and expected ones a line each.

use super::finding::{Checksum, Confidence, Finding, LifeKind, Severity, SweptProcess};
use super::policy::{Allowance, AllowanceState};
use super::{SweepReport, words};
use crate::report::escape::escape;
use crate::report::text::layout::{Column, Page, Row, Table, Tone};
use crate::report::text::quantity::{count, time};
use crate::report::text::tables::heading;

pub(super) fn write(page: &mut Page, report: &SweepReport) {
    findings(page, report);
    short(page, "Notes", "worth knowing", &report.notes);
    short(
        page,
        "Expected",
        "where the policy expects or allows it",
        &report.expected,
    );
    allowances(page, report);
}

fn findings(page: &mut Page, report: &SweepReport) {
    let findings = &report.findings;
    page.gap();
    if findings.is_empty() {
        page.line(Tone::Strong, "Findings: none");
        return;
    }
    let number = count(findings.len() as u64, "credential");
    page.line(Tone::Strong, &format!("Findings: {number}"));
    for finding in findings {
        page.gap();
        one(page, finding);
    }
}

/// A finding in full.
fn one(page: &mut Page, finding: &Finding) {
    let tone = match finding.severity {
        Severity::Violation => Tone::Bad,
        Severity::Warning => Tone::Warn,
        Severity::Note | Severity::Expected => Tone::Plain,
    };
    let severity = words::severity(finding.severity);
    let (title, rule) = (escape(&finding.title), escape(&finding.rule));
    page.line(tone, &format!("{severity}  {title} ({rule})"));
    page.fact("  where", Tone::Plain, &words::place(finding, shown));
    let (reason, explanation) = (escape(&finding.reason), escape(&finding.explanation));
    page.fact("  why", Tone::Plain, &format!("{reason}: {explanation}"));
    page.fact("  class", Tone::Plain, &class(finding));
    page.fact("  secret", Tone::Plain, &secret(finding));
    for fact in &finding.facts {
        let (what, text) = (escape(&fact.what), escape(&fact.text));
        page.fact("  says", Tone::Plain, &format!("{what} {text}"));
    }
    page.fact("  seen", Tone::Plain, &seen(finding));
    for process in &finding.processes {
        page.fact("  process", Tone::Plain, &chain(process));
    }
    if finding.processes_omitted > 0 {
        let more = count(finding.processes_omitted, "further process");
        page.fact("", Tone::Plain, &format!("and {more}"));
    }
}

fn class(finding: &Finding) -> String {
    let life = finding.life;
    let kind = match (life.kind, life.expires) {
        (LifeKind::Unknown, _) => "does not say how long it lives".to_owned(),
        (LifeKind::Short, _) => "by its format, for hours at most".to_owned(),
        (LifeKind::Long, _) => "its format has no expiry".to_owned(),
        (LifeKind::Until, Some(expires)) if life.expired == Some(true) => {
            format!("had EXPIRED, {}", time(expires))
        }
        (LifeKind::Until, Some(expires)) => format!("expires {}", time(expires)),
        (LifeKind::Until, None) => "carries its expiry".to_owned(),
    };
    let issued = life
        .issued
        .map_or_else(String::new, |issued| format!(", issued {}", time(issued)));
    format!(
        "{} ({}), {}; {kind}{issued}",
        finding.class.name(),
        finding.class_letter.name(),
        words::class(finding.class)
    )
}

fn secret(finding: &Finding) -> String {
    let checksum = match finding.checksum {
        Checksum::None => "no checksum",
        Checksum::Valid => "checksum right",
        Checksum::Invalid => "checksum WRONG",
    };
    let confidence = match finding.confidence {
        Confidence::Low => "low",
        Confidence::Medium => "medium",
        Confidence::High => "high",
    };
    format!(
        "fingerprint {}, {} bytes, {checksum}, {confidence} confidence",
        escape(&finding.fingerprint),
        escape(&finding.length)
    )
}

fn seen(finding: &Finding) -> String {
    let by = match (finding.seen_at_exec, finding.seen_in_proc) {
        (true, true) => "at exec and in /proc",
        (true, false) => "at exec only",
        (false, true) => "in /proc only",
        (false, false) => "nobody says how",
    };
    let (from, to) = (time(finding.first_seen), time(finding.last_seen));
    format!("{from} to {to}, {by}")
}

/// The process with the whole path, its ancestors by their last name.
fn chain(process: &SweptProcess) -> String {
    let mut text = String::new();
    for (index, executable) in process.chain.iter().enumerate() {
        if index == 0 {
            text.push_str(&escape(executable));
            continue;
        }
        let name = executable.rsplit('/').next().unwrap_or(executable);
        text.push_str(" < ");
        text.push_str(&escape(name));
    }
    if text.is_empty() {
        text.push_str("not known");
    }
    let times = count(process.times, "time");
    format!("{text} (pid {}), {times}", process.pid)
}

/// A line for each.
fn short(page: &mut Page, title: &str, detail: &str, list: &[Finding]) {
    if list.is_empty() {
        return;
    }
    heading(page, title, list.len(), "credential", detail);
    page.table(&Table {
        columns: [
            Column::Text("SECRET"),
            Column::Text("WHERE"),
            Column::Text("WHY"),
            Column::Text("PROCESS"),
        ],
        rows: list.iter().map(row).collect(),
    });
}

fn row(finding: &Finding) -> Row<4> {
    let others = finding.processes.len().saturating_sub(1) as u64;
    let more = match others.saturating_add(finding.processes_omitted) {
        0 => String::new(),
        number => format!(", {number} more"),
    };
    let process = finding.processes.first();
    let process = process.map_or_else(|| "not known".into(), chain);
    Row {
        cells: [
            escape(&finding.title).into_owned(),
            words::place(finding, shown),
            escape(&finding.reason).into_owned(),
            format!("{process}{more}"),
        ],
        tone: Tone::Plain,
        notes: vec![],
    }
}

fn allowances(page: &mut Page, report: &SweepReport) {
    if report.allowances.is_empty() {
        return;
    }
    let used = |entry: &&Allowance| entry.state == AllowanceState::Used;
    let used = report.allowances.iter().filter(used).count();
    heading(
        page,
        "Allow list",
        report.allowances.len(),
        "entry",
        &format!("{used} of use"),
    );
    page.table(&Table {
        columns: [
            Column::Text("STATE"),
            Column::Number("MATCHED"),
            Column::Text("ALLOWS"),
            Column::Text("REASON"),
            Column::Text("FROM"),
        ],
        rows: report.allowances.iter().map(allowance_row).collect(),
    });
}

fn allowance_row(entry: &Allowance) -> Row<5> {
    let (tone, state) = match entry.state {
        AllowanceState::Used => (Tone::Plain, "used"),
        AllowanceState::Stale => (Tone::Warn, "STALE: remove it"),
        AllowanceState::Expired => (Tone::Warn, "EXPIRED: did not apply"),
    };
    let class = entry.class.map(super::finding::Class::name);
    let parts = [
        ("variable", entry.variable.as_deref()),
        ("class", class),
        ("rule", entry.rule.as_deref()),
        ("process", entry.process.as_deref()),
        ("fingerprint", entry.fingerprint.as_deref()),
    ];
    let allows: Vec<_> = parts
        .into_iter()
        .filter_map(|(key, value)| Some(format!("{key} {}", escape(value?))))
        .collect();
    let until = entry
        .expires
        .map_or_else(String::new, |day| format!(" (until {day})"));
    Row {
        cells: [
            state.into(),
            entry.matched.to_string(),
            allows.join(", "),
            format!("{}{until}", escape(&entry.reason)),
            escape(entry.origin.as_deref().unwrap_or_default()).into_owned(),
        ],
        tone,
        notes: vec![],
    }
}

fn shown(name: &str) -> String {
    escape(name).into_owned()
}
