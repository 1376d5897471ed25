//! The verdict: what a job's tables say about one destination.
//!
//! Pure and the same on both sides: the programs call it with kernel maps behind [`Tables`], the
//! agent with its own copy (`cordon profile explain`, the tests' naive model).

use crate::abi::address::Address;
use crate::abi::ruleset::{Grant, Grants, NO_RULE, RuleIndex};
use crate::abi::verdict::Reason;
use crate::shown::Verify;
use crate::shown::name::NameRule;

/// What a job may reach.
pub trait Tables {
    /// Grants of exactly this address, learned from DNS.
    fn lease(&self, address: &Address) -> Option<&Grants>;
    /// Grants of the longest allowed range that holds this address.
    fn net(&self, address: &Address) -> Option<&Grants>;
    /// What one rule alone grants of this address, learned from DNS.
    fn held(&self, address: &Address, rule: RuleIndex) -> Option<&Grants>;
}

/// Whose socket waits at a loopback destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Listener {
    /// The job's own DNS listener.
    Resolver,
    /// A socket of the same job.
    Own,
    /// Somebody else's, nobody's, or not a loopback destination.
    Foreign,
}

/// One destination, as a hook sees it.
#[derive(Clone, Copy, Debug)]
pub struct Destination {
    /// Where to.
    pub address: Address,
    /// Port, host byte order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Who listens there, if it is loopback.
    pub listener: Listener,
}

/// Why a destination is allowed or not, and by which rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decision {
    /// The reason; [`Reason::allows`] says which way it goes.
    pub reason: Reason,
    /// The rule that allows, or [`NO_RULE`].
    pub rule: RuleIndex,
    /// What the connection must show an allowed name in; nothing if the address is enough.
    pub verify: Verify,
}

impl Decision {
    /// A decision that no rule made.
    #[must_use]
    #[inline(always)]
    pub const fn without_rule(reason: Reason) -> Self {
        Self {
            reason,
            rule: NO_RULE,
            verify: Verify::NONE,
        }
    }
}

/// Decides one destination at boot time `now` (ns). No entry anywhere: denied.
#[must_use]
#[inline(always)]
pub fn decide<T: Tables>(tables: &T, to: &Destination, now: u64) -> Decision {
    match to.listener {
        Listener::Resolver => return Decision::without_rule(Reason::RESOLVER),
        Listener::Own => return Decision::without_rule(Reason::OWN_SOCKET),
        Listener::Foreign => {}
    }
    // A range asks for no name, so where one allows, none is asked for.
    let net = tables.net(&to.address);
    if let Some(grant) = net.and_then(|grants| find(grants, |grant| allows(grant, to, now))) {
        return by(Reason::NET, grant);
    }
    let lease = tables.lease(&to.address);
    if let Some(grant) = lease.and_then(|grants| find(grants, |grant| allows(grant, to, now))) {
        return by(Reason::LEASE, grant);
    }
    Decision::without_rule(miss(lease, net, to))
}

#[inline(always)]
fn by(reason: Reason, grant: &Grant) -> Decision {
    // No rule grants it: the agent does, for the networks of the job's own containers.
    let reason = if grant.rule == NO_RULE {
        Reason::OWN_NETWORK
    } else {
        reason
    };
    Decision {
        reason,
        rule: grant.rule,
        verify: grant.verify,
    }
}

/// Whether one of the rules found for a name allows a connection to show it: it must have leased this
/// very address, for this port, when the connection began.
#[must_use]
#[inline(always)]
pub fn allows_name<T: Tables>(
    tables: &T,
    rule: NameRule,
    labels: u8,
    to: &Destination,
    kind: Verify,
    begun: u64,
) -> bool {
    if !rule.allows(labels) {
        return false;
    }
    let by_rule = |grant: &Grant| {
        allows(grant, to, begun) && grant.rule == rule.rule && grant.verify.includes(kind)
    };
    let held = tables.held(&to.address, rule.rule);
    held.and_then(|grants| find(grants, by_rule)).is_some()
}

#[inline(always)]
fn allows(grant: &Grant, to: &Destination, now: u64) -> bool {
    speaks_of(grant, to) && now <= grant.expires
}

#[inline(always)]
fn speaks_of(grant: &Grant, to: &Destination) -> bool {
    grant.protocol == to.protocol && to.port >= grant.first_port && to.port <= grant.last_port
}

/// The nearest miss, so that a denial can say what to change: an expired lease needs nothing in the
/// policy, a port less than a protocol.
#[inline(always)]
fn miss(lease: Option<&Grants>, net: Option<&Grants>, to: &Destination) -> Reason {
    let any = |test: fn(&Grant, &Destination) -> bool| {
        let has = |grants: &Grants| find(grants, |grant| test(grant, to)).is_some();
        lease.is_some_and(has) || net.is_some_and(has)
    };
    if any(speaks_of) {
        Reason::LEASE_EXPIRED
    } else if any(|grant, to| grant.protocol == to.protocol) {
        Reason::WRONG_PORT
    } else if any(|_, _| true) {
        Reason::WRONG_PROTOCOL
    } else if to.address.is_loopback() {
        Reason::FOREIGN_LOOPBACK
    } else {
        Reason::NO_RULE
    }
}

/// The first grant that passes a test. Nothing but the index is carried from one turn to the next:
/// the verifier follows every value that is.
#[inline(always)]
fn find(grants: &Grants, test: impl Fn(&Grant) -> bool) -> Option<&Grant> {
    // Counted over the whole array, not over a slice of `len`: the verifier needs a fixed bound.
    for (index, grant) in (0u32..).zip(&grants.grants) {
        if index >= grants.len {
            break;
        }
        if test(grant) {
            return Some(grant);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr};
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::abi::ruleset::{MAX_GRANTS, NEVER};
    use crate::abi::{TCP, UDP};
    use crate::shown::name::{NameRules, RULES_MAX};

    #[derive(Clone, Debug, Default)]
    struct Model {
        leases: BTreeMap<Address, Grants>,
        /// (network, prefix length in the mapped form) -> grants
        nets: Vec<(Address, u32, Grants)>,
    }

    fn holds(net: &Address, bits: u32, address: &Address) -> bool {
        u128::from_be_bytes(net.0)
            .checked_shr(128u32.saturating_sub(bits))
            .unwrap_or(0)
            == u128::from_be_bytes(address.0)
                .checked_shr(128u32.saturating_sub(bits))
                .unwrap_or(0)
    }

    impl Tables for Model {
        fn lease(&self, address: &Address) -> Option<&Grants> {
            self.leases.get(address)
        }
        fn net(&self, address: &Address) -> Option<&Grants> {
            self.nets
                .iter()
                .filter(|(net, bits, _)| holds(net, *bits, address))
                .max_by_key(|(_, bits, _)| *bits)
                .map(|(.., grants)| grants)
        }
        fn held(&self, address: &Address, rule: RuleIndex) -> Option<&Grants> {
            let lease = self.leases.get(address)?;
            let named = |grant: &Grant| grant.rule == rule;
            // What the agent keeps by rule is the rule's part of the lease.
            lease.as_slice().iter().any(named).then_some(lease)
        }
    }

    /// The rule in one sentence: some grant of the address' lease, or of its longest range, has
    /// this protocol, this port and time left.
    fn naive(model: &Model, to: &Destination, now: u64) -> bool {
        if to.listener != Listener::Foreign {
            return true;
        }
        [model.lease(&to.address), model.net(&to.address)]
            .into_iter()
            .flatten()
            .any(|grants| {
                grants.as_slice().iter().any(|grant| {
                    grant.protocol == to.protocol
                        && (grant.first_port..=grant.last_port).contains(&to.port)
                        && now <= grant.expires
                })
            })
    }

    fn address() -> impl Strategy<Value = Address> {
        // A small world, so that leases, ranges and destinations meet.
        prop_oneof![
            (0u8..4, 0u8..4)
                .prop_map(|(c, d)| Address::from(IpAddr::V4(Ipv4Addr::new(10, 0, c, d)))),
            (0u8..4)
                .prop_map(|d| Address([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, d])),
            Just(Address::from_v4([127, 0, 0, 1])),
        ]
    }

    fn grant(verify: std::ops::Range<u8>) -> impl Strategy<Value = Grant> {
        (
            0u16..6,
            0u16..6,
            prop_oneof![Just(TCP), Just(UDP)],
            0u32..4,
            0u64..6,
            verify,
        )
            .prop_map(
                |(first_port, last_port, protocol, rule, expires, verify)| Grant {
                    expires: if expires == 5 { NEVER } else { expires },
                    first_port,
                    last_port,
                    rule,
                    protocol,
                    verify: Verify(verify),
                    reserved: [0; 6],
                },
            )
    }

    fn grants(verify: std::ops::Range<u8>) -> impl Strategy<Value = Grants> {
        proptest::collection::vec(grant(verify), 0..=MAX_GRANTS)
            .prop_map(|list| Grants::new(&list).unwrap())
    }

    fn model() -> impl Strategy<Value = Model> {
        (
            proptest::collection::btree_map(address(), grants(0..4), 0..6),
            proptest::collection::vec((address(), 96u32..=128, grants(0..1)), 0..4),
        )
            .prop_map(|(leases, nets)| Model { leases, nets })
    }

    fn destination() -> impl Strategy<Value = Destination> {
        (
            address(),
            0u16..6,
            prop_oneof![Just(TCP), Just(UDP), Just(1u8)],
            prop_oneof![
                8 => Just(Listener::Foreign),
                1 => Just(Listener::Own),
                1 => Just(Listener::Resolver)
            ],
        )
            .prop_map(|(address, port, protocol, listener)| Destination {
                address,
                port,
                protocol,
                listener,
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn decide_agrees_with_the_naive_model(model in model(), to in destination(), now in 0u64..6) {
            let decision = decide(&model, &to, now);
            prop_assert_eq!(decision.reason.allows(), naive(&model, &to, now));
        }

        #[test]
        fn an_allowing_rule_is_named_and_really_allows(
            model in model(), to in destination(), now in 0u64..6,
        ) {
            let decision = decide(&model, &to, now);
            let tables = match decision.reason {
                Reason::LEASE => model.lease(&to.address),
                Reason::NET => model.net(&to.address),
                _ => { prop_assert_eq!(decision.rule, NO_RULE); return Ok(()); }
            };
            let named = tables.unwrap().as_slice().iter().any(|grant| {
                grant.rule == decision.rule && grant.protocol == to.protocol && now <= grant.expires
            });
            prop_assert!(named);
        }
    }

    fn rules() -> impl Strategy<Value = NameRules> {
        let rule = (0u32..5, 0u8..4).prop_map(|(rule, labels)| NameRule {
            rule,
            labels,
            reserved: [0; 3],
        });
        proptest::collection::vec(rule, 0..=RULES_MAX)
            .prop_map(|list| NameRules::new(&list).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn the_first_grant_says_what_is_asked_for(
            model in model(), to in destination(), now in 0u64..6,
        ) {
            let decision = decide(&model, &to, now);
            if to.listener != Listener::Foreign || !decision.reason.allows() {
                prop_assert_eq!(decision.verify, Verify::NONE);
                return Ok(());
            }
            let first = [model.net(&to.address), model.lease(&to.address)]
                .into_iter()
                .flatten()
                .find_map(|grants| grants.as_slice().iter().find(|grant| allows(grant, &to, now)));
            prop_assert_eq!(Some(decision.verify), first.map(|grant| grant.verify));
        }

        #[test]
        fn a_name_is_allowed_by_a_rule_of_its_own_that_leased_the_address(
            model in model(), rules in rules(), labels in 1u8..4,
            to in destination(), tls: bool, begun in 0u64..6,
        ) {
            let kind = if tls { Verify::TLS } else { Verify::HTTP };
            for rule in rules.as_slice() {
                let naive = (rule.labels == 0 || rule.labels == labels)
                    && model.lease(&to.address).is_some_and(|grants| {
                        grants.as_slice().iter().any(|grant| {
                            grant.rule == rule.rule
                                && grant.verify.includes(kind)
                                && grant.protocol == to.protocol
                                && (grant.first_port..=grant.last_port).contains(&to.port)
                                && begun <= grant.expires
                        })
                    });
                prop_assert_eq!(allows_name(&model, *rule, labels, &to, kind, begun), naive);
            }
        }
    }

    fn ask(model: &Model, to: &str, port: u16, protocol: u8, now: u64) -> Reason {
        let address = Address::from(to.parse::<IpAddr>().unwrap());
        let to = Destination {
            address,
            port,
            protocol,
            listener: Listener::Foreign,
        };
        decide(model, &to, now).reason
    }

    #[test]
    fn nothing_is_allowed_by_an_empty_table() {
        let empty = Model::default();
        assert_eq!(ask(&empty, "192.0.2.1", 443, TCP, 0), Reason::NO_RULE);
        assert_eq!(ask(&empty, "::1", 443, TCP, 0), Reason::FOREIGN_LOOPBACK);
        assert_eq!(
            ask(&empty, "0.0.0.0", 443, TCP, 0),
            Reason::FOREIGN_LOOPBACK
        );
    }

    #[test]
    fn a_denial_names_the_nearest_miss() {
        let lease = Grant {
            expires: 10,
            first_port: 443,
            last_port: 443,
            rule: 0,
            protocol: TCP,
            verify: Verify::NONE,
            reserved: [0; 6],
        };
        let mut model = Model::default();
        let address = Address::from_v4([192, 0, 2, 1]);
        model.leases.insert(address, Grants::new(&[lease]).unwrap());
        assert_eq!(ask(&model, "192.0.2.1", 443, TCP, 10), Reason::LEASE);
        assert_eq!(
            ask(&model, "192.0.2.1", 443, TCP, 11),
            Reason::LEASE_EXPIRED
        );
        assert_eq!(ask(&model, "192.0.2.1", 80, TCP, 10), Reason::WRONG_PORT);
        assert_eq!(
            ask(&model, "192.0.2.1", 443, UDP, 10),
            Reason::WRONG_PROTOCOL
        );
        assert_eq!(ask(&model, "192.0.2.2", 443, TCP, 10), Reason::NO_RULE);
    }

    #[test]
    fn a_length_beyond_the_array_is_cut() {
        let mut grants = Grants::NONE;
        grants.len = u32::MAX;
        assert_eq!(grants.as_slice().len(), MAX_GRANTS);
    }
}
