//! The ledger of one job: who did what, bounded. What is beyond a bound is counted.
//!
//! Counts of connections are the kernel's, exact; the ledger adds who and under which name.
//!
//! **Not here**: I/O. Processes that must be asked for are asked through [`Living`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use cordon_ebpf::abi::flow::FlowKey;
use cordon_ebpf::abi::record::{
    Call, CallRefused, Connection, Hook, Moved, NameRefused, SocketRefused, Unserved,
};
use cordon_ebpf::abi::ruleset::{NO_RULE, RuleIndex};
use cordon_ebpf::abi::verdict::{Reason, Verdict};

use super::decode::{DecodeError, Event, text};
use crate::attribution::{Chain, Living, Processes};
use crate::dns::Question;
use crate::limits::evidence::{Change, Met};
use crate::report::NameVerdict;
use crate::secrets::ledger::Seen;

/// Different process chains kept for one line of the report.
const CHAINS_PER_LINE: usize = 8;
/// Lines of each list: as many as the kernel's flow table.
const LINES: usize = 16_384;
/// Addresses kept for one name.
const ADDRESSES_PER_NAME: usize = 16;
/// Names kept for one address: shared front ends have many.
const NAMES_PER_ADDRESS: usize = 8;

/// Who: chains, each with the number of its events.
#[derive(Clone, Debug, Default)]
pub struct Who {
    /// Events by chain.
    pub chains: BTreeMap<Chain, u64>,
    /// Hooks that judged.
    pub hooks: BTreeSet<Hook>,
    /// Names that connections showed, where that is what was judged.
    pub shown: BTreeSet<String>,
}

/// One name that was asked, with one kind of answer.
#[derive(Clone, Debug)]
pub struct NameLine {
    /// First rule that allows it.
    pub rule: Option<RuleIndex>,
    /// How often.
    pub count: u64,
    /// Boot time of the first, ns.
    pub first: u64,
    /// Boot time of the last, ns.
    pub last: u64,
    /// Addresses answered.
    pub addresses: BTreeSet<IpAddr>,
    /// Who asked.
    pub who: Who,
}

/// What identifies a line of names.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct NameKey {
    /// The name.
    pub name: String,
    /// Record type.
    pub kind: String,
    /// What became of it.
    pub verdict: NameVerdict,
}

/// What identifies a kind of socket.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SocketKey {
    /// `AF_*`
    pub family: u32,
    /// `SOCK_*`
    pub kind: u32,
    /// Protocol number.
    pub protocol: u32,
}

/// Something that is about no destination.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Incident {
    /// A call that was refused, or in audit mode would have been.
    Call {
        /// Which.
        call: Call,
        /// What it was about; see [`Call`].
        arguments: [u64; 2],
        /// Why it was refused.
        reason: Reason,
        /// What happened.
        verdict: Verdict,
    },
    /// A process was taken out of the job's cgroup. It is still judged as the job's.
    Left {
        /// Where to: path below the root of the cgroup hierarchy.
        path: String,
    },
    /// In a network namespace of the job's, its DNS could not be served.
    Unserved {
        /// Why not.
        why: String,
    },
}

/// Details the ledger could not keep.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Dropped {
    /// Records that could not be read.
    pub undecodable: u64,
    /// Chains or lines beyond a bound.
    pub details: u64,
    /// Questions beyond a bound.
    pub names: u64,
}

/// Something refused for the first time by this chain: worth telling while it happens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum News {
    /// A destination.
    Connection {
        /// Where to, and why not.
        flow: FlowKey,
        /// The hook that said so.
        hook: Hook,
        /// Names known for the address.
        names: Vec<String>,
        /// The name the connection showed, if that is what was judged.
        shown: Option<String>,
        /// Who.
        chain: Chain,
    },
    /// A socket.
    Socket {
        /// Its kind.
        socket: SocketKey,
        /// What happened.
        verdict: Verdict,
        /// Who.
        chain: Chain,
    },
    /// A call, or a move.
    Incident {
        /// What.
        incident: Incident,
        /// Who.
        chain: Chain,
    },
    /// A credential, in a place where it was not seen before.
    Secret(Box<Seen>),
    /// A limit that the job met.
    LimitMet {
        /// The limit, in the words of profiles.
        limit: Option<String>,
        /// What happened.
        met: Met,
    },
    /// A limit that somebody outside the job changed.
    LimitChanged(Change),
    /// A name.
    Name {
        /// The name and what became of it.
        key: NameKey,
        /// Who, if known.
        chain: Option<Chain>,
    },
    /// A job whose cordon had been killed is watched again.
    TakenOver {
        /// The job.
        id: String,
    },
    /// A job whose cordon had been killed was ended.
    Orphan {
        /// The job.
        id: String,
        /// Where its report is, or why there is none.
        evidence: Result<std::path::PathBuf, String>,
    },
}

/// The ledger.
#[derive(Debug, Default)]
pub struct Ledger {
    processes: Processes,
    /// Programs that were started.
    pub executed: u64,
    /// Name of the job's cgroup: moves inside of it are none.
    home: String,
    /// Who was behind each line of the kernel's flow table.
    pub connections: BTreeMap<FlowKey, Who>,
    /// Refused sockets.
    pub sockets: BTreeMap<SocketKey, Who>,
    /// Refused calls, and moves.
    pub incidents: BTreeMap<Incident, Who>,
    /// Names asked.
    pub names: BTreeMap<NameKey, NameLine>,
    /// Rules of which it was told that their wildcard's limits were hit.
    limited: BTreeSet<Option<RuleIndex>>,
    /// Names by the addresses they were answered with.
    names_of: BTreeMap<IpAddr, BTreeSet<String>>,
    /// What could not be kept.
    pub dropped: Dropped,
}

impl Ledger {
    /// The ledger of the job whose cgroup has this name.
    #[must_use]
    pub fn of(home: String) -> Self {
        Self {
            home,
            ..Self::default()
        }
    }

    /// Takes one record.
    pub fn take(
        &mut self,
        event: &Result<Event, DecodeError>,
        living: &impl Living,
    ) -> Option<News> {
        match event {
            Ok(Event::Connection(record)) => self.connection(record, living),
            Ok(Event::SocketRefused(record)) => self.socket(record, living),
            Ok(Event::CallRefused(record)) => self.call(record, living),
            Ok(Event::NameRefused(record)) => self.name_refused(record, living),
            Ok(Event::Moved(record)) => self.moved(record, living),
            // Served, or told by who could not.
            Ok(Event::Unserved(_)) => None,
            Ok(Event::Fork(record)) => {
                self.processes.forked(record.header.tgid, record.child);
                None
            }
            Ok(Event::Exec(record)) => {
                let len = (record.path_len as usize).min(record.path.len());
                let path = record.path.get(..len).unwrap_or_default();
                self.processes.executed(record.header.tgid, text(path));
                self.executed = self.executed.saturating_add(1);
                None
            }
            Err(error) => {
                tracing::debug!(%error, "record not decoded");
                self.dropped.undecodable = self.dropped.undecodable.saturating_add(1);
                None
            }
        }
    }

    /// A process and its ancestors.
    #[must_use]
    pub fn chain_of(&self, process: u32, living: &impl Living) -> Chain {
        self.processes.chain(process, living)
    }

    /// Takes one DNS question, asked at boot time `now` (ns).
    pub fn question(&mut self, question: Question, now: u64, living: &impl Living) -> Option<News> {
        let Question {
            name,
            kind,
            verdict,
            rule,
            addresses,
            process,
        } = question;
        for address in &addresses {
            self.remember_name(*address, &name);
        }
        let chain = process.map(|tgid| self.processes.chain(tgid, living));
        let key = NameKey {
            name,
            kind,
            verdict,
        };
        if !self.names.contains_key(&key) && self.names.len() >= LINES {
            self.dropped.names = self.dropped.names.saturating_add(1);
            return None;
        }
        let line = self.names.entry(key.clone()).or_insert_with(|| NameLine {
            rule,
            count: 0,
            first: now,
            last: now,
            addresses: BTreeSet::new(),
            who: Who::default(),
        });
        line.count = line.count.saturating_add(1);
        line.last = now;
        for address in addresses {
            if line.addresses.len() < ADDRESSES_PER_NAME {
                line.addresses.insert(address);
            }
        }
        let first_of_line = line.count == 1;
        let new = match &chain {
            Some(chain) => line.who.count(chain, &mut self.dropped.details),
            None => first_of_line,
        };
        let worth_telling = match verdict {
            NameVerdict::Allowed | NameVerdict::Local => false,
            // Each such name is a new one; a tunnel would fill the log.
            NameVerdict::Limited => self.limited.insert(rule),
            _ => true,
        };
        (new && worth_telling).then_some(News::Name { key, chain })
    }

    /// Names the listener answered with an address, in order.
    #[must_use]
    pub fn names_of(&self, address: IpAddr) -> Vec<String> {
        self.names_of
            .get(&address)
            .map(|names| names.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Details that could not be kept, processes included.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        let details = self
            .dropped
            .details
            .saturating_add(self.processes.forgotten());
        Dropped {
            details,
            ..self.dropped
        }
    }

    fn remember_name(&mut self, address: IpAddr, name: &str) {
        let full = self.names_of.len() >= LINES;
        if full && !self.names_of.contains_key(&address) {
            self.dropped.details = self.dropped.details.saturating_add(1);
            return;
        }
        let names = self.names_of.entry(address).or_default();
        if names.len() < NAMES_PER_ADDRESS {
            names.insert(name.to_owned());
        } else if !names.contains(name) {
            self.dropped.details = self.dropped.details.saturating_add(1);
        }
    }

    fn connection(&mut self, record: &Connection, living: &impl Living) -> Option<News> {
        let flow = flow_of(record);
        let chain = self.chain(record.header.tgid, &record.comm, living);
        let who = line(&mut self.connections, flow, &mut self.dropped.details)?;
        who.hooks.insert(record.hook);
        let new = who.count(&chain, &mut self.dropped.details);
        if !new || flow.verdict == Verdict::ALLOW {
            return None;
        }
        let names = self.names_of(flow.address.into());
        Some(News::Connection {
            flow,
            hook: record.hook,
            names,
            shown: None,
            chain,
        })
    }

    fn name_refused(&mut self, record: &NameRefused, living: &impl Living) -> Option<News> {
        let flow = refused_flow_of(record);
        let chain = self.chain(record.header.tgid, &[0; 16], living);
        let names = self.names_of(flow.address.into());
        let shown = shown(record);
        let who = line(&mut self.connections, flow, &mut self.dropped.details)?;
        who.hooks.insert(Hook::EGRESS);
        let mut new = who.count(&chain, &mut self.dropped.details);
        if let Some(name) = &shown
            && !who.shown.contains(name)
        {
            if who.shown.len() < NAMES_PER_ADDRESS {
                new |= who.shown.insert(name.clone());
            } else {
                self.dropped.details = self.dropped.details.saturating_add(1);
            }
        }
        new.then_some(News::Connection {
            flow,
            hook: Hook::EGRESS,
            names,
            shown,
            chain,
        })
    }

    fn socket(&mut self, record: &SocketRefused, living: &impl Living) -> Option<News> {
        let chain = self.chain(record.header.tgid, &record.comm, living);
        let socket = SocketKey {
            family: record.family,
            kind: record.kind,
            protocol: record.protocol,
        };
        let who = line(&mut self.sockets, socket, &mut self.dropped.details)?;
        who.count(&chain, &mut self.dropped.details)
            .then_some(News::Socket {
                socket,
                verdict: record.verdict,
                chain,
            })
    }

    fn call(&mut self, record: &CallRefused, living: &impl Living) -> Option<News> {
        let chain = self.chain(record.header.tgid, &record.comm, living);
        self.incident(Incident::of_call(record), chain)
    }

    fn moved(&mut self, record: &Moved, living: &impl Living) -> Option<News> {
        let incident = self.left(record)?;
        let chain = self.chain(record.header.tgid, &[0; 16], living);
        self.incident(incident, chain)
    }

    /// Where a process was moved to, if that is not inside of the job.
    pub(super) fn left(&self, record: &Moved) -> Option<Incident> {
        let len = (record.path_len as usize).min(record.path.len());
        let path = text(record.path.get(..len).unwrap_or_default());
        let inside = !self.home.is_empty() && path.split('/').any(|part| part == self.home);
        (!inside).then_some(Incident::Left { path })
    }

    /// Takes a network namespace where the job's DNS cannot be served.
    pub fn unserved(
        &mut self,
        record: &Unserved,
        why: String,
        living: &impl Living,
    ) -> Option<News> {
        let chain = self.chain(record.header.tgid, &[0; 16], living);
        self.incident(Incident::Unserved { why }, chain)
    }

    fn incident(&mut self, incident: Incident, chain: Chain) -> Option<News> {
        let who = line(
            &mut self.incidents,
            incident.clone(),
            &mut self.dropped.details,
        )?;
        who.count(&chain, &mut self.dropped.details)
            .then_some(News::Incident { incident, chain })
    }

    /// The chain of a process; where nothing else is known, the thread's own name.
    pub(super) fn chain(&self, tgid: u32, comm: &[u8; 16], living: &impl Living) -> Chain {
        if tgid == 0 {
            return Chain {
                tgid,
                executables: vec!["(no process)".to_owned()],
            };
        }
        let mut chain = self.processes.chain(tgid, living);
        let unknown = chain
            .executables
            .first()
            .is_some_and(|path| path == "(unknown)");
        if unknown && comm.first().is_some_and(|byte| *byte != 0) {
            chain.executables = vec![format!("({})", text(comm))];
        }
        chain
    }
}

/// The line of the kernel's flow table that a record is about.
pub(super) fn flow_of(record: &Connection) -> FlowKey {
    FlowKey {
        address: record.address,
        port: record.port,
        protocol: record.protocol,
        verdict: record.verdict,
        reason: record.reason,
        reserved: [0; 7],
        rule: record.rule,
    }
}

/// The same of a connection that showed a name it may not.
pub(super) fn refused_flow_of(record: &NameRefused) -> FlowKey {
    FlowKey {
        address: record.address,
        port: record.port,
        protocol: record.protocol,
        verdict: record.verdict,
        reason: record.reason,
        reserved: [0; 7],
        rule: NO_RULE,
    }
}

impl Incident {
    pub(super) fn of_call(record: &CallRefused) -> Self {
        Self::Call {
            call: record.call,
            arguments: record.arguments,
            reason: record.reason,
            verdict: record.verdict,
        }
    }
}

/// The name a connection showed.
pub(super) fn shown(record: &NameRefused) -> Option<String> {
    let name = record.name.get(..usize::from(record.name_len))?;
    (!name.is_empty()).then(|| text(name))
}

/// Whether a refusal can be lifted by a rule that asks for no name.
#[must_use]
pub fn without_a_name(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NO_NAME | Reason::NOT_READABLE | Reason::NAME_TOO_LATE | Reason::SHARED_MEMORY
    )
}

/// Whether a refusal can be lifted by a rule about its destination.
#[must_use]
pub fn a_rule_could_allow(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NO_RULE
            | Reason::WRONG_PORT
            | Reason::WRONG_PROTOCOL
            | Reason::FOREIGN_LOOPBACK
            | Reason::LEASE_EXPIRED
            | Reason::NAME_NOT_ALLOWED
    ) || without_a_name(reason)
}

impl Who {
    /// Counts an event of a chain. Returns whether the chain is new here.
    fn count(&mut self, chain: &Chain, dropped: &mut u64) -> bool {
        if let Some(events) = self.chains.get_mut(chain) {
            *events = events.saturating_add(1);
            return false;
        }
        if self.chains.len() >= CHAINS_PER_LINE {
            *dropped = dropped.saturating_add(1);
            return false;
        }
        self.chains.insert(chain.clone(), 1);
        true
    }
}

fn line<'a, K: Ord>(
    lines: &'a mut BTreeMap<K, Who>,
    key: K,
    dropped: &mut u64,
) -> Option<&'a mut Who> {
    if lines.len() >= LINES && !lines.contains_key(&key) {
        *dropped = dropped.saturating_add(1);
        return None;
    }
    Some(lines.entry(key).or_default())
}

#[cfg(test)]
mod tests {
    use cordon_ebpf::abi::address::Address;
    use cordon_ebpf::abi::record::{RecordHeader, RecordKind};
    use cordon_ebpf::abi::ruleset::NO_RULE;

    use super::*;

    struct Nobody;
    impl Living for Nobody {
        fn executable(&self, _: u32) -> Option<String> {
            None
        }
        fn parent(&self, _: u32) -> Option<u32> {
            None
        }
    }

    fn denied(tgid: u32, last_octet: u8) -> Event {
        Event::Connection(Connection {
            header: RecordHeader::new(RecordKind::CONNECTION, 5, 1, u64::from(tgid) << 32),
            address: Address::from_v4([198, 51, 100, last_octet]),
            port: 443,
            protocol: 6,
            verdict: Verdict::DENY,
            reason: Reason::NO_RULE,
            hook: Hook::CONNECT4,
            rule: NO_RULE,
            uid: 0,
            reserved: 0,
            comm: *b"curl\0\0\0\0\0\0\0\0\0\0\0\0",
        })
    }

    #[test]
    fn a_denial_is_news_once_for_each_chain() {
        let mut ledger = Ledger::default();
        assert!(ledger.take(&Ok(denied(7, 66)), &Nobody).is_some());
        assert!(ledger.take(&Ok(denied(7, 66)), &Nobody).is_none());
        assert!(ledger.take(&Ok(denied(8, 66)), &Nobody).is_some());
        assert_eq!(ledger.connections.len(), 1);
    }

    #[test]
    fn a_process_nobody_knows_keeps_its_threads_name() {
        let mut ledger = Ledger::default();
        let Some(News::Connection { chain, .. }) = ledger.take(&Ok(denied(7, 66)), &Nobody) else {
            panic!("no news");
        };
        assert_eq!(chain.executables, ["(curl)"]);
    }

    #[test]
    fn a_denial_says_under_which_name_the_address_was_resolved() {
        let mut ledger = Ledger::default();
        let question = Question {
            name: "api.example.com".to_owned(),
            kind: "A".to_owned(),
            verdict: NameVerdict::Allowed,
            rule: Some(0),
            addresses: vec!["198.51.100.66".parse().unwrap()],
            process: None,
        };
        assert!(ledger.question(question, 0, &Nobody).is_none());
        let Some(News::Connection { names, .. }) = ledger.take(&Ok(denied(7, 66)), &Nobody) else {
            panic!("no news");
        };
        assert_eq!(names, ["api.example.com"]);
    }

    #[test]
    fn what_is_beyond_a_bound_is_counted() {
        let mut ledger = Ledger::default();
        for tgid in 1..=20 {
            ledger.take(&Ok(denied(tgid, 66)), &Nobody);
        }
        assert_eq!(ledger.dropped().details, 20 - CHAINS_PER_LINE as u64);
        ledger.take(&Err(DecodeError::Short { bytes: 3 }), &Nobody);
        assert_eq!(ledger.dropped().undecodable, 1);
    }
}
