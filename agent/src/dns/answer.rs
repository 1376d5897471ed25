//! What of an upstream's answer a job may get, and what is leased for it. Pure.
//!
//! Only the chain of CNAMEs that starts at the asked name counts; whatever else an upstream sends
//! is dropped. The leases are the asked name's, whatever the chain went through: a rule for one
//! name never becomes a rule for the names it points to.

use std::net::IpAddr;

use cordon_ebpf::abi::verdict::Mode;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::question::Asked;
use super::{AddressClass, Lease, NamePolicy};

/// Addresses one answer can hold.
pub(super) const MAX_ADDRESSES: usize = 512;

/// CNAMEs followed; as many as common resolvers follow.
const MAX_CHAIN: usize = 16;

/// What decides about an answer.
pub(super) struct Terms<'a> {
    /// Rules that allow the asked name.
    pub rules: &'a [u16],
    /// Says which of them allow addresses that are not public.
    pub policy: &'a dyn NamePolicy,
    /// Audit mode keeps what enforce mode removes.
    pub mode: Mode,
    /// Shortest lease, in seconds.
    pub ttl_floor: u32,
}

/// An answer that may be given once its leases are granted.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Given {
    /// The records, TTLs not above the lease's.
    pub records: Vec<Record>,
    /// What must be in the kernel first.
    pub leases: Vec<Lease>,
    /// Addresses that are not public and that no rule allows: removed, or in audit mode kept.
    pub offending: Vec<IpAddr>,
}

/// Why nothing of an answer may be given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Withheld {
    /// All its addresses are ones a public name must not have.
    Rebinding(Vec<IpAddr>),
    /// More addresses than are leased at once.
    TooMany(usize),
}

/// Filters an answer to `asked`.
pub(super) fn filter(
    asked: &Asked,
    answers: &[Record],
    terms: &Terms<'_>,
) -> Result<Given, Withheld> {
    let (mut records, finals, chain_ttl) = chain(asked, answers);
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
fn rules_for(address: IpAddr, terms: &Terms<'_>) -> Vec<u16> {
    let public = AddressClass::of(address) == AddressClass::Public;
    let allows = |rule: &&u16| public || terms.policy.allows_private(&[**rule]);
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

/// CNAMEs from the asked name on, the records of the asked type at their end, and the smallest TTL
/// on the way. Records of the asked name get its spelling back (DNS 0x20).
fn chain(asked: &Asked, answers: &[Record]) -> (Vec<Record>, Vec<Record>, u32) {
    let mut links: Vec<Record> = Vec::new();
    let mut ttl = u32::MAX;
    let mut owner = asked.wire.clone();
    let of = |record: &Record, owner: &Name, kind| {
        record.dns_class == DNSClass::IN && record.record_type() == kind && record.name == *owner
    };
    while asked.kind != RecordType::CNAME && links.len() < MAX_CHAIN {
        let found = answers
            .iter()
            .find(|record| of(record, &owner, RecordType::CNAME));
        let Some((record, RData::CNAME(target))) = found.map(|record| (record, &record.data))
        else {
            break;
        };
        ttl = ttl.min(record.ttl);
        let mut link = record.clone();
        link.name = owner;
        owner = target.0.clone();
        links.push(link);
    }
    let finals = answers
        .iter()
        .filter(|record| of(record, &owner, asked.kind))
        .map(|record| {
            let mut record = record.clone();
            record.name = owner.clone();
            record
        })
        .collect();
    (links, finals, ttl)
}

/// The address a record gives, IPv4-mapped ones as the IPv4 address they are.
fn address_of(record: &Record) -> Option<IpAddr> {
    match record.data {
        RData::A(v4) => Some(IpAddr::V4(v4.0)),
        RData::AAAA(v6) => Some(IpAddr::V6(v6.0).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{A, AAAA, CNAME};
    use proptest::prelude::*;

    use super::*;

    /// Rule 7 allows private addresses.
    struct Policy;
    impl NamePolicy for Policy {
        fn rules_for_name(&self, _name: &str) -> Vec<u16> {
            panic!("the name was admitted before")
        }
        fn allows_private(&self, rules: &[u16]) -> bool {
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
        rules: &[u16],
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
        };
        filter(&asked, answers, &terms)
    }

    fn enforce(rules: &[u16], answers: &[Record]) -> Result<Given, Withheld> {
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
    fn a_chain_in_a_circle_ends_without_an_address() {
        let given = enforce(
            &[0],
            &[
                alias("www.example.", 60, "b.example."),
                alias("b.example.", 60, "www.example."),
            ],
        )
        .unwrap();
        assert_eq!(given.leases, []);
        assert_eq!(given.records.len(), MAX_CHAIN);
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
        fn every_address_given_has_a_lease_that_outlives_it(
            hosts in proptest::collection::vec((any::<u32>(), 0u32..100), 0..20),
            rules in proptest::collection::vec(prop_oneof![Just(0u16), Just(7u16)], 1..3),
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
