//! What the policy makes of what genuine evidence says: integrity, verdict, software.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::attended;
use super::decision::{Log, Refusal};
use super::evidence::Evidence;
use super::policy::{Answer, TrustPolicy, Version};
use crate::report::run::RunReport;
use crate::report::sweep::SweepReport;
use crate::report::{Outcome, Platform, Report, ReportMode};

/// Checks 13 and 14.
pub(super) fn check(log: &mut Log, evidence: &Evidence<'_>, policy: &TrustPolicy, now: Timestamp) {
    let Some((_, run)) = evidence.run() else {
        return;
    };
    let sweep = evidence.sweep.as_ref();
    let sweep = sweep.and_then(|part| part.report.as_ref());
    integrity(log, run, policy);
    if let Some((_, egress)) = evidence.egress() {
        verdict(log, (run, egress, sweep), policy, now);
    }
}

/// Check 13: what was enforced, and what was lost.
fn integrity(log: &mut Log, run: &RunReport, policy: &TrustPolicy) {
    const CHECK: &str = "integrity";
    let bad = |log: &mut Log, text: String| log.bad(CHECK, Refusal::Denied, None, text);
    if run.mode == ReportMode::Audit {
        bad(
            log,
            "egress was watched and not enforced: the mode was audit".into(),
        );
    }
    let integrity = &run.integrity;
    let lost = integrity.losses.total();
    let counts = [
        (lost, policy.allowed.losses, "events lost or not listed"),
        (
            integrity.interruptions,
            policy.allowed.interruptions,
            "times without a cordon",
        ),
        (integrity.enforcement_gaps, 0, "gaps of enforcement"),
        (
            integrity.sweep_gaps,
            policy.allowed.sweep_gaps,
            "things not swept",
        ),
    ];
    for (count, allowed, what) in counts {
        if count > allowed {
            bad(log, format!("{what}: {count}, and {allowed} are allowed"));
        }
    }
    let active: BTreeSet<_> = run.coverage.active.iter().collect();
    for layer in &policy.run.layers {
        if !active.contains(layer) {
            bad(log, format!("the layer `{layer}` was not active"));
        }
    }
    for text in unpinned(run, policy) {
        bad(log, text);
    }
    if policy.sweep.required && run.sweep.is_none() {
        bad(log, "there was no sweep for secrets".into());
    }
    if log.clean(CHECK) {
        let layers = run.coverage.active.len();
        log.good(
            CHECK,
            format!("enforced by {layers} layers, lost events: {lost}"),
        );
    }
}

/// Limits that did not hold, or that the policy asks for and nobody set.
fn unpinned(run: &RunReport, policy: &TrustPolicy) -> Vec<String> {
    let limits = run.limits.as_ref();
    let held: BTreeSet<_> = limits
        .into_iter()
        .flat_map(|limits| &limits.pinned)
        .map(|pinned| pinned.resource)
        .collect();
    let unproved = limits.into_iter().flat_map(|limits| &limits.unproved);
    let unproved: BTreeSet<_> = unproved.copied().collect();
    let not_set = policy.run.limits.difference(&held);
    let not_set = not_set.filter(|resource| !unproved.contains(resource));
    let not_proved = unproved.iter().map(|resource| {
        format!(
            "the limit of {} is not proved to have held",
            resource.name()
        )
    });
    not_proved
        .chain(not_set.map(|resource| format!("there was no limit of {}", resource.name())))
        .collect()
}

/// Check 14: what the job did, and under what.
fn verdict(
    log: &mut Log,
    (run, egress, sweep): (&RunReport, &Report, Option<&SweepReport>),
    policy: &TrustPolicy,
    now: Timestamp,
) {
    const CHECK: &str = "verdict";
    let bad = |log: &mut Log, text: String| log.bad(CHECK, Refusal::Denied, None, text);
    match run.job.outcome {
        Outcome::Exited { code } if policy.run.status.contains(&code) => {}
        Outcome::Exited { code } => bad(log, format!("the command ended with status {code}")),
        Outcome::Signalled { signal } => bad(log, format!("signal {signal} ended the command")),
        Outcome::NotStarted => bad(log, "the command was not started".into()),
        Outcome::Unknown => bad(log, "nobody knows how the command ended".into()),
        // Whether that will do is the policy's to say.
        Outcome::Finished => {}
    }
    attended::check(log, CHECK, run, policy);
    approved(log, CHECK, run, policy);
    if let Some(most) = policy.run.max_denied {
        let denied = run.egress.denied.saturating_add(run.egress.names_denied);
        if denied > most {
            bad(
                log,
                format!("{denied} attempts were denied, and {most} are allowed"),
            );
        }
    }
    if policy.run.denied_then_allowed == Answer::Refuse {
        for text in denied_and_allowed(egress) {
            bad(log, text);
        }
    }
    if let Some(sweep) = sweep {
        secrets(log, CHECK, sweep, policy, now);
    }
    if log.clean(CHECK) {
        let text = format!(
            "the run is `{}`, and the policy accepts it",
            run.verdict.name()
        );
        log.good(CHECK, text);
    }
}

/// Whether the job ran under an approved profile.
fn approved(log: &mut Log, check: &'static str, run: &RunReport, policy: &TrustPolicy) {
    let bad = |log: &mut Log, text: String| log.bad(check, Refusal::Denied, None, text);
    let (profiles, rulesets) = (&policy.run.profiles, &policy.run.rulesets);
    if !profiles.is_empty() {
        for profile in &run.policy.profiles {
            if !profiles.contains(&profile.sha256) {
                let (name, sha256) = (&profile.name, &profile.sha256);
                bad(
                    log,
                    format!("the profile `{name}` ({sha256}) is not approved"),
                );
            }
        }
        if run.policy.profiles.is_empty() {
            bad(log, "the job ran under no profile file".into());
        }
    }
    let ruleset = &run.policy.ruleset_digest;
    if !rulesets.is_empty() && !rulesets.contains(ruleset) {
        bad(log, format!("the ruleset {ruleset} is not approved"));
    }
}

/// Destinations that were refused at one time and reached at another.
fn denied_and_allowed(egress: &Report) -> Vec<String> {
    let reached: BTreeSet<_> = egress
        .flows
        .iter()
        .map(|flow| &flow.destination)
        .map(|to| (to.address, to.port, &to.protocol))
        .collect();
    let denied = egress.denials.iter().map(|denial| &denial.destination);
    let both = denied.filter(|to| reached.contains(&(to.address, to.port, &to.protocol)));
    let mut texts: Vec<_> = both
        .map(|to| {
            let (address, port, protocol) = (to.address, to.port, &to.protocol);
            format!("{protocol} to {address} port {port} was denied, and reached all the same")
        })
        .collect();
    texts.dedup();
    texts
}

fn secrets(
    log: &mut Log,
    check: &'static str,
    sweep: &SweepReport,
    policy: &TrustPolicy,
    now: Timestamp,
) {
    let bad = |log: &mut Log, text: String| log.bad(check, Refusal::Denied, None, text);
    let found = sweep.findings.len();
    if found > 0 && policy.sweep.findings == Answer::Refuse {
        bad(log, format!("the sweep found {found} secrets"));
    }
    let today = now.to_zoned(TimeZone::UTC).date();
    for allowance in &sweep.allowances {
        let expired = allowance.expires.is_some_and(|day| day < today);
        if expired && allowance.matched > 0 {
            let reason = &allowance.reason;
            bad(
                log,
                format!("a secret was allowed until a day that is past: {reason}"),
            );
        }
    }
}

/// The part of check 8 about programs: versions and digests.
pub(super) fn software(
    log: &mut Log,
    check: &'static str,
    platform: &Platform,
    policy: &TrustPolicy,
) {
    let bad = |log: &mut Log, text: String| log.bad(check, Refusal::Denied, None, text);
    let version = &platform.agent_version;
    if let Some(least) = policy.run.min_version
        && Version::parse(version).is_none_or(|version| version < least)
    {
        let Version(major, minor, patch) = least;
        bad(
            log,
            format!("cordon {version} is older than {major}.{minor}.{patch}"),
        );
    }
    for (what, digest, accepted) in [
        ("agent", &platform.agent_sha256, &policy.run.agents),
        ("BPF object", &platform.object_sha256, &policy.run.objects),
    ] {
        if !accepted.is_empty() && !accepted.contains(digest) {
            bad(log, format!("the {what} {digest} is not an accepted one"));
        }
    }
}
