//! Metrics of the daemon: what is counted, and the page that Prometheus reads. Pure; who serves it is
//! [`crate::daemon::scrape`].
//!
//! **Invariants**: a counter never goes down while the daemon lives. What is counted of a job while it runs is a part of
//! what its report says at its end, and is counted once: at the end the larger of both stands, never their sum. No label
//! has a value that a job chooses, and there are never more than [`catalogue::PROFILES`] profiles.

#![forbid(unsafe_code)]

pub mod catalogue;
pub(crate) mod settings;
pub mod text;

use std::collections::{BTreeMap, BTreeSet};

use cordon_ebpf::abi::job::Losses as KernelCounts;
use cordon_secrets::Rules;

use self::catalogue as names;
pub use self::settings::{Listen, ListenError};
use self::text::{Family, Page, Value};
use crate::limits::evidence::Kind;
use crate::policy::Mode;
use crate::report::run::ENFORCEMENT_GAP;
use crate::report::sweep::SweepReport;
use crate::report::{Losses, Report, ReportMode};

/// A series of a counter: the name of its family, and the values of its labels.
type Series = (&'static str, Vec<String>);

/// Numbers by series.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Counts(BTreeMap<Series, u64>);

impl Counts {
    fn add(&mut self, family: &Family, labels: &[&str], number: u64) {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        let entry = self.0.entry((family.name, labels)).or_default();
        *entry = entry.saturating_add(number);
    }

    /// Each becomes at least what it is in `other`.
    fn raise(&mut self, other: &Self) {
        for (series, number) in &other.0 {
            let entry = self.0.entry(series.clone()).or_default();
            *entry = (*entry).max(*number);
        }
    }

    /// Each becomes less by what it is in `other`, or nothing.
    fn lower(&mut self, other: &Self) {
        for (series, number) in &other.0 {
            if let Some(entry) = self.0.get_mut(series) {
                *entry = entry.saturating_sub(*number);
            }
        }
    }

    /// Refusals that `other` has under the other mode than this are none here.
    fn shift(&mut self, other: &Self, profile: &str, mode: ReportMode) {
        let series = |verdict: &str| {
            let labels = vec![verdict.to_owned(), profile.to_owned()];
            (names::EGRESS_DECISIONS.name, labels)
        };
        let (here, there) = match mode {
            ReportMode::Enforce => (names::DENIED, names::WOULD_DENY),
            ReportMode::Audit => (names::WOULD_DENY, names::DENIED),
        };
        let counted = other.0.get(&series(there)).copied().unwrap_or_default();
        if let Some(number) = self.0.get_mut(&series(here)) {
            *number = number.saturating_sub(counted);
        }
    }

    fn join(&mut self, other: &Self) {
        for (series, number) in &other.0 {
            let entry = self.0.entry(series.clone()).or_default();
            *entry = entry.saturating_add(*number);
        }
    }
}

/// How often something took how long.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Histogram {
    bounds: &'static [u64],
    /// Of each bound, and beyond the last.
    counts: Vec<u64>,
    microseconds: u64,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len().saturating_add(1)],
            microseconds: 0,
        }
    }

    fn add(&mut self, microseconds: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < microseconds);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        self.microseconds = self.microseconds.saturating_add(microseconds);
    }

    fn write(&self, page: &mut Page, family: &Family) {
        page.family(family);
        let mut sum = 0_u64;
        let bounds = self.bounds.iter().map(|bound| seconds(*bound));
        let bounds = bounds.chain(std::iter::once("+Inf".to_owned()));
        for (bound, count) in bounds.zip(&self.counts) {
            sum = sum.saturating_add(*count);
            page.part(family, "_bucket", Some(&bound), &Value::whole(sum));
        }
        page.part(family, "_sum", None, &Value::millionths(self.microseconds));
        page.part(family, "_count", None, &Value::whole(sum));
    }
}

/// Microseconds as seconds, for the bound of a bucket.
fn seconds(microseconds: u64) -> String {
    let (whole, rest) = (microseconds / 1_000_000, microseconds % 1_000_000);
    if rest == 0 {
        return whole.to_string();
    }
    format!("{whole}.{}", format!("{rest:06}").trim_end_matches('0'))
}

/// A job or a runner that is not over.
#[derive(Clone, Debug)]
struct Running {
    /// Told apart from another of the same name.
    generation: u64,
    profile: String,
    mode: Mode,
    /// Whether the kernel's counts are those of the job and not of its proof.
    enforced: bool,
    /// What another daemon counted of it.
    before: Counts,
    /// What is counted of it so far.
    live: Counts,
}

/// How a job or a runner ended.
#[derive(Clone, Copy, Debug)]
pub enum Ended<'r> {
    /// It has evidence.
    Sealed {
        /// The egress report.
        report: &'r Report,
        /// The report of its sweep.
        sweep: Option<&'r SweepReport>,
    },
    /// It has none.
    Failed,
    /// Another daemon goes on with it.
    Left,
}

/// What is so now, and not counted.
#[derive(Clone, Debug, Default)]
pub struct Now {
    /// SHA-256 of the BPF object, hex.
    pub object: String,
    /// When the daemon started, milliseconds since 1970.
    pub started: u64,
    /// When its settings were read, milliseconds since 1970.
    pub settings_read: u64,
    /// Whether every program is where it should be.
    pub enforcing: bool,
    /// Whether the LSM programs are there.
    pub lsm: bool,
    /// Units that are enforced, that are being enrolled, and that are denied everything.
    pub runners: [u64; 3],
    /// Jobs that are not over.
    pub jobs: u64,
}

/// Everything that is counted.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Of what is over, and of no job.
    counts: Counts,
    running: BTreeMap<String, Running>,
    generation: u64,
    profiles: BTreeSet<String>,
    rules: BTreeSet<&'static str>,
    jobs: Histogram,
    sweeps: Histogram,
}

impl Default for Metrics {
    /// Nothing yet: every series whose labels are known is there and zero, so that its first change is one.
    fn default() -> Self {
        let mut counts = Counts::default();
        let rules: BTreeSet<_> = Rules::all().iter().map(|rule| rule.id).collect();
        let all: [(&Family, Vec<&str>); 8] = [
            (&names::SETTINGS_RELOADS, names::RELOAD_RESULTS.to_vec()),
            (&names::JOBS, names::JOB_RESULTS.to_vec()),
            (&names::EGRESS_BYTES, names::DIRECTIONS.to_vec()),
            (&names::EVENTS_LOST, names::SOURCES.to_vec()),
            (&names::LIMIT_HITS, names::CONTROLLERS.to_vec()),
            (&names::REPORTS_SIGNED, names::REPORT_RESULTS.to_vec()),
            (&names::TELEMETRY_LINES, names::LINE_RESULTS.to_vec()),
            (
                &names::SECRET_FINDINGS,
                rules.iter().copied().chain([names::OTHER]).collect(),
            ),
        ];
        for (family, values) in all {
            for value in values {
                counts.add(family, &[value], 0);
            }
        }
        for family in [
            &names::ENFORCEMENT_GAPS,
            &names::CPU_SECONDS,
            &names::ENERGY,
        ] {
            counts.add(family, &[], 0);
        }
        let mut metrics = Self {
            counts,
            running: BTreeMap::new(),
            generation: 0,
            profiles: BTreeSet::new(),
            rules,
            jobs: Histogram::new(names::JOB_BOUNDS),
            sweeps: Histogram::new(names::SWEEP_BOUNDS),
        };
        metrics.open(names::OTHER);
        metrics
    }
}

impl Metrics {
    /// Has series for a profile, from zero. What is beyond the bound counts as `other`.
    pub fn know(&mut self, profile: &str) {
        if self.profiles.len() < names::PROFILES && self.profiles.insert(profile.to_owned()) {
            self.open(profile);
        }
    }

    fn open(&mut self, profile: &str) {
        for verdict in names::VERDICTS {
            self.counts
                .add(&names::EGRESS_DECISIONS, &[verdict, profile], 0);
        }
        self.counts.add(&names::NAMES_REFUSED, &[profile], 0);
    }

    fn label(&mut self, profile: &str) -> String {
        self.know(profile);
        let known = self.profiles.contains(profile);
        if known { profile } else { names::OTHER }.to_owned()
    }

    /// A job or a runner is being set up, under this name.
    pub fn begun(&mut self, id: &str, profile: &str, mode: Mode) {
        let profile = self.label(profile);
        self.generation = self.generation.saturating_add(1);
        let running = Running {
            generation: self.generation,
            profile,
            mode,
            enforced: false,
            before: Counts::default(),
            live: Counts::default(),
        };
        self.running.insert(id.to_owned(), running);
    }

    /// It is enforced: what the kernel counts of it from now on is its own.
    pub fn enforced(&mut self, id: &str) {
        if let Some(running) = self.running.get_mut(id) {
            running.enforced = true;
        }
    }

    /// It was taken over from a daemon that had counted this of it.
    pub fn taken_over(&mut self, id: &str, before: &KernelCounts) {
        if let Some(running) = self.running.get_mut(id) {
            running.before = of_kernel(before, &running.profile, running.mode);
            running.enforced = true;
        }
    }

    /// Those whose counts in the kernel are their own, each with a number that tells it from another of its name.
    #[must_use]
    pub fn to_read(&self) -> Vec<(String, u64)> {
        let enforced = self.running.iter().filter(|(_, running)| running.enforced);
        enforced
            .map(|(id, running)| (id.clone(), running.generation))
            .collect()
    }

    /// What the kernel has counted of one of them. One that has ended since is in the totals already.
    pub fn counted(&mut self, (id, generation): &(String, u64), counts: &KernelCounts) {
        let running = self.running.get_mut(id);
        if let Some(running) = running.filter(|running| running.generation == *generation) {
            let mut now = of_kernel(counts, &running.profile, running.mode);
            now.lower(&running.before);
            running.live.raise(&now);
        }
    }

    /// A secret was found in it.
    pub fn found(&mut self, id: &str, rule: &str) {
        let rule = self.rule(rule);
        if let Some(running) = self.running.get_mut(id) {
            running.live.add(&names::SECRET_FINDINGS, &[rule], 1);
        }
    }

    fn rule(&self, rule: &str) -> &'static str {
        self.rules.get(rule).copied().unwrap_or(names::OTHER)
    }

    /// It is over. `is_job`: and no runner.
    pub fn over(&mut self, id: &str, is_job: bool, ended: Ended<'_>) {
        let Some(running) = self.running.remove(id) else {
            return;
        };
        let mut counts = running.live;
        let (result, signed) = match ended {
            Ended::Sealed { report, sweep } => {
                let mut all = self.of_report(&running.profile, report, sweep);
                all.lower(&running.before);
                if report.mode != report_mode(running.mode) {
                    // It was audited, and enforced later: what was told as the one is not told as the other again.
                    all.shift(&running.before, &running.profile, report.mode);
                    all.shift(&counts, &running.profile, report.mode);
                }
                counts.raise(&all);
                if let Some(sweep) = sweep {
                    for pass in &sweep.coverage.sweeps {
                        self.sweeps.add(microseconds(pass.started, pass.finished));
                    }
                }
                if is_job {
                    let job = &report.job;
                    self.jobs.add(microseconds(job.started, job.finished));
                }
                ("sealed", Some("sealed"))
            }
            // What was never enforced had nothing to be signed.
            Ended::Failed => ("failed", running.enforced.then_some("failed")),
            Ended::Left => ("left", None),
        };
        self.counts.join(&counts);
        if is_job {
            self.counts.add(&names::JOBS, &[result], 1);
        }
        if let Some(signed) = signed {
            self.counts.add(&names::REPORTS_SIGNED, &[signed], 1);
        }
    }

    /// It did not come to be: its thread could not be made.
    pub fn forget(&mut self, id: &str) {
        if let Some(running) = self.running.remove(id) {
            self.counts.join(&running.live);
            self.counts.add(&names::JOBS, &["failed"], 1);
        }
    }

    /// A job was asked for that the settings do not grant.
    pub fn refused(&mut self) {
        self.counts.add(&names::JOBS, &["refused"], 1);
    }

    /// The daemon was told to read its settings again; `read`: it did.
    pub fn reloaded(&mut self, read: bool) {
        let result = if read { "read" } else { "refused" };
        self.counts.add(&names::SETTINGS_RELOADS, &[result], 1);
    }

    /// A line of telemetry was written, or could not be.
    pub fn line(&mut self, written: bool) {
        let result = if written { "written" } else { "failed" };
        self.counts.add(&names::TELEMETRY_LINES, &[result], 1);
    }

    /// What a job comes to.
    fn of_report(&self, profile: &str, report: &Report, sweep: Option<&SweepReport>) -> Counts {
        let mut counts = Counts::default();
        let summary = &report.summary;
        let refused = match report.mode {
            ReportMode::Enforce => names::DENIED,
            ReportMode::Audit => names::WOULD_DENY,
        };
        for (verdict, number) in [(names::ALLOWED, summary.allowed), (refused, summary.denied)] {
            counts.add(&names::EGRESS_DECISIONS, &[verdict, profile], number);
        }
        counts.add(&names::NAMES_REFUSED, &[profile], summary.names_denied);
        counts.add(&names::EGRESS_BYTES, &["out"], summary.bytes_out);
        counts.add(&names::EGRESS_BYTES, &["in"], summary.bytes_in);
        lost(&mut counts, &report.losses);
        let mut blind = report.coverage.blind_spots.iter();
        if blind.any(|spot| spot.starts_with(ENFORCEMENT_GAP)) {
            counts.add(&names::ENFORCEMENT_GAPS, &[], 1);
        }
        if let Some(limits) = &report.limits {
            for met in &limits.events {
                counts.add(&names::LIMIT_HITS, &[controller(met.kind)], met.count);
            }
            let cpu = limits.usage.cpu_microseconds.unwrap_or_default();
            counts.add(&names::CPU_SECONDS, &[], cpu);
            let energy = limits.estimate.energy_millijoules.unwrap_or_default();
            counts.add(&names::ENERGY, &[], energy);
        }
        if let Some(sweep) = sweep {
            for finding in &sweep.findings {
                counts.add(&names::SECRET_FINDINGS, &[self.rule(&finding.rule)], 1);
            }
            let coverage = &sweep.coverage;
            counts.add(&names::EVENTS_LOST, &["sweep_execs"], coverage.execs.lost);
            counts.add(
                &names::EVENTS_LOST,
                &["sweep_details"],
                coverage.details_dropped,
            );
        }
        counts
    }

    /// The page.
    #[must_use]
    pub fn render(&self, now: &Now) -> String {
        let mut all = self.counts.clone();
        for running in self.running.values() {
            all.join(&running.live);
        }
        let mut page = Page::default();
        for family in names::FAMILIES {
            let name = family.name;
            if name == names::JOB_DURATION.name {
                self.jobs.write(&mut page, family);
            } else if name == names::SWEEP_DURATION.name {
                self.sweeps.write(&mut page, family);
            } else if family.kind == text::Kind::Gauge {
                gauge(&mut page, family, now);
            } else {
                page.family(family);
                let from = (name, Vec::new());
                let series = all.0.range(from..).take_while(|((of, _), _)| *of == name);
                for ((_, labels), number) in series {
                    page.sample(family, labels, &value(family, *number));
                }
            }
        }
        page.finish()
    }
}

const fn report_mode(mode: Mode) -> ReportMode {
    match mode {
        Mode::Enforce => ReportMode::Enforce,
        Mode::Audit => ReportMode::Audit,
    }
}

/// Counts are whole numbers of the unit that evidence has; the page has base units.
fn value(family: &Family, number: u64) -> Value {
    if family.name == names::CPU_SECONDS.name {
        Value::millionths(number)
    } else if family.name == names::ENERGY.name {
        Value::thousandths(number)
    } else {
        Value::whole(number)
    }
}

fn gauge(page: &mut Page, family: &Family, now: &Now) {
    page.family(family);
    let mut one = |value: Value| page.sample::<&str>(family, &[], &value);
    match family.name {
        name if name == names::START_TIME.name => one(Value::thousandths(now.started)),
        name if name == names::SETTINGS_READ.name => one(Value::thousandths(now.settings_read)),
        name if name == names::ENFORCEMENT_ACTIVE.name => one(now.enforcing.into()),
        name if name == names::LSM_ACTIVE.name => one(now.lsm.into()),
        name if name == names::JOBS_ACTIVE.name => one(Value::whole(now.jobs)),
        name if name == names::RUNNERS.name => {
            for (state, number) in names::RUNNER_STATES.iter().zip(now.runners) {
                page.sample(family, &[state], &Value::whole(number));
            }
        }
        _ => {
            let object = now.object.get(..16).unwrap_or(&now.object);
            let labels = [env!("CARGO_PKG_VERSION"), object];
            page.sample(family, &labels, &Value::whole(1));
        }
    }
}

/// What the kernel counts of a job while it runs, as far as its report will have it too.
fn of_kernel(kernel: &KernelCounts, profile: &str, mode: Mode) -> Counts {
    let KernelCounts {
        records,
        flows,
        memory,
        denied,
        members,
        captures: _,
        unheld: _,
    } = *kernel;
    let mut counts = Counts::default();
    let verdict = match mode {
        Mode::Enforce => names::DENIED,
        Mode::Audit => names::WOULD_DENY,
    };
    counts.add(&names::EGRESS_DECISIONS, &[verdict, profile], denied);
    for (source, number) in [
        ("records", records),
        ("flows", flows),
        ("memory", memory),
        ("members", members),
    ] {
        counts.add(&names::EVENTS_LOST, &[source], number);
    }
    counts
}

fn lost(counts: &mut Counts, losses: &Losses) {
    let Losses {
        records,
        flows,
        undecodable,
        details,
        names: unlisted,
        questions_refused,
        questions_malformed,
        memory,
        members,
    } = *losses;
    for (source, number) in [
        ("records", records),
        ("flows", flows),
        ("undecodable", undecodable),
        ("details", details),
        ("names", unlisted),
        ("questions_refused", questions_refused),
        ("questions_malformed", questions_malformed),
        ("memory", memory),
        ("members", members),
    ] {
        counts.add(&names::EVENTS_LOST, &[source], number);
    }
}

const fn controller(kind: Kind) -> &'static str {
    match kind {
        Kind::OutOfMemory => "memory",
        Kind::ForkRefused => "pids",
        Kind::Throttled => "cpu",
        Kind::TimeOver => "time",
    }
}

fn microseconds(from: jiff::Timestamp, to: jiff::Timestamp) -> u64 {
    u64::try_from(to.duration_since(from).as_micros()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
