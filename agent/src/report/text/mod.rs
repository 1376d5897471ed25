//! The report for a person at a terminal. Pure.
//!
//! Mode, coverage and losses stand first, because nothing below can be read without them; then the
//! summary, then what was denied, then the rest.
//!
//! **Invariants**: every string that a job can choose goes through [`escape`]; colour only repeats
//! what a word says.

pub(super) mod layout;
pub(super) mod limits;
pub(super) mod quantity;
pub(super) mod tables;

use layout::{Page, Tone};
use quantity::{bytes, count, duration, time};

use super::escape::escape;
use super::{Coverage, Interruption, Losses, Platform, Report, ReportMode};

/// The report as text of at most `width` columns (but not below 40); remedies, which are there to
/// be copied, keep their lines.
#[must_use]
pub fn render(report: &Report, width: usize, colour: bool) -> String {
    let mut page = Page::new(width, colour);
    let job = escape(&report.job.id);
    page.line(Tone::Strong, &format!("Egress report of job {job}"));
    page.gap();
    trust(&mut page, report);
    facts(&mut page, report);
    page.gap();
    page.fact("Summary", Tone::Strong, &summary(report));
    tables::write(&mut page, report);
    if let Some(limits) = &report.limits {
        limits::write(&mut page, limits);
    }
    let ruleset = Some(report.policy.ruleset_digest.as_str());
    platform(&mut page, &report.platform, ruleset);
    page.into_text()
}

/// What the mode means, in a line.
#[must_use]
pub fn mode(mode: ReportMode) -> &'static str {
    match mode {
        ReportMode::Audit => "AUDIT: nothing was refused; what would have been is marked",
        ReportMode::Enforce => "enforce: what no rule allows was refused",
    }
}

/// For how long nobody recorded, in a line.
pub(super) fn interrupted(interruption: &Interruption) -> String {
    let to = time(interruption.to);
    match interruption.from {
        Some(from) => format!(
            "INTERRUPTED from {} to {to} ({}): cordon was killed",
            time(from),
            duration(from, interruption.to)
        ),
        None => format!("INTERRUPTED until {to}, nobody knows since when: cordon was killed"),
    }
}

/// Which layers enforced, in a line.
#[must_use]
pub fn coverage(coverage: &Coverage) -> String {
    let (active, missing): (Vec<_>, Vec<_>) =
        coverage.layers.iter().partition(|layer| layer.active);
    let mut line = format!(
        "{} of {} layers active",
        active.len(),
        coverage.layers.len()
    );
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|layer| escape(&layer.name)).collect();
        line.push_str("; NOT active: ");
        line.push_str(&names.join(", "));
    }
    line
}

/// What is missing from the lists, in a line.
#[must_use]
pub fn losses(losses: &Losses) -> String {
    let Losses {
        records,
        flows,
        undecodable,
        details,
        names,
        questions_refused,
        questions_malformed,
        memory,
        members,
    } = *losses;
    let parts = [
        (records, "event without its process"),
        (flows, "event without its destination"),
        (undecodable, "undecodable record"),
        (details, "detail dropped"),
        (names, "name not listed"),
        (questions_refused, "question too many"),
        (questions_malformed, "DNS message that is no question"),
        (memory, "denial for want of memory"),
        (members, "process that could not be noted as the job's"),
    ];
    let lost: Vec<_> = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{what}: {number}"))
        .collect();
    if lost.is_empty() {
        return "none: the lists are whole".into();
    }
    format!(
        "INCOMPLETE: {}. What was denied is counted nevertheless.",
        lost.join(", ")
    )
}

fn trust(page: &mut Page, report: &Report) {
    let mode_tone = match report.mode {
        ReportMode::Audit => Tone::Warn,
        ReportMode::Enforce => Tone::Good,
    };
    page.fact("Mode", mode_tone, mode(report.mode));
    for interruption in &report.interruptions {
        page.fact("Recording", Tone::Warn, &interrupted(interruption));
        for effect in &interruption.effects {
            page.item(&escape(effect));
        }
    }
    let missing = || report.coverage.layers.iter().filter(|layer| !layer.active);
    let whole = missing().next().is_none();
    page.fact("Coverage", good_if(whole), &coverage(&report.coverage));
    for layer in missing() {
        let (name, detail) = (escape(&layer.name), escape(&layer.detail));
        page.item(&format!("{name} was not active: {detail}"));
    }
    for spot in &report.coverage.blind_spots {
        page.item(&format!("not seen: {}", escape(spot)));
    }
    for proof in &report.coverage.proof {
        page.item(&format!("proved before the start: {}", escape(proof)));
    }
    page.fact(
        "Losses",
        good_if(report.losses.none()),
        &losses(&report.losses),
    );
}

fn facts(page: &mut Page, report: &Report) {
    let job = &report.job;
    let command = format!(
        "{} with {}, {}",
        escape(&job.command),
        count(job.arguments as u64, "argument"),
        job.outcome.words()
    );
    page.fact("Command", Tone::Plain, &command);
    if job.survivors > 0 {
        let left = count(job.survivors, "process");
        page.item(&format!("{left} outlived the command and had to be killed"));
    }
    let ran = format!(
        "{} to {} ({})",
        time(job.started),
        time(job.finished),
        duration(job.started, job.finished)
    );
    page.fact("Ran", Tone::Plain, &ran);
    if let Some(attendance) = &report.job.attendance {
        for (label, value) in attendance.facts() {
            page.fact(label, Tone::Plain, &escape(&value));
        }
        for finding in &attendance.findings {
            let what = format!(
                "{} at {}: {}",
                finding.kind.word(),
                finding.at,
                finding.detail
            );
            page.fact("Not as it should be", Tone::Bad, &escape(&what));
        }
    }
    let policy = &report.policy;
    let rules = count(policy.rules.len() as u64, "rule");
    page.fact(
        "Policy",
        Tone::Plain,
        &format!("{}, {rules}", escape(&policy.name)),
    );
    for profile in &policy.profiles {
        let (name, source) = (escape(&profile.name), escape(&profile.source));
        let sha256 = escape(&profile.sha256);
        page.item(&format!("profile {name} from {source}, sha256 {sha256}"));
    }
}

fn summary(report: &Report) -> String {
    let summary = &report.summary;
    let limited = match summary.names_limited {
        0 => String::new(),
        beyond => format!(", {beyond} of them beyond the limits of a wildcard"),
    };
    let untaken = match summary.answers_undelivered {
        0 => String::new(),
        answers => format!("; {} not taken", count(answers, "DNS answer")),
    };
    format!(
        "{} {}; {} allowed to {}, {} out, {} in; {}, {} {}{limited}{untaken}",
        summary.denied,
        refused(report.mode),
        summary.allowed,
        count(summary.destinations, "destination"),
        bytes(summary.bytes_out),
        bytes(summary.bytes_in),
        count(summary.names_asked, "name question"),
        summary.names_denied,
        refused(report.mode),
    )
}

/// What the mode did with what no rule allows.
fn refused(mode: ReportMode) -> &'static str {
    match mode {
        ReportMode::Audit => "would have been denied",
        ReportMode::Enforce => "denied",
    }
}

/// What ran, and under which ruleset where that is of interest.
pub(super) fn platform(page: &mut Page, platform: &Platform, ruleset: Option<&str>) {
    let (kernel, architecture) = (escape(&platform.kernel), escape(&platform.architecture));
    page.gap();
    page.fact(
        "Kernel",
        Tone::Plain,
        &format!("{kernel} on {architecture}"),
    );
    let (version, agent) = (
        escape(&platform.agent_version),
        escape(&platform.agent_sha256),
    );
    page.fact(
        "Agent",
        Tone::Plain,
        &format!("cordon {version}, sha256 {agent}"),
    );
    page.fact(
        "BPF object",
        Tone::Plain,
        &format!("sha256 {}", escape(&platform.object_sha256)),
    );
    if let Some(ruleset) = ruleset {
        page.fact(
            "Ruleset",
            Tone::Plain,
            &format!("blake3 {}", escape(ruleset)),
        );
    }
    page.fact(
        "Key kept in",
        Tone::Plain,
        &escape(&platform.key_protection),
    );
}

fn good_if(good: bool) -> Tone {
    if good { Tone::Good } else { Tone::Warn }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::escape::tests::{HOSTILE, is_harmful};
    use crate::report::{PolicyFacts, fixture};

    pub(in crate::report) fn harmful(text: &str) -> bool {
        text.replace('\n', "").contains(is_harmful)
    }

    /// The text without the colours that cordon itself uses.
    pub(in crate::report) fn uncoloured(text: &str) -> String {
        [
            "\u{1b}[0m",
            "\u{1b}[1m",
            "\u{1b}[2m",
            "\u{1b}[31m",
            "\u{1b}[32m",
            "\u{1b}[33m",
        ]
        .iter()
        .fold(text.to_owned(), |text, code| text.replace(code, ""))
    }

    #[test]
    fn the_text_is_the_golden_one() {
        fixture::assert_golden("report-100.txt", &render(&fixture::report(), 100, false));
        fixture::assert_golden("report-60.txt", &render(&fixture::report(), 60, false));
    }

    #[test]
    fn mode_coverage_and_losses_stand_before_any_flow() {
        let mut report = fixture::report();
        report.mode = ReportMode::Audit;
        report.losses.records = 3;
        let text = render(&report, 100, false);
        let position = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}\n{text}"));
        let order = [
            "AUDIT",
            "3 of 4 layers",
            "INCOMPLETE",
            "Summary",
            "evil.example.org",
        ];
        assert!(order.map(position).is_sorted(), "{text}");
        assert!(text.contains("Would have been denied"));
        assert!(!text.contains("Denied:"));
    }

    #[test]
    fn an_interruption_stands_in_the_first_lines() {
        let mut report = fixture::report();
        report.job.outcome = crate::report::Outcome::Unknown;
        report.interruptions.push(Interruption {
            from: Some("2026-11-22T08:15:10Z".parse().unwrap()),
            to: "2026-11-22T08:15:40Z".parse().unwrap(),
            effects: vec!["names asked before are not listed".into()],
        });
        let text = render(&report, 100, false);
        let position = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}\n{text}"));
        let order = [
            "INTERRUPTED",
            "names asked before",
            "3 of 4 layers",
            "status is unknown",
        ];
        assert!(order.map(position).is_sorted(), "{text}");
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
    fn an_empty_report_says_so_rather_than_nothing() {
        let mut report = fixture::report();
        report.denials.clear();
        report.flows.clear();
        report.dns.clear();
        report.sockets.clear();
        report.incidents.clear();
        report.policy = PolicyFacts {
            name: "none".into(),
            ruleset_digest: String::new(),
            profiles: vec![],
            rules: vec![],
        };
        let text = render(&report, 100, false);
        assert!(text.contains("Denied: nothing"), "{text}");
        assert!(text.contains("Allowed: nothing"), "{text}");
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
            let mut report = fixture::report_saying(&words);
            report.denials.iter_mut().for_each(|denial| denial.remedy = None);
            report.dns.iter_mut().for_each(|name| name.remedy = None);
            for line in render(&report, width, false).lines() {
                prop_assert!(layout::columns(line) <= width, "{}", line);
            }
        }
    }
}
