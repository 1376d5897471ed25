//! From the ledger to the report. Pure.

use cordon_ebpf::abi::job::Losses;
use cordon_secrets::{Judgement, Outcome, Reason, Rules, Severity as Grade, Stale};

use super::ledger::{Occasion, Row, SweepDone, SweepLedger};
use super::sweeper::Sweeper;
use crate::job::sweeping::{Acted, Sweeping};
use crate::policy::secrets::{OnFinding, Stance};
use crate::policy::{Policy, SecretsPolicy};
use crate::report::sweep::{
    Action, Allowance, AllowanceState, Coverage, Entry, Execs, Fact, Finding, Held, LastSweep,
    Life, OnFinding as Wanted, Processes, SCHEMA, Scanner, Severity, Source, Sweep, SweepDefault,
    SweepKind, SweepPolicyFacts, SweepReport, SweptProcess, Taken, Unreadable, Variable, Verdict,
    Why, Windows,
};
use crate::report::{Interruption, JobFacts, Platform, ProfileFacts};
use crate::sys::clock::{BootTime, Calendar};

/// What a sweep cannot see, whatever it does.
const BLIND_SPOTS: [&str; 6] = [
    "Only environments and arguments are read: a secret in a file, in memory that a program fills after its \
     start, or on standard input is not seen.",
    "A process can have the kernel show another part of its memory as its environment and arguments \
     (`PR_SET_MM`), or write over them. What it was started with was copied before that.",
    "A secret that no rule knows, that nobody registered, and whose variable is not called like one is not \
     found.",
    "Nothing compressed or encrypted is looked into, and no more than three layers of base64, hex, percent \
     and JSON escapes.",
    "A secret cut into parts, in several variables or arguments, is not found.",
    "Whether a credential is accepted anywhere is not asked: that would tell somebody else of it.",
];

/// What is known besides the ledger.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The whole policy.
    pub policy: &'a Policy,
    /// What was done about a finding.
    pub acted: Option<&'a Acted>,
    /// What the kernel could not do.
    pub losses: Losses,
    /// Times in which nobody swept.
    pub interruptions: &'a [Interruption],
    /// The job; none if a person asked.
    pub job: Option<JobFacts>,
    /// What ran.
    pub platform: Platform,
    /// From boot times to dates.
    pub calendar: Calendar,
}

/// The report of a job's sweep.
#[must_use]
pub fn of_job(sweeping: &Sweeping, facts: Facts<'_>) -> SweepReport {
    build(&sweeping.sweeper, facts, sweeping.holds())
}

/// The report of a sweep.
#[must_use]
pub fn build(sweeper: &Sweeper, facts: Facts<'_>, held: bool) -> SweepReport {
    let ledger = &sweeper.ledger;
    let mut report = SweepReport {
        schema: SCHEMA.to_owned(),
        verdict: Verdict::Incomplete,
        coverage: coverage(ledger, &facts, held),
        action: action(&facts),
        findings: Vec::new(),
        notes: Vec::new(),
        expected: Vec::new(),
        allowances: allowances(sweeper, &facts),
        policy: policy_facts(facts.policy),
        scanner: scanner(sweeper),
        job: facts.job,
        platform: facts.platform,
    };
    for row in ledger.rows.values() {
        let finding = finding(row, &facts.calendar);
        let list = match finding.severity {
            Severity::Violation | Severity::Warning => &mut report.findings,
            Severity::Note => &mut report.notes,
            Severity::Expected => &mut report.expected,
        };
        list.push(finding);
    }
    report.concluded()
}

fn coverage(ledger: &SweepLedger, facts: &Facts<'_>, held: bool) -> Coverage {
    let at = |time: u64| facts.calendar.at(BootTime(time));
    let sweep = |done: &SweepDone| Sweep {
        started: at(done.started),
        finished: at(done.finished),
        kind: kind(done.occasion),
        processes: done.processes,
    };
    let job_end = facts.job.as_ref().map(|job| job.finished);
    let last: Vec<Sweep> = ledger.last_sweep.iter().map(sweep).collect();
    Coverage {
        interruptions: facts.interruptions.to_vec(),
        processes: Processes {
            seen: ledger.seen,
            scanned: ledger.scanned,
        },
        unreadable: ledger
            .unreadable
            .iter()
            .map(|(why, count)| Unreadable {
                why: match why {
                    super::procfs::Unreadable::Vanished => Why::Vanished,
                    super::procfs::Unreadable::Hidden => Why::Hidden,
                    super::procfs::Unreadable::Refused | super::procfs::Unreadable::Failed => {
                        Why::Refused
                    }
                },
                count: *count,
            })
            .collect(),
        nothing_to_read: ledger.nothing,
        execs: Execs {
            seen: ledger.execs.seen,
            whole: ledger.execs.whole,
            completed_from_proc: ledger.execs.completed,
            cut: ledger.execs.cut,
            lost: ledger.execs.lost,
        },
        sweeps: ledger.sweeps.iter().map(sweep).collect(),
        sweeps_omitted: ledger.sweeps_omitted,
        last_sweep: LastSweep::of(&last, job_end),
        job_end,
        bytes: ledger.engine.bytes,
        entries: ledger.engine.entries,
        entries_seen_before: ledger.engine.seen,
        undecoded: ledger.engine.undecoded.into(),
        excess: ledger.engine.excess,
        held: held.then(|| Held {
            stopped: ledger.held.stopped,
            not_stopped: facts.losses.unheld,
            longest_ns: ledger.held.longest,
            p50_ns: ledger.held.quantile(500).unwrap_or_default(),
            p99_ns: ledger.held.quantile(990).unwrap_or_default(),
        }),
        details_dropped: ledger.dropped,
        records_lost: facts.losses.records,
        blind_spots: BLIND_SPOTS.map(str::to_owned).to_vec(),
    }
}

const fn kind(occasion: Occasion) -> SweepKind {
    match occasion {
        Occasion::Start => SweepKind::Start,
        Occasion::Interval => SweepKind::Interval,
        Occasion::End => SweepKind::End,
        Occasion::BeforeSeal => SweepKind::BeforeSeal,
        Occasion::Request => SweepKind::Request,
    }
}

fn action(facts: &Facts<'_>) -> Action {
    let on_finding = match facts.policy.secrets.on_finding {
        OnFinding::Report => Wanted::Report,
        OnFinding::Freeze => Wanted::Freeze,
        OnFinding::Kill => Wanted::Kill,
    };
    let Some(acted) = facts.acted else {
        return Action {
            on_finding,
            taken: Taken::None,
            at: None,
            fingerprint: None,
            windows: None,
        };
    };
    let since = |time: u64| acted.exec.map(|exec| time.saturating_sub(exec));
    Action {
        on_finding,
        taken: match acted.taken {
            OnFinding::Report => Taken::None,
            OnFinding::Freeze => Taken::Frozen,
            OnFinding::Kill => Taken::Killed,
        },
        at: Some(facts.calendar.at(BootTime(acted.ended))),
        fingerprint: Some(acted.detection.fingerprint.to_string()),
        windows: Some(Windows {
            exec_to_verdict_ns: since(acted.found),
            exec_to_closed_ns: since(acted.closed),
            exec_to_killed_ns: since(acted.ended),
        }),
    }
}

fn finding(row: &Row, calendar: &Calendar) -> Finding {
    let at = |time: u64| calendar.at(BootTime(time));
    let detection = &row.detection;
    let (source, variable) = (
        Source::from(detection.place.source),
        Variable::from(&detection.place.variable),
    );
    let class = crate::report::sweep::Class::from(detection.class);
    Finding {
        rule: detection.rule.id.to_owned(),
        title: detection.rule.title.to_owned(),
        class,
        class_letter: class.letter(),
        severity: severity(row.judgement),
        reason: row.judgement.reason.name().to_owned(),
        explanation: explanation(row.judgement).to_owned(),
        allowance: match row.judgement.reason {
            Reason::Allowed(at) => u32::try_from(at).ok(),
            _ => None,
        },
        confidence: detection.confidence.into(),
        checksum: detection.checksum.into(),
        life: Life::of(detection.life, at(row.first)),
        facts: detection.facts.iter().map(Fact::from).collect(),
        source,
        entry: Entry::of(source, &variable),
        field: Variable::from(&detection.place.field),
        variable,
        layers: detection
            .layers
            .iter()
            .map(|layer| layer.name().to_owned())
            .collect(),
        length: detection.length.name().to_owned(),
        fingerprint: detection.fingerprint.to_string(),
        first_seen: at(row.first),
        last_seen: at(row.last),
        seen_at_exec: row.at_exec,
        seen_in_proc: row.in_proc,
        processes: row
            .processes
            .iter()
            .map(|(chain, sight)| SweptProcess {
                first_seen: at(sight.first),
                last_seen: at(sight.last),
                pid: chain.tgid,
                chain: chain.executables.clone(),
                times: sight.times,
            })
            .collect(),
        processes_omitted: row.omitted,
    }
}

const fn severity(judgement: Judgement) -> Severity {
    match judgement.outcome {
        Outcome::Finding(Grade::High | Grade::Critical) => Severity::Violation,
        Outcome::Finding(Grade::Low | Grade::Medium) => Severity::Warning,
        Outcome::Noted => Severity::Note,
        Outcome::Expected => Severity::Expected,
    }
}

/// What a reason means.
const fn explanation(judgement: Judgement) -> &'static str {
    match judgement.reason {
        Reason::Allowed(_) => "the policy allows it by an entry of its list",
        Reason::Expired => "it says itself that it has expired",
        Reason::PlatformToken => "the job's token, where the platform puts it",
        Reason::TokenOnCommandLine => {
            "the job's token on a command line, which other accounts of the host can read"
        }
        Reason::TokenElsewhere => "the job's token where the platform does not put it",
        Reason::TokenWithOther => {
            "the job's token with a program that is none of the holders the policy names"
        }
        Reason::TokenOutside => "the job's token with a process that is not of the job",
        Reason::Federated => "short-lived, from an issuer that this job is known to use",
        Reason::OriginUnproven => "short-lived; who issued it is not proven",
        Reason::ShortLivedOnCommandLine => {
            "short-lived, and on a command line, which other accounts of the host can read"
        }
        Reason::LivesTooLong => {
            "it lives longer than the policy allows for a short-lived credential"
        }
        Reason::Pointer => "it points to a credential and holds none",
        Reason::LongLived => "it works until somebody revokes it",
        Reason::PrivateKey => "a private key",
        Reason::Runner => "the runner's own identity, with the runner",
        Reason::RunnerIdentityOutside => {
            "the runner's own identity, with something that is not the runner"
        }
        Reason::UnknownLifetime => "a secret, and nothing says how long it works",
    }
}

fn allowances(sweeper: &Sweeper, facts: &Facts<'_>) -> Vec<Allowance> {
    let (policy, usage) = sweeper.judged();
    let stale = usage.stale(policy, facts.calendar.wall().as_second());
    let state = |index: usize| {
        let why = stale.iter().find_map(|stale| match stale {
            Stale::Unused(at) | Stale::Vacuous(at) if *at == index => Some(AllowanceState::Stale),
            Stale::Expired(at) if *at == index => Some(AllowanceState::Expired),
            _ => None,
        });
        why.unwrap_or(AllowanceState::Used)
    };
    let matched = |index: usize| {
        let rows = sweeper.ledger.rows.values();
        rows.filter(|row| row.judgement.reason == Reason::Allowed(index))
            .flat_map(|row| row.processes.values())
            .map(|sight| sight.times)
            .fold(0, u64::saturating_add)
    };
    let allow = &facts.policy.secrets.allow;
    allow
        .iter()
        .enumerate()
        .map(|(index, entry)| Allowance {
            state: state(index),
            matched: matched(index),
            variable: entry.variable.as_ref().map(ToString::to_string),
            class: entry.class.map(Into::into),
            rule: entry.rule.clone(),
            process: entry.process.as_ref().map(ToString::to_string),
            fingerprint: entry.fingerprint.map(|value| value.to_string()),
            reason: entry.reason.clone(),
            expires: entry.expires,
            origin: Some(entry.origin.to_string()),
        })
        .collect()
}

fn policy_facts(policy: &Policy) -> SweepPolicyFacts {
    let SecretsPolicy {
        on_finding: _,
        stance,
        interval,
        freeze_for,
        max_lifetime,
        holders,
        allow: _,
    } = &policy.secrets;
    SweepPolicyFacts {
        name: policy.name.clone(),
        default: match stance {
            Stance::Lenient => SweepDefault::Lenient,
            Stance::OidcOnly => SweepDefault::OidcOnly,
        },
        interval_seconds: interval.as_secs(),
        freeze_for_seconds: freeze_for.as_secs(),
        max_lifetime_seconds: max_lifetime.as_secs(),
        holders: holders
            .lists
            .iter()
            .map(|list| {
                let names: Vec<String> = list.iter().map(ToString::to_string).collect();
                names.join(" or ")
            })
            .collect(),
        rules_off: Vec::new(),
        profiles: policy.profiles.iter().map(ProfileFacts::from).collect(),
    }
}

fn scanner(sweeper: &Sweeper) -> Scanner {
    let rules = Rules::all();
    let mut digest = blake3::Hasher::new();
    let mut count = 0u64;
    for rule in rules.iter() {
        digest.update(rule.id.as_bytes());
        digest.update(&[0]);
        count = count.saturating_add(1);
    }
    Scanner {
        name: "cordon".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        rule_count: count,
        rules_digest: digest.finalize().to_hex().to_string(),
        known_values: sweeper.known_values(),
        key_id: sweeper.engine().key().to_string(),
    }
}
