//! The lists of a report as tables: denied, allowed, names, sockets, unused rules.

use std::collections::BTreeMap;

use super::layout::{Column, Page, Row, Table, Tone};
use super::quantity::{bytes, count};
use crate::report::escape::escape;
use crate::report::{
    Denial, Destination, Flow, NameAsked, NameVerdict, PolicyFacts, ProcessChain, Report,
    ReportMode,
};

pub(super) fn write(page: &mut Page, report: &Report) {
    denied(page, report);
    allowed(page, report);
    names(page, report);
    sockets(page, report);
    incidents(page, report);
    unused(page, report);
}

fn denied(page: &mut Page, report: &Report) {
    let title = match report.mode {
        ReportMode::Audit => "Would have been denied",
        ReportMode::Enforce => "Denied",
    };
    let attempts = report.denials.iter().map(|denial| denial.attempts);
    let attempts = count(attempts.fold(0, u64::saturating_add), "attempt");
    if !heading(page, title, report.denials.len(), "destination", &attempts) {
        return;
    }
    page.table(&Table {
        columns: [
            Column::Text("DESTINATION"),
            Column::Text("PORT"),
            Column::Text("REASON"),
            Column::Number("TRIES"),
            Column::Text("PROCESS"),
        ],
        rows: report.denials.iter().map(denied_row).collect(),
    });
    // Each reason is explained once, however many destinations it met.
    let reasons: BTreeMap<_, _> = report
        .denials
        .iter()
        .map(|denial| (&denial.reason, &denial.explanation))
        .collect();
    page.gap();
    for (reason, explanation) in reasons {
        let (reason, explanation) = (escape(reason), escape(explanation));
        page.line(Tone::Plain, &format!("{reason}: {explanation}"));
    }
}

fn denied_row(denial: &Denial) -> Row<5> {
    let tries = match (denial.attempts, denial.packets) {
        (attempts, 0) => attempts.to_string(),
        (0, packets) => count(packets, "packet"),
        (attempts, packets) => format!("{attempts} + {}", count(packets, "packet")),
    };
    Row {
        cells: [
            place(&denial.destination),
            port(&denial.destination),
            reason(denial),
            tries,
            processes(&denial.processes),
        ],
        tone: Tone::Bad,
        notes: remedy(denial.remedy.as_deref()),
    }
}

/// The reason, with the names that refused connections showed.
fn reason(denial: &Denial) -> String {
    match denial.shown_names.as_slice() {
        [] => escape(&denial.reason).into_owned(),
        shown => escape(&format!("{}: {}", denial.reason, shown.join(", "))).into_owned(),
    }
}

fn allowed(page: &mut Page, report: &Report) {
    let bytes_out = report.flows.iter().map(|flow| flow.bytes_out);
    let sent = format!("{} out", bytes(bytes_out.fold(0, u64::saturating_add)));
    if !heading(page, "Allowed", report.flows.len(), "destination", &sent) {
        return;
    }
    page.table(&Table {
        columns: [
            Column::Text("DESTINATION"),
            Column::Text("PORT"),
            Column::Text("RULE"),
            Column::Number("TRIES"),
            Column::Number("OUT"),
            Column::Number("IN"),
            Column::Text("PROCESS"),
        ],
        rows: report
            .flows
            .iter()
            .map(|flow| allowed_row(flow, &report.policy))
            .collect(),
    });
}

fn allowed_row(flow: &Flow, policy: &PolicyFacts) -> Row<7> {
    let rule = flow
        .rule
        .map_or_else(|| flow.reason.clone(), |index| policy.rule_text(index));
    Row {
        cells: [
            place(&flow.destination),
            port(&flow.destination),
            escape(&rule).into_owned(),
            flow.attempts.to_string(),
            bytes(flow.bytes_out),
            bytes(flow.bytes_in),
            processes(&flow.processes),
        ],
        tone: Tone::Good,
        notes: vec![],
    }
}

fn names(page: &mut Page, report: &Report) {
    let not_allowed = |name: &&NameAsked| name.answer != NameVerdict::Allowed;
    let listed: Vec<_> = report.dns.iter().filter(not_allowed).collect();
    if listed.is_empty() {
        return;
    }
    let questions = listed.iter().map(|name| name.count);
    let questions = count(questions.fold(0, u64::saturating_add), "question");
    heading(
        page,
        "Names not simply allowed",
        listed.len(),
        "name",
        &questions,
    );
    page.table(&Table {
        columns: [
            Column::Text("NAME"),
            Column::Text("TYPE"),
            Column::Text("ANSWER"),
            Column::Number("ASKED"),
            Column::Text("PROCESS"),
        ],
        rows: listed.into_iter().map(name_row).collect(),
    });
}

fn name_row(name: &NameAsked) -> Row<5> {
    Row {
        cells: [
            escape(&name.name).into_owned(),
            escape(&name.kind).into_owned(),
            answer(name.answer).into(),
            name.count.to_string(),
            processes(&name.processes),
        ],
        tone: Tone::Bad,
        notes: remedy(name.remedy.as_deref()),
    }
}

fn answer(verdict: NameVerdict) -> &'static str {
    match verdict {
        NameVerdict::Allowed => "allowed",
        NameVerdict::Denied => "denied: no rule allows it",
        NameVerdict::Failed => "failed: the resolver did not answer",
        NameVerdict::Limited => "beyond the limits of its wildcard",
        NameVerdict::Local => "by the resolver of its namespace",
        NameVerdict::NotLeased => "refused: too many addresses or rules",
        NameVerdict::Rebinding => "refused: only private addresses",
        NameVerdict::Unsupported => "refused: type not served",
        NameVerdict::WouldDeny => "answered; would be denied",
    }
}

fn sockets(page: &mut Page, report: &Report) {
    if report.sockets.is_empty() {
        return;
    }
    let seen = report.sockets.iter().map(|socket| socket.count);
    let seen = count(seen.fold(0, u64::saturating_add), "attempt");
    heading(
        page,
        "Sockets refused by kind",
        report.sockets.len(),
        "kind",
        &seen,
    );
    page.table(&Table {
        columns: [
            Column::Text("KIND"),
            Column::Number("TRIES"),
            Column::Text("PROCESS"),
        ],
        rows: report
            .sockets
            .iter()
            .map(|socket| Row {
                cells: [
                    escape(&socket.kind).into_owned(),
                    socket.count.to_string(),
                    processes(&socket.processes),
                ],
                tone: Tone::Bad,
                notes: vec![],
            })
            .collect(),
    });
}

fn incidents(page: &mut Page, report: &Report) {
    if report.incidents.is_empty() {
        return;
    }
    let seen = report.incidents.iter().map(|incident| incident.count);
    let seen = count(seen.fold(0, u64::saturating_add), "time");
    heading(
        page,
        "Other calls refused, and processes that left the job's cgroup",
        report.incidents.len(),
        "kind",
        &seen,
    );
    page.table(&Table {
        columns: [
            Column::Text("CALL"),
            Column::Text("ABOUT"),
            Column::Number("TIMES"),
            Column::Text("PROCESS"),
        ],
        rows: report
            .incidents
            .iter()
            .map(|incident| Row {
                cells: [
                    escape(&incident.call).into_owned(),
                    escape(&incident.about).into_owned(),
                    incident.count.to_string(),
                    processes(&incident.processes),
                ],
                tone: Tone::Bad,
                notes: vec![],
            })
            .collect(),
    });
}

fn unused(page: &mut Page, report: &Report) {
    let rules: Vec<_> = report
        .policy
        .rules
        .iter()
        .filter(|rule| !rule.used)
        .collect();
    if rules.is_empty() {
        return;
    }
    heading(
        page,
        "Unused rules",
        rules.len(),
        "rule",
        "consider removing them",
    );
    page.table(&Table {
        columns: [Column::Text("RULE"), Column::Text("FROM")],
        rows: rules
            .into_iter()
            .map(|rule| Row {
                cells: [
                    escape(&rule.text).into_owned(),
                    escape(&rule.origin).into_owned(),
                ],
                tone: Tone::Plain,
                notes: vec![],
            })
            .collect(),
    });
}

/// Writes the title of a list; `false` where there is nothing under it.
pub(in crate::report) fn heading(
    page: &mut Page,
    title: &str,
    number: usize,
    noun: &str,
    detail: &str,
) -> bool {
    page.gap();
    if number == 0 {
        page.line(Tone::Strong, &format!("{title}: nothing"));
        return false;
    }
    let number = count(number as u64, noun);
    page.line(Tone::Strong, &format!("{title}: {number}, {detail}"));
    true
}

fn place(destination: &Destination) -> String {
    let Destination { address, names, .. } = destination;
    match names.as_slice() {
        [] => address.to_string(),
        [name] => format!("{} ({address})", escape(name)),
        [name, more @ ..] => format!("{} or {} more ({address})", escape(name), more.len()),
    }
}

fn port(destination: &Destination) -> String {
    let protocol = escape(&destination.protocol);
    match destination.port {
        0 => protocol.into_owned(),
        port => format!("{port}/{protocol}"),
    }
}

/// The first chain, its process with the whole path, its ancestors by their last name.
fn processes(chains: &[ProcessChain]) -> String {
    let Some((first, more)) = chains.split_first() else {
        return "not known".into();
    };
    let mut text = String::new();
    for (index, executable) in first.executables.iter().enumerate() {
        if index == 0 {
            text.push_str(&escape(executable));
            continue;
        }
        let name = executable.rsplit('/').next().unwrap_or(executable);
        text.push_str(" < ");
        text.push_str(&escape(name));
    }
    let rest = match more.len() {
        0 => String::new(),
        number => format!(", {number} more"),
    };
    format!("{text} (pid {}){rest}", first.pid)
}

fn remedy(remedy: Option<&str>) -> Vec<String> {
    let Some(remedy) = remedy else {
        return vec![];
    };
    let mut notes = vec!["to allow it:".to_owned()];
    notes.extend(remedy.lines().map(|line| format!("  {}", escape(line))));
    notes
}
