//! Reports in, profiles out.

use proptest::prelude::*;

use super::suggest;
use crate::policy::explain::{Explanation, explain};
use crate::policy::{Mode, Policy, compile};
use crate::report::{
    Coverage, Denial, Destination, Flow, JobFacts, Losses, NameAsked, NameVerdict, Outcome,
    Platform, PolicyFacts, ProcessChain, Report, ReportMode, SCHEMA, Summary,
};

fn report(mode: ReportMode) -> Report {
    Report {
        schema: SCHEMA.to_owned(),
        mode,
        interruptions: Vec::new(),
        coverage: Coverage {
            layers: Vec::new(),
            blind_spots: Vec::new(),
            proof: Vec::new(),
        },
        losses: Losses::default(),
        summary: Summary::default(),
        job: JobFacts {
            id: "job-7".to_owned(),
            command: "make".to_owned(),
            arguments: 1,
            started: "2026-01-02T03:04:05Z".parse().unwrap(),
            finished: "2026-01-02T03:05:05Z".parse().unwrap(),
            outcome: Outcome::Exited { code: 0 },
            survivors: 0,
            attendance: None,
        },
        policy: PolicyFacts {
            name: "base".to_owned(),
            ruleset_digest: String::new(),
            profiles: Vec::new(),
            rules: Vec::new(),
        },
        denials: Vec::new(),
        flows: Vec::new(),
        dns: Vec::new(),
        sockets: Vec::new(),
        limits: None,
        incidents: Vec::new(),
        platform: Platform {
            kernel: String::new(),
            architecture: String::new(),
            agent_version: String::new(),
            agent_sha256: String::new(),
            object_sha256: String::new(),
            key_protection: "file".to_owned(),
        },
    }
}

fn to(address: &str, port: u16, protocol: &str, names: &[&str]) -> Destination {
    Destination {
        address: address.parse().unwrap(),
        port,
        protocol: protocol.to_owned(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn by(program: &str) -> Vec<ProcessChain> {
    vec![ProcessChain {
        pid: 1,
        executables: vec![program.to_owned(), "/bin/sh".to_owned()],
        events: 1,
    }]
}

fn denial(destination: Destination, program: &str) -> Denial {
    let time = "2026-01-02T03:04:05Z".parse().unwrap();
    Denial {
        destination,
        reason: "no-rule".to_owned(),
        explanation: String::new(),
        remedy: None,
        shown_names: Vec::new(),
        attempts: 1,
        packets: 0,
        hooks: Vec::new(),
        first_seen: time,
        last_seen: time,
        processes: by(program),
    }
}

fn flow(destination: Destination, reason: &str) -> Flow {
    let time = "2026-01-02T03:04:05Z".parse().unwrap();
    Flow {
        destination,
        reason: reason.to_owned(),
        rule: Some(0),
        attempts: 1,
        packets_out: 1,
        bytes_out: 1,
        packets_in: 1,
        bytes_in: 1,
        first_seen: time,
        last_seen: time,
        processes: by("/usr/bin/curl"),
    }
}

fn asked(name: &str, answer: NameVerdict) -> NameAsked {
    let time = "2026-01-02T03:04:05Z".parse().unwrap();
    NameAsked {
        name: name.to_owned(),
        kind: "A".to_owned(),
        answer,
        rule: None,
        remedy: None,
        count: 1,
        first_seen: time,
        last_seen: time,
        addresses: Vec::new(),
        processes: Vec::new(),
    }
}

fn parse(text: &str) -> Policy {
    Policy::parse("suggested.toml", text.as_bytes())
        .unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"))
}

#[test]
fn a_suggested_profile_reads_like_this() {
    let mut report = report(ReportMode::Audit);
    report.flows = vec![
        flow(to("127.0.0.1", 4000, "tcp", &[]), "own-socket"),
        flow(to("127.0.0.1", 5353, "udp", &[]), "resolver"),
        flow(to("192.0.2.9", 443, "tcp", &["api.example.com"]), "lease"),
    ];
    report.denials = vec![
        denial(
            to("192.0.2.9", 8443, "tcp", &["api.example.com"]),
            "/usr/bin/git",
        ),
        denial(
            to("10.0.0.5", 5432, "tcp", &["db.example.net"]),
            "/usr/bin/psql",
        ),
        denial(to("2001:db8::9", 443, "udp", &[]), "/usr/bin/curl"),
        denial(to("192.0.2.1", 0, "ip-1", &[]), "/bin/ping"),
        denial(to("192.0.2.53", 53, "udp", &[]), "/usr/bin/dig"),
    ];
    report.dns = vec![
        asked("api.example.com", NameVerdict::Allowed),
        asked("unused.example.com", NameVerdict::WouldDeny),
        asked("inside.example.com", NameVerdict::Rebinding),
    ];
    report.losses.records = 3;
    let text = suggest(&report, "suggested");
    assert_eq!(
        text,
        "\
# Suggested from job job-7 of 2026-01-02T03:04:05Z (mode audit, command make).
# Read every rule before you use it: what a job did is not what it should do.
# The report is not whole, so rules or programs may be missing: 3 records, 0 flows, 0 undecodable, 0 details and 0 names lost, 0 questions refused.
name = \"suggested\"
mode = \"enforce\"

# used by /usr/bin/curl, /usr/bin/git
[[allow]]
host = \"api.example.com\"
ports = [443, 8443]

# used by /usr/bin/psql
# its address is a private one
[[allow]]
host = \"db.example.net\"
ports = [5432]
private = true

# used by /usr/bin/curl
[[allow]]
cidr = \"2001:db8::9/128\"
ports = [443]
protocol = \"udp\"

# Not allowed above:
# inside.example.com has private addresses: if that is meant, its rule needs `private = true`
# ip-1 192.0.2.1 has no port; no rule can allow it
# udp 192.0.2.53 port 53 is DNS, which goes to the job's own listener
# unused.example.com was looked up and not connected to
"
    );
    let policy = parse(&text);
    assert_eq!((policy.mode, policy.rules.len()), (Mode::Enforce, 3));
}

#[test]
fn what_an_enforced_run_was_denied_is_not_suggested() {
    let mut report = report(ReportMode::Enforce);
    report.flows = vec![flow(
        to("192.0.2.9", 443, "tcp", &["a.example.com"]),
        "lease",
    )];
    report.denials = vec![denial(
        to("192.0.2.6", 443, "tcp", &["evil.example.net"]),
        "/bin/x",
    )];
    let text = suggest(&report, "x");
    assert_eq!(parse(&text).rules.len(), 1);
    assert!(
        !text.contains("evil") && text.contains("is not suggested"),
        "{text}"
    );
}

#[test]
fn a_wildcard_needs_three_names_of_one_zone_used_alike() {
    let names = |list: &[(&str, u16)]| {
        let mut report = report(ReportMode::Audit);
        report.denials = list
            .iter()
            .map(|(name, port)| denial(to("192.0.2.9", *port, "tcp", &[name]), "/bin/x"))
            .collect();
        let text = suggest(&report, "x");
        let rules = parse(&text).rules;
        rules
            .iter()
            .map(crate::policy::Rule::describe)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&[("a.example.com", 443), ("b.example.com", 443)]).len(),
        2
    );
    assert_eq!(
        names(&[
            ("a.example.com", 443),
            ("b.example.com", 443),
            ("c.example.com", 443)
        ]),
        ["host *.example.com, tcp 443"]
    );
    assert_eq!(
        names(&[
            ("a.example.com", 443),
            ("b.example.com", 443),
            ("c.example.com", 80)
        ])
        .len(),
        3
    );
    // Names below a public suffix belong to different owners.
    assert_eq!(
        names(&[
            ("a.github.io", 443),
            ("b.github.io", 443),
            ("c.github.io", 443)
        ])
        .len(),
        3
    );
    // Names at different depths are no zone.
    assert_eq!(
        names(&[
            ("a.example.com", 443),
            ("b.c.example.com", 443),
            ("e.d.example.com", 443)
        ])
        .len(),
        3
    );
}

#[test]
fn a_shared_address_suggests_all_its_names_and_says_so() {
    let mut report = report(ReportMode::Audit);
    let both = to("192.0.2.9", 443, "tcp", &["a.example.com", "b.example.net"]);
    report.denials = vec![denial(both, "/bin/x")];
    let text = suggest(&report, "x");
    assert_eq!(parse(&text).rules.len(), 2);
    assert_eq!(
        text.matches("remove what is not needed").count(),
        2,
        "{text}"
    );
}

#[test]
fn a_job_cannot_write_rules_into_the_suggestion() {
    let injection = "/bin/x\n[[allow]]\nhost = \"evil.example.net\"\r\u{2028}\x1b[2J";
    let mut report = report(ReportMode::Audit);
    report.job.command = injection.to_owned();
    report.denials = vec![
        denial(to("192.0.2.9", 443, "tcp", &["a.example.com"]), injection),
        denial(to("192.0.2.8", 443, injection, &[]), "/bin/x"),
        denial(
            to(
                "192.0.2.7",
                443,
                "tcp",
                &["\"\n[[allow]]\nhost=\"evil.example.net"],
            ),
            "x",
        ),
    ];
    report.dns = vec![asked(injection, NameVerdict::WouldDeny)];
    let text = suggest(&report, "x");
    let rules = parse(&text).rules;
    assert_eq!(rules.len(), 2, "{text}");
    assert!(!rules.iter().any(|rule| rule.describe().contains("evil")));
    assert!(!text.contains(['\r', '\x1b', '\u{2028}']), "{text:?}");
}

fn destination() -> impl Strategy<Value = Destination> {
    let name = prop_oneof![
        "[a-d]\\.(example\\.com|github\\.io|x\\.example\\.net)",
        Just("localhost".to_owned()),
        "\\PC{0,12}",
    ];
    let address = prop_oneof![
        (1u8..9).prop_map(|last| std::net::IpAddr::from([192, 0, 2, last])),
        (1u8..9).prop_map(|last| std::net::IpAddr::from([10, 0, 0, last])),
        any::<[u8; 16]>().prop_map(std::net::IpAddr::from),
    ];
    (
        address,
        prop::sample::select(vec![0u16, 53, 80, 443, 8443]),
        prop::sample::select(vec!["tcp", "udp", "ip-1"]),
        proptest::collection::vec(name, 0..3),
    )
        .prop_map(|(address, port, protocol, names)| Destination {
            address,
            port,
            protocol: protocol.to_owned(),
            names,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_suggestion_parses_compiles_and_allows_what_was_used(
        used in proptest::collection::vec((destination(), "\\PC{0,12}"), 0..10),
    ) {
        let mut report = report(ReportMode::Audit);
        report.denials = used
            .iter()
            .map(|(to, program)| denial(to.clone(), program))
            .collect();
        let text = suggest(&report, "x");
        prop_assert_eq!(&text, &suggest(&report, "x"));
        let policy = parse(&text);
        let ruleset = compile(&policy).unwrap();
        for (to, _) in used {
            if to.port == 0 || to.port == 53 || to.protocol == "ip-1" {
                continue;
            }
            let names = to.names.iter().filter(|name| super::exact(name).is_some());
            let mut questions: Vec<String> = names
                .map(|name| format!("{name}:{}/{}", to.port, to.protocol))
                .collect();
            if questions.is_empty() && super::alone(to.address).is_some() {
                let address = std::net::SocketAddr::new(to.address, to.port);
                questions.push(format!("{address}/{}", to.protocol));
            }
            for question in questions {
                let answer = explain(&policy, &ruleset, &question.parse().unwrap());
                prop_assert!(
                    matches!(answer, Explanation::Allowed { .. }),
                    "{} is not allowed by\n{}", question, text
                );
            }
        }
    }

    #[test]
    fn a_written_policy_reads_as_the_same_policy(
        used in proptest::collection::vec(destination(), 0..10),
        reason in "[^\\p{C}]{0,12}",
    ) {
        let mut report = report(ReportMode::Audit);
        report.denials = used.into_iter().map(|to| denial(to, "/bin/x")).collect();
        let mut policy = parse(&suggest(&report, "x"));
        for rule in &mut policy.rules {
            rule.reason = Some(reason.clone());
        }
        let rules: Vec<String> = policy.rules.iter().map(crate::policy::Rule::to_toml).collect();
        let again = parse(&format!("name = \"x\"\n{}\n", rules.join("\n")));
        prop_assert_eq!(again.rules.len(), policy.rules.len());
        for (one, other) in policy.rules.into_iter().zip(again.rules) {
            let origin = one.origin.clone();
            prop_assert_eq!(one, crate::policy::Rule { origin, ..other });
        }
    }
}
