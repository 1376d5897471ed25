//! Two runs compared: what is new, what is gone, and what changed its volume. Pure.
//!
//! A destination is the same in both if its names, port and protocol are; one without a name, if its
//! address is. Addresses of a name change from run to run and mean nothing.
//!
//! **Invariant**: lists are in the order of their keys, so that the same reports give the same bytes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::sweep::{Finding, SweepReport};
use super::{Destination, Report, ReportMode};

pub mod text;

/// Value of [`Diff::schema`].
pub const SCHEMA: &str = "cordon/report-diff/v1";

/// Bytes below which a change of volume is noise: a handshake, a redirect.
const LEAST_BYTES: u64 = 64 << 10;

/// Attempts below which a change is noise: a retry.
const LEAST_ATTEMPTS: u64 = 10;

/// What changed from one run to another.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// The run that is compared with.
    pub before: Side,
    /// The run that is looked at.
    pub after: Side,
    /// What the runs were made with and is not the same: mode, ruleset, layers, agent, kernel.
    pub facts: Vec<FactChanged>,
    /// Refused destinations.
    pub denied: Changes,
    /// Allowed destinations.
    pub allowed: Changes,
    /// Names asked that no rule allows.
    pub names_refused: Changes,
    /// Effective rules, by their text.
    pub rules: Changes,
    /// Findings of the secret sweep; absent where not both have one under the same key of
    /// fingerprints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Changes>,
}

/// One of the runs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// [`super::JobFacts::id`]
    pub job: String,
    /// [`super::JobFacts::started`]
    pub started: Timestamp,
    /// [`Report::mode`]
    pub mode: ReportMode,
}

/// A fact that is not the same in both.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FactChanged {
    /// Which.
    pub what: &'static str,
    /// What it was.
    pub before: String,
    /// What it is.
    pub after: String,
}

/// How one list changed.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// Only in the run that is looked at.
    pub new: Vec<Entry>,
    /// Only in the one before.
    pub gone: Vec<Entry>,
    /// In both, with at least twice or at most half as many bytes or attempts, and by more than 64
    /// KiB or 10 attempts.
    pub changed: Vec<Changed>,
    /// How many are the same.
    pub same: usize,
}

/// One line of a list.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Entry {
    /// What it is: a destination, a name, a rule.
    pub what: String,
    /// How much of it.
    #[serde(flatten)]
    pub volume: Volume,
}

/// A line that is in both.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Changed {
    /// What it is.
    pub what: String,
    /// How much it was.
    pub before: Volume,
    /// How much it is.
    pub after: Volume,
}

/// How often, and how many bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Attempts, questions, or processes.
    pub count: u64,
    /// Bytes out.
    pub bytes_out: u64,
    /// Bytes in.
    pub bytes_in: u64,
}

impl Diff {
    /// Compares two runs: `before` with `after`, each with its sweep.
    #[must_use]
    pub fn new(
        (before, swept_before): (&Report, Option<&SweepReport>),
        (after, swept_after): (&Report, Option<&SweepReport>),
    ) -> Self {
        let secrets = swept_before.zip(swept_after);
        let secrets = secrets
            .filter(|(before, after)| before.scanner.key_id == after.scanner.key_id)
            .map(|(before, after)| Changes::new(&secrets_of(before), &secrets_of(after)));
        Self {
            schema: SCHEMA,
            before: Side::of(before),
            after: Side::of(after),
            facts: facts(before, after),
            denied: Changes::new(&denied(before), &denied(after)),
            allowed: Changes::new(&allowed(before), &allowed(after)),
            names_refused: Changes::new(&names(before), &names(after)),
            rules: Changes::new(&rules(before), &rules(after)),
            secrets,
        }
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let lists = [
            &self.denied,
            &self.allowed,
            &self.names_refused,
            &self.rules,
        ];
        let mut lists = lists.into_iter().chain(&self.secrets);
        self.facts.is_empty() && lists.all(Changes::is_empty)
    }
}

impl Side {
    fn of(report: &Report) -> Self {
        Self {
            job: report.job.id.clone(),
            started: report.job.started,
            mode: report.mode,
        }
    }
}

impl Changes {
    fn new(before: &Lines, after: &Lines) -> Self {
        let mut changes = Self::default();
        for (what, volume) in after {
            let entry = || Entry {
                what: what.clone(),
                volume: *volume,
            };
            match before.get(what) {
                None => changes.new.push(entry()),
                Some(old) if volume.differs(*old) => changes.changed.push(Changed {
                    what: what.clone(),
                    before: *old,
                    after: *volume,
                }),
                Some(_) => changes.same = changes.same.saturating_add(1),
            }
        }
        let gone = before.iter().filter(|(what, _)| !after.contains_key(*what));
        changes.gone.extend(gone.map(|(what, volume)| Entry {
            what: what.clone(),
            volume: *volume,
        }));
        changes
    }

    /// Whether nothing in the list changed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.new.is_empty() && self.gone.is_empty() && self.changed.is_empty()
    }
}

impl Volume {
    const fn count(count: u64) -> Self {
        Self {
            count,
            bytes_out: 0,
            bytes_in: 0,
        }
    }

    const fn and(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            bytes_out: self.bytes_out.saturating_add(other.bytes_out),
            bytes_in: self.bytes_in.saturating_add(other.bytes_in),
        }
    }

    fn differs(self, old: Self) -> bool {
        let much = |one: u64, other: u64, least: u64| {
            let (small, large) = (one.min(other), one.max(other));
            large.saturating_sub(small) > least && large >= small.saturating_mul(2)
        };
        much(self.count, old.count, LEAST_ATTEMPTS)
            || much(self.bytes_out, old.bytes_out, LEAST_BYTES)
            || much(self.bytes_in, old.bytes_in, LEAST_BYTES)
    }
}

type Lines = BTreeMap<String, Volume>;

fn add(lines: &mut Lines, what: String, volume: Volume) {
    let line = lines.entry(what).or_default();
    *line = line.and(volume);
}

fn denied(report: &Report) -> Lines {
    let mut lines = Lines::new();
    for denial in &report.denials {
        let attempts = denial.attempts.saturating_add(denial.packets);
        let what = format!("{} ({})", place(&denial.destination), denial.reason);
        add(&mut lines, what, Volume::count(attempts));
    }
    lines
}

fn allowed(report: &Report) -> Lines {
    let mut lines = Lines::new();
    for flow in &report.flows {
        let volume = Volume {
            count: flow.attempts,
            bytes_out: flow.bytes_out,
            bytes_in: flow.bytes_in,
        };
        add(&mut lines, place(&flow.destination), volume);
    }
    lines
}

fn names(report: &Report) -> Lines {
    use super::NameVerdict::{Allowed, Local};
    let mut lines = Lines::new();
    let names = report.dns.iter();
    for name in names.filter(|name| !matches!(name.answer, Allowed | Local)) {
        add(&mut lines, name.name.clone(), Volume::count(name.count));
    }
    lines
}

fn rules(report: &Report) -> Lines {
    let rules = report.policy.rules.iter();
    // Rules have no volume: one is there or not.
    rules
        .map(|rule| (rule.text.clone(), Volume::default()))
        .collect()
}

fn secrets_of(report: &SweepReport) -> Lines {
    let mut lines = Lines::new();
    for finding in &report.findings {
        let Finding {
            title, fingerprint, ..
        } = finding;
        let processes = finding
            .processes_omitted
            .saturating_add(finding.processes.len() as u64);
        let what = format!("{title}, fingerprint {fingerprint}");
        add(&mut lines, what, Volume::count(processes));
    }
    lines
}

fn place(destination: &Destination) -> String {
    let Destination {
        address,
        port,
        protocol,
        names,
    } = destination;
    let name = if names.is_empty() {
        address.to_string()
    } else {
        names.join(" or ")
    };
    match port {
        0 => format!("{name} {protocol}"),
        port => format!("{name} {port}/{protocol}"),
    }
}

fn facts(before: &Report, after: &Report) -> Vec<FactChanged> {
    type Fact<'f> = &'f dyn Fn(&Report) -> String;
    let layers = |report: &Report| {
        let layers = report.coverage.layers.iter();
        let active = layers.filter(|layer| layer.active);
        let names: Vec<_> = active.map(|layer| layer.name.as_str()).collect();
        names.join(", ")
    };
    let mode = |report: &Report| match report.mode {
        ReportMode::Audit => "audit".to_owned(),
        ReportMode::Enforce => "enforce".to_owned(),
    };
    let facts: [(_, Fact<'_>); 6] = [
        ("mode", &mode),
        ("active layers", &layers),
        ("ruleset", &|report| report.policy.ruleset_digest.clone()),
        ("agent", &|report| report.platform.agent_sha256.clone()),
        ("BPF object", &|report| {
            report.platform.object_sha256.clone()
        }),
        ("kernel", &|report| report.platform.kernel.clone()),
    ];
    facts
        .into_iter()
        .map(|(what, fact)| FactChanged {
            what,
            before: fact(before),
            after: fact(after),
        })
        .filter(|fact| fact.before != fact.after)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{fixture, sweep};

    fn diff(change: impl FnOnce(&mut Report)) -> Diff {
        let before = fixture::report();
        let mut after = fixture::report();
        change(&mut after);
        Diff::new((&before, None), (&after, None))
    }

    #[test]
    fn a_run_does_not_differ_from_itself() {
        let diff = diff(|_| {});
        assert!(diff.is_empty(), "{diff:?}");
        assert_eq!((diff.denied.same, diff.allowed.same), (3, 2));
    }

    #[test]
    fn other_addresses_of_a_name_are_no_change() {
        let diff = diff(|after| after.flows[0].destination.address = [192, 0, 2, 99].into());
        assert!(diff.allowed.is_empty(), "{diff:?}");
    }

    #[test]
    fn what_is_new_gone_or_changed_is_told_apart() {
        let diff = diff(|after| {
            after.flows[0].bytes_out += 1 << 20;
            after.flows[1].destination.address = [203, 0, 113, 1].into();
            after.denials[0].attempts += 1;
            after.mode = ReportMode::Audit;
        });
        let what = |entries: &[Entry]| entries[0].what.clone();
        assert_eq!(diff.allowed.changed[0].what, "api.example.com 443/tcp");
        assert_eq!(what(&diff.allowed.new), "203.0.113.1 8443/tcp");
        assert_eq!(what(&diff.allowed.gone), "192.0.2.200 8443/tcp");
        assert!(diff.denied.is_empty(), "one more attempt is noise");
        assert_eq!(diff.facts[0].what, "mode");
    }

    #[test]
    fn secrets_are_compared_under_one_key_only() {
        let report = fixture::report();
        let before = sweep::fixture::clean();
        let mut after = sweep::fixture::report();
        let diff = Diff::new((&report, Some(&before)), (&report, Some(&after)));
        assert_eq!(diff.secrets.unwrap().new.len(), 2);
        after.scanner.key_id = "other".into();
        let diff = Diff::new((&report, Some(&before)), (&report, Some(&after)));
        assert_eq!(diff.secrets, None);
    }
}
