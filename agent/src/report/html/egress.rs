//! What left the job and what was refused, as the page lists it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::report::text::quantity::{bytes, count, time};
use crate::report::{
    Denial, Destination, Flow, IncidentSeen, NameAsked, NameVerdict, PolicyFacts, ProcessChain,
    Report, ReportMode, SocketDenied,
};

/// Entries of a list that are written out; the documents have the others.
pub(super) const DENIALS: usize = 500;
/// Rows of a table that are written out.
pub(super) const ROWS: usize = 2_000;

/// The first entries of a list, and how many there are.
#[derive(Debug)]
pub(super) struct Listed<T> {
    pub(super) rows: Vec<T>,
    pub(super) total: usize,
}

impl<T> Listed<T> {
    pub(super) fn new<S>(
        limit: usize,
        total: usize,
        items: impl Iterator<Item = S>,
        row: impl Fn(S) -> T,
    ) -> Self {
        let rows = items.take(limit).map(row).collect();
        Self { rows, total }
    }

    /// How many are only in the documents.
    pub(super) fn more(&self) -> usize {
        self.total.saturating_sub(self.rows.len())
    }
}

/// A refused destination or name.
#[derive(Debug)]
pub(super) struct Refused {
    /// What was asked for: a name, or an address.
    pub(super) what: String,
    /// The same, where it means something else to a reader: an international name in its letters,
    /// further names of the address.
    pub(super) also: String,
    /// Address, port and protocol.
    pub(super) place: String,
    pub(super) reason: String,
    /// Index into the list of reasons; absent where it needs no explanation.
    pub(super) explained: Option<usize>,
    pub(super) count: String,
    pub(super) seen: String,
    pub(super) chains: Vec<Chain>,
    pub(super) remedy: Vec<String>,
}

/// A reason, explained once.
#[derive(Debug)]
pub(super) struct ReasonSeen {
    pub(super) reason: String,
    pub(super) explanation: String,
}

/// Processes, the one that acted first.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) program: String,
    pub(super) parents: Vec<String>,
    pub(super) note: String,
}

/// Something that is not a destination and was refused.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) what: String,
    pub(super) verdict: String,
    pub(super) reason: String,
    pub(super) count: u64,
    pub(super) chain: Option<Chain>,
}

/// Allowed destinations of one name, port and rule.
#[derive(Debug)]
pub(super) struct Allowed {
    pub(super) what: String,
    pub(super) also: String,
    pub(super) port: String,
    pub(super) rule: String,
    pub(super) attempts: u64,
    pub(super) sent: u64,
    pub(super) sent_text: String,
    pub(super) received: u64,
    pub(super) received_text: String,
    pub(super) seen: String,
    pub(super) chain: Option<Chain>,
}

/// The lists about what was refused.
#[derive(Debug)]
pub(super) struct Denied {
    pub(super) title: &'static str,
    pub(super) destinations: Listed<Refused>,
    pub(super) names: Listed<Refused>,
    pub(super) others: Listed<Other>,
    pub(super) reasons: Vec<ReasonSeen>,
    pub(super) attempts: String,
}

impl Denied {
    pub(super) fn new(report: &Report) -> Self {
        let reasons: BTreeMap<_, _> = report
            .denials
            .iter()
            .take(DENIALS)
            .map(|denial| (denial.reason.as_str(), denial.explanation.as_str()))
            .collect();
        let index: BTreeMap<_, _> = reasons.keys().copied().zip(0..).collect();
        let refused = report.dns.iter().filter(|name| name.answer.is_refusal());
        let others =
            (report.sockets.iter().map(of_socket)).chain(report.incidents.iter().map(of_incident));
        let other_count = report.sockets.len().saturating_add(report.incidents.len());
        Self {
            title: match report.mode {
                ReportMode::Audit => "Would have been denied",
                ReportMode::Enforce => "Denied",
            },
            destinations: Listed::new(
                DENIALS,
                report.denials.len(),
                report.denials.iter(),
                |denial| of_denial(denial, &index),
            ),
            names: Listed::new(DENIALS, refused.clone().count(), refused, of_name),
            others: Listed::new(DENIALS, other_count, others, |other| other),
            reasons: reasons
                .iter()
                .map(|(reason, explanation)| ReasonSeen {
                    reason: (*reason).to_owned(),
                    explanation: (*explanation).to_owned(),
                })
                .collect(),
            attempts: count(report.summary.denied, "attempt"),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.destinations.total == 0 && self.names.total == 0 && self.others.total == 0
    }
}

fn of_denial(denial: &Denial, reasons: &BTreeMap<&str, usize>) -> Refused {
    let Destination {
        address,
        port: _,
        protocol: _,
        names,
    } = &denial.destination;
    let packets = count(denial.packets, "packet");
    let count = match (denial.attempts, denial.packets) {
        (attempts, 0) => count(attempts, "attempt"),
        (0, _) => packets,
        (attempts, _) => format!("{}, {packets}", count(attempts, "attempt")),
    };
    let mut also = other_names(names);
    if !denial.shown_names.is_empty() {
        let shown = denial.shown_names.join(", ");
        also.push(format!("the connection showed {shown}"));
    }
    if !denial.hooks.is_empty() {
        also.push(format!("refused at {}", denial.hooks.join(", ")));
    }
    Refused {
        what: named(names, *address),
        also: also.join("; "),
        place: format!("{address}, {}", port(&denial.destination)),
        reason: denial.reason.clone(),
        explained: reasons.get(denial.reason.as_str()).copied(),
        count,
        seen: span(denial.first_seen, denial.last_seen),
        chains: denial.processes.iter().map(chain).collect(),
        remedy: lines(denial.remedy.as_deref()),
    }
}

fn of_name(name: &NameAsked) -> Refused {
    Refused {
        what: name.name.clone(),
        also: international(&name.name).map_or_else(String::new, |letters| reads_as(&letters)),
        place: format!("DNS, type {}", name.kind),
        reason: answer(name.answer).to_owned(),
        explained: None,
        count: count(name.count, "question"),
        seen: span(name.first_seen, name.last_seen),
        chains: name.processes.iter().map(chain).collect(),
        remedy: lines(name.remedy.as_deref()),
    }
}

fn of_socket(socket: &SocketDenied) -> Other {
    Other {
        what: format!("socket {}", socket.kind),
        verdict: "deny".to_owned(),
        reason: "socket-kind".to_owned(),
        count: socket.count,
        chain: socket.processes.first().map(chain),
    }
}

fn of_incident(incident: &IncidentSeen) -> Other {
    Other {
        what: format!("{} {}", incident.call, incident.about),
        verdict: incident.verdict.clone(),
        reason: incident.reason.clone(),
        count: incident.count,
        chain: incident.processes.first().map(chain),
    }
}

/// Allowed flows, those of one name, port and rule together, most bytes first.
pub(super) fn allowed(report: &Report) -> Listed<Allowed> {
    let mut groups: BTreeMap<_, Vec<&Flow>> = BTreeMap::new();
    for flow in &report.flows {
        let to = &flow.destination;
        let address = to.names.is_empty().then_some(to.address);
        let key = (
            &to.names,
            address,
            to.port,
            &to.protocol,
            &flow.reason,
            flow.rule,
        );
        groups.entry(key).or_default().push(flow);
    }
    let mut groups: Vec<_> = groups
        .into_values()
        .map(|flows| (volume(&flows), flows))
        .collect();
    groups.sort_by_key(|(volume, _)| Reverse(*volume));
    let total = groups.len();
    Listed::new(ROWS, total, groups.iter(), |(_, flows)| {
        of_flows(flows, &report.policy)
    })
}

fn volume(flows: &[&Flow]) -> u64 {
    sum(flows, |flow| flow.bytes_out.saturating_add(flow.bytes_in))
}

fn sum(flows: &[&Flow], part: impl Fn(&Flow) -> u64) -> u64 {
    flows
        .iter()
        .map(|flow| part(flow))
        .fold(0, u64::saturating_add)
}

fn of_flows(flows: &[&Flow], policy: &PolicyFacts) -> Allowed {
    /// Addresses that are written out.
    const ADDRESSES: usize = 4;
    let first = flows.first();
    let names = first.map_or(&[][..], |flow| &flow.destination.names);
    let addresses: Vec<_> = flows.iter().map(|flow| flow.destination.address).collect();
    let mut also = other_names(names);
    if !names.is_empty() {
        let shown: Vec<_> = addresses
            .iter()
            .take(ADDRESSES)
            .map(IpAddr::to_string)
            .collect();
        let more = addresses.len().saturating_sub(shown.len());
        let more = if more == 0 {
            String::new()
        } else {
            format!(" and {more} more")
        };
        also.push(format!("{}{more}", shown.join(", ")));
    }
    let rule = first.map(|flow| match flow.rule {
        Some(rule) => policy.rule_text(rule),
        None => flow.reason.clone(),
    });
    let (sent, received) = (
        sum(flows, |flow| flow.bytes_out),
        sum(flows, |flow| flow.bytes_in),
    );
    let from = flows.iter().map(|flow| flow.first_seen).min();
    let to = flows.iter().map(|flow| flow.last_seen).max();
    Allowed {
        what: first.map_or_else(String::new, |flow| named(names, flow.destination.address)),
        also: also.join("; "),
        port: first.map_or_else(String::new, |flow| port(&flow.destination)),
        rule: rule.unwrap_or_default(),
        attempts: sum(flows, |flow| flow.attempts),
        sent,
        sent_text: bytes(sent),
        received,
        received_text: bytes(received),
        seen: from
            .zip(to)
            .map_or_else(String::new, |(from, to)| span(from, to)),
        chain: flows
            .iter()
            .find_map(|flow| flow.processes.first())
            .map(chain),
    }
}

/// The first name, or the address where there is none.
pub(super) fn named(names: &[String], address: IpAddr) -> String {
    names
        .first()
        .map_or_else(|| address.to_string(), Clone::clone)
}

fn other_names(names: &[String]) -> Vec<String> {
    let mut also = Vec::new();
    also.extend(
        names
            .first()
            .and_then(|name| international(name))
            .map(|letters| reads_as(&letters)),
    );
    if let Some(more) = names.get(1..).filter(|more| !more.is_empty()) {
        also.push(format!("or {}", more.join(", ")));
    }
    also
}

/// An international name in its own letters, if it is one.
fn international(name: &str) -> Option<String> {
    let punycode = name.split('.').any(|label| label.starts_with("xn--"));
    let (letters, whole) = idna::domain_to_unicode(name);
    (punycode && whole.is_ok()).then_some(letters)
}

fn reads_as(letters: &str) -> String {
    format!("reads as {letters}")
}

/// `port 443, tcp`; protocols without ports alone.
pub(super) fn port(destination: &Destination) -> String {
    match destination.port {
        0 => destination.protocol.clone(),
        port => format!("{port}/{}", destination.protocol),
    }
}

pub(super) fn chain(chain: &ProcessChain) -> Chain {
    let (program, parents) = match chain.executables.split_first() {
        Some((program, parents)) => (program.clone(), parents),
        None => ("a process nobody named".to_owned(), &[][..]),
    };
    let last = |path: &String| path.rsplit('/').next().unwrap_or(path).to_owned();
    Chain {
        program,
        parents: parents.iter().map(last).collect(),
        note: format!("pid {}, {}", chain.pid, count(chain.events, "time")),
    }
}

/// What the listener did, in a word or two.
pub(super) const fn answer(answer: NameVerdict) -> &'static str {
    match answer {
        NameVerdict::Allowed => "answered",
        NameVerdict::Denied => "no rule allows it",
        NameVerdict::WouldDeny => "no rule allows it; answered all the same",
        NameVerdict::Rebinding => "answered with addresses a public name must not have",
        NameVerdict::Unsupported => "type is not served",
        NameVerdict::Limited => "more than a wildcard is for",
        NameVerdict::Failed => "resolver failed",
        NameVerdict::Local => "asked of a container engine's resolver",
        NameVerdict::NotLeased => "could not be leased",
    }
}

/// From when to when, the day once.
pub(super) fn span(from: Timestamp, to: Timestamp) -> String {
    let (first, last) = (time(from), time(to));
    if first == last {
        return first;
    }
    match (first.split_once(' '), last.split_once(' ')) {
        (Some((day, _)), Some((same, clock))) if day == same => format!("{first} to {clock}"),
        _ => format!("{first} to {last}"),
    }
}

fn lines(text: Option<&str>) -> Vec<String> {
    let lines = text.into_iter().flat_map(str::lines);
    lines.map(ToOwned::to_owned).collect()
}
