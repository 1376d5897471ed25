//! What of an upstream's answer a job may get, and what is leased for it. Pure.
//!
//! Only the chain of CNAMEs that starts at the asked name counts; whatever else an upstream sends
//! is dropped. The leases are the asked name's, whatever the chain went through: a rule for one
//! name never becomes a rule for the names it points to.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cordon_ebpf::abi::ruleset::RuleIndex;
use cordon_ebpf::abi::verdict::Mode;
use hickory_proto::op::Message;
use hickory_proto::rr::rdata::HTTPS;
use hickory_proto::rr::rdata::svcb::{SvcParamKey, SvcParamValue};
use hickory_proto::rr::{RData, Record, RecordType};

use super::chain::{self, Astray, Chain};
use super::question::Asked;
use super::{AddressClass, Lease, NamePolicy};

/// Addresses one answer can hold.
pub(super) const MAX_ADDRESSES: usize = 512;

/// What decides about an answer.
pub(super) struct Terms<'a> {
    /// Rules that allow the asked name.
    pub rules: &'a [RuleIndex],
    /// Says which of them allow addresses that are not public.
    pub policy: &'a dyn NamePolicy,
    /// Audit mode keeps what enforce mode removes.
    pub mode: Mode,
    /// Shortest lease, in seconds.
    pub ttl_floor: u32,
    /// Those of the answer's addresses that the host has itself.
    pub own: &'a BTreeSet<IpAddr>,
}

/// An answer that may be given once its leases are granted.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Given {
    /// The records, TTLs not above the lease's.
    pub records: Vec<Record>,
    /// What must be in the kernel first.
    pub leases: Vec<Lease>,
    /// Addresses that are not public, or the host's own, and that no rule allows: removed, or in
    /// audit mode kept.
    pub offending: Vec<IpAddr>,
}

/// Why nothing of an answer may be given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Withheld {
    /// All its addresses are ones a public name must not have.
    Rebinding(Vec<IpAddr>),
    /// More addresses than are leased at once.
    TooMany(usize),
    /// It leads nowhere.
    Astray(Astray),
}

/// Filters an answer to `asked`.
pub(super) fn filter(
    asked: &Asked,
    answers: &[Record],
    terms: &Terms<'_>,
) -> Result<Given, Withheld> {
    let chain = chain::follow(&asked.wire, asked.kind, answers).map_err(Withheld::Astray)?;
    let Chain {
        links, mut finals, ..
    } = chain;
    if matches!(asked.kind, RecordType::HTTPS | RecordType::SVCB) {
        // Behind an alias it would be a service of another name.
        let own = links.is_empty();
        finals = finals.iter().filter(|_| own).filter_map(service).collect();
    }
    let chain_ttl = links.iter().map(|link| link.ttl).min().unwrap_or(u32::MAX);
    let mut records = links;
    let mut leases: Vec<Lease> = Vec::new();
    let mut offending = Vec::new();
    for mut record in finals {
        let Some(address) = address_of(&record) else {
            records.push(record);
            continue;
        };
        let rules = rules_for(address, terms);
        if rules.is_empty() && !terms.rules.is_empty() {
            offending.push(address);
        }
        if rules.is_empty() && terms.mode != Mode::AUDIT {
            continue;
        }
        let seconds = record.ttl.min(chain_ttl).max(terms.ttl_floor);
        record.ttl = record.ttl.min(seconds);
        records.push(record);
        if !leases.iter().any(|lease| lease.address == address) {
            leases.push(Lease {
                name: asked.name.clone(),
                address,
                rules,
                seconds,
            });
        }
    }
    if leases.is_empty() && !offending.is_empty() {
        return Err(Withheld::Rebinding(offending));
    }
    if leases.len() > MAX_ADDRESSES {
        return Err(Withheld::TooMany(leases.len()));
    }
    cap_ttls(&mut records, &leases);
    Ok(Given {
        records,
        leases,
        offending,
    })
}

/// The rules by which the asked name may have this address.
fn rules_for(address: IpAddr, terms: &Terms<'_>) -> Vec<RuleIndex> {
    let public = AddressClass::of(address) == AddressClass::Public && !terms.own.contains(&address);
    let allows = |rule: &&RuleIndex| public || terms.policy.allows_private(&[**rule]);
    terms.rules.iter().filter(allows).copied().collect()
}

/// The client must not keep a record longer than the shortest lease it led to.
fn cap_ttls(records: &mut [Record], leases: &[Lease]) {
    if let Some(shortest) = leases.iter().map(|lease| lease.seconds).min() {
        for record in records {
            record.ttl = record.ttl.min(shortest);
        }
    }
}

/// What of a service's record a job may have: which protocols it speaks. The keys of encrypted
/// client hellos would hide the name of a connection; address hints have no lease; other names,
/// other ports and names that stand for the asked one are not what the rule says. A record that
/// cannot do without them is left out, and clients use A and AAAA as if there were none.
fn service(record: &Record) -> Option<Record> {
    let (RData::HTTPS(HTTPS(service)) | RData::SVCB(service)) = &record.data else {
        return None;
    };
    let is_kept = |key: &SvcParamKey| {
        matches!(
            key,
            SvcParamKey::Mandatory | SvcParamKey::Alpn | SvcParamKey::NoDefaultAlpn
        )
    };
    let can_do_without = |(key, value): &(SvcParamKey, SvcParamValue)| match value {
        SvcParamValue::Mandatory(keys) => keys.0.iter().all(is_kept),
        _ => *key != SvcParamKey::Port,
    };
    let is_alias = service.svc_priority == 0;
    let is_own = service.target_name.is_root() || service.target_name == record.name;
    if is_alias || !is_own || !service.svc_params.iter().all(can_do_without) {
        return None;
    }
    let mut kept = service.clone();
    kept.svc_params.retain(|(key, _)| is_kept(key));
    let mut record = record.clone();
    record.data = match record.data {
        RData::HTTPS(_) => RData::HTTPS(HTTPS(kept)),
        _ => RData::SVCB(kept),
    };
    Some(record)
}

/// The address a record gives, IPv4-mapped ones as the IPv4 address they are.
pub(super) fn address_of(record: &Record) -> Option<IpAddr> {
    match record.data {
        RData::A(v4) => Some(IpAddr::V4(v4.0)),
        RData::AAAA(v6) => Some(IpAddr::V6(v6.0).to_canonical()),
        _ => None,
    }
}

/// Runs all that is done with an upstream's bytes: the entry point of the answers' fuzz target. The
/// message's own question is the one that was asked; what is given must be the asked name's, public,
/// leased, and without keys that hide names.
#[doc(hidden)]
pub fn fuzz_answer(bytes: &[u8]) {
    struct Any;
    impl NamePolicy for Any {
        fn rules_for_name(&self, _name: &str) -> Vec<RuleIndex> {
            vec![0]
        }
        fn wildcard_part<'a>(&self, _rule: RuleIndex, _name: &'a str) -> Option<&'a str> {
            None
        }
        fn allows_private(&self, _rules: &[RuleIndex]) -> bool {
            false
        }
    }
    let Ok(message) = Message::from_vec(bytes) else {
        return;
    };
    let Some(query) = message.queries.first() else {
        return;
    };
    let asked = Asked {
        name: "asked.example".to_owned(),
        wire: query.name().clone(),
        kind: query.query_type(),
        kind_text: String::new(),
    };
    let own = IpAddr::from([203, 0, 113, 200]);
    let terms = Terms {
        rules: &[0],
        policy: &Any,
        mode: Mode::ENFORCE,
        ttl_floor: 30,
        own: &BTreeSet::from([own]),
    };
    let Ok(given) = filter(&asked, &message.answers, &terms) else {
        return;
    };
    assert!(given.leases.len() <= MAX_ADDRESSES);
    assert!(given.records.len() <= chain::MAX_RECORDS + chain::MAX_LINKS);
    for record in &given.records {
        let is_asked = record.record_type() == asked.kind;
        assert!(is_asked || record.record_type() == RecordType::CNAME);
        if let Some(address) = address_of(record) {
            assert!(AddressClass::of(address) == AddressClass::Public && address != own);
            let lease = given.leases.iter().find(|lease| lease.address == address);
            assert!(lease.is_some_and(|lease| lease.seconds >= record.ttl.max(30)));
        }
        if let RData::HTTPS(HTTPS(service)) | RData::SVCB(service) = &record.data {
            let keys: Vec<u16> = service
                .svc_params
                .iter()
                .map(|(key, _)| (*key).into())
                .collect();
            assert!(
                service.svc_priority > 0 && keys.iter().all(|key| *key <= 2),
                "{keys:?}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Name;
    use hickory_proto::rr::rdata::svcb::{Alpn, EchConfigList, IpHint, Mandatory, Unknown};
    use hickory_proto::rr::rdata::{A, AAAA, CNAME, SVCB};
    use proptest::prelude::*;

    use super::*;

    /// The host's own address, in the public range.
    const OWN: std::net::Ipv4Addr = std::net::Ipv4Addr::new(203, 0, 113, 200);

    /// Rule 7 allows private addresses.
    struct Policy;
    impl NamePolicy for Policy {
        fn rules_for_name(&self, _name: &str) -> Vec<RuleIndex> {
            panic!("the name was admitted before")
        }
        fn wildcard_part<'a>(&self, _rule: RuleIndex, _name: &'a str) -> Option<&'a str> {
            panic!("the name was admitted before")
        }
        fn allows_private(&self, rules: &[RuleIndex]) -> bool {
            rules.iter().all(|rule| *rule == 7)
        }
    }

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn address(owner: &str, ttl: u32, text: &str) -> Record {
        let data = match text.parse().unwrap() {
            IpAddr::V4(v4) => RData::A(A(v4)),
            IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
        };
        Record::from_rdata(name(owner), ttl, data)
    }

    fn alias(owner: &str, ttl: u32, target: &str) -> Record {
        Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
    }

    fn run(
        kind: RecordType,
        rules: &[RuleIndex],
        mode: Mode,
        answers: &[Record],
    ) -> Result<Given, Withheld> {
        let asked = Asked {
            name: "www.example".into(),
            wire: name("wWw.Example."),
            kind,
            kind_text: kind.to_string(),
        };
        let terms = Terms {
            rules,
            policy: &Policy,
            mode,
            ttl_floor: 30,
            own: &BTreeSet::from([OWN.into()]),
        };
        filter(&asked, answers, &terms)
    }

    fn enforce(rules: &[RuleIndex], answers: &[Record]) -> Result<Given, Withheld> {
        run(RecordType::A, rules, Mode::ENFORCE, answers)
    }

    #[test]
    fn the_lease_lasts_as_the_shortest_ttl_of_the_chain_and_the_client_is_told_no_more() {
        let given = enforce(
            &[0],
            &[
                alias("www.example.", 60, "cdn.example."),
                alias("cdn.example.", 45, "edge.example."),
                address("edge.example.", 300, "192.0.2.1"),
            ],
        )
        .unwrap();
        let [lease] = &given.leases[..] else {
            panic!("{given:?}")
        };
        assert_eq!((lease.name.as_str(), lease.seconds), ("www.example", 45));
        let ttls: Vec<_> = given.records.iter().map(|record| record.ttl).collect();
        assert_eq!(ttls, [45, 45, 45]);
        assert_eq!(given.records[0].name.to_ascii(), "wWw.Example.");
    }

    #[test]
    fn the_floor_lengthens_the_lease_and_not_what_the_client_is_told() {
        let given = enforce(&[0], &[address("www.example.", 1, "192.0.2.1")]).unwrap();
        assert_eq!(given.leases[0].seconds, 30);
        assert_eq!(given.records[0].ttl, 1);
    }

    #[test]
    fn records_that_do_not_belong_to_the_asked_name_are_dropped() {
        let given = enforce(
            &[0],
            &[
                address("www.example.", 60, "192.0.2.1"),
                address("evil.example.", 60, "192.0.2.66"),
                alias("evil.example.", 60, "www.example."),
                address("www.example.", 60, "2001:db8::1"),
            ],
        )
        .unwrap();
        assert_eq!(given.leases.len(), 1);
        assert_eq!(given.records.len(), 1);
    }

    #[test]
    fn a_chain_in_a_circle_is_no_answer() {
        let given = enforce(
            &[0],
            &[
                alias("www.example.", 60, "b.example."),
                alias("b.example.", 60, "www.example."),
            ],
        );
        assert_eq!(given, Err(Withheld::Astray(Astray::Circle)));
    }

    #[test]
    fn the_hosts_own_address_is_as_good_as_a_private_one() {
        let own = [address("www.example.", 60, "203.0.113.200")];
        let given = enforce(&[0], &own);
        assert_eq!(given, Err(Withheld::Rebinding(vec![OWN.into()])));
        assert_eq!(enforce(&[0, 7], &own).unwrap().leases[0].rules, [7]);
        let mapped = [address("www.example.", 60, "::ffff:203.0.113.200")];
        let given = run(RecordType::AAAA, &[0], Mode::ENFORCE, &mapped);
        assert_eq!(given, Err(Withheld::Rebinding(vec![OWN.into()])));
    }

    fn https(priority: u16, target: &str, params: Vec<(SvcParamKey, SvcParamValue)>) -> Record {
        let service = SVCB::new(priority, name(target), params);
        Record::from_rdata(name("www.example."), 60, RData::HTTPS(HTTPS(service)))
    }

    fn alpn() -> (SvcParamKey, SvcParamValue) {
        let alpn = SvcParamValue::Alpn(Alpn(vec!["h2".into()]));
        (SvcParamKey::Alpn, alpn)
    }

    fn ech() -> (SvcParamKey, SvcParamValue) {
        let keys = SvcParamValue::EchConfigList(EchConfigList(vec![1, 2, 3]));
        (SvcParamKey::EchConfigList, keys)
    }

    fn served(answers: &[Record]) -> Vec<Record> {
        let given = run(RecordType::HTTPS, &[0], Mode::ENFORCE, answers).unwrap();
        assert_eq!(given.leases, []);
        given.records
    }

    #[test]
    fn a_service_keeps_its_protocols_and_loses_keys_and_hints() {
        let hint = SvcParamValue::Ipv4Hint(IpHint(vec![A::new(192, 0, 2, 1)]));
        let hint6 = SvcParamValue::Ipv6Hint(IpHint(vec![AAAA::new(1, 2, 3, 4, 5, 6, 7, 8)]));
        let unknown = SvcParamValue::Unknown(Unknown(vec![1]));
        let all = vec![
            alpn(),
            (SvcParamKey::Ipv4Hint, hint),
            ech(),
            (SvcParamKey::Ipv6Hint, hint6),
            (SvcParamKey::Unknown(9), unknown),
        ];
        for target in [".", "WWW.example."] {
            let served = served(&[https(1, target, all.clone())]);
            assert_eq!(served, [https(1, target, vec![alpn()])]);
        }
    }

    #[test]
    fn a_service_elsewhere_or_that_needs_what_is_removed_is_left_out() {
        let needs = |key| {
            let keys = SvcParamValue::Mandatory(Mandatory(vec![key]));
            (SvcParamKey::Mandatory, keys)
        };
        let port = (SvcParamKey::Port, SvcParamValue::Port(8443));
        let left_out = [
            https(0, "other.example.", vec![]),
            https(0, ".", vec![]),
            https(1, "other.example.", vec![alpn()]),
            https(1, ".", vec![alpn(), port]),
            https(1, ".", vec![needs(SvcParamKey::EchConfigList), ech()]),
        ];
        assert_eq!(served(&left_out), []);
        let kept = https(1, ".", vec![needs(SvcParamKey::Alpn), alpn()]);
        assert_eq!(served(std::slice::from_ref(&kept)), [kept]);
    }

    #[test]
    fn a_service_behind_an_alias_is_left_out() {
        let mut record = https(1, ".", vec![alpn()]);
        record.name = name("cdn.example.");
        let served = served(&[alias("www.example.", 60, "cdn.example."), record]);
        assert!(
            served
                .iter()
                .all(|record| record.record_type() == RecordType::CNAME)
        );
    }

    #[test]
    fn private_addresses_are_removed_and_public_ones_stay() {
        let answers = [
            address("www.example.", 60, "192.0.2.1"),
            address("www.example.", 60, "10.0.0.1"),
        ];
        let given = enforce(&[0], &answers).unwrap();
        assert_eq!(given.records.len(), 1);
        assert_eq!(given.offending, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(
            enforce(&[0], &answers[1..]),
            Err(Withheld::Rebinding(given.offending))
        );
    }

    #[test]
    fn only_the_rule_that_allows_private_addresses_grants_one() {
        let given = enforce(&[0, 7], &[address("www.example.", 60, "10.0.0.1")]).unwrap();
        assert_eq!(given.leases[0].rules, [7]);
        assert!(given.offending.is_empty());
    }

    #[test]
    fn a_mapped_private_address_is_a_private_address() {
        let answers = [address("www.example.", 60, "::ffff:169.254.169.254")];
        let given = run(RecordType::AAAA, &[0], Mode::ENFORCE, &answers);
        assert!(matches!(given, Err(Withheld::Rebinding(_))), "{given:?}");
    }

    #[test]
    fn audit_mode_keeps_private_addresses_and_grants_them_nothing() {
        let answers = [address("www.example.", 60, "127.0.0.1")];
        let given = run(RecordType::A, &[0], Mode::AUDIT, &answers).unwrap();
        assert!(given.leases[0].rules.is_empty());
        assert_eq!(given.offending.len(), 1);
        let given = run(RecordType::A, &[], Mode::AUDIT, &answers).unwrap();
        assert!(given.leases[0].rules.is_empty());
        assert_eq!(given.offending.len(), 0);
    }

    #[test]
    fn a_name_without_rules_is_given_nothing_in_enforce_mode() {
        let given = enforce(&[], &[address("www.example.", 60, "192.0.2.1")]).unwrap();
        assert_eq!((given.leases.len(), given.records.len()), (0, 0));
    }

    #[test]
    fn the_513th_address_is_too_many() {
        let many = |count: u16| -> Vec<Record> {
            (0..count)
                .map(|i| {
                    address(
                        "www.example.",
                        60,
                        &format!("192.0.{}.{}", 2 + i / 256, i % 256),
                    )
                })
                .collect()
        };
        assert_eq!(enforce(&[0], &many(512)).unwrap().leases.len(), 512);
        assert_eq!(enforce(&[0], &many(513)), Err(Withheld::TooMany(513)));
    }

    #[test]
    fn other_types_are_given_without_leases() {
        let answers = [
            alias("www.example.", 60, "cdn.example."),
            address("cdn.example.", 60, "192.0.2.1"),
        ];
        let given = run(RecordType::CNAME, &[0], Mode::ENFORCE, &answers).unwrap();
        assert_eq!((given.leases.len(), given.records.len()), (0, 1));
    }

    proptest! {
        #[test]
        fn any_message_is_filtered_without_a_panic(
            kind in prop_oneof![Just(1_u16), Just(28), Just(65), Just(16)],
            data in proptest::collection::vec(any::<u8>(), 0..24),
            tail in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut bytes = vec![0, 1, 0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0, 1, b'a', 0];
            let [high, low] = kind.to_be_bytes();
            bytes.extend([high, low, 0, 1]);
            bytes.extend([0xc0, 12, high, low, 0, 1, 0, 0, 0, 60, 0, u8::try_from(data.len()).unwrap()]);
            bytes.extend(data);
            bytes.extend(tail);
            fuzz_answer(&bytes);
        }

        #[test]
        fn every_address_given_has_a_lease_that_outlives_it(
            hosts in proptest::collection::vec((any::<u32>(), 0u32..100), 0..20),
            rules in proptest::collection::vec(prop_oneof![Just(0u32), Just(7u32)], 1..3),
        ) {
            let answers: Vec<Record> = hosts
                .iter()
                .map(|(bits, ttl)| {
                    let v4 = A(std::net::Ipv4Addr::from(*bits));
                    Record::from_rdata(name("www.example."), *ttl, RData::A(v4))
                })
                .collect();
            if let Ok(given) = enforce(&rules, &answers) {
                for record in &given.records {
                    let address = address_of(record).unwrap();
                    let lease = given.leases.iter().find(|lease| lease.address == address);
                    let lease = lease.unwrap();
                    prop_assert!(record.ttl <= lease.seconds && lease.seconds >= 30);
                    prop_assert!(!lease.rules.is_empty());
                    prop_assert!(
                        AddressClass::of(address) == AddressClass::Public || lease.rules.contains(&7)
                    );
                }
            }
        }
    }
}
