//! The predicate: a report in the words of in-toto's runtime trace.
//!
//! The standard part is `runtime-trace/v0.1` with network entries in the shape of its v0.2 draft;
//! everything of ours is beside it, in keys that begin with `cordon`, and changes the meaning of
//! none of the others.
//!
//! **Invariants**: what the size bound leaves out is counted in [`Omitted`]; the whole of it is in
//! the report, whose digest is in the same statement.

use std::net::IpAddr;
use std::path::Path;

use cordon_ebpf::abi::verdict::Verdict;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Coverage, Denial, Destination, Flow, Losses, NameAsked, NameVerdict, Platform, PolicyFacts,
    ProcessChain, ProfileFacts, Report, ReportMode, SocketDenied, Summary,
};

/// How to read `tracePolicy` and the log; its number changes when they do.
pub const MONITOR_TYPE: &str = "urn:cordon:monitor:egress:v1";

/// 12 MiB for the lists, of the 16 MiB that attestation stores take of a whole predicate.
const LISTS_BUDGET: usize = 12 << 20;

/// The rule of what no rule allows.
const DEFAULT_DENY: &str = "default-deny";

/// `https://in-toto.io/attestation/runtime-trace/v0.1`
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Predicate {
    /// [`Report::mode`]
    pub cordon_mode: ReportMode,
    /// [`Report::coverage`]
    pub cordon_coverage: Coverage,
    /// [`Report::losses`]
    pub cordon_losses: Losses,
    /// [`Report::summary`]
    pub cordon_summary: Summary,
    /// What is in the report and, for its size, not in the log below.
    pub cordon_omitted: Omitted,
    /// Who watched, under which policy.
    pub monitor: Monitor,
    /// What was watched.
    pub monitored_process: MonitoredProcess,
    /// What was seen.
    pub monitor_log: MonitorLog,
    /// When.
    pub metadata: Metadata,
    /// [`Report::platform`]
    pub cordon_platform: Platform,
    /// The report this statement is about.
    pub cordon_report: Digest,
}

/// Entries left out of the lists.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Omitted {
    /// Of [`MonitorLog::network`].
    pub network: usize,
    /// Of [`MonitorLog::cordon_names`].
    pub names: usize,
    /// Of [`MonitorLog::cordon_sockets`].
    pub sockets: usize,
}

/// Who watched, under which policy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Monitor {
    /// [`MONITOR_TYPE`]
    pub r#type: String,
    /// The outermost profile.
    pub config_source: Resource,
    /// What was enforced, already merged.
    pub trace_policy: TracePolicy,
    /// Every profile file that went into it, in the order of merging.
    pub cordon_profiles: Vec<Resource>,
}

/// In-toto's resource descriptor, as far as used.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Resource {
    /// The profile's own name.
    pub name: String,
    /// Where it is, if that has a URI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// A digest set with the one algorithm in use.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Digest {
    /// Lower-case hex.
    pub sha256: String,
}

/// The policy that was enforced.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TracePolicy {
    /// [`PolicyFacts::name`]
    pub name: String,
    /// [`Report::mode`]
    pub mode: ReportMode,
    /// [`PolicyFacts::ruleset_digest`]: BLAKE3, hex.
    pub ruleset_digest: String,
    /// The effective rules.
    pub rules: Vec<TraceRule>,
}

/// One effective rule.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceRule {
    /// The rule in one line.
    pub text: String,
    /// `FILE:LINE` it comes from.
    pub origin: String,
    /// The author's reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What was watched.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MonitoredProcess {
    /// The host, named by the key that its reports are signed with.
    #[serde(rename = "hostID")]
    pub host_id: String,
    /// What kind of thing ran.
    pub r#type: String,
    /// Which one.
    pub event: String,
}

/// What was seen.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MonitorLog {
    /// Denied destinations, then allowed ones.
    pub network: Vec<Connection>,
    /// Names that were asked and not simply allowed.
    pub cordon_names: Vec<NameAsked>,
    /// Sockets refused by kind.
    pub cordon_sockets: Vec<SocketDenied>,
}

/// One destination: a network entry in the shape of runtime-trace v0.2.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// Address.
    pub ip: IpAddr,
    /// The first of the names it was resolved from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Port.
    pub port: u16,
    /// `tcp`, `udp` or `ip-N`.
    pub protocol: String,
    /// The first of the processes that were seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoking_process: Option<InvokingProcess>,
    /// `allow`, `deny` or `would-deny`.
    pub cordon_verdict: String,
    /// The rule that allowed it, or `default-deny`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordon_rule: Option<String>,
    /// The kernel's reason.
    pub cordon_reason: String,
    /// Attempts.
    pub cordon_count: u64,
    /// Packets refused on the wire, or sent.
    pub cordon_packets: u64,
    /// Bytes of IP packets that left.
    pub cordon_bytes_out: u64,
    /// Bytes of IP packets that came back.
    pub cordon_bytes_in: u64,
    /// First of them.
    pub cordon_first_seen: Timestamp,
    /// Last of them.
    pub cordon_last_seen: Timestamp,
}

/// A process, without its arguments: those can carry secrets.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct InvokingProcess {
    /// Process id on the host.
    pub pid: u32,
    /// Path of its executable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
}

/// When the job ran.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// [`super::JobFacts::started`]
    pub build_started_on: Timestamp,
    /// [`super::JobFacts::finished`]
    pub build_finished_on: Timestamp,
}

impl Predicate {
    /// The predicate of a report, whose file has this digest and is signed by the key of this id.
    #[must_use]
    pub fn new(report: &Report, report_sha256: &str, key_id: &str) -> Self {
        let mut budget = Budget(LISTS_BUDGET);
        let (network, network_omitted) = budget.take(connections(report));
        let not_allowed = |name: &&NameAsked| name.answer != NameVerdict::Allowed;
        let (cordon_names, names) = budget.take(report.dns.iter().filter(not_allowed).cloned());
        let (cordon_sockets, sockets) = budget.take(report.sockets.iter().cloned());
        Self {
            cordon_mode: report.mode,
            cordon_coverage: report.coverage.clone(),
            cordon_losses: report.losses,
            cordon_summary: report.summary,
            cordon_omitted: Omitted {
                network: network_omitted,
                names,
                sockets,
            },
            monitor: Monitor::new(&report.policy, report.mode),
            monitored_process: MonitoredProcess {
                host_id: format!("urn:cordon:host:{key_id}"),
                r#type: "urn:cordon:job:v1".into(),
                event: format!("urn:cordon:job:v1:{}", percent_encoded(&report.job.id, b"")),
            },
            monitor_log: MonitorLog {
                network,
                cordon_names,
                cordon_sockets,
            },
            metadata: Metadata {
                build_started_on: report.job.started,
                build_finished_on: report.job.finished,
            },
            cordon_platform: report.platform.clone(),
            cordon_report: Digest {
                sha256: report_sha256.into(),
            },
        }
    }
}

impl Monitor {
    fn new(policy: &PolicyFacts, mode: ReportMode) -> Self {
        let cordon_profiles: Vec<_> = policy.profiles.iter().map(Resource::from).collect();
        let no_profile = || Resource {
            name: policy.name.clone(),
            uri: None,
            digest: None,
        };
        let rules = policy.rules.iter().map(|rule| TraceRule {
            text: rule.text.clone(),
            origin: rule.origin.clone(),
            reason: rule.reason.clone(),
        });
        Self {
            r#type: MONITOR_TYPE.into(),
            config_source: cordon_profiles.last().cloned().unwrap_or_else(no_profile),
            trace_policy: TracePolicy {
                name: policy.name.clone(),
                mode,
                ruleset_digest: policy.ruleset_digest.clone(),
                rules: rules.collect(),
            },
            cordon_profiles,
        }
    }
}

impl From<&ProfileFacts> for Resource {
    fn from(profile: &ProfileFacts) -> Self {
        let source = profile.source.as_str();
        let uri = match source.strip_prefix("built-in:") {
            Some(name) => Some(format!("urn:cordon:profile:{}", percent_encoded(name, b""))),
            None if Path::new(source).is_absolute() => {
                Some(format!("file://{}", percent_encoded(source, b"/")))
            }
            // A relative path has no URI.
            None => None,
        };
        Self {
            name: profile.name.clone(),
            uri,
            digest: Some(Digest {
                sha256: profile.sha256.clone(),
            }),
        }
    }
}

impl From<&ProcessChain> for InvokingProcess {
    fn from(chain: &ProcessChain) -> Self {
        Self {
            pid: chain.pid,
            exe: chain.executables.first().cloned(),
        }
    }
}

fn connections(report: &Report) -> impl Iterator<Item = Connection> {
    let refused = match report.mode {
        ReportMode::Enforce => Verdict::DENY,
        ReportMode::Audit => Verdict::WOULD_DENY,
    };
    let denials = report
        .denials
        .iter()
        .map(move |denial| denied(denial, refused));
    denials.chain(
        report
            .flows
            .iter()
            .map(|flow| allowed(flow, &report.policy)),
    )
}

fn denied(denial: &Denial, verdict: Verdict) -> Connection {
    let Destination {
        address,
        port,
        protocol,
        names,
    } = &denial.destination;
    Connection {
        ip: *address,
        hostname: names.first().cloned(),
        port: *port,
        protocol: protocol.clone(),
        invoking_process: denial.processes.first().map(InvokingProcess::from),
        cordon_verdict: verdict.name().into(),
        cordon_rule: Some(DEFAULT_DENY.into()),
        cordon_reason: denial.reason.clone(),
        cordon_count: denial.attempts,
        cordon_packets: denial.packets,
        cordon_bytes_out: 0,
        cordon_bytes_in: 0,
        cordon_first_seen: denial.first_seen,
        cordon_last_seen: denial.last_seen,
    }
}

fn allowed(flow: &Flow, policy: &PolicyFacts) -> Connection {
    let Destination {
        address,
        port,
        protocol,
        names,
    } = &flow.destination;
    Connection {
        ip: *address,
        hostname: names.first().cloned(),
        port: *port,
        protocol: protocol.clone(),
        invoking_process: flow.processes.first().map(InvokingProcess::from),
        cordon_verdict: Verdict::ALLOW.name().into(),
        cordon_rule: flow.rule.map(|index| policy.rule_text(index)),
        cordon_reason: flow.reason.clone(),
        cordon_count: flow.attempts,
        cordon_packets: flow.packets_out,
        cordon_bytes_out: flow.bytes_out,
        cordon_bytes_in: flow.bytes_in,
        cordon_first_seen: flow.first_seen,
        cordon_last_seen: flow.last_seen,
    }
}

/// Bytes that lists may still take.
struct Budget(usize);

impl Budget {
    /// As many items as fit, in their order, and how many did not.
    fn take<T: Serialize>(&mut self, items: impl Iterator<Item = T>) -> (Vec<T>, usize) {
        let mut taken = Vec::new();
        let mut items = items.peekable();
        while let Some(item) = items.next_if(|item| self.spend(item)) {
            taken.push(item);
        }
        (taken, items.count())
    }

    fn spend<T: Serialize>(&mut self, item: &T) -> bool {
        // An item without a JSON form fails the whole statement later; here it is merely large.
        let size = serde_json::to_vec(item).map_or(usize::MAX, |bytes| bytes.len());
        match self.0.checked_sub(size.saturating_add(1)) {
            Some(left) => {
                self.0 = left;
                true
            }
            None => false,
        }
    }
}

/// The text as a part of a URI: RFC 3986's unreserved characters, and the `kept` ones, as they are.
fn percent_encoded(text: &str, kept: &[u8]) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn denials_carry_the_verdict_of_the_mode() {
        let mut report = fixture::report();
        for (mode, word) in [
            (ReportMode::Enforce, "deny"),
            (ReportMode::Audit, "would-deny"),
        ] {
            report.mode = mode;
            let predicate = Predicate::new(&report, "00", "SHA256:x");
            let first = &predicate.monitor_log.network[0];
            assert_eq!(first.cordon_verdict, word);
            assert_eq!(first.cordon_rule.as_deref(), Some("default-deny"));
            assert_eq!(predicate.cordon_mode, mode);
        }
    }

    #[test]
    fn a_rule_that_is_not_there_is_named_so() {
        let mut report = fixture::report();
        report.flows[0].rule = Some(900);
        let predicate = Predicate::new(&report, "00", "SHA256:x");
        let flow = &predicate.monitor_log.network[report.denials.len()];
        assert_eq!(
            flow.cordon_rule.as_deref(),
            Some("rule 900 (not in the list)")
        );
    }

    #[test]
    fn names_that_were_simply_allowed_are_left_to_the_report() {
        let predicate = Predicate::new(&fixture::report(), "00", "SHA256:x");
        let names = &predicate.monitor_log.cordon_names;
        assert!(!names.is_empty());
        assert!(names.iter().all(|name| name.answer != NameVerdict::Allowed));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut report = fixture::report();
        let mut denial = report.denials[0].clone();
        denial.processes[0].executables[0] = "x".repeat(1 << 20);
        report.denials = vec![denial; 14];
        let total = report.denials.len() + report.flows.len();
        let predicate = Predicate::new(&report, "00", "SHA256:x");
        assert_eq!(predicate.monitor_log.network.len(), 11);
        assert_eq!(predicate.cordon_omitted.network, total - 11);
        let size = serde_json::to_vec(&predicate).unwrap().len();
        assert!(size < super::super::envelope::MAX_PAYLOAD, "{size}");
    }

    #[test]
    fn sources_become_uris() {
        let uri = |source: &str| {
            let profile = ProfileFacts {
                name: "p".into(),
                source: source.into(),
                sha256: "00".into(),
            };
            Resource::from(&profile).uri
        };
        assert_eq!(
            uri("built-in:base").as_deref(),
            Some("urn:cordon:profile:base")
        );
        assert_eq!(
            uri("/a b/ü.toml").as_deref(),
            Some("file:///a%20b/%C3%BC.toml")
        );
        assert_eq!(uri("ci/web.toml"), None);
    }
}
