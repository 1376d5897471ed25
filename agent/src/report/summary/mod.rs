//! A job's evidence as a step summary on GitHub: Markdown, the most important first. Pure.

use super::html::{Documents, Trust};
use super::run::Verdict;
use super::sweep::{Finding, SweepReport, words};
use super::text::quantity::{bytes, count};
use super::text::{losses, mode};
use super::{Denial, Destination, Flow, NameAsked, ProcessChain, Report, ReportMode, RuleFacts};

pub mod commands;
mod markdown;

use markdown::{Markdown, code};

/// File name of the summary in an evidence directory.
pub const NAME: &str = "report.md";

/// Bytes of a summary at most: half of what a step may upload. Above that everything is refused.
pub const MAX: usize = 512 << 10;

/// Rows that are open from the start.
const OPEN: usize = 20;
/// Rows of a table at most.
const ROWS: usize = 1_000;

/// The summary, of at most `limit` bytes ([`MAX`] if there is no other reason).
#[must_use]
pub fn render(documents: &Documents<'_>, limit: usize) -> String {
    let mut page = Markdown::new(limit.min(MAX));
    let (icon, word, sentence) = verdict(documents);
    page.line(&format!("### {icon} cordon: {word}\n\n{sentence}"));
    facts(&mut page, documents);
    if let Some(report) = documents.egress.map(|document| document.report) {
        denied(&mut page, report);
    }
    if let Some(report) = documents.sweep.map(|document| document.report) {
        secrets(&mut page, report);
    }
    if let Some(report) = documents.egress.map(|document| document.report) {
        allowed(&mut page, report);
        unused(&mut page, report);
    }
    page.line("\n<sub>A rendering, made from:");
    for (name, file) in documents.contents() {
        let sha256 = super::statement::sha256_hex(file);
        page.line(&format!("`{name}` `sha256:{sha256}`"));
    }
    page.line("</sub>");
    page.into_text()
}

fn verdict(documents: &Documents<'_>) -> (&'static str, &'static str, &'static str) {
    let run = documents.run.map(|document| document.report.came_to());
    match run {
        Some(Verdict::Clean) => (
            "✅",
            "clean",
            "Egress was enforced, nothing was lost, the sweep was whole and found no secret.",
        ),
        Some(Verdict::Incomplete) => (
            "⚠️",
            "incomplete",
            "Something was lost, not looked into or not swept, or enforcement had a gap.",
        ),
        Some(Verdict::Audited) => (
            "⚠️",
            "audited, not enforced",
            "Egress was watched and nothing was refused.",
        ),
        Some(Verdict::Findings) => (
            "❌",
            "secrets found",
            "Processes of the job carried secrets that the policy does not want there.",
        ),
        None => (
            "⚠️",
            "no verdict",
            "There is no run report, which says what the reports come to.",
        ),
    }
}

fn facts(page: &mut Markdown, documents: &Documents<'_>) {
    let mut rows = Vec::new();
    let mut row = |what: &str, value: String| rows.push(vec![what.to_owned(), value]);
    row(
        "Signatures",
        match &documents.trust {
            Trust::Checked { key_id, .. } => format!("checked, with {}", code(key_id)),
            Trust::NotChecked { .. } => "**not checked**".to_owned(),
            Trust::AtSource { key_id } => {
                format!(
                    "made with the evidence, before it was sealed with {}",
                    code(key_id)
                )
            }
        },
    );
    if let Some(report) = documents.egress.map(|document| document.report) {
        row("Job", code(&report.job.id));
        row("Mode", mode(report.mode).to_owned());
        row("Losses", losses(&report.losses));
        let inactive = report.coverage.layers.iter().filter(|layer| !layer.active);
        let inactive: Vec<_> = inactive.map(|layer| code(&layer.name)).collect();
        let all = report.coverage.layers.len();
        let active = all.saturating_sub(inactive.len());
        let missing = if inactive.is_empty() {
            String::new()
        } else {
            format!("; **not** {}", inactive.join(", "))
        };
        row("Layers", format!("{active} of {all} active{missing}"));
        if !report.interruptions.is_empty() {
            let times = count(report.interruptions.len() as u64, "time");
            row(
                "Recording",
                format!("**interrupted {times}**: cordon was killed"),
            );
        }
        let summary = &report.summary;
        row(
            "Egress",
            format!(
                "{} {}; {} allowed to {}, {} out, {} in",
                summary.denied,
                refused(report.mode),
                summary.allowed,
                count(summary.destinations, "destination"),
                bytes(summary.bytes_out),
                bytes(summary.bytes_in)
            ),
        );
    }
    if let Some(report) = documents.sweep.map(|document| document.report) {
        row(
            "Secrets",
            super::sweep::line(report).replacen("secrets: ", "", 1),
        );
    }
    let total = rows.len();
    page.table(&["", ""], rows.into_iter(), (total, total), "the reports");
}

const fn refused(mode: ReportMode) -> &'static str {
    match mode {
        ReportMode::Audit => "would have been denied",
        ReportMode::Enforce => "denied",
    }
}

fn denied(page: &mut Markdown, report: &Report) {
    const HEADS: [&str; 6] = ["#", "Destination", "Port", "Reason", "Times", "Process"];
    let title = match report.mode {
        ReportMode::Audit => "Would have been denied",
        ReportMode::Enforce => "Denied",
    };
    let rows = || report.denials.iter().zip(1_usize..).map(denial_row);
    let total = report.denials.len();
    if total > 0 {
        page.line(&format!("#### {title}"));
        page.table(&HEADS, rows(), (total.min(OPEN), OPEN), "");
        page.folded("What would allow it", |page| {
            for denial in report.denials.iter().take(OPEN) {
                remedy(page, denial);
            }
        });
    }
    if total > OPEN {
        let further = total.saturating_sub(OPEN);
        page.folded(&format!("{further} further destinations"), |page| {
            let rows = rows().skip(OPEN);
            page.table(&HEADS, rows, (further, ROWS), "`egress-report.json`");
        });
    }
    let names: Vec<_> = report
        .dns
        .iter()
        .filter(|name| name.answer.is_refusal())
        .collect();
    if !names.is_empty() {
        page.line("#### Names refused");
        page.table(
            &["Name", "Type", "Times", "Process"],
            names.iter().map(|name| name_row(name)),
            (names.len(), OPEN),
            "`egress-report.json`",
        );
    }
}

fn denial_row((denial, number): (&Denial, usize)) -> Vec<String> {
    vec![
        number.to_string(),
        place(&denial.destination),
        port(&denial.destination),
        code(&denial.reason),
        denial.attempts.saturating_add(denial.packets).to_string(),
        process(&denial.processes),
    ]
}

fn remedy(page: &mut Markdown, denial: &Denial) {
    let Some(remedy) = &denial.remedy else {
        return;
    };
    let lines: Vec<_> = remedy.lines().collect();
    let remedy = code(&lines.join(" "));
    page.line(&format!("- {}: {remedy}", place(&denial.destination)));
}

fn name_row(name: &NameAsked) -> Vec<String> {
    vec![
        code(&name.name),
        code(&name.kind),
        name.count.to_string(),
        process(&name.processes),
    ]
}

fn secrets(page: &mut Markdown, report: &SweepReport) {
    if report.findings.is_empty() {
        return;
    }
    page.line("#### Secrets in processes");
    page.table(
        &["Severity", "Credential", "Where", "Fingerprint"],
        report.findings.iter().map(finding_row),
        (report.findings.len(), OPEN),
        "`secret-sweep.json`",
    );
}

fn finding_row(finding: &Finding) -> Vec<String> {
    vec![
        words::severity(finding.severity).to_owned(),
        code(&finding.title),
        code(&words::place(finding, ToOwned::to_owned)),
        code(&finding.fingerprint),
    ]
}

fn allowed(page: &mut Markdown, report: &Report) {
    let total = report.flows.len();
    if total == 0 {
        return;
    }
    let title = format!("Allowed: {}", count(total as u64, "destination"));
    page.folded(&title, |page| {
        page.table(
            &["Destination", "Port", "Rule", "Out", "In", "Process"],
            report.flows.iter().map(|flow| flow_row(flow, report)),
            (total, ROWS),
            "`egress-report.json`",
        );
    });
}

fn flow_row(flow: &Flow, report: &Report) -> Vec<String> {
    let rule = flow.rule.map(|rule| report.policy.rule_text(rule));
    vec![
        place(&flow.destination),
        port(&flow.destination),
        code(&rule.unwrap_or_else(|| flow.reason.clone())),
        bytes(flow.bytes_out),
        bytes(flow.bytes_in),
        process(&flow.processes),
    ]
}

fn unused(page: &mut Markdown, report: &Report) {
    let unused = || report.policy.rules.iter().filter(|rule| !rule.used);
    let total = unused().count();
    if total == 0 {
        return;
    }
    page.folded(
        &format!("Unused: {}", count(total as u64, "rule")),
        |page| {
            let row = |rule: &RuleFacts| vec![code(&rule.text), code(&rule.origin)];
            page.table(
                &["Rule", "From"],
                unused().map(row),
                (total, ROWS),
                "`egress-report.json`",
            );
        },
    );
}

fn place(destination: &Destination) -> String {
    let address = destination.address.to_string();
    match destination.names.as_slice() {
        [] => code(&address),
        [name] => format!("{} ({})", code(name), code(&address)),
        [name, more @ ..] => format!("{} or {} more ({})", code(name), more.len(), code(&address)),
    }
}

fn port(destination: &Destination) -> String {
    match destination.port {
        0 => code(&destination.protocol),
        port => code(&format!("{port}/{}", destination.protocol)),
    }
}

fn process(chains: &[ProcessChain]) -> String {
    let Some((first, more)) = chains.split_first() else {
        return "not known".to_owned();
    };
    let mut parts: Vec<&str> = first.executables.iter().map(String::as_str).collect();
    for parent in parts.iter_mut().skip(1) {
        *parent = parent.rsplit('/').next().unwrap_or(parent);
    }
    let more = match more.len() {
        0 => String::new(),
        number => format!(", {number} more"),
    };
    format!("{}{more}", code(&parts.join(" < ")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use pulldown_cmark::{Event, Options, Parser};

    use super::*;
    use crate::report::escape::tests::{HOSTILE, MARKUP, is_harmful};
    use crate::report::html::Document;
    use crate::report::run::{RunReport, fixture as runs};
    use crate::report::{fixture, json, sweep};

    fn summary(egress: &Report, swept: &SweepReport, limit: usize) -> String {
        let run = RunReport::new(egress, Some(swept), vec![], "h", runs::report().chain);
        let file = json::pretty(egress).unwrap();
        let documents = Documents {
            egress: Some(Document {
                report: egress,
                file: file.as_bytes(),
            }),
            sweep: Some(Document {
                report: swept,
                file: b"",
            }),
            run: Some(Document {
                report: &run,
                file: b"",
            }),
            images: &[],
            trust: Trust::NotChecked { named: None },
            baseline: None,
        };
        render(&documents, limit)
    }

    fn saying(words: &str) -> String {
        let swept = sweep::fixture::report_saying(words);
        summary(&fixture::report_saying(words), &swept, MAX)
    }

    /// What a reader of GitHub's Markdown makes of it, without the words.
    fn shape(text: &str) -> Vec<String> {
        let events = Parser::new_ext(text, Options::all());
        let shape = events.map(|event| match event {
            Event::Start(tag) => format!("{tag:?}"),
            Event::End(tag) => format!("/{tag:?}"),
            Event::Code(_) => "code".to_owned(),
            Event::Text(_) => "text".to_owned(),
            Event::Html(html) | Event::InlineHtml(html) => html.to_string(),
            other => format!("{other:?}"),
        });
        let shape: Vec<String> = shape.collect();
        // How often cordon's own text is split means nothing.
        let digest = |line: &String| line.contains("sha256");
        shape
            .into_iter()
            .filter(|line| line != "text" && !digest(line))
            .collect()
    }

    #[test]
    fn the_summary_is_the_golden_one() {
        let text = summary(&fixture::report(), &sweep::fixture::report(), MAX);
        fixture::assert_golden("report.md", &text);
        assert!(text.starts_with("### "));
    }

    #[test]
    fn hostile_words_change_no_structure() {
        let plain = shape(&saying("plain"));
        for words in HOSTILE.iter().chain(MARKUP) {
            let text = saying(words);
            assert_eq!(plain, shape(&text), "{words:?}");
            assert!(
                !text.replace(['\n', '\u{fe0f}'], "").contains(is_harmful),
                "{words:?}"
            );
        }
    }

    #[test]
    fn it_never_exceeds_what_a_step_may_upload() {
        let mut report = fixture::report();
        let long = "x".repeat(300);
        let denial = report.denials[0].clone();
        report.denials = (0..20_000)
            .map(|number| {
                let mut denial = denial.clone();
                denial.destination.names = vec![format!("{number}.{long}")];
                denial.processes[0].executables = vec![long.clone(); 8];
                denial
            })
            .collect();
        for limit in [MAX, 100 << 10, 20 << 10] {
            let text = summary(&report, &sweep::fixture::report(), limit);
            assert!(text.len() <= limit, "{} > {limit}", text.len());
            assert!(text.contains("more rows are in"), "{limit}");
            let count = |part: &str| text.matches(part).count();
            assert_eq!(count("<details>"), count("</details>"), "{limit}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_words_give_the_same_structure(words in any::<String>()) {
            prop_assume!(!words.is_empty());
            prop_assert_eq!(shape(&saying("plain")), shape(&saying(&words)));
        }
    }
}
