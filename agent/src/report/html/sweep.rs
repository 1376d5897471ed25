//! What the sweep for secrets saw and found, as the page lists it.

use super::egress::{Chain, DENIALS, Listed, span};
use crate::report::sweep::line::scanned;
use crate::report::sweep::{
    Allowance, AllowanceState, Class, Finding, OnFinding, Severity, SweepReport, SweptProcess,
    Taken, Verdict, words,
};
use crate::report::text::quantity::{bytes, count, nanoseconds, time};

/// What is known of secrets.
#[derive(Debug)]
pub(super) struct Secrets {
    pub(super) verdict: &'static str,
    pub(super) tone: &'static str,
    pub(super) action: String,
    pub(super) coverage: Vec<Fact>,
    pub(super) findings: Listed<Found>,
    pub(super) others: Listed<Found>,
    pub(super) allowances: Listed<Waiver>,
}

/// A line of what was looked into.
#[derive(Debug)]
pub(super) struct Fact {
    pub(super) what: &'static str,
    pub(super) value: String,
    pub(super) missing: bool,
}

/// A credential.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) severity: &'static str,
    pub(super) tone: &'static str,
    pub(super) title: String,
    pub(super) rule: String,
    pub(super) place: String,
    pub(super) why: String,
    pub(super) class: String,
    pub(super) advice: &'static str,
    pub(super) fingerprint: String,
    pub(super) seen: String,
    pub(super) chains: Vec<Chain>,
    pub(super) more: String,
}

/// An entry of the allow list.
#[derive(Debug)]
pub(super) struct Waiver {
    pub(super) state: &'static str,
    pub(super) tone: &'static str,
    pub(super) allows: String,
    pub(super) matched: u64,
    pub(super) reason: String,
    pub(super) expires: String,
    pub(super) origin: String,
}

impl Secrets {
    pub(super) fn new(report: &SweepReport) -> Self {
        let (verdict, tone) = match report.came_to() {
            Verdict::Clean => ("Nothing found, and everything was looked into", "good"),
            Verdict::Incomplete => ("Nothing found, and NOT everything was looked into", "warn"),
            Verdict::Findings => ("Secrets were found", "bad"),
        };
        let others = || report.notes.iter().chain(&report.expected);
        Self {
            verdict,
            tone,
            action: action(report),
            coverage: coverage(report),
            findings: Listed::new(
                DENIALS,
                report.findings.len(),
                report.findings.iter(),
                found,
            ),
            others: Listed::new(DENIALS, others().count(), others(), found),
            allowances: Listed::new(
                DENIALS,
                report.allowances.len(),
                report.allowances.iter(),
                waiver,
            ),
        }
    }
}

fn action(report: &SweepReport) -> String {
    let action = &report.action;
    let wanted = match action.on_finding {
        OnFinding::Report => "report",
        OnFinding::Freeze => "freeze",
        OnFinding::Kill => "kill",
    };
    let done = match action.taken {
        Taken::Killed => "The job was killed",
        Taken::Frozen => "The job was frozen",
        Taken::None if report.findings.is_empty() => "Nothing was to be done",
        Taken::None => "Nothing was done about the findings",
    };
    let windows = action.windows.and_then(|windows| windows.exec_to_closed_ns);
    let window = windows.map_or_else(String::new, |window| {
        let window = nanoseconds(window);
        format!("; {window} after the program had started, the job could send nothing any more")
    });
    format!("{done} (the policy says {wanted}){window}.")
}

fn coverage(report: &SweepReport) -> Vec<Fact> {
    let coverage = &report.coverage;
    let fact = |what, value| Fact {
        what,
        value,
        missing: false,
    };
    let mut facts: Vec<_> = report
        .gaps()
        .into_iter()
        .map(|gap| Fact {
            what: "Missing",
            value: words::gap(gap),
            missing: true,
        })
        .collect();
    facts.push(fact("Processes", scanned(report)));
    for line in &coverage.unreadable {
        let number = count(line.count, "process");
        facts.push(fact(
            "Not read",
            format!("{number}: {}", words::unreadable(line.why)),
        ));
    }
    let execs = coverage.execs;
    facts.push(fact(
        "Program starts",
        format!("{}, {} copied whole by the kernel", execs.seen, execs.whole),
    ));
    let sweeps = coverage.sweeps.len() as u64;
    let sweeps = count(sweeps.saturating_add(coverage.sweeps_omitted), "sweep");
    let last = coverage.last_sweep.map_or_else(String::new, |last| {
        let before = last.before_job_end_ns.map_or_else(
            || ", after the job's end".to_owned(),
            |before| format!(", {} before the job's end", nanoseconds(before)),
        );
        let kind = words::sweep(last.kind);
        format!(", the last one {kind}, {}{before}", time(last.finished))
    });
    facts.push(fact("Sweeps", format!("{sweeps}{last}")));
    let (read, entries) = (bytes(coverage.bytes), count(coverage.entries, "entry"));
    facts.push(fact("Looked into", format!("{read} in {entries}")));
    for spot in &coverage.blind_spots {
        facts.push(fact("Not seen", spot.clone()));
    }
    facts
}

fn found(finding: &Finding) -> Found {
    let tone = match finding.severity {
        Severity::Violation => "bad",
        Severity::Warning => "warn",
        Severity::Note | Severity::Expected => "plain",
    };
    let class = finding.class;
    Found {
        severity: words::severity(finding.severity),
        tone,
        title: finding.title.clone(),
        rule: finding.rule.clone(),
        place: words::place(finding, ToOwned::to_owned),
        why: finding.explanation.clone(),
        class: format!("{}: {}", class.name(), words::class(class)),
        advice: words::advice(class),
        fingerprint: finding.fingerprint.clone(),
        seen: span(finding.first_seen, finding.last_seen),
        chains: finding.processes.iter().map(chain).collect(),
        more: match finding.processes_omitted {
            0 => String::new(),
            number => format!("and {}", count(number, "further process")),
        },
    }
}

fn chain(process: &SweptProcess) -> Chain {
    let (program, parents) = match process.chain.split_first() {
        Some((program, parents)) => (program.clone(), parents),
        None => ("a process nobody named".to_owned(), &[][..]),
    };
    let last = |path: &String| path.rsplit('/').next().unwrap_or(path).to_owned();
    Chain {
        program,
        parents: parents.iter().map(last).collect(),
        note: format!("pid {}, {}", process.pid, count(process.times, "time")),
    }
}

fn waiver(entry: &Allowance) -> Waiver {
    let (state, tone) = match entry.state {
        AllowanceState::Used => ("used", "plain"),
        AllowanceState::Stale => ("stale: remove it", "warn"),
        AllowanceState::Expired => ("expired: did not apply", "warn"),
    };
    let parts = [
        ("variable", entry.variable.as_deref()),
        ("class", entry.class.map(Class::name)),
        ("rule", entry.rule.as_deref()),
        ("process", entry.process.as_deref()),
        ("fingerprint", entry.fingerprint.as_deref()),
    ];
    let allows: Vec<_> = parts
        .into_iter()
        .filter_map(|(key, value)| Some(format!("{key} {}", value?)))
        .collect();
    Waiver {
        state,
        tone,
        allows: allows.join(", "),
        matched: entry.matched,
        reason: entry.reason.clone(),
        expires: entry
            .expires
            .map_or_else(|| "never".to_owned(), |day| day.to_string()),
        origin: entry.origin.clone().unwrap_or_default(),
    }
}
