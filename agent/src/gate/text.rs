//! A decision for a person at a terminal. Pure.
//!
//! **Invariants**: every text that evidence can choose goes through [`escape`].

use super::decision::{Decision, Outcome, Verdict};
use crate::report::escape::escape;

/// As wide as number, name and outcome of a check.
const INDENT: &str = "                            ";

/// The decision, a line for each check and one for each thing it found.
#[must_use]
pub fn render(decision: &Decision) -> String {
    let verdict = match decision.verdict {
        Verdict::Promote => "PROMOTE",
        Verdict::Deny => "DENY",
        Verdict::Undecided => "UNDECIDED",
    };
    let policy = &decision.policy;
    let signed = match &policy.signed_by {
        Some(key) => format!("signed by {}", escape(key)),
        None => "UNSIGNED, as the command line allows".to_owned(),
    };
    let given = if decision.now.given { ", as given" } else { "" };
    let mut text = format!(
        "{verdict}  {} (status {})\n\
         policy   {} ({}), {signed}\n\
         time     {}{given}\n",
        decision.target,
        decision.status,
        escape(&policy.name),
        escape(&policy.source),
        decision.now.time,
    );
    for check in &decision.checks {
        let outcome = match check.outcome {
            Outcome::Passed => "ok",
            Outcome::Failed => "FAIL",
            Outcome::NotReached => "not reached",
        };
        let mut lines = check.findings.iter().map(|finding| {
            let piece = finding.piece.as_deref().map(escape);
            let piece = piece.map_or_else(String::new, |piece| format!("{piece}: "));
            let sign = if finding.refusal.is_some() { "! " } else { "" };
            format!("{sign}{piece}{}", escape(&finding.text))
        });
        let first = lines.next().unwrap_or_default();
        let (number, name) = (check.number, &check.name);
        let head = format!("{number:>2} {name:<13}{outcome:<12}{first}");
        text.push_str(head.trim_end());
        text.push('\n');
        for line in lines {
            text.extend([INDENT, line.as_str(), "\n"]);
        }
    }
    text
}
