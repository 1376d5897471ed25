//! A policy as the kernel and the DNS listener have it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use cordon_ebpf::abi::address::{Address, MAPPED_BITS};
use cordon_ebpf::abi::ruleset::{Grant, Grants, RuleIndex};
use cordon_ebpf::decide::Tables;
use cordon_ebpf::shown;
use ipnet::IpNet;

use super::names::Names;
use crate::policy::endpoint::Endpoint;
use crate::policy::hex::Hex;
use crate::policy::name::DomainName;
use crate::policy::pattern::DomainPattern;
use crate::policy::ports::PortSet;
use crate::policy::verify::{Verify, by_port};
use crate::policy::{Mode, Protocol, Rule};

/// First bytes of what a ruleset's digest is made of; changes with the encoding.
const DIGEST_CONTEXT: &str = "cordon ruleset v2";

/// A policy in the kernel's form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ruleset {
    /// What verdicts do.
    pub mode: Mode,
    /// The net map: every range with the grants of all ranges that hold it.
    pub nets: BTreeMap<Net, Grants>,
    /// The trie of names that connections may show.
    pub names: Names,
    /// The policy's rules, in their order.
    pub rules: Vec<CompiledRule>,
    /// Those of them that the job gave up.
    pub withdrawn: Range<RuleIndex>,
    /// Identifies mode and rules.
    pub digest: RulesetDigest,
    /// Indices of the host rules of each pattern.
    hosts: BTreeMap<DomainPattern, Vec<RuleIndex>>,
}

/// What is left of a rule when it is enforced.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CompiledRule {
    /// Which names or addresses.
    pub endpoint: Endpoint,
    /// Which ports.
    pub ports: PortSet,
    /// Over which protocol.
    pub protocol: Protocol,
    /// Whether the name may have private addresses.
    pub private: bool,
    /// What connections must show the name in, if the rule says so itself.
    pub verify: Option<Verify>,
    /// Whether it allows anything: false if the job gave it up.
    pub in_force: bool,
    /// The rule the job began with that this one is a part of, if the job narrowed its policy: what is counted
    /// under a wildcard is counted there.
    pub within: Option<RuleIndex>,
}

/// A range of addresses as the trie has it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Net {
    /// First address; IPv4 in its mapped form.
    pub address: Address,
    /// Leading bits of the 128 that count: 96 more than IPv4 writes.
    pub prefix_len: u32,
}

impl Net {
    /// Whether the range holds the address.
    #[must_use]
    pub fn contains(&self, address: &Address) -> bool {
        masked(address, self.prefix_len) == masked(&self.address, self.prefix_len)
    }

    /// Whether the range holds all of another one.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        self.prefix_len <= other.prefix_len && self.contains(&other.address)
    }
}

impl From<IpNet> for Net {
    fn from(net: IpNet) -> Self {
        let prefix_len = u32::from(net.prefix_len());
        let prefix_len = match net {
            IpNet::V4(_) => prefix_len.saturating_add(MAPPED_BITS),
            IpNet::V6(_) => prefix_len,
        };
        Self {
            address: Address::from(net.network()),
            prefix_len,
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = IpAddr::from(self.address);
        let mapped = if address.is_ipv4() { MAPPED_BITS } else { 0 };
        write!(f, "{address}/{}", self.prefix_len.saturating_sub(mapped))
    }
}

/// BLAKE3 over a canonical encoding of a ruleset: equal rulesets, and only those, have equal ones.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RulesetDigest([u8; 32]);

impl RulesetDigest {
    /// All of it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight bytes as a number: what the kernel keeps with the job.
    #[must_use]
    pub fn short(&self) -> u64 {
        let (first, _) = self.0.split_first_chunk().unwrap_or((&[0; 8], &[]));
        u64::from_be_bytes(*first)
    }
}

impl fmt::Display for RulesetDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl From<&Rule> for CompiledRule {
    fn from(rule: &Rule) -> Self {
        let Rule {
            endpoint,
            ports,
            protocol,
            private,
            verify,
            reason: _,
            origin: _,
        } = rule.clone();
        Self {
            endpoint,
            ports,
            protocol,
            private,
            verify,
            in_force: true,
            within: None,
        }
    }
}

impl CompiledRule {
    pub(super) fn grants(
        &self,
        index: RuleIndex,
        expires: u64,
    ) -> impl Iterator<Item = Grant> + '_ {
        by_port(&self.endpoint, &self.ports, self.protocol, self.verify)
            .into_iter()
            .map(move |(first_port, last_port, verify)| Grant {
                expires,
                first_port,
                last_port,
                rule: index,
                protocol: self.protocol.number(),
                verify: verify.into(),
                reserved: [0; 6],
            })
    }

    /// Whether connections to some of its ports must show the name.
    pub(super) fn verifies(&self) -> bool {
        by_port(&self.endpoint, &self.ports, self.protocol, self.verify)
            .iter()
            .any(|(.., verify)| *verify != Verify::None)
    }

    pub(super) fn net(&self) -> Option<Net> {
        match &self.endpoint {
            Endpoint::Host(_) => None,
            Endpoint::Net(net) => Some(Net::from(*net)),
        }
    }
}

impl Ruleset {
    pub(super) fn new(
        mode: Mode,
        nets: BTreeMap<Net, Grants>,
        names: Names,
        rules: Vec<CompiledRule>,
        withdrawn: Range<RuleIndex>,
    ) -> Self {
        let mut hosts: BTreeMap<DomainPattern, Vec<RuleIndex>> = BTreeMap::new();
        for (index, rule) in (0..).zip(&rules) {
            if let Endpoint::Host(pattern) = &rule.endpoint
                && rule.in_force
            {
                hosts.entry(pattern.clone()).or_default().push(index);
            }
        }
        Self {
            mode,
            nets,
            names,
            digest: digest(mode, &rules, &withdrawn),
            rules,
            withdrawn,
            hosts,
        }
    }

    /// Indices of the rules that allow the name, in the order of the policy.
    #[must_use]
    pub fn rules_for_name(&self, name: &DomainName) -> Vec<RuleIndex> {
        let mut rules: Vec<RuleIndex> = DomainPattern::all_matching(name)
            .filter_map(|pattern| self.hosts.get(&pattern))
            .flatten()
            .copied()
            .collect();
        rules.sort_unstable();
        rules
    }

    /// All patterns of host rules, each once.
    pub(super) fn patterns(&self) -> impl Iterator<Item = &DomainPattern> {
        self.hosts.keys()
    }

    /// Whether connections by this rule must show a name.
    #[must_use]
    pub fn verifies(&self, rule: RuleIndex) -> bool {
        let rule = self.rules.get(rule as usize);
        rule.is_some_and(CompiledRule::verifies)
    }

    /// What these rules grant until `expires` (boot time, ns): one grant for each port range.
    #[must_use]
    pub fn grants_for_rules(&self, rules: &[RuleIndex], expires: u64) -> Vec<Grant> {
        let granted = |index: &RuleIndex| {
            let rule = self.rules.get(*index as usize)?;
            let rule = Some(rule).filter(|rule| rule.in_force)?;
            Some(rule.grants(*index, expires))
        };
        rules.iter().filter_map(granted).flatten().collect()
    }

    /// Whether one of these rules accepts private addresses for its names.
    #[must_use]
    pub fn allows_private(&self, rules: &[RuleIndex]) -> bool {
        rules
            .iter()
            .filter_map(|index| self.rules.get(*index as usize))
            .any(|rule| rule.private)
    }
}

/// The kernel's view without leases: what the ruleset says about addresses.
impl Tables for Ruleset {
    fn lease(&self, _address: &Address) -> Option<&Grants> {
        None
    }

    fn held(&self, _address: &Address, _rule: RuleIndex) -> Option<&Grants> {
        None
    }

    fn net(&self, address: &Address) -> Option<&Grants> {
        (0..=128).rev().find_map(|prefix_len| {
            let address = masked(address, prefix_len);
            self.nets.get(&Net {
                address,
                prefix_len,
            })
        })
    }
}

pub(super) fn masked(address: &Address, prefix_len: u32) -> Address {
    let shift = 128_u32.saturating_sub(prefix_len);
    // A shift by all 128 bits is not one the machine has: no bit counts.
    let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
    Address((u128::from_be_bytes(address.0) & mask).to_be_bytes())
}

/// Every field has its length in front or is of fixed size, so no two rulesets encode alike.
fn digest(mode: Mode, rules: &[CompiledRule], withdrawn: &Range<RuleIndex>) -> RulesetDigest {
    let mut hasher = blake3::Hasher::new_derive_key(DIGEST_CONTEXT);
    hasher.update(&[cordon_ebpf::abi::verdict::Mode::from(mode).0]);
    hasher.update(&length(rules.len()));
    for rule in rules {
        let CompiledRule {
            endpoint,
            ports,
            protocol,
            private,
            verify,
            // Both follow from what was withdrawn.
            in_force: _,
            within: _,
        } = rule;
        let endpoint = endpoint.to_string();
        hasher.update(&length(endpoint.len()));
        hasher.update(endpoint.as_bytes());
        let verify = verify.map_or(u8::MAX, |verify| shown::Verify::from(verify).0);
        hasher.update(&[protocol.number(), u8::from(*private), verify]);
        hasher.update(&length(ports.ranges().count()));
        for (first, last) in ports.ranges() {
            hasher.update(&first.to_be_bytes());
            hasher.update(&last.to_be_bytes());
        }
    }
    // Last, and only where there is something: the number of rules says where they end.
    if !withdrawn.is_empty() {
        hasher.update(&withdrawn.start.to_be_bytes());
        hasher.update(&withdrawn.end.to_be_bytes());
    }
    RulesetDigest(*hasher.finalize().as_bytes())
}

fn length(length: usize) -> [u8; 8] {
    (length as u64).to_be_bytes()
}
