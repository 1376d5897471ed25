//! The predicate: a report in the words of in-toto's runtime trace.
//!
//! The standard part is `runtime-trace/v0.1` with network entries in the shape of its v0.2 draft;
//! everything of ours is beside it, in keys that begin with `cordon`, and changes the meaning of
//! none of the others.
//!
//! **Invariants**: what the size bound leaves out is counted in [`Omitted`]; the whole of it is in
//! the report, whose digest is in the same statement.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Coverage, IncidentSeen, Interruption, Losses, NameAsked, Platform, ReportMode, SocketDenied,
    Summary,
};

mod assemble;

pub(crate) use assemble::percent_encoded;
pub(super) use assemble::{Budget, LISTS_BUDGET};

/// How to read `tracePolicy` and the log; its number changes when they do.
pub const MONITOR_TYPE: &str = "urn:cordon:monitor:egress:v1";

/// `https://in-toto.io/attestation/runtime-trace/v0.1`
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Predicate {
    /// [`Report::mode`](super::Report::mode)
    pub cordon_mode: ReportMode,
    /// [`Report::interruptions`](super::Report::interruptions)
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cordon_interruptions: Vec<Interruption>,
    /// [`Report::coverage`](super::Report::coverage)
    pub cordon_coverage: Coverage,
    /// [`Report::losses`](super::Report::losses)
    pub cordon_losses: Losses,
    /// [`Report::summary`](super::Report::summary)
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
    /// [`Report::platform`](super::Report::platform)
    pub cordon_platform: Platform,
    /// The report this statement is about.
    pub cordon_report: Digest,
}

/// Entries left out of the lists.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Omitted {
    /// Of [`MonitorLog::network`].
    pub network: usize,
    /// Of [`MonitorLog::cordon_names`].
    pub names: usize,
    /// Of [`MonitorLog::cordon_sockets`].
    pub sockets: usize,
    /// Of [`MonitorLog::cordon_incidents`].
    pub incidents: usize,
}

/// Who watched, under which policy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Digest {
    /// Lower-case hex.
    pub sha256: String,
}

/// The policy that was enforced.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TracePolicy {
    /// [`PolicyFacts::name`](super::PolicyFacts::name)
    pub name: String,
    /// [`Report::mode`](super::Report::mode)
    pub mode: ReportMode,
    /// [`PolicyFacts::ruleset_digest`](super::PolicyFacts::ruleset_digest): BLAKE3, hex.
    pub ruleset_digest: String,
    /// The effective rules.
    pub rules: Vec<TraceRule>,
}

/// One effective rule.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct MonitorLog {
    /// Denied destinations, then allowed ones.
    pub network: Vec<Connection>,
    /// Names that were asked and not simply allowed.
    pub cordon_names: Vec<NameAsked>,
    /// Sockets refused by kind.
    pub cordon_sockets: Vec<SocketDenied>,
    /// Other calls that were refused, and processes that left the job's cgroup.
    pub cordon_incidents: Vec<IncidentSeen>,
}

/// One destination: a network entry in the shape of runtime-trace v0.2.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct InvokingProcess {
    /// Process id on the host.
    pub pid: u32,
    /// Path of its executable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
}

/// When the job ran.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// [`super::JobFacts::started`]
    pub build_started_on: Timestamp,
    /// [`super::JobFacts::finished`]
    pub build_finished_on: Timestamp,
}
