//! Policy to ruleset: the form the kernel's maps and the DNS listener take. Pure.
//!
//! The kernel looks an address up in a longest-prefix trie and sees one entry only, so every range
//! is given the grants of all ranges around it. Names have no entries: a *lease* of an address is
//! made of the grants of the rules that allow the name, when DNS answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use cordon_ebpf::abi::address::{Address, MAPPED_BITS};
use cordon_ebpf::abi::ruleset::{Grant, Grants, MAX_GRANTS, NEVER};
use cordon_ebpf::decide::Tables;
use ipnet::IpNet;

use super::endpoint::Endpoint;
use super::grants::{merge_grants, without_covered};
use super::hex::Hex;
use super::name::DomainName;
use super::pattern::{Depth, DomainPattern};
use super::ports::PortSet;
use super::{Mode, Policy, Protocol, Rule};

/// First bytes of what a ruleset's digest is made of; changes with the encoding.
const DIGEST_CONTEXT: &str = "cordon ruleset v1";

/// Rules a ruleset can have: `NO_RULE` is the index that none has.
const MAX_RULES: usize = cordon_ebpf::abi::flow::NO_RULE as usize;

/// A policy in the kernel's form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ruleset {
    /// What verdicts do.
    pub mode: Mode,
    /// The net map: every range with the grants of all ranges that hold it.
    pub nets: BTreeMap<Net, Grants>,
    /// The policy's rules, in their order.
    pub rules: Vec<CompiledRule>,
    /// Identifies mode and rules.
    pub digest: RulesetDigest,
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

/// Why a policy has no kernel form.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CompileError {
    /// More port ranges on one destination than the kernel looks at.
    #[error(
        "{endpoint} has {count} port ranges, {MAX_GRANTS} are the most; merge ports of these rules: {}",
        rules.join("; ")
    )]
    TooManyGrants {
        /// The name or range, as a rule's endpoint is printed.
        endpoint: String,
        /// How many it would need.
        count: usize,
        /// The rules that make them, each with the line it comes from.
        rules: Vec<String>,
    },
    /// More rules than rule numbers.
    #[error("the policy has {count} rules, {MAX_RULES} are the most")]
    TooManyRules {
        /// How many there are.
        count: usize,
    },
}

/// Compiles a policy.
///
/// # Errors
/// The kernel's tables cannot hold it; the error names the rules.
pub fn compile(policy: &Policy) -> Result<Ruleset, CompileError> {
    let Policy {
        name: _,
        mode,
        rules,
        dns: _,
        profiles: _,
    } = policy;
    if rules.len() > MAX_RULES {
        return Err(CompileError::TooManyRules { count: rules.len() });
    }
    let compiled: Vec<CompiledRule> = rules.iter().map(CompiledRule::from).collect();
    let ruleset = Ruleset {
        mode: *mode,
        nets: compile_nets(rules, &compiled)?,
        digest: digest(*mode, &compiled),
        rules: compiled,
    };
    ruleset.check_names(rules)?;
    Ok(ruleset)
}

impl From<&Rule> for CompiledRule {
    fn from(rule: &Rule) -> Self {
        let Rule {
            endpoint,
            ports,
            protocol,
            private,
            reason: _,
            origin: _,
        } = rule.clone();
        Self {
            endpoint,
            ports,
            protocol,
            private,
        }
    }
}

impl CompiledRule {
    fn grants(&self, index: u16, expires: u64) -> impl Iterator<Item = Grant> + '_ {
        self.ports
            .ranges()
            .map(move |(first_port, last_port)| Grant {
                expires,
                first_port,
                last_port,
                rule: index,
                protocol: self.protocol.number(),
                reserved: 0,
            })
    }

    fn pattern(&self) -> Option<&DomainPattern> {
        match &self.endpoint {
            Endpoint::Host(pattern) => Some(pattern),
            Endpoint::Net(_) => None,
        }
    }

    fn net(&self) -> Option<Net> {
        match &self.endpoint {
            Endpoint::Host(_) => None,
            Endpoint::Net(net) => Some(Net::from(*net)),
        }
    }
}

impl Ruleset {
    /// Indices of the rules that allow the name, in the order of the policy.
    #[must_use]
    pub fn rules_for_name(&self, name: &DomainName) -> Vec<u16> {
        self.numbered()
            .filter(|(_, rule)| rule.pattern().is_some_and(|pattern| pattern.matches(name)))
            .map(|(index, _)| index)
            .collect()
    }

    /// What these rules grant until `expires` (boot time, ns): one grant for each port range.
    #[must_use]
    pub fn grants_for_rules(&self, rules: &[u16], expires: u64) -> Vec<Grant> {
        let granted = |index: &u16| {
            let rule = self.rules.get(usize::from(*index))?;
            Some(rule.grants(*index, expires))
        };
        rules.iter().filter_map(granted).flatten().collect()
    }

    /// Whether one of these rules accepts private addresses for its names.
    #[must_use]
    pub fn allows_private(&self, rules: &[u16]) -> bool {
        rules
            .iter()
            .filter_map(|index| self.rules.get(usize::from(*index)))
            .any(|rule| rule.private)
    }

    fn numbered(&self) -> impl Iterator<Item = (u16, &CompiledRule)> {
        (0..=u16::MAX).zip(&self.rules)
    }

    /// Makes sure that a lease of any name fits the kernel's entry, so that no allowed name fails
    /// only when a job asks for it.
    fn check_names(&self, rules: &[Rule]) -> Result<(), CompileError> {
        let mut checked = BTreeSet::new();
        for rule in &self.rules {
            for name in rule.pattern().into_iter().flat_map(examples) {
                let allowing = self.rules_for_name(&name);
                if !checked.insert(allowing.clone()) {
                    continue;
                }
                let grants = self.grants_for_rules(&allowing, NEVER);
                if merge_grants(&grants, &[], 0).is_none() {
                    let count = without_covered(&grants).len();
                    return Err(too_many(format!("host {name}"), count, &allowing, rules));
                }
            }
        }
        Ok(())
    }
}

/// The kernel's view without leases: what the ruleset says about addresses.
impl Tables for Ruleset {
    fn lease(&self, _address: &Address) -> Option<&Grants> {
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

fn compile_nets(
    rules: &[Rule],
    compiled: &[CompiledRule],
) -> Result<BTreeMap<Net, Grants>, CompileError> {
    let numbered = || (0..=u16::MAX).zip(compiled);
    let mut by_net: BTreeMap<Net, Vec<(u16, &CompiledRule)>> = BTreeMap::new();
    for (index, rule) in numbered() {
        if let Some(net) = rule.net() {
            by_net.entry(net).or_default().push((index, rule));
        }
    }
    let mut nets = BTreeMap::new();
    for net in by_net.keys() {
        let mut holding: Vec<(u16, &CompiledRule)> = (0..=net.prefix_len)
            .filter_map(|prefix_len| {
                let address = masked(&net.address, prefix_len);
                by_net.get(&Net {
                    address,
                    prefix_len,
                })
            })
            .flatten()
            .copied()
            .collect();
        holding.sort_by_key(|(index, _)| *index);
        let grants: Vec<Grant> = holding
            .iter()
            .flat_map(|(index, rule)| rule.grants(*index, NEVER))
            .collect();
        let grants = without_covered(&grants);
        let value = Grants::new(&grants).ok_or_else(|| {
            let indices: Vec<u16> = holding.iter().map(|(index, _)| *index).collect();
            too_many(format!("cidr {net}"), grants.len(), &indices, rules)
        })?;
        nets.insert(*net, value);
    }
    Ok(nets)
}

/// Names that, together over all patterns, meet every set of rules that any name can meet: the
/// exact names, and for wildcards one name each of every depth that makes a difference.
fn examples(pattern: &DomainPattern) -> Vec<DomainName> {
    let base = pattern.base();
    let below = |front: &str| DomainName::parse(&format!("{front}.{base}")).ok();
    match pattern.depth() {
        Depth::Exact => vec![base.clone()],
        Depth::OneLabel => below("x").into_iter().collect(),
        Depth::AnyDepth => below("x").into_iter().chain(below("x.x")).collect(),
    }
}

fn too_many(endpoint: String, count: usize, indices: &[u16], rules: &[Rule]) -> CompileError {
    let named = |index: &u16| {
        let rule = rules.get(usize::from(*index))?;
        Some(format!("{} ({})", rule.describe(), rule.origin))
    };
    CompileError::TooManyGrants {
        endpoint,
        count,
        rules: indices.iter().filter_map(named).collect(),
    }
}

fn masked(address: &Address, prefix_len: u32) -> Address {
    let shift = 128_u32.saturating_sub(prefix_len);
    // A shift by all 128 bits is not one the machine has: no bit counts.
    let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
    Address((u128::from_be_bytes(address.0) & mask).to_be_bytes())
}

/// Every field has its length in front or is of fixed size, so no two rulesets encode alike.
fn digest(mode: Mode, rules: &[CompiledRule]) -> RulesetDigest {
    let mut hasher = blake3::Hasher::new_derive_key(DIGEST_CONTEXT);
    hasher.update(&[cordon_ebpf::abi::verdict::Mode::from(mode).0]);
    hasher.update(&length(rules.len()));
    for rule in rules {
        let CompiledRule {
            endpoint,
            ports,
            protocol,
            private,
        } = rule;
        let endpoint = endpoint.to_string();
        hasher.update(&length(endpoint.len()));
        hasher.update(endpoint.as_bytes());
        hasher.update(&[protocol.number(), u8::from(*private)]);
        hasher.update(&length(ports.ranges().count()));
        for (first, last) in ports.ranges() {
            hasher.update(&first.to_be_bytes());
            hasher.update(&last.to_be_bytes());
        }
    }
    RulesetDigest(*hasher.finalize().as_bytes())
}

fn length(length: usize) -> [u8; 8] {
    (length as u64).to_be_bytes()
}
