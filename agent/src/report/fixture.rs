//! A report of everything, for tests.

use std::path::Path;

use cordon_ebpf::abi::verdict::Reason;

use super::*;
use crate::limits::estimate::{Rates, Used, estimate};
use crate::limits::evidence::{
    Answer, Change, Holder, Kind, Met, Pinned, Proof, State, Usage, Victim,
};
use crate::policy::limits::Resource;

/// A job that did a bit of everything.
pub(crate) fn report() -> Report {
    Report {
        schema: SCHEMA.into(),
        mode: ReportMode::Enforce,
        interruptions: Vec::new(),
        coverage: coverage(),
        losses: Losses::default(),
        summary: Summary {
            allowed: 13,
            denied: 5,
            destinations: 2,
            bytes_out: 5_300,
            bytes_in: 48_211_004,
            names_asked: 9,
            names_denied: 2,
            names_limited: 0,
            answers_undelivered: 0,
        },
        job: JobFacts {
            id: "20261122-081500-1f3a".into(),
            command: "/usr/bin/make".into(),
            arguments: 2,
            started: at("2026-11-22T08:15:00.25Z"),
            finished: at("2026-11-22T08:16:41.75Z"),
            outcome: Outcome::Exited { code: 2 },
            survivors: 1,
            attendance: None,
        },
        policy: policy(),
        denials: denials(),
        flows: flows(),
        dns: names(),
        sockets: vec![SocketDenied {
            kind: "AF_INET SOCK_RAW protocol 1".into(),
            count: 1,
            processes: vec![chain(4190, &["/usr/bin/ping", "/usr/bin/make"], 1)],
        }],
        incidents: vec![
            IncidentSeen {
                call: "setsockopt".into(),
                about: "IPPROTO_IPV6 IPV6_RTHDR".into(),
                verdict: "deny".into(),
                reason: "socket-option".into(),
                count: 2,
                processes: vec![chain(4191, &["/usr/bin/python3.11", "/usr/bin/make"], 2)],
            },
            IncidentSeen {
                call: "leave-cgroup".into(),
                about: "moved to cgroup /system.slice; judged as the job's all the same".into(),
                verdict: "noted".into(),
                reason: "moved".into(),
                count: 1,
                processes: vec![chain(4192, &["/usr/bin/sleep", "/usr/bin/make"], 1)],
            },
        ],
        limits: Some(limits()),
        platform: Platform {
            kernel: "6.1.0-40-amd64".into(),
            architecture: "x86_64".into(),
            agent_version: "0.1.0".into(),
            agent_sha256: "a1".repeat(32),
            object_sha256: "0b".repeat(32),
            key_protection: "file".into(),
        },
    }
}

/// The same report, of a job whose limits all held.
pub(crate) fn held() -> Report {
    let mut report = report();
    if let Some(limits) = &mut report.limits {
        limits.changes.clear();
        limits.resources[2].state = State::Pinned;
    }
    report
}

/// The same report, with `text` wherever the job chooses the words.
pub(super) fn report_saying(text: &str) -> Report {
    let mut report = report();
    report.job.command = text.into();
    report.policy.name = text.into();
    report.policy.rules[0].reason = Some(text.into());
    report.coverage.blind_spots.push(text.into());
    for denial in &mut report.denials {
        denial.destination.names = vec![text.into(), text.into()];
        denial.remedy = Some(text.into());
        denial.shown_names = vec![text.into()];
        denial.reason = text.into();
        denial.explanation = text.into();
        denial.processes = vec![chain(1, &[text, text], 1)];
    }
    for flow in &mut report.flows {
        flow.destination.names = vec![text.into()];
        flow.destination.protocol = text.into();
        flow.processes = vec![chain(1, &[text, text], 1)];
    }
    for name in &mut report.dns {
        name.name = text.into();
        name.kind = text.into();
        name.remedy = Some(text.into());
        name.processes = vec![chain(1, &[text], 1)];
    }
    report.sockets[0].kind = text.into();
    let limits = report.limits.as_mut().unwrap();
    limits.resources[0].origin = Some(text.into());
    limits.changes[0].found = Some(text.into());
    limits.events[0].processes[0].executables = vec![text.into(), text.into()];
    limits.usage.unknown = vec![text.into()];
    limits.estimate.grid_source = Some(text.into());
    limits.estimate.cost_currency = Some(text.into());
    for incident in &mut report.incidents {
        incident.about = text.into();
        incident.processes = vec![chain(1, &[text], 1)];
    }
    report
}

/// Compares with a file of `golden/`; with `UPDATE_GOLDEN=1` in the environment, writes it first.
pub(crate) fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/report/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        crate::sys::fs::write_atomic(&path, text.as_bytes(), 0o644).unwrap();
    }
    let golden = crate::sys::fs::read_to_string(&path, 1 << 20).unwrap();
    assert_eq!(
        golden, text,
        "`{name}` differs; look at it, then UPDATE_GOLDEN=1"
    );
}

fn coverage() -> Coverage {
    let layer = |name: &str, active, detail: &str| Layer {
        name: name.into(),
        active,
        detail: detail.into(),
    };
    Coverage {
        layers: vec![
            layer("connect4", true, "refuses TCP and UDP connects over IPv4"),
            layer("connect6", true, "refuses TCP and UDP connects over IPv6"),
            layer("egress", true, "judges each packet on the wire"),
            layer(
                "lsm-socket",
                false,
                "the kernel has no BPF LSM (`bpf` is not in lsm=)",
            ),
        ],
        blind_spots: vec![
            "Names inside encrypted client hellos are not seen.".into(),
            "Traffic that the container engine makes for the job is the engine's, not the job's."
                .into(),
        ],
        proof: vec!["a connect from a probe in the job's cgroup was refused with EPERM".into()],
    }
}

fn limits() -> Limits {
    let origin = |line: u32| Some(format!("/etc/cordon/profiles.d/web.toml:{line}"));
    let proof = |file: &str, value: &str| Proof {
        file: file.into(),
        written: value.into(),
        at_start: value.into(),
        at_end: Some(value.into()),
    };
    let mut resources: Vec<Pinned> = Resource::ALL
        .map(|resource| Pinned {
            resource,
            state: State::NotLimited,
            configured: None,
            origin: None,
            held_by: None,
            proofs: vec![],
        })
        .into();
    resources[0] = Pinned {
        state: State::Pinned,
        configured: Some("4GiB".into()),
        origin: origin(14),
        held_by: Some(Holder::CgroupV2),
        proofs: vec![proof("memory.max", "4294967296")],
        ..resources[0].clone()
    };
    resources[2] = Pinned {
        state: State::Changed,
        configured: Some("1024".into()),
        origin: origin(15),
        held_by: Some(Holder::CgroupV2),
        proofs: vec![proof("pids.max", "1024")],
        ..resources[2].clone()
    };
    Limits {
        resources,
        changes: vec![Change {
            resource: Resource::Pids,
            file: "pids.max".into(),
            expected: "1024".into(),
            found: Some("max".into()),
            seen: at("2026-11-22T08:15:30Z"),
            answer: Answer::Restored,
        }],
        events: vec![Met {
            kind: Kind::OutOfMemory,
            count: 2,
            first_noticed: at("2026-11-22T08:16:00Z"),
            processes: vec![Victim {
                pid: 4201,
                executables: vec!["/usr/bin/ld".into(), "/usr/bin/make".into()],
            }],
            processes_unknown: 1,
        }],
        usage: Usage {
            wall_milliseconds: 101_500,
            cpu_microseconds: Some(181_250_000),
            cpu_user_microseconds: Some(170_000_000),
            cpu_system_microseconds: Some(11_250_000),
            throttled_microseconds: Some(0),
            memory_peak_bytes: Some(4_294_967_296),
            memory_full: Some(31),
            pids_peak: Some(118),
            io_read_bytes: Some(81_000_000),
            io_written_bytes: Some(40_960),
            network_out_bytes: 5_300,
            network_in_bytes: 48_211_004,
            unknown: vec![],
        },
        estimate: estimate(
            &Used {
                wall: 101_500_000,
                cpu: Some(181_250_000),
                cpu_limit: None,
                processors: 4,
                metered: None,
            },
            &Rates {
                grid: Some((380, "operator, 2026".into())),
                ..Rates::default()
            },
        ),
    }
}

fn policy() -> PolicyFacts {
    let profile = |name: &str, source: &str, digit: &str| ProfileFacts {
        name: name.into(),
        source: source.into(),
        sha256: digit.repeat(64),
    };
    let rule = |text: &str, origin: &str, reason: Option<&str>, used| RuleFacts {
        text: text.into(),
        origin: origin.into(),
        reason: reason.map(Into::into),
        used,
        withdrawn: false,
    };
    PolicyFacts {
        name: "base+web".into(),
        ruleset_digest: "5c".repeat(32),
        profiles: vec![
            profile("base", "built-in:base", "1"),
            profile("web", "/etc/cordon/profiles.d/web.toml", "2"),
        ],
        rules: vec![
            rule(
                "host api.example.com, tcp 443",
                "/etc/cordon/profiles.d/web.toml:4",
                Some("release metadata"),
                true,
            ),
            rule(
                "cidr 192.0.2.0/24, tcp 8443",
                "/etc/cordon/profiles.d/web.toml:9",
                None,
                true,
            ),
            rule(
                "host **.cdn.example.net, tcp 443",
                "built-in:base:12",
                Some("mirrors"),
                false,
            ),
        ],
    }
}

fn denials() -> Vec<Denial> {
    let denial = |to, reason: Reason, remedy: Option<&str>, attempts, packets, processes| Denial {
        destination: to,
        reason: reason.name().into(),
        explanation: explain::explanation(reason).into(),
        remedy: remedy.map(Into::into),
        shown_names: Vec::new(),
        attempts,
        packets,
        hooks: Vec::new(),
        first_seen: at("2026-11-22T08:15:02Z"),
        last_seen: at("2026-11-22T08:16:40.5Z"),
        processes,
    };
    vec![
        denial(
            to("203.0.113.9", 443, "tcp", &["evil.example.org"]),
            Reason::NO_RULE,
            Some("[[allow]]\nhost = \"evil.example.org\"\n"),
            3,
            0,
            vec![
                chain(
                    4175,
                    &["/usr/bin/curl", "/usr/bin/bash", "/usr/bin/make"],
                    2,
                ),
                chain(4177, &["/tmp/build/größe", "/usr/bin/make"], 1),
            ],
        ),
        denial(
            to(
                "2001:db8::25",
                25,
                "tcp",
                &["api.example.com", "smtp.example.com"],
            ),
            Reason::WRONG_PORT,
            Some("[[allow]]\nhost = \"api.example.com\"\nports = [25]\n"),
            1,
            0,
            vec![chain(4180, &["/usr/bin/python3.11", "/usr/bin/make"], 1)],
        ),
        denial(
            to("198.51.100.7", 0, "ip-47", &[]),
            Reason::IP_PROTOCOL,
            None,
            0,
            1,
            vec![],
        ),
    ]
}

fn flows() -> Vec<Flow> {
    let flow = |to, reason: Reason, rule, attempts, bytes_out, bytes_in, processes| Flow {
        destination: to,
        reason: reason.name().into(),
        rule,
        attempts,
        packets_out: 40,
        bytes_out,
        packets_in: 38,
        bytes_in,
        first_seen: at("2026-11-22T08:15:01Z"),
        last_seen: at("2026-11-22T08:16:30Z"),
        processes,
    };
    vec![
        flow(
            to("192.0.2.7", 443, "tcp", &["api.example.com"]),
            Reason::LEASE,
            Some(0),
            12,
            4_800,
            48_210_500,
            vec![chain(4170, &["/usr/bin/git", "/usr/bin/make"], 12)],
        ),
        flow(
            to("192.0.2.200", 8443, "tcp", &[]),
            Reason::NET,
            Some(1),
            1,
            500,
            504,
            vec![chain(4172, &["/usr/bin/curl", "/usr/bin/bash"], 1)],
        ),
    ]
}

fn names() -> Vec<NameAsked> {
    let name = |name: &str, kind: &str, answer, rule, remedy: Option<&str>, count| NameAsked {
        name: name.into(),
        kind: kind.into(),
        answer,
        rule,
        remedy: remedy.map(Into::into),
        count,
        first_seen: at("2026-11-22T08:15:01Z"),
        last_seen: at("2026-11-22T08:15:09Z"),
        addresses: vec![],
        processes: vec![chain(4175, &["/usr/bin/curl", "/usr/bin/bash"], count)],
    };
    let remedy = "[[allow]]\nhost = \"telemetry.example.org\"\n";
    vec![
        name(
            "api.example.com",
            "A",
            NameVerdict::Allowed,
            Some(0),
            None,
            6,
        ),
        name(
            "intranet.example.com",
            "A",
            NameVerdict::Rebinding,
            Some(0),
            None,
            1,
        ),
        name(
            "telemetry.example.org",
            "AAAA",
            NameVerdict::Denied,
            None,
            Some(remedy),
            2,
        ),
    ]
}

fn to(address: &str, port: u16, protocol: &str, names: &[&str]) -> Destination {
    Destination {
        address: address.parse().unwrap(),
        port,
        protocol: protocol.into(),
        names: names.iter().map(ToString::to_string).collect(),
    }
}

fn chain(pid: u32, executables: &[&str], events: u64) -> ProcessChain {
    ProcessChain {
        pid,
        executables: executables.iter().map(ToString::to_string).collect(),
        events,
    }
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}
