//! The run report for a person at a terminal. Pure.

use super::RunReport;
use crate::report::escape::escape;
use crate::report::ocsf::chain::EventFacts;
use crate::report::text;

/// The report as text, one fact a line.
#[must_use]
pub fn render(run: &RunReport) -> String {
    let losses = text::losses(&run.integrity.losses);
    let mut lines = vec![
        format!("Run report of job {}", escape(&run.job.id)),
        String::new(),
        fact("Verdict", run.verdict.name()),
        fact("Mode", text::mode(run.mode)),
        fact("Layers", &layers(run)),
        fact("Losses", &losses),
        fact("Gaps", &gaps(run)),
        fact("Sweep", &swept(run)),
        fact("Limits", &limits(run)),
        fact("Ended by", run.ended_by.name()),
        fact("Host", &escape(&run.host)),
        fact(
            "Sealed",
            &format!("number {} of its key", run.chain.sequence),
        ),
    ];
    if let Some(events) = &run.events {
        lines.push(fact("Events", &kept(events)));
    }
    for file in &run.reports {
        let (name, sha256) = (escape(&file.name), escape(&file.sha256));
        lines.push(fact("Report", &format!("{name}, sha256 {sha256}")));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn fact(name: &str, value: &str) -> String {
    format!("{name:<10}{value}")
}

/// Which layers enforced, in a line.
#[must_use]
pub fn layers(run: &RunReport) -> String {
    let (active, inactive) = (&run.coverage.active, &run.coverage.inactive);
    let all = active.len().saturating_add(inactive.len());
    let mut line = format!("{} of {all} active", active.len());
    if !inactive.is_empty() {
        let names: Vec<_> = inactive.iter().map(|name| escape(name)).collect();
        line.push_str("; NOT active: ");
        line.push_str(&names.join(", "));
    }
    line
}

/// When enforcement, recording or sweeping was not whole, in a line.
#[must_use]
pub fn gaps(run: &RunReport) -> String {
    let integrity = &run.integrity;
    let parts = [
        (integrity.interruptions, "time without a cordon"),
        (integrity.enforcement_gaps, "gap of enforcement"),
        (integrity.sweep_gaps, "thing not swept"),
        (integrity.limits_unproved, "limit not proved"),
    ];
    let found: Vec<_> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{what}: {count}"))
        .collect();
    if found.is_empty() {
        return "none".into();
    }
    found.join(", ")
}

/// How many single events there are, in a line.
fn kept(events: &EventFacts) -> String {
    let chain = format!(
        "{} in {}, chain ends with blake3 {}",
        events.lines,
        escape(&events.name),
        escape(&events.head)
    );
    match events.dropped {
        0 => chain,
        more => format!("{chain}; {more} more are only counted"),
    }
}

/// Which limits held, in a line.
fn limits(run: &RunReport) -> String {
    let Some(limits) = &run.limits else {
        return "nobody knows".into();
    };
    let held = limits.pinned.iter();
    let held = held.map(|pinned| format!("{} {}", pinned.resource.name(), escape(&pinned.limit)));
    let unproved = limits.unproved.iter();
    let unproved = unproved.map(|resource| format!("{} NOT proved", resource.name()));
    let all: Vec<_> = held.chain(unproved).collect();
    if all.is_empty() {
        return "none were set".into();
    }
    all.join(", ")
}

fn swept(run: &RunReport) -> String {
    run.sweep.map_or_else(
        || "none was made".into(),
        |sweep| format!("{}, findings: {}", sweep.verdict.name(), sweep.findings),
    )
}
