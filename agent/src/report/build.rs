//! Facts to report. Pure: the same facts give the same report.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;

use cordon_ebpf::abi::flow::{FlowCounters, FlowKey};
use cordon_ebpf::abi::job;
use cordon_ebpf::abi::ruleset::{NO_RULE, RuleIndex};
use cordon_ebpf::abi::verdict::{Reason, Verdict};

use super::explain::explanation;
use super::{
    Coverage, Denial, Destination, Flow, IncidentSeen, Interruption, JobFacts, Losses, NameAsked,
    NameVerdict, Platform, PolicyFacts, ProcessChain, ProfileFacts, Report, RuleFacts, SCHEMA,
    SocketDenied, Summary, incident,
};
use crate::attribution::Chain;
use crate::dns::Counts;
use crate::events::ledger::{
    Incident, Ledger, NameKey, NameLine, SocketKey, Who, a_rule_could_allow, without_a_name,
};
use crate::policy::{Origin, Policy, ProfileSource, Rule, Ruleset, Verify, remedy, remedy_with};
use crate::sys::clock::{BootTime, Calendar};

/// Everything a report is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    /// What the job was allowed.
    pub policy: &'a Policy,
    /// The same, compiled.
    pub ruleset: &'a Ruleset,
    /// Times in which nobody recorded.
    pub interruptions: Vec<Interruption>,
    /// Which layers were there.
    pub coverage: Coverage,
    /// The job.
    pub job: JobFacts,
    /// What ran.
    pub platform: Platform,
    /// Who did what.
    pub ledger: &'a Ledger,
    /// The kernel's flow table.
    pub flows: &'a [(FlowKey, FlowCounters)],
    /// What the kernel could not itemise.
    pub losses: job::Losses,
    /// What the DNS listener did not answer.
    pub dns: Counts,
    /// For times.
    pub calendar: Calendar,
}

/// Builds the report.
#[must_use]
pub fn build(facts: Facts<'_>) -> Report {
    let (denials, flows) = (denials(&facts), flows(&facts));
    let (dns, sockets) = (names(&facts), sockets(&facts));
    let incidents = incidents(&facts);
    let summary = summary(&facts, &flows, &dns);
    let losses = losses(&facts);
    let policy = policy(&facts, &flows, &dns);
    let Facts {
        ruleset,
        interruptions,
        coverage,
        job,
        platform,
        ..
    } = facts;
    Report {
        schema: SCHEMA.to_owned(),
        mode: ruleset.mode.into(),
        interruptions,
        coverage,
        losses,
        summary,
        job,
        policy,
        denials,
        flows,
        dns,
        sockets,
        incidents,
        limits: None,
        platform,
    }
}

fn losses(facts: &Facts<'_>) -> Losses {
    let dropped = facts.ledger.dropped();
    Losses {
        records: facts.losses.records,
        flows: facts.losses.flows,
        undecodable: dropped.undecodable,
        details: dropped.details,
        names: dropped.names,
        questions_refused: facts.dns.refused.saturating_add(facts.dns.closed),
        questions_malformed: facts.dns.malformed,
        memory: facts.losses.memory,
        members: facts.losses.members,
    }
}

impl From<&ProfileSource> for ProfileFacts {
    fn from(profile: &ProfileSource) -> Self {
        let ProfileSource {
            name,
            source,
            sha256,
        } = profile;
        Self {
            name: name.clone(),
            source: source.clone(),
            sha256: sha256.clone(),
        }
    }
}

fn summary(facts: &Facts<'_>, flows: &[Flow], dns: &[NameAsked]) -> Summary {
    let sum = |of: fn(&Flow) -> u64| flows.iter().map(of).fold(0, u64::saturating_add);
    let count = |keep: fn(&NameAsked) -> bool| {
        dns.iter()
            .filter(|line| keep(line))
            .map(|line| line.count)
            .fold(0, u64::saturating_add)
    };
    let destinations: BTreeSet<_> = flows.iter().map(|flow| &flow.destination).collect();
    Summary {
        allowed: sum(|flow| flow.attempts),
        denied: facts.losses.denied,
        destinations: destinations.len() as u64,
        bytes_out: sum(|flow| flow.bytes_out),
        bytes_in: sum(|flow| flow.bytes_in),
        names_asked: count(|_| true),
        names_denied: count(|line| is_refused(line.answer)),
        names_limited: facts.dns.limited,
        answers_undelivered: facts.dns.undelivered,
    }
}

fn is_refused(answer: NameVerdict) -> bool {
    matches!(
        answer,
        NameVerdict::Denied
            | NameVerdict::WouldDeny
            | NameVerdict::Rebinding
            | NameVerdict::Limited
            | NameVerdict::Unsupported
    )
}

fn policy(facts: &Facts<'_>, flows: &[Flow], dns: &[NameAsked]) -> PolicyFacts {
    let used: BTreeSet<RuleIndex> = flows
        .iter()
        .filter_map(|flow| flow.rule)
        .chain(dns.iter().filter_map(|line| line.rule))
        .collect();
    let rules = (0..).zip(&facts.policy.rules).map(|(index, rule)| {
        let Rule {
            reason,
            origin: Origin { source, line },
            ..
        } = rule;
        RuleFacts {
            text: rule.describe(),
            origin: format!("{source}:{line}"),
            reason: reason.clone(),
            used: used.contains(&index),
            withdrawn: !facts.policy.is_in_force(index as usize),
        }
    });
    let profiles = facts.policy.profiles.iter().map(ProfileFacts::from);
    PolicyFacts {
        name: facts.policy.name.clone(),
        ruleset_digest: facts.ruleset.digest.to_string(),
        profiles: profiles.collect(),
        rules: rules.collect(),
    }
}

fn denials(facts: &Facts<'_>) -> Vec<Denial> {
    let refused = facts
        .flows
        .iter()
        .filter(|(key, _)| key.verdict != Verdict::ALLOW);
    let mut denials: Vec<Denial> = refused.map(|line| denial(facts, line)).collect();
    denials.sort_by_key(|denial| {
        let weight = denial.attempts.saturating_add(denial.packets);
        (
            Reverse(weight),
            denial.destination.clone(),
            denial.reason.clone(),
        )
    });
    denials
}

fn denial(facts: &Facts<'_>, (key, counters): &(FlowKey, FlowCounters)) -> Denial {
    let destination = destination(facts, key);
    let who = facts.ledger.connections.get(key);
    let shown: Vec<String> = who
        .into_iter()
        .flat_map(|who| &who.shown)
        .cloned()
        .collect();
    let toml = remedy_for(key, &destination.names, &shown);
    Denial {
        reason: key.reason.name().to_owned(),
        explanation: explanation(key.reason).to_owned(),
        remedy: toml,
        shown_names: shown,
        attempts: counters.attempts,
        packets: counters.packets_out.saturating_add(counters.packets_in),
        first_seen: facts.calendar.at(BootTime(counters.first)),
        last_seen: facts.calendar.at(BootTime(counters.last)),
        hooks: hooks(who),
        processes: chains(who),
        destination,
    }
}

/// What would allow a connection that was refused: a rule for the name it showed, a rule that asks
/// for none where it showed none, else a rule for its destination.
#[must_use]
pub fn remedy_for(flow: &FlowKey, names: &[String], shown: &[String]) -> Option<String> {
    if !a_rule_could_allow(flow.reason) {
        return None;
    }
    let address = Some(flow.address.into());
    let verify = without_a_name(flow.reason).then_some(Verify::None);
    let names = if flow.reason == Reason::NAME_NOT_ALLOWED {
        shown
    } else {
        names
    };
    remedy_with(names, address, flow.port, flow.protocol, verify)
}

fn hooks(who: Option<&Who>) -> Vec<String> {
    who.into_iter()
        .flat_map(|who| &who.hooks)
        .map(|hook| hook.name().to_owned())
        .collect()
}

fn flows(facts: &Facts<'_>) -> Vec<Flow> {
    let allowed = facts.flows.iter().filter(|(key, _)| {
        // The way to the job's own DNS listener is told by the names.
        key.verdict == Verdict::ALLOW && key.reason != Reason::RESOLVER
    });
    let mut flows: Vec<Flow> = allowed
        .map(|(key, counters)| Flow {
            destination: destination(facts, key),
            reason: key.reason.name().to_owned(),
            rule: (key.rule != NO_RULE).then_some(key.rule),
            attempts: counters.attempts,
            packets_out: counters.packets_out,
            bytes_out: counters.bytes_out,
            packets_in: counters.packets_in,
            bytes_in: counters.bytes_in,
            first_seen: facts.calendar.at(BootTime(counters.first)),
            last_seen: facts.calendar.at(BootTime(counters.last)),
            processes: chains(facts.ledger.connections.get(key)),
        })
        .collect();
    flows.sort_by_key(|flow| {
        let bytes = flow.bytes_out.saturating_add(flow.bytes_in);
        (Reverse(bytes), flow.destination.clone(), flow.rule)
    });
    flows
}

fn destination(facts: &Facts<'_>, key: &FlowKey) -> Destination {
    let address = IpAddr::from(key.address);
    Destination {
        address,
        port: key.port,
        protocol: protocol(key.protocol),
        names: facts.ledger.names_of(address),
    }
}

/// `tcp`, `udp`, or the protocol's number.
#[must_use]
pub fn protocol(number: u8) -> String {
    match number {
        cordon_ebpf::abi::TCP => "tcp".to_owned(),
        cordon_ebpf::abi::UDP => "udp".to_owned(),
        other => format!("ip-{other}"),
    }
}

fn chains(who: Option<&Who>) -> Vec<ProcessChain> {
    let Some(who) = who else { return Vec::new() };
    who.chains
        .iter()
        .map(|(Chain { tgid, executables }, events)| ProcessChain {
            pid: *tgid,
            executables: executables.clone(),
            events: *events,
        })
        .collect()
}

fn names(facts: &Facts<'_>) -> Vec<NameAsked> {
    let line = |(
        NameKey {
            name,
            kind,
            verdict,
        },
        line,
    ): (&NameKey, &NameLine)| {
        let denied = matches!(verdict, NameVerdict::Denied | NameVerdict::WouldDeny);
        NameAsked {
            name: name.clone(),
            kind: kind.clone(),
            answer: *verdict,
            rule: line.rule,
            remedy: denied
                .then(|| remedy(std::slice::from_ref(name), None, 443, cordon_ebpf::abi::TCP))
                .flatten(),
            count: line.count,
            first_seen: facts.calendar.at(BootTime(line.first)),
            last_seen: facts.calendar.at(BootTime(line.last)),
            addresses: line.addresses.iter().copied().collect(),
            processes: chains(Some(&line.who)),
        }
    };
    facts.ledger.names.iter().map(line).collect()
}

fn sockets(facts: &Facts<'_>) -> Vec<SocketDenied> {
    let line = |(key, who): (&SocketKey, &Who)| SocketDenied {
        kind: socket_kind(*key),
        count: who.chains.values().copied().fold(0, u64::saturating_add),
        processes: chains(Some(who)),
    };
    facts.ledger.sockets.iter().map(line).collect()
}

fn incidents(facts: &Facts<'_>) -> Vec<IncidentSeen> {
    let line = |(incident, who): (&Incident, &Who)| {
        let (call, verdict, reason) = match incident {
            Incident::Call {
                call,
                reason,
                verdict,
                ..
            } => (call.name(), verdict.name(), reason.name()),
            Incident::Left { .. } => ("leave-cgroup", "noted", "moved"),
            Incident::Unserved { .. } => ("network-namespace", "noted", Reason::NO_RESOLVER.name()),
        };
        IncidentSeen {
            call: call.to_owned(),
            about: incident::about(incident),
            verdict: verdict.to_owned(),
            reason: reason.to_owned(),
            count: who.chains.values().copied().fold(0, u64::saturating_add),
            processes: chains(Some(who)),
        }
    };
    facts.ledger.incidents.iter().map(line).collect()
}

/// A socket's kind in the kernel's words.
#[must_use]
pub fn socket_kind(
    SocketKey {
        family,
        kind,
        protocol,
    }: SocketKey,
) -> String {
    let family = match family {
        2 => "AF_INET".to_owned(),
        10 => "AF_INET6".to_owned(),
        other => format!("family {other}"),
    };
    let kind = match kind {
        1 => "SOCK_STREAM".to_owned(),
        2 => "SOCK_DGRAM".to_owned(),
        3 => "SOCK_RAW".to_owned(),
        5 => "SOCK_SEQPACKET".to_owned(),
        other => format!("type {other}"),
    };
    format!("{family} {kind} protocol {protocol}")
}
