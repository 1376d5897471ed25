//! Single events of a job as lines of OCSF 1.6.0, chained. Pure.
//!
//! Each line stands for one record of the kernel, one DNS question, one finding or one step of the job's life,
//! in the order in which cordon saw them (`metadata.sequence`). The kernel records the first use of a
//! destination and then ever rarer ones: totals are in the reports, which are exact.
//!
//! **Invariants**: no byte of a secret; a line never holds a line feed; the same event gives the same bytes.

use std::net::IpAddr;

use cordon_ebpf::abi::flow::FlowKey;
use cordon_ebpf::abi::record::Hook;
use cordon_ebpf::abi::ruleset::NO_RULE;
use cordon_ebpf::abi::verdict::{Reason, Verdict};
use cordon_secrets::{Outcome as Found, Severity};
use jiff::Timestamp;

use self::chain::Head;
use self::line::{
    Action, Actor, Answer, Class, ConnectionInfo, DataSecurity, Device, Endpoint, FindingInfo,
    Line, Metadata, Named, Process, Query, Unmapped,
};
use super::build::{protocol, socket_kind};
use super::incident::about;
use super::{NameVerdict, Outcome, json};
use crate::attribution::Chain;
use crate::dns::Question;
use crate::events::ledger::{Incident, SocketKey};
use crate::limits::evidence::{Change, Kind, Met};
use crate::secrets::ledger::Seen;

pub mod chain;
mod line;
#[cfg(test)]
mod tests;

/// File name of the events in evidence.
pub const NAME: &str = "events.ocsf.jsonl";

/// Version of the schema.
pub const VERSION: &str = "1.6.0";

/// What all lines of a job say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Context {
    /// The job.
    pub job: String,
    /// What the host calls itself.
    pub host: String,
    /// Name of the job's policy.
    pub policy: String,
}

/// Something that happened in a job.
#[derive(Clone, Copy, Debug)]
pub enum Happening<'a> {
    /// Its processes were let go.
    Started {
        /// `enforce` or `audit`.
        mode: &'static str,
        /// BLAKE3 of the ruleset, hex.
        ruleset: &'a str,
    },
    /// Another cordon goes on with it.
    TakenOver,
    /// No process of it is left.
    Ended {
        /// How its command ended.
        outcome: Outcome,
    },
    /// A process became a program.
    Executed {
        /// Which, and what started it.
        chain: &'a Chain,
        /// Real user id.
        user: u32,
    },
    /// A destination was judged.
    Connection {
        /// Where to, and what was said.
        flow: &'a FlowKey,
        /// By which hook.
        hook: Hook,
        /// Names known for the address.
        names: &'a [String],
        /// The name the connection showed, if that is what was judged.
        shown: Option<&'a str>,
        /// Who.
        chain: &'a Chain,
        /// Real user id, if there is a caller.
        user: Option<u32>,
    },
    /// A name was asked.
    Name {
        /// The question, and what became of it.
        question: &'a Question,
        /// Who, if known.
        chain: Option<&'a Chain>,
    },
    /// A socket was refused.
    Socket {
        /// Its kind.
        socket: SocketKey,
        /// What happened.
        verdict: Verdict,
        /// Why.
        reason: Reason,
        /// Who.
        chain: &'a Chain,
    },
    /// A call was refused, or a process left the job's cgroup.
    Incident {
        /// What.
        incident: &'a Incident,
        /// Who.
        chain: &'a Chain,
    },
    /// A credential was seen in a new place.
    Secret(&'a Seen),
    /// A limit was met.
    LimitMet(&'a Met),
    /// A limit was found changed.
    LimitChanged(&'a Change),
}

/// The line of an event, without its line feed; `head` is where the chain ended before it.
///
/// # Errors
/// It has no JSON form.
pub fn render(
    context: &Context,
    head: &Head,
    time: Timestamp,
    happening: &Happening<'_>,
) -> Result<Vec<u8>, serde_json::Error> {
    let previous = head.hex();
    let uid = format!("{}/{}", context.job, head.next());
    let blank = Line {
        time: time.as_millisecond(),
        metadata: Metadata {
            version: VERSION,
            product: Named::product(env!("CARGO_PKG_VERSION")),
            sequence: head.next(),
            uid: &uid,
            correlation_uid: &context.job,
            profiles: &["host", "security_control"],
        },
        device: Device {
            // Unknown: a machine, or a part of one.
            type_id: 0,
            hostname: &context.host,
        },
        policy: Named::of(&context.policy),
        unmapped: Unmapped {
            previous: &previous,
            ..Unmapped::default()
        },
        ..Line::default()
    };
    let words = Words::of(happening);
    json::line(&words.line(blank, happening))
}

/// What a line borrows and the event does not have as text.
#[derive(Default)]
struct Words {
    text: String,
    second: String,
    addresses: Vec<String>,
}

impl Words {
    fn of(happening: &Happening<'_>) -> Self {
        let words = |text: String, second: String| Self {
            text,
            second,
            addresses: Vec::new(),
        };
        match happening {
            Happening::Started { .. }
            | Happening::TakenOver
            | Happening::Executed { .. }
            | Happening::LimitChanged(_) => Self::default(),
            Happening::Ended { outcome } => words(outcome.words(), String::new()),
            Happening::Connection { flow, .. } => words(
                protocol(flow.protocol),
                IpAddr::from(flow.address).to_string(),
            ),
            Happening::Name { question, .. } => Self {
                addresses: question.addresses.iter().map(ToString::to_string).collect(),
                ..Self::default()
            },
            Happening::Socket { socket, .. } => words(socket_kind(*socket), String::new()),
            Happening::Incident { incident, .. } => words(about(incident), String::new()),
            Happening::Secret(seen) => words(
                seen.detection.fingerprint.to_string(),
                seen.detection.place.variable.to_string(),
            ),
            Happening::LimitMet(met) => words(format!("{} times", met.count), String::new()),
        }
    }

    /// The line of an event, on a blank one.
    fn line<'l>(&'l self, blank: Line<'l>, happening: &Happening<'l>) -> Line<'l> {
        match *happening {
            Happening::Started { mode, ruleset } => Line {
                unmapped: Unmapped {
                    mode: Some(mode),
                    ruleset: Some(ruleset),
                    ..blank.unmapped
                },
                ..life(blank, 3)
            },
            Happening::TakenOver => life(blank, 5),
            Happening::Ended { .. } => Line {
                status_detail: Some(&self.text),
                ..life(blank, 4)
            },
            Happening::Executed { chain, user } => Line {
                process: Some(Process::of(chain, Some(user))),
                actor: Some(Actor::parent_of(chain)),
                ..Class::Process.line(blank, 1)
            },
            Happening::Connection {
                flow,
                hook,
                names,
                shown,
                chain,
                user,
            } => Line {
                dst_endpoint: Some(Endpoint {
                    ip: Some(&self.second),
                    port: Some(flow.port),
                    hostname: shown.or_else(|| names.first().map(String::as_str)),
                    svc_name: None,
                }),
                connection_info: Some(ConnectionInfo {
                    direction_id: 2,
                    protocol_num: flow.protocol,
                    protocol_name: &self.text,
                }),
                actor: Some(Actor::of(chain, user)),
                unmapped: Unmapped {
                    hook: Some(hook.name()),
                    reason: Some(flow.reason.name()),
                    rule: (flow.rule != NO_RULE).then_some(flow.rule),
                    shown_name: shown,
                    ..blank.unmapped
                },
                // 1 is opened, 5 is refused.
                ..judged(
                    Class::Network.line(blank, if flow.verdict == Verdict::DENY { 5 } else { 1 }),
                    action(flow.verdict),
                )
            },
            Happening::Name { question, chain } => self.name(blank, question, chain),
            Happening::Socket {
                verdict,
                reason,
                chain,
                ..
            } => Line {
                actor: Some(Actor::of(chain, None)),
                unmapped: Unmapped {
                    reason: Some(reason.name()),
                    ..blank.unmapped
                },
                ..judged(
                    self.finding(blank, "a socket was refused", "socket"),
                    action(verdict),
                )
            },
            Happening::Incident { incident, chain } => self.incident(blank, incident, chain),
            Happening::Secret(seen) => self.secret(blank, seen),
            Happening::LimitMet(met) => {
                let title = match met.kind {
                    Kind::OutOfMemory => "memory was at its limit, and a process was killed",
                    Kind::ForkRefused => "a new process or thread was refused",
                    Kind::Throttled => "processor time was used up",
                    Kind::TimeOver => "the job's time was over",
                };
                self.finding(blank, title, "limit")
            }
            Happening::LimitChanged(change) => Line {
                unmapped: Unmapped {
                    file: Some(&change.file),
                    expected: Some(&change.expected),
                    found: change.found.as_deref(),
                    ..blank.unmapped
                },
                severity_id: 4,
                ..self.finding(blank, "a limit was changed from outside the job", "limit")
            },
        }
    }

    fn name<'l>(
        &'l self,
        blank: Line<'l>,
        question: &'l Question,
        chain: Option<&'l Chain>,
    ) -> Line<'l> {
        let (action, rcode) = match question.verdict {
            NameVerdict::Allowed => (Action::Allowed, 0),
            NameVerdict::WouldDeny | NameVerdict::Local => (Action::Observed, 0),
            NameVerdict::Denied
            | NameVerdict::Rebinding
            | NameVerdict::Unsupported
            | NameVerdict::Limited => (Action::Denied, 5),
            NameVerdict::Failed | NameVerdict::NotLeased => (Action::Denied, 2),
        };
        Line {
            query: Some(Query {
                hostname: &question.name,
                record: &question.kind,
            }),
            answers: self
                .addresses
                .iter()
                .map(|rdata| Answer { rdata })
                .collect(),
            rcode_id: Some(rcode),
            dst_endpoint: Some(Endpoint {
                svc_name: Some("dns"),
                ..Endpoint::default()
            }),
            actor: chain.map(|chain| Actor::of(chain, None)),
            unmapped: Unmapped {
                reason: Some(question.verdict.name()),
                rule: question.rule,
                ..blank.unmapped
            },
            ..judged(Class::Dns.line(blank, 1), action)
        }
    }

    fn incident<'l>(
        &'l self,
        blank: Line<'l>,
        incident: &'l Incident,
        chain: &'l Chain,
    ) -> Line<'l> {
        let (title, kind, reason, act) = match incident {
            Incident::Call {
                call,
                reason,
                verdict,
                ..
            } => (
                "a call was refused",
                call.name(),
                Some(reason.name()),
                action(*verdict),
            ),
            Incident::Left { .. } => (
                "a process left the job's cgroup",
                "leave-cgroup",
                None,
                Action::Observed,
            ),
            Incident::Unserved { .. } => (
                "a network namespace has no DNS of the job",
                "network-namespace",
                Some(Reason::NO_RESOLVER.name()),
                Action::Denied,
            ),
        };
        Line {
            actor: Some(Actor::of(chain, None)),
            unmapped: Unmapped {
                reason,
                ..blank.unmapped
            },
            ..judged(self.finding(blank, title, kind), act)
        }
    }

    fn secret<'l>(&'l self, blank: Line<'l>, seen: &'l Seen) -> Line<'l> {
        let detection = &seen.detection;
        let severity = match seen.judgement.outcome {
            Found::Expected | Found::Noted => 1,
            Found::Finding(Severity::Low) => 2,
            Found::Finding(Severity::Medium) => 3,
            Found::Finding(Severity::High) => 4,
            Found::Finding(Severity::Critical) => 5,
        };
        Line {
            finding_info: Some(FindingInfo {
                uid: &self.text,
                title: detection.rule.title,
                desc: None,
                types: [detection.rule.id],
            }),
            data_security: Some(DataSecurity {
                detection_pattern: detection.rule.id,
            }),
            actor: Some(Actor::of(&seen.chain, None)),
            unmapped: Unmapped {
                variable: (!self.second.is_empty()).then_some(&*self.second),
                source: Some(detection.place.source.name()),
                ..blank.unmapped
            },
            severity_id: severity,
            ..Class::Secret.line(blank, 1)
        }
    }

    fn finding<'l>(&'l self, blank: Line<'l>, title: &'l str, kind: &'l str) -> Line<'l> {
        Line {
            finding_info: Some(FindingInfo {
                uid: blank.metadata.uid,
                title,
                desc: (!self.text.is_empty()).then_some(&*self.text),
                types: [kind],
            }),
            severity_id: 3,
            ..Class::Detection.line(blank, 1)
        }
    }
}

/// A step of the job's life.
fn life(blank: Line<'_>, activity: u16) -> Line<'_> {
    Line {
        app: Some(Named {
            name: "job",
            uid: Some(blank.metadata.correlation_uid),
            ..Named::default()
        }),
        ..Class::Lifecycle.line(blank, activity)
    }
}

fn judged(line: Line<'_>, action: Action) -> Line<'_> {
    Line {
        action_id: Some(action.id()),
        disposition_id: Some(action.disposition()),
        severity_id: match action {
            Action::Allowed => line.severity_id,
            Action::Observed => line.severity_id.max(2),
            Action::Denied => line.severity_id.max(3),
        },
        ..line
    }
}

/// What a verdict is as an action; one that is not known let nothing pass.
fn action(verdict: Verdict) -> Action {
    match verdict {
        Verdict::ALLOW => Action::Allowed,
        Verdict::WOULD_DENY => Action::Observed,
        _ => Action::Denied,
    }
}
