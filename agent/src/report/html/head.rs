//! The beginning of the page: what the evidence comes to, whether the page may be believed, the
//! numbers.

use super::limits::Resources;
use super::{Documents, Trust};
use crate::report::run::{ENFORCEMENT_GAP, Verdict};
use crate::report::text::quantity::{bytes, count, duration, time};
use crate::report::text::{interrupted, losses, mode};
use crate::report::{JobFacts, Platform, Report, ReportMode};

/// What the evidence comes to.
#[derive(Debug)]
pub(super) struct Banner {
    pub(super) tone: &'static str,
    pub(super) icon: &'static str,
    pub(super) word: &'static str,
    pub(super) sentence: String,
}

/// Whether the page may be believed.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) tone: &'static str,
    pub(super) icon: &'static str,
    pub(super) word: &'static str,
    pub(super) sentence: String,
}

/// A label and what there is to say.
#[derive(Debug)]
pub(super) struct Fact {
    pub(super) label: &'static str,
    pub(super) tone: &'static str,
    pub(super) lines: Vec<String>,
    pub(super) code: bool,
}

/// A number.
#[derive(Debug)]
pub(super) struct Tile {
    pub(super) value: String,
    pub(super) label: &'static str,
    pub(super) tone: &'static str,
}

pub(super) fn banner(documents: &Documents<'_>) -> Banner {
    let denied = documents.egress.map(|document| document.report);
    let denied = denied.map_or_else(String::new, refused);
    let Some(run) = documents.run.map(|document| document.report) else {
        return Banner {
            tone: "warn",
            icon: "?",
            word: "No verdict",
            sentence: format!(
                "There is no run report, which says what the reports come to. {denied}"
            ),
        };
    };
    // Of what its facts come to, whatever the report calls itself.
    let (tone, icon, word, sentence) = match run.came_to() {
        Verdict::Clean => (
            "good",
            "✓",
            "Clean",
            "Egress was enforced, nothing was lost, the sweep was whole and found no secret.",
        ),
        Verdict::Incomplete => (
            "warn",
            "!",
            "Incomplete",
            "Something was lost, not looked into or not swept, or enforcement had a gap.",
        ),
        Verdict::Audited => (
            "warn",
            "!",
            "Audited, not enforced",
            "Egress was watched and nothing was refused.",
        ),
        Verdict::Findings => (
            "bad",
            "✗",
            "Secrets found",
            "Processes of the job carried secrets that the policy does not want there.",
        ),
    };
    Banner {
        tone,
        icon,
        word,
        sentence: format!("{sentence} {denied}"),
    }
}

fn refused(report: &Report) -> String {
    let names = report.dns.iter().filter(|name| name.answer.is_refusal());
    let names = names.count() as u64;
    match (report.summary.denied, names, report.mode) {
        (0, 0, _) => "The job asked for nothing that it may not reach.".to_owned(),
        (attempts, names, ReportMode::Enforce) => format!(
            "{} and {} were refused.",
            count(attempts, "attempt"),
            count(names, "name")
        ),
        (attempts, names, ReportMode::Audit) => format!(
            "{} and {} would have been refused.",
            count(attempts, "attempt"),
            count(names, "name")
        ),
    }
}

pub(super) fn signature(trust: &Trust) -> Signature {
    match trust {
        Trust::Checked { key_id, seal } => Signature {
            tone: "good",
            icon: "✓",
            word: "Signatures checked",
            sentence: match seal {
                Some(_) => format!(
                    "When this page was made, reports and seal were signed with {key_id}, and every \
                     file was as it was sealed."
                ),
                None => format!(
                    "When this page was made, the reports were signed with {key_id}. There is no seal."
                ),
            },
        },
        Trust::NotChecked { named } => Signature {
            tone: "warn",
            icon: "!",
            word: "Signatures not checked",
            sentence: match named {
                Some(named) => format!(
                    "The evidence names {named} as its key, and nobody has looked whether it is."
                ),
                None => "The evidence has no signature, or one that cannot be read.".to_owned(),
            },
        },
        Trust::AtSource { key_id } => Signature {
            tone: "plain",
            icon: "i",
            word: "Made on the host",
            sentence: format!(
                "The host wrote this page with the evidence, before sealing it with {key_id}. Nothing \
                 has been checked since."
            ),
        },
    }
}

pub(super) fn tiles(documents: &Documents<'_>, limits: Option<&Resources>) -> Vec<Tile> {
    let mut tiles = Vec::new();
    let mut tile = |label, value: String, bad: bool| {
        let tone = if bad { "bad" } else { "plain" };
        tiles.push(Tile { value, label, tone });
    };
    if let Some(report) = documents.egress.map(|document| document.report) {
        let summary = &report.summary;
        let denied = match report.mode {
            ReportMode::Enforce => "attempts denied",
            ReportMode::Audit => "would have been denied",
        };
        tile(denied, grouped(summary.denied), summary.denied > 0);
        tile(
            "name questions refused",
            grouped(summary.names_denied),
            summary.names_denied > 0,
        );
        tile("attempts allowed", grouped(summary.allowed), false);
        tile("destinations reached", grouped(summary.destinations), false);
        tile("sent", bytes(summary.bytes_out), false);
        tile("received", bytes(summary.bytes_in), false);
    }
    if let Some(sweep) = documents.sweep.map(|document| document.report) {
        let findings = sweep.findings.len() as u64;
        tile("secrets found", grouped(findings), findings > 0);
        let sweeps = sweep.coverage.sweeps.len() as u64;
        let sweeps = sweeps.saturating_add(sweep.coverage.sweeps_omitted);
        tile("sweeps", grouped(sweeps), false);
    }
    if let Some(limits) = limits {
        tile("limits met", grouped(limits.met), limits.met > 0);
    }
    tiles
}

/// What the report may be believed for.
pub(super) fn trust(documents: &Documents<'_>) -> Vec<Fact> {
    let mut facts = Vec::new();
    let fact = |label, tone, lines| Fact {
        label,
        tone,
        lines,
        code: false,
    };
    if let Some(report) = documents.egress.map(|document| document.report) {
        let tone = match report.mode {
            ReportMode::Enforce => "good",
            ReportMode::Audit => "warn",
        };
        facts.push(fact("Mode", tone, vec![mode(report.mode).to_owned()]));
        facts.push(recording(report));
        let whole = report.losses.none();
        facts.push(fact(
            "Losses",
            if whole { "good" } else { "warn" },
            vec![losses(&report.losses)],
        ));
        facts.extend(layers(report));
    }
    facts
}

/// What ran, and which key answers for it.
pub(super) fn platform(documents: &Documents<'_>) -> Vec<Fact> {
    let mut facts = Vec::new();
    facts.extend(documents.platform().into_iter().flat_map(versions));
    if let Some(report) = documents.egress.map(|document| document.report) {
        facts.push(digest("Ruleset", "blake3", &report.policy.ruleset_digest));
    }
    facts.extend(key(documents));
    if let Some(run) = documents.run.map(|document| document.report) {
        let previous = run.chain.previous.as_ref();
        let previous = previous.map_or_else(
            || "the first of its key".to_owned(),
            |previous| format!("after the seal sha256 {previous}"),
        );
        let number = format!("number {} of its key, {previous}", run.chain.sequence);
        facts.push(plain("Chain", number));
        // Reports that were signed again name no host.
        if !run.host.is_empty() {
            facts.push(plain("Host", format!("{}, by its own word", run.host)));
        }
    }
    facts
}

fn recording(report: &Report) -> Fact {
    let gaps = report.coverage.blind_spots.iter();
    let gaps = gaps.filter(|spot| spot.starts_with(ENFORCEMENT_GAP));
    let mut lines: Vec<_> = gaps.cloned().collect();
    for interruption in &report.interruptions {
        lines.push(interrupted(interruption));
        lines.extend(interruption.effects.iter().cloned());
    }
    let tone = if lines.is_empty() { "good" } else { "bad" };
    if lines.is_empty() {
        lines.push("no gap: from the start of the command to its end".to_owned());
    }
    Fact {
        label: "Enforcement",
        tone,
        lines,
        code: false,
    }
}

fn layers(report: &Report) -> Vec<Fact> {
    let coverage = &report.coverage;
    let (active, missing): (Vec<_>, Vec<_>) =
        coverage.layers.iter().partition(|layer| layer.active);
    let names: Vec<_> = active.iter().map(|layer| layer.name.as_str()).collect();
    let mut facts = vec![Fact {
        label: "Layers",
        tone: if missing.is_empty() { "good" } else { "warn" },
        lines: vec![format!(
            "{} of {} active: {}",
            active.len(),
            coverage.layers.len(),
            names.join(", ")
        )],
        code: false,
    }];
    let part = |label, tone, lines: Vec<String>| {
        (!lines.is_empty()).then_some(Fact {
            label,
            tone,
            lines,
            code: false,
        })
    };
    let missing = missing.iter();
    let missing = missing.map(|layer| format!("{}: {}", layer.name, layer.detail));
    facts.extend(part("Not active", "warn", missing.collect()));
    let spots = coverage.blind_spots.iter();
    let spots = spots.filter(|spot| !spot.starts_with(ENFORCEMENT_GAP));
    facts.extend(part("Not seen", "plain", spots.cloned().collect()));
    facts.extend(part("Proved before", "plain", coverage.proof.clone()));
    facts
}

fn versions(platform: &Platform) -> [Fact; 4] {
    let kernel = format!("{} on {}", platform.kernel, platform.architecture);
    [
        plain("Kernel", kernel),
        plain("Agent", format!("cordon {}", platform.agent_version)),
        digest("Executable", "sha256", &platform.agent_sha256),
        digest("BPF object", "sha256", &platform.object_sha256),
    ]
}

fn plain(label: &'static str, line: String) -> Fact {
    Fact {
        label,
        tone: "plain",
        lines: vec![line],
        code: false,
    }
}

fn digest(label: &'static str, kind: &str, digest: &str) -> Fact {
    Fact {
        label,
        tone: "plain",
        lines: vec![format!("{kind}:{digest}")],
        code: true,
    }
}

fn key(documents: &Documents<'_>) -> Vec<Fact> {
    let kept = documents.platform();
    let kept = kept.map_or("nobody knows where", |platform| {
        platform.key_protection.as_str()
    });
    let (id, seal) = match &documents.trust {
        Trust::AtSource { key_id } => (key_id.clone(), None),
        Trust::Checked { key_id, seal } => (key_id.clone(), seal.as_ref()),
        Trust::NotChecked { named } => match named {
            Some(named) => (format!("{named} (not checked)"), None),
            None => ("none".to_owned(), None),
        },
    };
    let mut facts = vec![Fact {
        label: "Key",
        tone: "plain",
        lines: vec![id, format!("kept in: {kept}")],
        code: true,
    }];
    facts.extend(seal.map(|seal| digest("Seal", "sha256", &seal.sha256)));
    facts
}

/// What ran, in a line.
pub(super) fn job(job: &JobFacts) -> Vec<(&'static str, String)> {
    let outcome = job.outcome.words();
    let mut facts = vec![
        ("Job", job.id.clone()),
        (
            "Command",
            format!(
                "{} with {}, {outcome}",
                job.command,
                count(job.arguments as u64, "argument")
            ),
        ),
        (
            "Ran",
            format!(
                "{} to {} ({})",
                time(job.started),
                time(job.finished),
                duration(job.started, job.finished)
            ),
        ),
    ];
    if job.survivors > 0 {
        let left = count(job.survivors, "process");
        facts.push(("Left behind", format!("{left} had to be killed")));
    }
    if let Some(attendance) = &job.attendance {
        facts.extend(attendance.facts());
        facts.extend(attendance.findings.iter().map(|finding| {
            let what = format!(
                "{} at {}: {}",
                finding.kind.word(),
                time(finding.at),
                finding.detail
            );
            ("Not as it should be", what)
        }));
    }
    facts
}

/// `12 345 678`
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len().saturating_mul(2));
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && digits.len().saturating_sub(index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1 000");
        assert_eq!(grouped(12_345_678), "12 345 678");
    }
}
