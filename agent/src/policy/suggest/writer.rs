//! A suggestion as the text of a profile.

use std::collections::BTreeSet;

use super::{Suggestion, Use};
use crate::policy::endpoint::Endpoint;
use crate::policy::pattern::Depth;
use crate::policy::remedy::rule_to_toml;
use crate::policy::{Mode, Origin, Protocol, Rule};
use crate::report::{Losses, Report, ReportMode};

/// Longest piece of a report that is quoted in a comment, in characters.
const QUOTED: usize = 120;

/// Names that are listed one by one.
const LISTED: usize = 12;

pub(super) fn write_profile(suggestion: &Suggestion, report: &Report, name: &str) -> String {
    let mut blocks = vec![heading(report, name)];
    for (endpoint, protocols) in &suggestion.rules {
        for (protocol, used) in protocols {
            blocks.extend(block(endpoint, *protocol, used));
        }
    }
    if !suggestion.remarks.is_empty() {
        let lines = suggestion.remarks.iter().map(|remark| comment(remark));
        let lines: Vec<String> = lines.collect();
        blocks.push(format!("# Not allowed above:\n{}", lines.join("\n")));
    }
    blocks.join("\n\n") + "\n"
}

fn heading(report: &Report, name: &str) -> String {
    let mode = match report.mode {
        ReportMode::Audit => Mode::Audit,
        ReportMode::Enforce => Mode::Enforce,
    };
    let mut lines = vec![
        comment(&format!(
            "Suggested from job {} of {} (mode {mode}, command {}).",
            report.job.id, report.job.started, report.job.command
        )),
        comment("Read every rule before you use it: what a job did is not what it should do."),
    ];
    if !report.losses.none() {
        lines.push(comment(&losses(&report.losses)));
    }
    lines.push(format!("name = \"{name}\""));
    lines.push("mode = \"enforce\"".to_owned());
    lines.join("\n")
}

fn losses(losses: &Losses) -> String {
    let Losses {
        records,
        flows,
        undecodable,
        details,
        names,
        questions_refused,
        questions_malformed: _,
        memory: _,
        members: _,
    } = losses;
    format!(
        "The report is not whole, so rules or programs may be missing: {records} records, {flows} flows, \
         {undecodable} undecodable, {details} details and {names} names lost, {questions_refused} \
         questions refused."
    )
}

fn block(endpoint: &Endpoint, protocol: Protocol, used: &Use) -> Option<String> {
    let Use {
        ports,
        private,
        programs,
        names,
        shared,
    } = used;
    let rule = Rule {
        endpoint: endpoint.clone(),
        ports: ports.clone()?,
        protocol,
        private: *private,
        verify: None,
        reason: None,
        origin: Origin {
            source: String::new(),
            line: 0,
        },
    };
    let mut lines = Vec::new();
    if !programs.is_empty() {
        lines.push(comment(&format!("used by {}", list(programs))));
    }
    if matches!(endpoint, Endpoint::Host(pattern) if pattern.depth() != Depth::Exact) {
        let names = format!(
            "a wildcard, because {} names of this zone were used: {}",
            names.len(),
            list(names)
        );
        lines.push(comment(&names));
    }
    if *shared {
        let why =
            "its address has other names that the job looked up as well: remove what is not needed";
        lines.push(comment(why));
    }
    if *private {
        lines.push(comment("its address is a private one"));
    }
    lines.push(rule_to_toml(&rule));
    Some(lines.join("\n"))
}

fn list(items: &BTreeSet<String>) -> String {
    let shown: Vec<&str> = items.iter().take(LISTED).map(String::as_str).collect();
    match items.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// One line of comment. Whatever is in the text, it stays one line, and a comment.
fn comment(text: &str) -> String {
    let shown: String = text
        .split(' ')
        .map(|word| word.chars().take(QUOTED).collect::<String>())
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .map(printable)
        .collect();
    format!("# {shown}")
}

/// Control characters end lines and steer terminals; marks of direction make text look like other
/// text.
fn printable(character: char) -> char {
    let deceptive = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if character.is_control() || deceptive {
        return '\u{fffd}';
    }
    character
}
