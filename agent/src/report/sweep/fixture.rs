//! A sweep's report of everything, for tests.

use jiff::Timestamp;

use super::*;
use crate::report::{Interruption, fixture};

/// A job with a token of its own, a key it should not have, and everything else that can be said.
pub(crate) fn report() -> SweepReport {
    let job = fixture::report().job;
    SweepReport {
        schema: SCHEMA.into(),
        verdict: Verdict::Findings,
        coverage: coverage(job.finished),
        action: Action {
            on_finding: OnFinding::Kill,
            taken: Taken::Killed,
            at: Some(at("2026-11-22T08:16:41.5Z")),
            fingerprint: Some("0f".repeat(16)),
            windows: Some(Windows {
                exec_to_verdict_ns: Some(412_300),
                exec_to_closed_ns: Some(655_000),
                exec_to_killed_ns: Some(3_100_000),
            }),
        },
        findings: vec![private_key(), token()],
        notes: vec![pointer()],
        expected: vec![job_token()],
        allowances: allowances(),
        policy: SweepPolicyFacts {
            name: "base+web".into(),
            default: SweepDefault::OidcOnly,
            interval_seconds: 10,
            freeze_for_seconds: 600,
            max_lifetime_seconds: 3600,
            holders: vec!["/usr/bin/git".into(), "node".into()],
            rules_off: vec!["generic-password".into()],
            profiles: fixture::report().policy.profiles,
        },
        scanner: Scanner {
            name: "cordon".into(),
            version: "0.1.0".into(),
            rule_count: 87,
            rules_digest: "7a".repeat(32),
            known_values: 3,
            key_id: "00c0ffee00c0ffee".into(),
        },
        job: Some(job),
        platform: fixture::report().platform,
    }
    .concluded()
}

/// The same job with nothing wrong: everything looked into, nothing found.
pub(crate) fn clean() -> SweepReport {
    let mut report = report();
    let end = report.coverage.job_end;
    report.findings.clear();
    report.action = Action {
        on_finding: OnFinding::Kill,
        taken: Taken::None,
        at: None,
        fingerprint: None,
        windows: None,
    };
    report.coverage = Coverage {
        processes: Processes {
            seen: 14,
            scanned: 14,
        },
        execs: Execs {
            seen: 21,
            whole: 20,
            completed_from_proc: 1,
            cut: 0,
            lost: 0,
        },
        last_sweep: LastSweep::of(&report.coverage.sweeps, end),
        sweeps: report.coverage.sweeps,
        job_end: end,
        bytes: 91_000,
        entries: 1_300,
        entries_seen_before: 1_200,
        blind_spots: report.coverage.blind_spots,
        ..Coverage::default()
    };
    report.concluded()
}

/// The same report, with `text` wherever somebody else chooses the words.
pub(in crate::report) fn report_saying(text: &str) -> SweepReport {
    let mut report = report();
    let lists = [
        &mut report.findings,
        &mut report.notes,
        &mut report.expected,
    ];
    for finding in lists.into_iter().flatten() {
        finding.rule = text.into();
        finding.title = text.into();
        finding.reason = text.into();
        finding.explanation = text.into();
        finding.facts = vec![Fact {
            what: text.into(),
            text: text.into(),
        }];
        finding.variable = Variable::Named { name: text.into() };
        finding.field = Variable::Named { name: text.into() };
        finding.layers = vec![text.into()];
        finding.length = text.into();
        finding.fingerprint = text.into();
        for process in &mut finding.processes {
            process.chain = vec![text.into(), text.into()];
        }
    }
    for entry in &mut report.allowances {
        entry.variable = Some(text.into());
        entry.rule = Some(text.into());
        entry.process = Some(text.into());
        entry.fingerprint = Some(text.into());
        entry.reason = text.into();
        entry.origin = Some(text.into());
    }
    report.action.fingerprint = Some(text.into());
    report.coverage.blind_spots = vec![text.into()];
    report.coverage.interruptions[0].effects = vec![text.into()];
    report.policy.name = text.into();
    report.policy.holders = vec![text.into()];
    report.policy.rules_off = vec![text.into()];
    report.scanner.name = text.into();
    report.scanner.version = text.into();
    report.scanner.rules_digest = text.into();
    report.scanner.key_id = text.into();
    if let Some(job) = &mut report.job {
        job.id = text.into();
        job.command = text.into();
    }
    report.platform.kernel = text.into();
    report
}

/// A coverage in which everything that can be said is said.
fn coverage(job_end: Timestamp) -> Coverage {
    let sweep = |kind, started: &str, finished: &str, processes| Sweep {
        started: at(started),
        finished: at(finished),
        kind,
        processes,
    };
    let sweeps = vec![
        sweep(
            SweepKind::Start,
            "2026-11-22T08:15:00.26Z",
            "2026-11-22T08:15:00.261Z",
            1,
        ),
        sweep(
            SweepKind::Interval,
            "2026-11-22T08:15:10Z",
            "2026-11-22T08:15:10.004Z",
            9,
        ),
        sweep(
            SweepKind::End,
            "2026-11-22T08:16:41.6Z",
            "2026-11-22T08:16:41.603Z",
            2,
        ),
    ];
    Coverage {
        interruptions: vec![Interruption {
            from: Some(at("2026-11-22T08:15:20Z")),
            to: at("2026-11-22T08:15:50Z"),
            effects: vec!["secrets seen before this time are not listed".into()],
        }],
        processes: Processes {
            seen: 18,
            scanned: 12,
        },
        unreadable: vec![
            unreadable(Why::Vanished, 1),
            unreadable(Why::Refused, 1),
            unreadable(Why::Hidden, 1),
        ],
        nothing_to_read: 2,
        execs: Execs {
            seen: 25,
            whole: 19,
            completed_from_proc: 2,
            cut: 1,
            lost: 3,
        },
        last_sweep: LastSweep::of(&sweeps, Some(job_end)),
        sweeps,
        sweeps_omitted: 5,
        job_end: Some(job_end),
        bytes: 48_211,
        entries: 1_203,
        entries_seen_before: 1_100,
        undecoded: Undecoded {
            deep: 1,
            output: 1,
            scratch: 1,
            compressed: 2,
        },
        excess: 4,
        held: Some(Held {
            stopped: 24,
            not_stopped: 1,
            longest_ns: 1_900_000,
            p50_ns: 120_000,
            p99_ns: 900_000,
        }),
        details_dropped: 1,
        records_lost: 2,
        blind_spots: vec!["Memory of processes is not looked into.".into()],
    }
}

fn unreadable(why: Why, count: u64) -> Unreadable {
    Unreadable { why, count }
}

fn token() -> Finding {
    finding(
        "github-pat",
        "GitHub personal access token (classic)",
        Class::Static,
    )
}

fn private_key() -> Finding {
    Finding {
        severity: Severity::Warning,
        reason: "private-key-in-argument".into(),
        explanation:
            "A private key stands on a command line, which every user of the host can read.".into(),
        confidence: Confidence::Medium,
        checksum: Checksum::None,
        life: Life {
            kind: LifeKind::Until,
            issued: Some(at("2026-01-01T00:00:00Z")),
            expires: Some(at("2026-11-01T00:00:00Z")),
            expired: Some(true),
        },
        source: Source::Arguments,
        entry: Entry::Option,
        variable: named("--key"),
        field: Variable::Withheld,
        layers: vec![],
        length: ">=1024".into(),
        fingerprint: "1e".repeat(16),
        processes_omitted: 0,
        ..finding("pem-private-key", "private key (PEM)", Class::PrivateKey)
    }
}

fn pointer() -> Finding {
    Finding {
        severity: Severity::Note,
        reason: "pointer".into(),
        explanation: "It holds no secret, and leads to one.".into(),
        variable: named("GOOGLE_APPLICATION_CREDENTIALS"),
        field: Variable::None,
        layers: vec![],
        facts: vec![],
        fingerprint: "2d".repeat(16),
        ..finding(
            "gcp-external-account",
            "Google Cloud external account",
            Class::Pointer,
        )
    }
}

fn job_token() -> Finding {
    Finding {
        severity: Severity::Expected,
        reason: "allowed".into(),
        explanation: "An entry of the allow list is about it.".into(),
        allowance: Some(0),
        life: Life {
            kind: LifeKind::Short,
            issued: None,
            expires: None,
            expired: None,
        },
        variable: named("GITHUB_TOKEN"),
        field: Variable::None,
        layers: vec![],
        facts: vec![],
        fingerprint: "3c".repeat(16),
        ..finding(
            "github-app-token",
            "GitHub installation token",
            Class::JobToken,
        )
    }
}

fn finding(rule: &str, title: &str, class: Class) -> Finding {
    let process = |pid, chain: &[&str]| SweptProcess {
        first_seen: at("2026-11-22T08:15:02Z"),
        last_seen: at("2026-11-22T08:16:40.5Z"),
        pid,
        chain: chain.iter().map(ToString::to_string).collect(),
        times: 3,
    };
    Finding {
        rule: rule.into(),
        title: title.into(),
        class,
        class_letter: class.letter(),
        severity: Severity::Violation,
        reason: "static-credential".into(),
        explanation:
            "It works until somebody revokes it. Jobs get credentials that end by themselves."
                .into(),
        allowance: None,
        confidence: Confidence::High,
        checksum: Checksum::Valid,
        life: Life {
            kind: LifeKind::Long,
            issued: None,
            expires: None,
            expired: None,
        },
        facts: vec![Fact {
            what: "user".into(),
            text: "octo".into(),
        }],
        source: Source::Environ,
        entry: Entry::Variable,
        variable: named("DEPLOY_CONFIG"),
        field: named("token"),
        layers: vec!["base64".into(), "json".into()],
        length: "32-63".into(),
        fingerprint: "0f".repeat(16),
        first_seen: at("2026-11-22T08:15:02Z"),
        last_seen: at("2026-11-22T08:16:40.5Z"),
        seen_at_exec: true,
        seen_in_proc: true,
        processes: vec![
            process(4175, &["/usr/bin/node", "/usr/bin/bash", "/usr/bin/make"]),
            process(4177, &["/tmp/build/größe", "/usr/bin/make"]),
        ],
        processes_omitted: 2,
    }
}

fn allowances() -> Vec<Allowance> {
    let entry = |state, matched, variable: Option<&str>, line| Allowance {
        state,
        matched,
        variable: variable.map(Into::into),
        class: Some(Class::JobToken),
        rule: None,
        process: None,
        fingerprint: None,
        reason: "checkout of the repository".into(),
        expires: None,
        origin: Some(format!("/etc/cordon/profiles.d/web.toml:{line}")),
    };
    vec![
        entry(AllowanceState::Used, 1, Some("GITHUB_TOKEN"), 20),
        Allowance {
            rule: Some("npm-token".into()),
            process: Some("npm*".into()),
            ..entry(AllowanceState::Stale, 0, None, 21)
        },
        Allowance {
            fingerprint: Some("4b".repeat(16)),
            expires: Some("2026-01-31".parse().unwrap()),
            ..entry(AllowanceState::Expired, 0, None, 22)
        },
    ]
}

fn named(name: &str) -> Variable {
    Variable::Named { name: name.into() }
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}
