//! Lines of every kind of event: the golden file, which a validator that is not ours reads too.

use cordon_ebpf::abi::address::Address;
use cordon_ebpf::abi::record::Call;
use cordon_secrets::{
    Block, Bounds, Engine, FingerprintKey, Judgement, KnownSet, Memory, Reason as Why, Rules,
    Scratch, Source,
};

use super::*;
use crate::limits::evidence::Answer as Mended;
use crate::policy::limits::Resource;
use crate::report::escape::tests::HOSTILE;
use crate::report::fixture;

/// No real one, of a form that has no checksum.
const SECRET: &str = "glpat-a1B2c3D4e5F6g7H8i9J0";

fn context() -> Context {
    Context {
        job: "0123456789abcdef".into(),
        host: "runner-3.test".into(),
        policy: "web".into(),
    }
}

fn chain(executables: &[&str]) -> Chain {
    Chain {
        tgid: 4201,
        executables: executables.iter().map(|path| (*path).to_owned()).collect(),
    }
}

fn flow(verdict: Verdict, reason: Reason, rule: u32) -> FlowKey {
    FlowKey {
        address: Address::from_v4([198, 51, 100, 66]),
        port: 443,
        protocol: 6,
        verdict,
        reason,
        reserved: [0; 7],
        rule,
    }
}

fn question(verdict: NameVerdict) -> Question {
    Question {
        name: "api.example.com".into(),
        kind: "A".into(),
        verdict,
        rule: (verdict == NameVerdict::Allowed).then_some(2),
        addresses: match verdict {
            NameVerdict::Allowed => vec!["198.51.100.66".parse().unwrap()],
            _ => vec![],
        },
        process: Some(4201),
    }
}

#[expect(
    clippy::too_many_lines,
    reason = "one event of each kind, one after the other"
)]
/// A chained file of all kinds of events, in which the job has chosen this text where it can.
fn file(text: &str) -> (Vec<u8>, Head) {
    let limits = fixture::report().limits.unwrap();
    let (curl, make) = (
        chain(&["/usr/bin/curl", "/bin/sh"]),
        chain(&["/usr/bin/make"]),
    );
    let (thread, nobody) = (chain(&["(kworker)"]), chain(&[]));
    let said = chain(&[text, text, text]);
    let names = vec![text.to_owned()];
    let allowed = flow(Verdict::ALLOW, Reason::LEASE, 2);
    let denied = flow(Verdict::DENY, Reason::NO_RULE, NO_RULE);
    let watched = flow(Verdict::WOULD_DENY, Reason::NO_RULE, NO_RULE);
    let hooks = [Hook::CONNECT4, Hook::EGRESS];
    let connection = |flow, hook, shown, chain, user| Happening::Connection {
        flow,
        hook,
        names: &names,
        shown,
        chain,
        user,
    };
    let asked = [
        NameVerdict::Allowed,
        NameVerdict::Denied,
        NameVerdict::WouldDeny,
        NameVerdict::Rebinding,
        NameVerdict::Unsupported,
        NameVerdict::Limited,
        NameVerdict::Failed,
        NameVerdict::Local,
        NameVerdict::NotLeased,
    ]
    .map(question);
    let mut hostile = question(NameVerdict::Denied);
    (hostile.name, hostile.kind) = (text.into(), text.into());
    let call = Incident::Call {
        call: Call::BPF,
        arguments: [5, 0],
        reason: Reason::SOCKET_OPTION,
        verdict: Verdict::DENY,
    };
    let left = Incident::Left { path: text.into() };
    let unserved = Incident::Unserved { why: text.into() };
    let seen = Seen {
        detection: detection(),
        judgement: Judgement {
            outcome: Found::Finding(Severity::High),
            reason: Why::LongLived,
            lapsed: None,
        },
        chain: curl.clone(),
    };
    let changed = Change {
        found: Some(text.into()),
        answer: Mended::Restored,
        resource: Resource::Pids,
        ..limits.changes[0].clone()
    };
    let mut happenings = vec![
        Happening::Started {
            mode: "enforce",
            ruleset: "5e5e",
        },
        Happening::Executed {
            chain: &curl,
            user: 1000,
        },
        Happening::Executed {
            chain: &make,
            user: 0,
        },
        connection(&allowed, hooks[0], None, &curl, Some(1000)),
        connection(&denied, hooks[1], Some(text), &thread, Some(u32::MAX)),
        connection(&watched, hooks[0], None, &said, None),
        Happening::Name {
            question: &hostile,
            chain: Some(&said),
        },
    ];
    happenings.extend(asked.iter().map(|question| Happening::Name {
        question,
        chain: None,
    }));
    happenings.extend([
        Happening::Socket {
            socket: SocketKey {
                family: 2,
                kind: 3,
                protocol: 1,
            },
            verdict: Verdict::DENY,
            reason: Reason::SOCKET_KIND,
            chain: &nobody,
        },
        Happening::Incident {
            incident: &call,
            chain: &curl,
        },
        Happening::Incident {
            incident: &left,
            chain: &said,
        },
        Happening::Incident {
            incident: &unserved,
            chain: &curl,
        },
        Happening::Secret(&seen),
        Happening::LimitMet(&limits.events[0]),
        Happening::LimitChanged(&changed),
        Happening::TakenOver,
        Happening::Ended {
            outcome: Outcome::Exited { code: 0 },
        },
    ]);
    let (mut file, mut head) = (Vec::new(), Head::default());
    let time = "2026-11-22T08:15:30.123Z".parse().unwrap();
    for happening in &happenings {
        let line = render(&context(), &head, time, happening).unwrap();
        file.extend_from_slice(&line);
        file.push(b'\n');
        head = head.after(&line);
    }
    (file, head)
}

/// A credential that the engine finds in a variable.
fn detection() -> cordon_secrets::Detection {
    let key = FingerprintKey::new([7; 32]);
    let engine = Engine::new(&key, &KnownSet::new(key.id()), &Rules::all());
    let environment = format!("DEPLOY_TOKEN={SECRET}\0");
    let block = Block {
        source: Source::Environ,
        bytes: environment.as_bytes(),
        truncated: false,
    };
    let mut memory = Memory::new(&[4; 32], Bounds::default());
    let (mut room, mut found) = (vec![0; 1 << 20], Vec::new());
    let mut scratch = Scratch::new(&mut room);
    let mut take = |detection| found.push(detection);
    engine
        .unwrap()
        .scan(&mut memory, &mut scratch, &block, &mut take);
    found.swap_remove(0)
}

#[test]
fn the_file_is_the_golden_one_and_its_chain_is_whole() {
    let (file, head) = file("example.com");
    fixture::assert_golden(NAME, std::str::from_utf8(&file).unwrap());
    assert_eq!(
        chain::check(&mut file.as_slice(), &mut |_| {}).unwrap(),
        head
    );
}

#[test]
fn no_text_of_a_job_begins_a_line_or_changes_another_field() {
    let fields = |text: &str| -> Vec<Vec<String>> {
        let (file, head) = file(text);
        assert_eq!(
            chain::check(&mut file.as_slice(), &mut |_| {}).unwrap(),
            head
        );
        let lines = std::str::from_utf8(&file).unwrap().lines();
        lines
            .map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                value.as_object().unwrap().keys().cloned().collect()
            })
            .collect()
    };
    let usual = fields("example.com");
    for text in HOSTILE {
        assert_eq!(fields(text), usual, "{text:?}");
    }
}

#[test]
fn no_byte_of_a_secret_is_in_a_line() {
    let (file, _) = file("example.com");
    let text = std::str::from_utf8(&file).unwrap();
    assert!(text.contains("DEPLOY_TOKEN"));
    let pieces = SECRET.as_bytes().windows(6).map(std::str::from_utf8);
    for piece in pieces.skip("glpat".len()) {
        assert!(!text.contains(piece.unwrap()), "{piece:?}");
    }
}
