use std::net::IpAddr;

use cordon_ebpf::abi::address::Address;
use cordon_ebpf::abi::ruleset::{Grants, RuleIndex};
use cordon_ebpf::abi::{TCP, UDP};
use cordon_ebpf::decide::{Destination, Listener, Tables, decide};
use proptest::prelude::*;

use super::*;
use crate::policy::{DomainName, Palette, Ruleset, compile, merge_grants};

fn parse(text: &str) -> Policy {
    Policy::parse("job.toml", format!("name = \"job\"\n{text}").as_bytes()).unwrap()
}

fn try_narrow(policy: &Policy, text: &str) -> Result<Policy, String> {
    let text = format!("name = \"own\"\n{text}");
    narrow(policy, ".cordon.toml", text.as_bytes())
        .map_err(|mistakes| mistakes.render(Palette::Plain))
}

const JOB: &str = r#"
[[allow]]
host = "ci.example.com"
[[allow]]
host = "**.example.org"
ports = [80, 443, "8000-8999"]
[[allow]]
cidr = "10.0.0.0/8"
ports = [5432]
private = false
[[allow]]
host = "db.example.net"
ports = [5432]
private = true
verify = "none"
[[allow]]
host = "plain.example.net"
verify = "none"
"#;

#[test]
fn what_lies_within_a_rule_is_accepted() {
    for text in [
        "",
        "[[allow]]\nhost = \"a.example.org\"",
        "[[allow]]\nhost = \"*.example.org\"\nports = [8080]",
        "[[allow]]\nhost = \"**.a.example.org\"\nports = [80]",
        "[[allow]]\ncidr = \"10.1.2.0/24\"\nports = [5432]",
        "[[allow]]\nhost = \"db.example.net\"\nports = [5432]\nverify = \"tls\"",
        "[[allow]]\nhost = \"plain.example.net\"\nverify = \"tls\"",
        "mode = \"enforce\"",
    ] {
        let narrowed = try_narrow(&parse(JOB), text).unwrap();
        assert_eq!(narrowed.mode, Mode::Enforce);
        compile(&narrowed).unwrap();
    }
}

#[test]
fn what_does_not_is_refused_with_its_line_and_what_is_allowed() {
    for (text, word) in [
        ("[[allow]]\nhost = \"example.org\"", "more than the job may"),
        (
            "[[allow]]\nhost = \"a.example.org\"\nports = [22]",
            "more than the job may",
        ),
        (
            "[[allow]]\nhost = \"a.example.org\"\nprotocol = \"udp\"",
            "more than the job may",
        ),
        (
            "[[allow]]\nhost = \"a.example.org\"\nprivate = true",
            "more than the job may",
        ),
        (
            "[[allow]]\nhost = \"a.example.org\"\nverify = \"none\"",
            "more than the job may",
        ),
        (
            "[[allow]]\nhost = \"a.example.org\"\nports = [80]\nverify = \"tls\"",
            "more than the job may",
        ),
        (
            "[[allow]]\ncidr = \"10.0.0.0/7\"\nports = [5432]",
            "more than the job may",
        ),
        (
            "[[allow]]\ncidr = \"2001:db8::/32\"\nports = [5432]",
            "more than the job may",
        ),
        ("extends = [\"rust\"]", "extends nothing"),
        ("extends = [\"./x.toml\"]", "extends nothing"),
        ("mode = \"audit\"", "cannot go back to audit"),
        ("[dns]\nupstream = [\"192.0.2.1\"]", "`[dns]` cannot"),
        ("[limits]\npids = 100000", "`[limits]` cannot"),
        ("[secrets]\non_finding = \"report\"", "`[secrets]` cannot"),
        (
            "[containers]\nengine = \"mediate\"",
            "`[containers]` cannot",
        ),
    ] {
        let refused = try_narrow(&parse(JOB), text).unwrap_err();
        assert!(refused.contains(word), "{text}: {refused}");
        assert!(refused.contains(".cordon.toml:2"), "{text}: {refused}");
        if text.contains("allow") {
            assert!(refused.contains("host ci.example.com"), "{refused}");
        }
    }
}

#[test]
fn rules_of_the_control_plane_stay() {
    let job = Policy {
        standing: 1,
        ..parse(JOB)
    };
    let narrowed = try_narrow(&job, "").unwrap();
    let ruleset = compile(&narrowed).unwrap();
    let rules = |name| ruleset.rules_for_name(&DomainName::parse(name).unwrap());
    assert_eq!(rules("ci.example.com"), [0]);
    assert!(rules("a.example.org").is_empty());
    assert_eq!(ruleset.grants_for_rules(&[1], 9), []);
    // And once more, of what is left.
    let again = try_narrow(&narrowed, "[[allow]]\nhost = \"a.example.org\"");
    assert!(again.unwrap_err().contains("more than the job may"));
}

#[test]
fn audit_mode_is_left_and_not_entered() {
    let job = parse("mode = \"audit\"");
    assert_eq!(try_narrow(&job, "").unwrap().mode, Mode::Audit);
    let enforced = try_narrow(&job, "mode = \"enforce\"").unwrap();
    assert_eq!(enforced.mode, Mode::Enforce);
    try_narrow(&enforced, "mode = \"audit\"").unwrap_err();
}

#[test]
fn rules_of_its_own_are_bounded() {
    let job = parse("[[allow]]\nhost = \"**.example.org\"");
    let names = |prefix: &str, count| -> String {
        let rule = |number| format!("[[allow]]\nhost = \"{prefix}{number}.example.org\"\n");
        (0..count).map(rule).collect()
    };
    let refused = try_narrow(&job, &names("a", MOST_RULES + 1)).unwrap_err();
    assert!(refused.contains("are the most"), "{refused}");
    let mut job = try_narrow(&job, "[[allow]]\nhost = \"**.example.org\"").unwrap();
    let again = "[[allow]]\nhost = \"**.example.org\"\n[[allow]]\nhost = \"*.example.org\"";
    let mut times = 0;
    while let Ok(narrower) = try_narrow(&job, again) {
        job = narrower;
        times += 1;
        assert!(times <= MOST_IN_ALL, "without an end");
    }
    assert!(job.rules.len() <= MOST_IN_ALL + 1);
}

#[test]
fn parts_of_a_wildcard_are_counted_under_it() {
    use crate::dns::NamePolicy as _;
    let job = parse("[[allow]]\nhost = \"**.example.org\"\n[[allow]]\nhost = \"b.example.org\"");
    let own = "[[allow]]\nhost = \"a.example.org\"\n[[allow]]\nhost = \"b.example.org\"";
    let ruleset = compile(&try_narrow(&job, own).unwrap()).unwrap();
    // Spelled out by the job alone: still one of the names under the wildcard.
    assert_eq!(ruleset.wildcard_part(2, "a.example.org"), Some("a"));
    assert_eq!(ruleset.counted_as(2), 0);
    // Spelled out by the profile.
    assert_eq!(ruleset.wildcard_part(3, "b.example.org"), None);
}

/// A ruleset with one name leased for one address, as the agent grants it.
struct Leased<'a> {
    ruleset: &'a Ruleset,
    address: Address,
    grants: Option<Grants>,
}

impl Tables for Leased<'_> {
    fn lease(&self, address: &Address) -> Option<&Grants> {
        self.grants.as_ref().filter(|_| *address == self.address)
    }
    fn net(&self, address: &Address) -> Option<&Grants> {
        self.ruleset.net(address)
    }
    fn held(&self, _address: &Address, _rule: RuleIndex) -> Option<&Grants> {
        None
    }
}

/// What a ruleset says of a destination, of which the name is known: in what that may be shown, 0 where it need
/// not be. What the job's grants ask for together is more than any one rule accepts; the rule decides.
fn says(ruleset: &Ruleset, name: &DomainName, to: &Destination) -> Option<u8> {
    let rules = ruleset.rules_for_name(name);
    let grants = merge_grants(&[], &ruleset.grants_for_rules(&rules, u64::MAX), 0);
    let leased = Leased {
        ruleset,
        address: to.address,
        grants: grants.and_then(|grants| Grants::new(&grants)),
    };
    let decision = decide(&leased, to, 0);
    if !decision.reason.allows() {
        return None;
    }
    if decision.verify.0 == 0 {
        return Some(0);
    }
    let accepted = rules.iter().flat_map(|rule| {
        let held = ruleset.grants_for_rules(&[*rule], u64::MAX);
        let here = held.into_iter().filter(|grant| {
            grant.protocol == to.protocol && (grant.first_port..=grant.last_port).contains(&to.port)
        });
        here.map(|grant| grant.verify.0)
    });
    Some(accepted.fold(0, |all, one| all | one))
}

fn rule() -> impl Strategy<Value = String> {
    let endpoint = prop_oneof![
        "(\\*\\.|\\*\\*\\.|)([ab]\\.){0,2}example\\.com"
            .prop_map(|host| format!("host = \"{host}\"")),
        (0u8..3, 8u8..=32).prop_map(|(byte, bits)| {
            let address = (u32::from(byte) << 20 | 0x0a00_0000)
                & u32::MAX.unbounded_shl(32_u32.saturating_sub(bits.into()));
            format!("cidr = \"{}/{bits}\"", std::net::Ipv4Addr::from(address))
        }),
    ];
    let ports = prop_oneof![
        Just("[443]"),
        Just("[80]"),
        Just("[80, 443]"),
        Just("[\"70-500\"]")
    ];
    let rest = prop_oneof![
        Just(""),
        Just("protocol = \"udp\"\n"),
        Just("verify = \"none\"\n"),
        Just("verify = \"tls\"\n"),
        Just("private = true\n"),
    ];
    (endpoint, ports, rest).prop_map(|(endpoint, ports, rest)| {
        format!("[[allow]]\n{endpoint}\nports = {ports}\n{rest}")
    })
}

/// A policy, if these rules make one.
fn policy(name: &str, rules: &[String]) -> Option<Policy> {
    let text = format!("name = \"{name}\"\n{}", rules.concat());
    Policy::parse("x.toml", text.as_bytes()).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

    /// The promise: nothing that was denied is allowed, and no name is asked for less.
    #[test]
    fn nothing_that_was_denied_is_allowed_afterwards(
        before in proptest::collection::vec(rule(), 1..5),
        own in proptest::collection::vec(rule(), 0..3),
        kept in proptest::collection::vec(0usize..5, 0..3),
        standing in 0usize..2,
        names in proptest::collection::vec("([ab]\\.){0,3}example\\.com", 6),
        address in (0u32..3, 0u32..4), port in prop_oneof![Just(80u16), Just(443), Just(300)],
        udp: bool,
    ) {
        let Some(job) = policy("job", &before) else { return Ok(()) };
        let job = Policy { standing: standing.min(job.rules.len()), ..job };
        // Some of the rules there are, so that not all is refused, and others.
        let own: Vec<String> = kept.iter().filter_map(|index| before.get(*index)).cloned().chain(own).collect();
        let text = format!("name = \"own\"\n{}", own.concat());
        let Ok(narrowed) = narrow(&job, "own.toml", text.as_bytes()) else { return Ok(()) };
        let (Ok(old), Ok(new)) = (compile(&job), compile(&narrowed)) else { return Ok(()) };
        let address = 0x0a00_0000 | (address.0 << 20) | address.1;
        let address = IpAddr::from(address.to_be_bytes());
        let to = Destination {
            address: Address::from(address),
            port,
            protocol: if udp { UDP } else { TCP },
            listener: Listener::Foreign,
        };
        for name in &names {
            let name = DomainName::parse(name).unwrap();
            let (was, is) = (says(&old, &name, &to), says(&new, &name, &to));
            let as_strict = match (was, is) {
                (_, None) | (Some(0), Some(_)) => true,
                // Only in ways that were asked for before, and in one of them.
                (Some(was), Some(is)) => is != 0 && is & !was == 0,
                (None, Some(_)) => false,
            };
            prop_assert!(as_strict, "{name} {to:?}: {was:?} {is:?}");
            let allows_private = |ruleset: &Ruleset| ruleset.allows_private(&ruleset.rules_for_name(&name));
            prop_assert!(!allows_private(&new) || allows_private(&old));
        }
        // Once more by the same file: the same is left.
        if let Ok(again) = narrow(&narrowed, "own.toml", text.as_bytes()) {
            let again = compile(&again).unwrap();
            for name in &names {
                let name = DomainName::parse(name).unwrap();
                prop_assert_eq!(says(&new, &name, &to), says(&again, &name, &to));
            }
        }
    }
}
