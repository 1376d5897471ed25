//! The job's questions for names, and what went to addresses without one.

use std::net::IpAddr;

use super::egress::{Chain, Listed, ROWS, answer, chain, port, span};
use crate::report::{Destination, NameAsked, PolicyFacts, Report};

/// Ports of other resolvers: DNS, over TLS and QUIC, of the link.
const RESOLVERS: [u16; 4] = [53, 853, 5353, 5355];

/// What is known of names.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) asked: Listed<Asked>,
    pub(super) direct: Listed<Direct>,
    pub(super) resolvers: Listed<Direct>,
}

/// A name, and its answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) answer: &'static str,
    pub(super) tone: &'static str,
    pub(super) rule: String,
    pub(super) addresses: String,
    pub(super) count: u64,
    pub(super) seen: String,
    pub(super) chain: Option<Chain>,
}

/// A destination by address.
#[derive(Debug)]
pub(super) struct Direct {
    pub(super) address: IpAddr,
    pub(super) port: String,
    pub(super) verdict: &'static str,
    pub(super) tone: &'static str,
    pub(super) attempts: u64,
}

impl Names {
    pub(super) fn new(report: &Report) -> Self {
        let by_address = |to: &Destination| to.names.is_empty();
        let resolver = |to: &Destination| RESOLVERS.contains(&to.port);
        Self {
            asked: Listed::new(ROWS, report.dns.len(), report.dns.iter(), |name| {
                asked(name, &report.policy)
            }),
            direct: destinations(report, by_address),
            resolvers: destinations(report, resolver),
        }
    }

    /// Title, identifier, words and rows of each list of addresses.
    pub(super) fn by_address(&self) -> [(&str, &str, &str, &Listed<Direct>); 2] {
        [
            (
                "Straight to an address",
                "direct",
                "Destinations that no name led to",
                &self.direct,
            ),
            (
                "Other resolvers",
                "resolvers",
                "Destinations on ports of resolvers: 53, 853, 5353, 5355",
                &self.resolvers,
            ),
        ]
    }
}

fn asked(name: &NameAsked, policy: &PolicyFacts) -> Asked {
    let addresses: Vec<_> = name.addresses.iter().map(IpAddr::to_string).collect();
    Asked {
        name: name.name.clone(),
        kind: name.kind.clone(),
        answer: answer(name.answer),
        tone: if name.answer.is_refusal() {
            "bad"
        } else {
            "plain"
        },
        rule: name
            .rule
            .map_or_else(String::new, |rule| policy.rule_text(rule)),
        addresses: addresses.join(", "),
        count: name.count,
        seen: span(name.first_seen, name.last_seen),
        chain: name.processes.first().map(chain),
    }
}

fn destinations(report: &Report, wanted: impl Fn(&Destination) -> bool) -> Listed<Direct> {
    let refused = report.denials.iter().map(|denial| Direct {
        address: denial.destination.address,
        port: port(&denial.destination),
        verdict: "denied",
        tone: "bad",
        attempts: denial.attempts.saturating_add(denial.packets),
    });
    let refused = refused
        .zip(&report.denials)
        .filter(|(_, denial)| wanted(&denial.destination))
        .map(|(row, _)| row);
    let flows = report
        .flows
        .iter()
        .filter(|flow| wanted(&flow.destination) && flow.reason != "resolver")
        .map(|flow| Direct {
            address: flow.destination.address,
            port: port(&flow.destination),
            verdict: "allowed",
            tone: "good",
            attempts: flow.attempts,
        });
    let mut all: Vec<_> = refused.chain(flows).collect();
    let total = all.len();
    all.truncate(ROWS);
    Listed { rows: all, total }
}
