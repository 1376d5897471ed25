//! A minimal profile from the report of a run. Pure.
//!
//! One rule for each destination, with the programs that used it. A report is data that a job had
//! a hand in (names of programs, names it asked for), so nothing of it reaches the profile unless
//! it is a name, an address or a comment without line breaks.

use std::collections::{BTreeMap, BTreeSet};

use self::writer::write_profile;
use super::Protocol;
use super::endpoint::Endpoint;
use super::name::DomainName;
use super::pattern::{Depth, DomainPattern};
use super::ports::PortSet;
use super::remedy::{alone, exact, is_private};
use crate::report::{Destination, NameVerdict, ProcessChain, Report, ReportMode};

mod writer;

/// Names of one zone from which on a wildcard stands for them.
const NAMES_FOR_WILDCARD: usize = 3;

/// Goes to the job's own listener, whatever a rule says.
const DNS: u16 = 53;

/// What a run used, ready to be written as a profile.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Suggestion {
    rules: BTreeMap<Endpoint, BTreeMap<Protocol, Use>>,
    /// Remarks on what no rule was made of.
    remarks: BTreeSet<String>,
}

/// How one endpoint was used over one protocol.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Use {
    ports: Option<PortSet>,
    private: bool,
    /// Executables that connected.
    programs: BTreeSet<String>,
    /// Names a wildcard stands for, or names that share the address.
    names: BTreeSet<String>,
    /// Whether the address had several names, so that which one was meant is not known.
    shared: bool,
}

/// The text of a profile that allows what the reported run used, and nothing else. In a run that
/// was enforced, what was denied is not suggested.
#[must_use]
pub fn suggest(report: &Report, name: &str) -> String {
    let mut suggestion = Suggestion::default();
    for flow in &report.flows {
        // A job's own sockets and its DNS listener need no rule.
        if matches!(
            flow.reason.as_str(),
            "own-network" | "own-socket" | "resolver"
        ) {
            continue;
        }
        suggestion.add(&flow.destination, &flow.processes);
    }
    if report.mode == ReportMode::Audit {
        for denial in &report.denials {
            if denial.reason == "inbound" {
                suggestion.remark(
                    &denial.destination,
                    "came in unasked for; no rule can allow it",
                );
                continue;
            }
            suggestion.add(&denial.destination, &denial.processes);
        }
    } else if !report.denials.is_empty() {
        let remark = "this run was enforced: what was denied is not suggested";
        suggestion.remarks.insert(remark.to_owned());
    }
    suggestion.remark_names(report);
    suggestion.gather_wildcards();
    write_profile(&suggestion, report, name)
}

impl Suggestion {
    fn add(&mut self, to: &Destination, processes: &[ProcessChain]) {
        let Some(ports) = PortSet::single(to.port).filter(|_| to.port != DNS) else {
            let why = if to.port == DNS {
                "is DNS, which goes to the job's own listener"
            } else {
                "has no port; no rule can allow it"
            };
            self.remark(to, why);
            return;
        };
        let Some(protocol) = Protocol::parse(&to.protocol) else {
            self.remark(to, "is neither TCP nor UDP; no rule can allow it");
            return;
        };
        let endpoints = endpoints(to);
        if endpoints.is_empty() {
            self.remark(to, "is not an address a rule can have");
        }
        let shared = endpoints.len() > 1;
        for endpoint in endpoints {
            let named = matches!(endpoint, Endpoint::Host(_));
            let protocols = self.rules.entry(endpoint).or_default();
            protocols.entry(protocol).or_default().merge(Use {
                ports: Some(ports.clone()),
                private: named && is_private(to.address),
                programs: programs(processes),
                names: BTreeSet::new(),
                shared,
            });
        }
    }

    fn remark(&mut self, to: &Destination, why: &str) {
        let port = if to.port == 0 {
            String::new()
        } else {
            format!(" port {}", to.port)
        };
        let remark = format!("{} {}{port} {why}", to.protocol, to.address);
        self.remarks.insert(remark);
    }

    /// Names that were asked for and never connected to, and answers that were refused.
    fn remark_names(&mut self, report: &Report) {
        for asked in &report.dns {
            let name = &asked.name;
            let remark = match asked.answer {
                NameVerdict::Rebinding => format!(
                    "{name} has private addresses: if that is meant, its rule needs `private = true`"
                ),
                NameVerdict::Limited => format!(
                    "{name} is beyond the limits of a wildcard: a rule that names it has none"
                ),
                NameVerdict::Allowed | NameVerdict::WouldDeny if !self.knows(name) => {
                    format!("{name} was looked up and not connected to")
                }
                NameVerdict::Allowed
                | NameVerdict::WouldDeny
                | NameVerdict::Denied
                | NameVerdict::Unsupported
                | NameVerdict::Failed
                | NameVerdict::Local
                | NameVerdict::NotLeased => continue,
            };
            self.remarks.insert(remark);
        }
    }

    fn knows(&self, name: &str) -> bool {
        exact(name).is_some_and(|endpoint| self.rules.contains_key(&endpoint))
    }

    /// Where enough names of one zone were used in the same way, one wildcard takes their place.
    fn gather_wildcards(&mut self) {
        for pattern in self.zones() {
            let base = pattern.base().clone();
            let members: Vec<Endpoint> = self
                .rules
                .keys()
                .filter(|endpoint| is_member(endpoint, &base))
                .cloned()
                .collect();
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                self.gather(&pattern, &members, protocol);
            }
        }
        self.rules.retain(|_, protocols| !protocols.is_empty());
    }

    /// The zones that hold enough of the names, as wildcards that rules can have.
    fn zones(&self) -> Vec<DomainPattern> {
        let mut count: BTreeMap<DomainName, usize> = BTreeMap::new();
        for endpoint in self.rules.keys() {
            if let Some(parent) = name_of(endpoint).and_then(DomainName::parent) {
                let members = count.entry(parent).or_default();
                *members = members.saturating_add(1);
            }
        }
        count
            .into_iter()
            .filter(|(_, members)| *members >= NAMES_FOR_WILDCARD)
            .filter_map(|(zone, _)| DomainPattern::new(Depth::OneLabel, zone).ok())
            .collect()
    }

    /// Gathers those of one zone that were used over the same ports: a wildcard over ports that
    /// only some of the names were used with would allow more than was used.
    fn gather(&mut self, pattern: &DomainPattern, members: &[Endpoint], protocol: Protocol) {
        let mut groups: BTreeMap<(Option<PortSet>, bool), Vec<&Endpoint>> = BTreeMap::new();
        for member in members {
            if let Some(used) = self.rules.get(member).and_then(|uses| uses.get(&protocol)) {
                let key = (used.ports.clone(), used.private);
                groups.entry(key).or_default().push(member);
            }
        }
        // The largest group only: two rules about one wildcard would say the same twice.
        let largest = groups.into_values().max_by_key(Vec::len);
        let Some(group) = largest.filter(|group| group.len() >= NAMES_FOR_WILDCARD) else {
            return;
        };
        let mut together = Use::default();
        for member in group {
            let uses = self.rules.get_mut(member);
            if let Some(used) = uses.and_then(|uses| uses.remove(&protocol)) {
                together.merge(used);
                together
                    .names
                    .extend(name_of(member).map(DomainName::to_string));
            }
        }
        together.shared = false;
        let endpoint = Endpoint::Host(pattern.clone());
        let protocols = self.rules.entry(endpoint).or_default();
        protocols.insert(protocol, together);
    }
}

impl Use {
    fn merge(&mut self, other: Self) {
        let Self {
            ports,
            private,
            programs,
            names,
            shared,
        } = other;
        self.ports = match (self.ports.take(), ports) {
            (Some(one), Some(two)) => Some(one.union(&two)),
            (one, two) => one.or(two),
        };
        self.private |= private;
        self.programs.extend(programs);
        self.names.extend(names);
        self.shared |= shared;
    }
}

/// Rules' endpoints for a destination: all its names, because which of them was meant cannot be
/// seen on the wire; its address if it has none.
fn endpoints(to: &Destination) -> Vec<Endpoint> {
    let names: BTreeSet<Endpoint> = to.names.iter().filter_map(|name| exact(name)).collect();
    if names.is_empty() {
        return alone(to.address).into_iter().collect();
    }
    names.into_iter().collect()
}

fn programs(processes: &[ProcessChain]) -> BTreeSet<String> {
    let first = |chain: &ProcessChain| chain.executables.first().cloned();
    processes.iter().filter_map(first).collect()
}

/// The name of a rule about one name.
fn name_of(endpoint: &Endpoint) -> Option<&DomainName> {
    match endpoint {
        Endpoint::Host(pattern) if pattern.depth() == Depth::Exact => Some(pattern.base()),
        Endpoint::Host(_) | Endpoint::Net(_) => None,
    }
}

fn is_member(endpoint: &Endpoint, zone: &DomainName) -> bool {
    let parent = name_of(endpoint).and_then(DomainName::parent);
    parent.as_ref() == Some(zone)
}

#[cfg(test)]
mod tests;
