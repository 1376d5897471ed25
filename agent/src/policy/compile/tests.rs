//! The compiled form against the rules it came from.

use std::net::IpAddr;

use cordon_ebpf::abi::address::Address;
use cordon_ebpf::abi::ruleset::NO_RULE;
use cordon_ebpf::abi::{TCP, UDP};
use cordon_ebpf::decide::{Destination, Listener, decide};
use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::policy::ports::PortRange;
use crate::policy::{DnsPolicy, Endpoint, Origin, PortSet, Protocol, merge_grants};

fn policy(text: &str) -> Policy {
    let text = format!("name = \"x\"\n{text}");
    Policy::parse("x.toml", text.as_bytes()).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn ruleset(text: &str) -> Ruleset {
    compile(&policy(text)).unwrap_or_else(|error| panic!("{error}"))
}

fn cidr(net: &str, ports: &str) -> String {
    format!("[[allow]]\ncidr = \"{net}\"\nports = [{ports}]\n")
}

fn host(name: &str, ports: &str) -> String {
    format!("[[allow]]\nhost = \"{name}\"\nports = [{ports}]\n")
}

fn ask(ruleset: &Ruleset, address: &str, port: u16, protocol: u8) -> u32 {
    let to = Destination {
        address: Address::from(address.parse::<IpAddr>().unwrap()),
        port,
        protocol,
        listener: Listener::Foreign,
    };
    decide(ruleset, &to, 0).rule
}

#[test]
fn the_empty_policy_compiles_to_empty_tables() {
    let ruleset = compile(&Policy::deny_all()).unwrap();
    assert!(ruleset.nets.is_empty() && ruleset.rules.is_empty());
    assert_eq!(ask(&ruleset, "192.0.2.1", 443, TCP), NO_RULE);
    assert_eq!(ask(&ruleset, "::", 443, TCP), NO_RULE);
}

#[test]
fn a_range_inside_another_has_the_grants_of_both() {
    let ruleset = ruleset(&[cidr("10.1.2.0/24", "80"), cidr("10.0.0.0/8", "443")].concat());
    assert_eq!(ask(&ruleset, "10.1.2.3", 80, TCP), 0);
    assert_eq!(ask(&ruleset, "10.1.2.3", 443, TCP), 1);
    assert_eq!(ask(&ruleset, "::ffff:10.1.2.3", 443, TCP), 1);
    assert_eq!(ask(&ruleset, "10.9.9.9", 80, TCP), NO_RULE);
    assert_eq!(ask(&ruleset, "10.1.2.3", 443, UDP), NO_RULE);
    let lengths: Vec<u32> = ruleset.nets.keys().map(|net| net.prefix_len).collect();
    assert_eq!(lengths, [104, 120]);
    let printed: Vec<String> = ruleset.nets.keys().map(ToString::to_string).collect();
    assert_eq!(printed, ["10.0.0.0/8", "10.1.2.0/24"]);
}

#[test]
fn a_v6_range_says_nothing_about_v4() {
    let ruleset = ruleset(&[cidr("::/97", "1"), cidr("8000::/1", "1")].concat());
    assert_eq!(ask(&ruleset, "192.0.2.1", 1, TCP), NO_RULE);
    assert_eq!(ask(&ruleset, "0.0.0.1", 1, TCP), NO_RULE);
    assert_eq!(ask(&ruleset, "::7", 1, TCP), 0);
    assert_eq!(ask(&ruleset, "fe80::1", 1, TCP), 1);
}

#[test]
fn too_many_port_ranges_on_one_range_are_refused_by_rule() {
    let odd = |from: u16, count: u16| {
        let ports = (0..count).map(|n| from.saturating_add(n.saturating_mul(2)).to_string());
        ports.collect::<Vec<_>>().join(", ")
    };
    ruleset(
        &[
            cidr("10.0.0.0/8", &odd(1, 8)),
            cidr("10.1.0.0/16", &odd(101, 8)),
        ]
        .concat(),
    );
    let error = compile(&policy(
        &[
            cidr("10.0.0.0/8", &odd(1, 8)),
            cidr("10.1.0.0/16", &odd(101, 9)),
        ]
        .concat(),
    ))
    .unwrap_err();
    let CompileError::TooManyGrants {
        endpoint,
        count,
        rules,
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((endpoint.as_str(), *count), ("cidr 10.1.0.0/16", 17));
    assert_eq!(rules.len(), 2);
    assert!(rules[0].ends_with("(x.toml:2)"), "{rules:?}");
    // Ports that a wider range grants already take no room.
    ruleset(
        &[
            cidr("10.0.0.0/8", "\"1-65535\""),
            cidr("10.1.0.0/16", &odd(1, 40)),
        ]
        .concat(),
    );
}

#[test]
fn too_many_port_ranges_on_one_name_are_refused_before_a_job_meets_them() {
    let ports = |from: u16| {
        let ports = (0..6_u16).map(|n| from.saturating_add(n.saturating_mul(2)).to_string());
        ports.collect::<Vec<_>>().join(", ")
    };
    let three = |third: &str| {
        [
            host("*.example.com", &ports(100)),
            host("**.example.com", &ports(200)),
            host(third, &ports(300)),
        ]
        .concat()
    };
    for third in ["a.example.com", "**.b.example.com"] {
        let wrong = compile(&policy(&three(third)));
        let meets = third == "a.example.com";
        assert_eq!(wrong.is_err(), meets, "{third}");
    }
    let error = compile(&policy(&three("a.example.com"))).unwrap_err();
    assert!(
        error.to_string().starts_with("host a.example.com has 18"),
        "{error}"
    );
}

#[test]
fn names_are_allowed_by_all_rules_that_match_in_order() {
    let ruleset = ruleset(
        &[
            host("**.example.com", "443"),
            cidr("10.0.0.0/8", "1"),
            host("api.example.com", "80, \"90-99\"") + "private = true\n",
            host("*.api.example.com", "1"),
        ]
        .concat(),
    );
    let rules = |name: &str| ruleset.rules_for_name(&DomainName::parse(name).unwrap());
    assert_eq!(rules("api.example.com"), [0, 2]);
    assert_eq!(rules("x.api.example.com"), [0, 3]);
    assert_eq!(rules("example.com"), [0u32; 0]);
    assert!(ruleset.allows_private(&[0, 2]) && !ruleset.allows_private(&[0, 1, 3]));
    let grants = ruleset.grants_for_rules(&[0, 2], 77);
    let ports: Vec<_> = grants
        .iter()
        .map(|grant| (grant.rule, grant.first_port, grant.last_port, grant.expires))
        .collect();
    assert_eq!(ports, [(0, 443, 443, 77), (2, 80, 80, 77), (2, 90, 99, 77)]);
    assert!(ruleset.grants_for_rules(&[9], 77).is_empty());
}

#[test]
fn a_hundred_thousand_names_have_a_rule_each_and_too_many_are_refused() {
    let mut policy = policy(&host("a.example.com", "443"));
    let rule = policy.rules[0].clone();
    let named = |index: usize| {
        let name = format!("n{index}.example.com");
        let mut rule = rule.clone();
        rule.endpoint = Endpoint::Host(DomainPattern::parse(&name).unwrap());
        rule
    };
    policy.rules = (0..100_000).map(named).collect();
    let ruleset = compile(&policy).unwrap();
    for index in [0, 65_535, 65_536, 99_999] {
        let name = DomainName::parse(&format!("n{index}.example.com")).unwrap();
        assert_eq!(ruleset.rules_for_name(&name), [index]);
        assert_eq!(ruleset.grants_for_rules(&[index], 77)[0].rule, index);
    }
    policy.rules = (0..=MAX_RULES).map(named).collect();
    let refused = compile(&policy).unwrap_err().to_string();
    assert_eq!(refused, "the policy has 131073 rules, 131072 are the most");
}

#[test]
fn the_digest_changes_with_everything_that_is_enforced_and_with_nothing_else() {
    let digest = |text: &str| ruleset(text).digest;
    let base = host("a.example.com", "443");
    let same = digest(&base);
    assert_eq!(digest(&(base.clone() + "reason = \"why\"\n")), same);
    assert_eq!(digest(&("\n# moved\n".to_owned() + &base)), same);
    let others = [
        "mode = \"audit\"\n".to_owned() + &base,
        host("b.example.com", "443"),
        host("*.a.example.com", "443"),
        host("a.example.com", "444"),
        host("a.example.com", "443, 445"),
        base.clone() + "protocol = \"udp\"\n",
        base.clone() + "private = true\n",
        base.clone() + &cidr("10.0.0.0/8", "1"),
        String::new(),
    ];
    let digests: BTreeSet<RulesetDigest> = others.iter().map(|text| digest(text)).collect();
    assert_eq!(digests.len(), others.len());
    assert!(!digests.contains(&same));
}

#[test]
fn the_short_digest_is_the_start_of_the_long_one() {
    let digest = ruleset("").digest;
    assert_eq!(digest.to_string().len(), 64);
    assert!(
        digest
            .to_string()
            .starts_with(&format!("{:016x}", digest.short()))
    );
}

fn net() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        // A small world, so that ranges hold one another and destinations hit them.
        (0u8..4, 20u8..=32).prop_map(|(byte, length)| {
            IpNet::new(IpAddr::from([10, 0, byte, byte]), length)
                .unwrap()
                .trunc()
        }),
        (0u16..4, 108u8..=128).prop_map(|(word, length)| {
            let address = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, word, word]);
            IpNet::new(address, length).unwrap().trunc()
        }),
        Just("127.0.0.0/8".parse().unwrap()),
        Just("128.0.0.0/1".parse().unwrap()),
        Just("8000::/1".parse().unwrap()),
    ]
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u8..4, 0u8..6).prop_map(|(c, d)| IpAddr::from([10, 0, c, d])),
        (0u16..4, 0u16..6).prop_map(|(c, d)| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, c, d])),
        Just(IpAddr::from([127, 0, 0, 1])),
        Just(IpAddr::from([200, 0, 0, 1])),
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
    ]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let range = (1i64..12, 0i64..4)
        .prop_map(|(first, more)| PortRange::new(first, first.saturating_add(more)).unwrap());
    (
        net(),
        proptest::collection::vec(range, 1..3),
        prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)],
    )
        .prop_map(|(net, ranges, protocol)| Rule {
            endpoint: Endpoint::Net(net),
            ports: PortSet::new(ranges).unwrap(),
            protocol,
            private: false,
            verify: None,
            reason: None,
            origin: Origin {
                source: "x.toml".to_owned(),
                line: 1,
            },
        })
}

/// The rule in one sentence: the first of all rules whose range holds the address, with the port
/// and the protocol.
fn naive(rules: &[Rule], to: IpAddr, port: u16, protocol: u8) -> Option<usize> {
    let to = to.to_canonical();
    rules.iter().position(|rule| {
        matches!(&rule.endpoint, Endpoint::Net(net) if net.contains(&to))
            && rule.ports.contains(port)
            && rule.protocol.number() == protocol
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn the_kernels_verdict_agrees_with_any_rule_matches(
        rules in proptest::collection::vec(any_rule(), 0..10),
        questions in proptest::collection::vec(
            (address(), 0u16..16, prop_oneof![Just(TCP), Just(UDP), Just(1u8)]), 1..24,
        ),
    ) {
        let policy = Policy { rules, dns: DnsPolicy::default(), ..Policy::deny_all() };
        // A policy with too many grants does not compile; there is nothing to compare then.
        let Ok(ruleset) = compile(&policy) else { return Ok(()) };
        for (address, port, protocol) in questions {
            let to = Destination {
                address: Address::from(address), port, protocol, listener: Listener::Foreign,
            };
            let decision = decide(&ruleset, &to, u64::MAX);
            let expected = naive(&policy.rules, address, port, protocol);
            prop_assert_eq!(decision.reason.allows(), expected.is_some());
            let Some(expected) = expected else { continue };
            let named = decision.rule as usize;
            let alone = std::slice::from_ref(&policy.rules[named]);
            prop_assert_eq!(naive(alone, address, port, protocol), Some(0));
            // Only where entries overflow, a later rule that covers the first may stand for it.
            let grants: usize = policy.rules.iter().map(|rule| rule.ports.ranges().count()).sum();
            prop_assert!(expected == named || grants > MAX_GRANTS);
        }
    }

    #[test]
    fn a_lease_of_any_name_fits_if_the_policy_compiles(
        rules in proptest::collection::vec(
            ("(|\\*\\.|\\*\\*\\.)([ab]\\.){0,2}example\\.com", prop::sample::select((1i64..80).step_by(2).collect::<Vec<_>>())), 1..30,
        ),
        names in proptest::collection::vec("([ab]\\.){0,4}example\\.com", 1..8),
    ) {
        let rules = rules.iter().map(|(pattern, port)| Rule {
            endpoint: Endpoint::Host(DomainPattern::parse(pattern).unwrap()),
            ports: PortSet::new(PortRange::new(*port, *port)).unwrap(),
            protocol: Protocol::Tcp,
            private: false,
            verify: None,
            reason: None,
            origin: Origin { source: String::new(), line: 1 },
        }).collect();
        let policy = Policy { rules, ..Policy::deny_all() };
        let Ok(ruleset) = compile(&policy) else { return Ok(()) };
        for name in names {
            let rules = ruleset.rules_for_name(&DomainName::parse(&name).unwrap());
            let grants = ruleset.grants_for_rules(&rules, 1);
            prop_assert!(merge_grants(&grants, &[], 0).is_some(), "{}", name);
        }
    }
}
