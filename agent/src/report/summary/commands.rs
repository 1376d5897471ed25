//! Workflow commands: what a job's log on GitHub is told about denials. Pure.
//!
//! **Invariant**: each command is one line, and no word of a job can end it or begin another: line
//! feeds and control characters are spelled out first, then `%`, `:` and `,` as the runner reads them.

use crate::report::escape::escape;
use crate::report::html::Documents;
use crate::report::sweep::words;
use crate::report::text::quantity::count;
use crate::report::{Denial, Report, ReportMode};

/// Commands of each kind that a step shows; it drops further ones.
const MAX: usize = 10;

/// The commands, each with its line feed.
#[must_use]
pub fn render(documents: &Documents<'_>) -> String {
    let mut text = String::new();
    if let Some(sweep) = documents.sweep.map(|document| document.report) {
        let lines: Vec<_> = sweep
            .findings
            .iter()
            .take(MAX)
            .map(|finding| {
                let place = words::place(finding, ToOwned::to_owned);
                (
                    "cordon: a secret in a process",
                    format!("{}: {place}", finding.title),
                )
            })
            .collect();
        write(
            &mut text,
            "error",
            &lines,
            (sweep.findings.len(), "finding"),
        );
    }
    if let Some(report) = documents.egress.map(|document| document.report) {
        denials(&mut text, report);
    }
    text
}

fn denials(text: &mut String, report: &Report) {
    let (kind, title, name_title) = match report.mode {
        ReportMode::Enforce => ("error", "cordon denied egress", "cordon refused a name"),
        ReportMode::Audit => (
            "warning",
            "cordon would have denied egress",
            "cordon would have refused a name",
        ),
    };
    let names = report.dns.iter().filter(|name| name.answer.is_refusal());
    let total = report.denials.len().saturating_add(names.clone().count());
    let denials = report.denials.iter().map(|denial| (title, denied(denial)));
    let names = names.map(|name| {
        let by = name
            .processes
            .first()
            .and_then(|chain| chain.executables.first());
        let by = by.map_or_else(String::new, |by| format!(", by {by}"));
        let remedy = fix(name.remedy.as_deref());
        (
            name_title,
            format!("{} {}{by}{remedy}", name.name, name.kind),
        )
    });
    let lines: Vec<_> = denials.chain(names).take(MAX).collect();
    write(text, kind, &lines, (total, "denial"));
}

fn denied(denial: &Denial) -> String {
    let to = &denial.destination;
    let name = to.names.first();
    let name = name.map_or_else(String::new, |name| format!("{name} "));
    let by = denial.processes.first();
    let by = by.map_or_else(String::new, |chain| {
        format!(", by {}", chain.executables.join(" < "))
    });
    let port = match to.port {
        0 => to.protocol.clone(),
        port => format!("port {port}/{}", to.protocol),
    };
    format!(
        "{name}{} {port}: {}{by}{}",
        to.address,
        denial.reason,
        fix(denial.remedy.as_deref())
    )
}

fn fix(remedy: Option<&str>) -> String {
    let Some(remedy) = remedy else {
        return String::new();
    };
    let lines: Vec<_> = remedy.lines().collect();
    format!("; to allow it: {}", lines.join(" "))
}

/// Writes at most [`MAX`] commands; the last one counts those that are left out.
fn write(text: &mut String, kind: &str, lines: &[(&str, String)], (total, noun): (usize, &str)) {
    let fit = if total > MAX {
        MAX.saturating_sub(1)
    } else {
        MAX
    };
    for (title, message) in lines.iter().take(fit) {
        text.push_str(&command(kind, title, message));
    }
    let more = total.saturating_sub(fit.min(lines.len()));
    if more > 0 {
        let more = format!("{} more in the report", count(more as u64, noun));
        text.push_str(&command(kind, "cordon", &more));
    }
}

fn command(kind: &str, title: &str, message: &str) -> String {
    let title = data(title).replace(':', "%3A").replace(',', "%2C");
    format!("::{kind} title={title}::{}\n", data(message))
}

/// Text of a command: nothing that is not printable, and what the runner decodes encoded.
fn data(text: &str) -> String {
    escape(text)
        .replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::escape::tests::{HOSTILE, MARKUP, is_harmful};
    use crate::report::html::{Document, Trust};
    use crate::report::{fixture, sweep};

    fn commands(report: &Report) -> String {
        render(&Documents {
            egress: Some(Document { report, file: b"" }),
            sweep: None,
            run: None,
            images: &[],
            trust: Trust::NotChecked { named: None },
            baseline: None,
        })
    }

    #[test]
    fn each_denial_is_a_command_of_one_line() {
        fixture::assert_golden("annotations.txt", &commands(&fixture::report()));
    }

    #[test]
    fn in_audit_mode_they_are_warnings() {
        let mut report = fixture::report();
        report.mode = ReportMode::Audit;
        let text = commands(&report);
        assert!(
            text.lines()
                .all(|line| line.starts_with("::warning title=cordon would have "))
        );
    }

    #[test]
    fn a_step_shows_ten_and_the_last_counts_the_others() {
        let mut report = fixture::report();
        report.denials = vec![report.denials[0].clone(); 50];
        report.dns.clear();
        let text = commands(&report);
        assert_eq!(text.lines().count(), MAX);
        assert!(
            text.ends_with("::41 denials more in the report\n"),
            "{text}"
        );
    }

    #[test]
    fn hostile_words_make_no_further_command() {
        let plain = commands(&fixture::report_saying("plain")).lines().count();
        for words in HOSTILE.iter().chain(MARKUP) {
            let text = commands(&fixture::report_saying(words));
            assert_eq!(text.lines().count(), plain, "{words:?}");
            for line in text.lines() {
                let rest = line.strip_prefix("::error title=cordon ").unwrap();
                let (title, message) = rest.split_once("::").unwrap();
                assert!(
                    ["denied egress", "refused a name"].contains(&title),
                    "{line}"
                );
                assert!(!message.contains(is_harmful), "{line}");
                // The runner decodes these, and nothing else.
                for (place, _) in message.match_indices('%') {
                    assert_eq!(message.get(place..place + 3), Some("%25"), "{line}");
                }
            }
        }
        let swept = sweep::fixture::report_saying("\n::error::x");
        let text = render(&Documents {
            egress: None,
            sweep: Some(Document {
                report: &swept,
                file: b"",
            }),
            run: None,
            images: &[],
            trust: Trust::NotChecked { named: None },
            baseline: None,
        });
        assert_eq!(text.lines().count(), swept.findings.len());
    }
}
