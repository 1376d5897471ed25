//! What happens while it happens: one line each, for people.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use cordon_secrets::Variable;

use super::NameVerdict;
use super::build::{protocol, remedy_for, socket_kind};
use super::escape::escape;
use super::incident::about;
use crate::events::ledger::{Incident, News};
use crate::limits::evidence::{Answer, Change, Kind, Met};
use crate::policy::{Mode, remedy};
use crate::secrets::ledger::Seen;

/// One line for something refused, with what would allow it. Everything in it that comes from the
/// job is escaped.
#[must_use]
pub fn describe(news: &News, mode: Mode) -> String {
    let verb = match mode {
        Mode::Audit => "would deny",
        Mode::Enforce => "denied",
    };
    match news {
        News::Connection {
            flow,
            hook,
            names,
            shown,
            chain,
        } => {
            let address = std::net::IpAddr::from(flow.address);
            let at = std::net::SocketAddr::new(address, flow.port);
            let name = match (shown, names.first()) {
                (Some(name), _) => format!(" (shows {name})"),
                (None, Some(name)) => format!(" ({name})"),
                (None, None) => String::new(),
            };
            let toml = remedy_for(flow, names, shown.as_slice());
            format!(
                "{verb} {} {at}{}: {} at {}, by {}{}",
                protocol(flow.protocol),
                escape(&name),
                flow.reason.name(),
                hook.name(),
                who(&chain.executables),
                add(toml.as_deref()),
            )
        }
        News::Socket { socket, chain, .. } => {
            format!(
                "{verb} socket {}, by {}",
                socket_kind(*socket),
                who(&chain.executables)
            )
        }
        News::Incident { incident, chain } => {
            let what = about(incident);
            let by = who(&chain.executables);
            match incident {
                Incident::Call { call, reason, .. } => {
                    let (call, reason) = (call.name(), reason.name());
                    format!("{verb} {call}: {reason}: {}, by {by}", escape(&what))
                }
                Incident::Left { .. } => {
                    format!("a process left the job's cgroup: {}, {by}", escape(&what))
                }
                Incident::Unserved { .. } => format!("{verb} {}, by {by}", escape(&what)),
            }
        }
        News::Secret(seen) => secret(seen),
        News::LimitMet { limit, met } => met_limit(limit.as_deref(), met),
        News::LimitChanged(change) => changed_limit(change),
        News::TakenOver { id } => format!("took over job {id}"),
        News::Orphan { id, evidence } => orphan(id, evidence),
        News::Name { key, chain } => {
            let chain = chain.as_ref().map(|chain| who(&chain.executables));
            let by = chain.map_or_else(String::new, |who| format!(", by {who}"));
            let name = std::slice::from_ref(&key.name);
            let toml = matches!(key.verdict, NameVerdict::Denied | NameVerdict::WouldDeny)
                .then(|| remedy(name, None, 443, cordon_ebpf::abi::TCP))
                .flatten();
            let what = match key.verdict {
                NameVerdict::Denied | NameVerdict::WouldDeny => "no rule allows it",
                NameVerdict::Rebinding => "it resolves to addresses a public name must not have",
                NameVerdict::Unsupported => "this record type is not served",
                NameVerdict::Limited => {
                    "beyond the limits of the wildcard that allows it (`wildcard_*` in the host's `[dns]`)"
                }
                NameVerdict::Failed => "the DNS server did not answer",
                NameVerdict::NotLeased => "its addresses could not be leased",
                NameVerdict::Allowed => "allowed",
                NameVerdict::Local => "asked of the resolver of its own namespace",
            };
            let verb = match key.verdict {
                NameVerdict::Failed | NameVerdict::NotLeased => "could not resolve",
                NameVerdict::Denied
                | NameVerdict::Rebinding
                | NameVerdict::Unsupported
                | NameVerdict::WouldDeny
                | NameVerdict::Limited
                | NameVerdict::Allowed
                | NameVerdict::Local => verb,
            };
            format!(
                "{verb} name {} {}: {what}{by}{}",
                escape(&key.name),
                key.kind,
                add(toml.as_deref())
            )
        }
    }
}

/// A line about a credential that a process should not have.
fn secret(seen: &Seen) -> String {
    let Seen {
        detection,
        judgement: _,
        chain,
    } = seen;
    let place = &detection.place;
    let variable = match &place.variable {
        Variable::None => String::new(),
        variable => format!(" {}", escape(&variable.to_string())),
    };
    format!(
        "secret: {} ({}) in the {}{variable} of {}; fingerprint {}",
        detection.rule.title,
        detection.rule.id,
        place.source.name(),
        who(&chain.executables),
        detection.fingerprint
    )
}

/// A line about a limit that the job met.
fn met_limit(limit: Option<&str>, met: &Met) -> String {
    let limit = limit.map_or_else(String::new, |limit| format!(" ({limit})"));
    match met.kind {
        Kind::OutOfMemory => {
            let last = met.processes.last();
            let who = last.map_or_else(
                || "a process that is not known".to_owned(),
                |victim| who(&victim.executables),
            );
            format!("limit memory{limit}: none was left, and the kernel killed {who}")
        }
        Kind::ForkRefused => format!("limit pids{limit}: a process could not be made"),
        Kind::Throttled => format!("limit cpu{limit}: the job waits for its next share"),
        Kind::TimeOver => format!("limit wall{limit}: the job's time is over, and it is ended"),
    }
}

/// A line about a limit that is not what it was.
fn changed_limit(change: &Change) -> String {
    let Change {
        resource,
        file,
        expected,
        found,
        answer,
        ..
    } = change;
    let found = found.as_deref().unwrap_or("nothing that can be read");
    let done = match answer {
        Answer::Restored => "put back",
        Answer::JobEnded => "could not be put back, so the job is ended",
        Answer::JobOver => "found when the job had ended",
    };
    format!(
        "LIMIT {resource} WAS CHANGED from outside the job: {file} had {} and not {expected}; {done}",
        escape(found)
    )
}

/// A line about a job that was left behind.
fn orphan(id: &str, evidence: &Result<PathBuf, String>) -> String {
    match evidence {
        Ok(directory) => format!(
            "ended job {id}, whose cordon had been killed; evidence in `{}`",
            directory.display()
        ),
        Err(why) => format!(
            "job {id}, whose cordon had been killed, could not be ended with evidence; {why}"
        ),
    }
}

fn who(executables: &[String]) -> String {
    let escaped: Vec<_> = executables.iter().map(|path| escape(path)).collect();
    escaped.join(" < ")
}

fn add(toml: Option<&str>) -> String {
    toml.map_or_else(String::new, |toml| {
        let line: Vec<_> = toml
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        format!("; to allow it: {}", line.join(" "))
    })
}
