//! The egress report: what was enforced, what could not be, what was lost, and then what happened.
//!
//! The types here are the report's JSON, field for field; they are built from the ledger without
//! I/O, rendered for people by [`text`], wrapped by
//! [`statement`], signed by [`envelope`].
//!
//! **Invariants**: everything that reaches a report is ordered, so that the same facts give the
//! same bytes; mode, coverage and losses stand before any flow.

use std::net::IpAddr;

use cordon_ebpf::abi::ruleset::RuleIndex;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::limits::evidence::Limits;

pub mod attendance;
pub mod attested;
pub mod binding;
pub mod build;
pub mod chain;
pub mod csv;
pub mod diff;
pub mod envelope;
pub mod escape;
pub mod explain;
#[cfg(test)]
pub(crate) mod fixture;
pub mod html;
pub mod image;
pub mod incident;
pub mod inquiry;
pub mod json;
pub mod key_place;
pub mod news;
pub mod ocsf;
pub mod predicate;
pub mod rotation;
pub mod run;
pub mod sarif;
#[cfg(test)]
mod schema;
pub mod seal;
pub mod signer;
pub mod sink;
pub mod statement;
pub mod summary;
pub mod sweep;
pub mod text;
pub mod verify;

pub use self::attendance::Attendance;

/// Value of [`Report::schema`].
pub const SCHEMA: &str = "cordon/egress-report/v1";

/// The egress report of one job.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// What verdicts did: nothing else in the report can be read without it.
    pub mode: ReportMode,
    /// Times in which nobody recorded, because cordon was killed while the job ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interruptions: Vec<Interruption>,
    /// Which layers enforced, and what none of them can see.
    pub coverage: Coverage,
    /// What is missing from the lists below. All zero: the lists are whole.
    pub losses: Losses,
    /// Totals, exact even where lists are cut.
    pub summary: Summary,
    /// The job.
    pub job: JobFacts,
    /// What the job was allowed to reach.
    pub policy: PolicyFacts,
    /// Refused (or, in audit mode, to be refused), most frequent first.
    pub denials: Vec<Denial>,
    /// Allowed, most bytes first.
    pub flows: Vec<Flow>,
    /// Names asked, in the order of names.
    pub dns: Vec<NameAsked>,
    /// Sockets the job was refused by kind.
    pub sockets: Vec<SocketDenied>,
    /// Calls that were refused and are about no destination, and processes that left the job's
    /// cgroup.
    #[serde(default)]
    pub incidents: Vec<IncidentSeen>,
    /// How much of the host it might use, and what it used; absent in reports from before limits, and
    /// where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// What ran: kernel, agent, BPF object.
    pub platform: Platform,
}

/// Mode of a job, as reports and profiles spell it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ReportMode {
    /// Nothing was refused; what would have been is marked.
    Audit,
    /// What no rule allowed was refused.
    Enforce,
}

/// A time in which a job ran without its cordon. The kernel enforced and counted all the same.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interruption {
    /// When cordon was last known to live; absent if not even that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// When another cordon took the job over.
    pub to: Timestamp,
    /// What that means for this report, each in a sentence.
    pub effects: Vec<String>,
}

/// Which layers enforced, and what none of them can see.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Coverage {
    /// Every layer cordon knows, present or not.
    pub layers: Vec<Layer>,
    /// Ways out that no active layer watches, in words for a reviewer.
    pub blind_spots: Vec<String>,
    /// How enforcement was proved before the command started.
    pub proof: Vec<String>,
}

/// One layer of enforcement.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Layer {
    /// Name of the hook or mechanism, for example `connect4`.
    pub name: String,
    /// Whether it was active before the command started and still when it had ended.
    pub active: bool,
    /// What it does, or why it was not there.
    pub detail: String,
}

/// What is missing from the lists.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Losses {
    /// Kernel records (process details of single events) the ring had no room for.
    pub records: u64,
    /// Events whose destination found no room in the kernel's flow table: counted in the totals,
    /// not itemised.
    pub flows: u64,
    /// Records of an unknown kind or a wrong size.
    pub undecodable: u64,
    /// Details dropped because the ledger's own bounds were reached.
    pub details: u64,
    /// DNS questions answered but not listed, because the ledger's bound was reached.
    pub names: u64,
    /// DNS questions refused because too many were being answered at once, and connections to the
    /// listener closed for the same reason: not listed.
    pub questions_refused: u64,
    /// DNS messages that were not one question.
    pub questions_malformed: u64,
    /// Denials because the kernel had no memory to keep a verdict; their destination may be listed.
    pub memory: u64,
    /// Processes the kernel could not note as the job's: they are judged by their cgroup alone.
    #[serde(default)]
    pub members: u64,
}

impl Losses {
    /// Whether nothing is missing.
    #[must_use]
    pub fn none(&self) -> bool {
        *self == Self::default()
    }

    /// How many events are missing, of whatever kind.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self {
            records,
            flows,
            undecodable,
            details,
            names,
            questions_refused,
            questions_malformed,
            memory,
            members,
        } = *self;
        let all = [
            records,
            flows,
            undecodable,
            details,
            names,
            questions_refused,
            questions_malformed,
            memory,
            members,
        ];
        all.into_iter().fold(0, u64::saturating_add)
    }
}

/// Totals. `denied` is counted by the kernel apart from any list; the sums of allowed flows are
/// those of the list, so that [`Losses::flows`] are not in them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Summary {
    /// Allowed connects and sends.
    pub allowed: u64,
    /// Denied attempts, or in audit mode those that would have been. Connects, sends, sockets and
    /// packets refused on the wire.
    pub denied: u64,
    /// Different allowed destinations (address, port, protocol).
    pub destinations: u64,
    /// Bytes of IP packets that left to allowed destinations.
    pub bytes_out: u64,
    /// Bytes of IP packets that came back.
    pub bytes_in: u64,
    /// DNS questions asked.
    pub names_asked: u64,
    /// DNS questions refused (or to be refused).
    pub names_denied: u64,
    /// Of these, questions beyond what a wildcard is for; counted apart from the list.
    #[serde(default)]
    pub names_limited: u64,
    /// Answers to DNS questions that nobody took: the job had ended or closed its connection.
    #[serde(default)]
    pub answers_undelivered: u64,
}

/// The job.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobFacts {
    /// Identifier, unique on the host.
    pub id: String,
    /// First word of the command; arguments can carry secrets and stay out.
    pub command: String,
    /// How many arguments it had.
    pub arguments: usize,
    /// When the command was released.
    pub started: Timestamp,
    /// When the last process was gone.
    pub finished: Timestamp,
    /// How the command ended.
    pub outcome: Outcome,
    /// Processes that were still there when the command had ended, and were killed.
    pub survivors: u64,
    /// Who asked for it and what was found about that; absent for a command of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attendance: Option<Attendance>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "kind"
)]
pub enum Outcome {
    /// `exit(2)`
    Exited {
        /// Its status.
        code: i32,
    },
    /// Ended by a signal.
    Signalled {
        /// Signal number.
        signal: i32,
    },
    /// The command could not be executed.
    NotStarted,
    /// Who waited for the command was killed: nobody knows its status.
    Unknown,
    /// A job of a CI system, whose worker has ended: what came of it, that system knows.
    Finished,
}

impl Outcome {
    /// In words, after what ended.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Exited { code } => format!("exited with {code}"),
            Self::NotStarted => "could not be started".to_owned(),
            Self::Signalled { signal } => format!("ended by signal {signal}"),
            Self::Unknown => "its exit status is unknown".to_owned(),
            Self::Finished => "its worker ended".to_owned(),
        }
    }
}

/// What the job was allowed to reach.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyFacts {
    /// Name of the policy (the profile, or several joined by `+`).
    pub name: String,
    /// BLAKE3 of the compiled ruleset, hex.
    pub ruleset_digest: String,
    /// The profile files that made it, in the order of their merging.
    pub profiles: Vec<ProfileFacts>,
    /// The effective rules; `rule` elsewhere is an index into this list.
    pub rules: Vec<RuleFacts>,
}

impl PolicyFacts {
    /// The text of a rule; total, because a report can come from a file somebody edited.
    #[must_use]
    pub fn rule_text(&self, index: RuleIndex) -> String {
        self.rules.get(index as usize).map_or_else(
            || format!("rule {index} (not in the list)"),
            |rule| rule.text.clone(),
        )
    }
}

/// One profile file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProfileFacts {
    /// Name inside the file.
    pub name: String,
    /// Path, or `built-in:NAME`.
    pub source: String,
    /// SHA-256 of the file, hex.
    pub sha256: String,
}

/// One effective rule.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleFacts {
    /// The rule in one line, for example `host api.example.com, tcp 443`.
    pub text: String,
    /// `FILE:LINE` it comes from.
    pub origin: String,
    /// The author's reason, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether any flow used it: an unused rule is one to remove.
    pub used: bool,
    /// The job gave it up while it ran: it allowed nothing from then on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
}

/// Where something went.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Destination {
    /// IP address.
    pub address: IpAddr,
    /// Port; 0 for protocols without ports.
    pub port: u16,
    /// `tcp`, `udp`, or `ip-N` for protocol number N.
    pub protocol: String,
    /// Names the job's own DNS listener had answered with this address, in order.
    pub names: Vec<String>,
}

/// One refused destination, aggregated.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Denial {
    /// Where to.
    pub destination: Destination,
    /// The kernel's reason, for example `no-rule`.
    pub reason: String,
    /// The same in words, for the job's author.
    pub explanation: String,
    /// What in a profile would allow it (TOML), if anything can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Names the refused connections showed, at most a few; empty where no name was judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shown_names: Vec<String>,
    /// Exact number of refused attempts.
    pub attempts: u64,
    /// Packets refused on the wire.
    pub packets: u64,
    /// Hooks that refused it, as far as records were kept: layers of the coverage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<String>,
    /// First of them.
    pub first_seen: Timestamp,
    /// Last of them.
    pub last_seen: Timestamp,
    /// Who tried: one entry for each different chain, at most a few.
    pub processes: Vec<ProcessChain>,
}

/// One allowed destination, aggregated.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Flow {
    /// Where to.
    pub destination: Destination,
    /// Why it was allowed: `lease`, `cidr`, `own-socket`, `own-network`, `resolver`.
    pub reason: String,
    /// Index into [`PolicyFacts::rules`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleIndex>,
    /// Connects and sends.
    pub attempts: u64,
    /// Packets and bytes of IP packets, out and in.
    pub packets_out: u64,
    /// Bytes out.
    pub bytes_out: u64,
    /// Packets in.
    pub packets_in: u64,
    /// Bytes in.
    pub bytes_in: u64,
    /// First event.
    pub first_seen: Timestamp,
    /// Last event.
    pub last_seen: Timestamp,
    /// Who: one entry for each different chain, at most a few.
    pub processes: Vec<ProcessChain>,
}

/// A process and its ancestors inside the job, itself first.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProcessChain {
    /// Process id on the host.
    pub pid: u32,
    /// Executables from the process up to the job's first one.
    pub executables: Vec<String>,
    /// Exact number of events seen from this chain (records lost are not in it).
    pub events: u64,
}

/// One name the job asked for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NameAsked {
    /// The name, in lower-case ASCII without the final dot.
    pub name: String,
    /// Record type, for example `A`.
    pub kind: String,
    /// What the listener did.
    pub answer: NameVerdict,
    /// Index of the rule that allowed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleIndex>,
    /// What in a profile would allow it (TOML), for denied names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// How often.
    pub count: u64,
    /// First time.
    pub first_seen: Timestamp,
    /// Last time.
    pub last_seen: Timestamp,
    /// Addresses answered, at most a few.
    pub addresses: Vec<IpAddr>,
    /// Who asked.
    pub processes: Vec<ProcessChain>,
}

/// What became of a DNS question.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum NameVerdict {
    /// Forwarded and answered.
    Allowed,
    /// Refused: no rule allows the name. Nothing left the host.
    Denied,
    /// Audit mode: forwarded, though no rule allows the name.
    WouldDeny,
    /// The answer held only addresses a public name must not have (private, loopback, link-local).
    Rebinding,
    /// A record type that is not served.
    Unsupported,
    /// Allowed by a wildcard, and beyond what one is for: too long, too many, too quickly. Refused,
    /// in audit mode answered.
    Limited,
    /// The upstream resolver failed or took too long.
    Failed,
    /// Asked of the resolver at 127.0.0.11 of the job's own network namespace: no rule allows the name,
    /// and its addresses got no lease.
    Local,
    /// The answer could not be leased (too many addresses or rules): not given to the job.
    NotLeased,
}

impl NameVerdict {
    /// Its name in tables and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::WouldDeny => "would-deny",
            Self::Rebinding => "rebinding",
            Self::Unsupported => "unsupported",
            Self::Limited => "limited",
            Self::Failed => "failed",
            Self::Local => "local",
            Self::NotLeased => "not-leased",
        }
    }

    /// Whether the job was refused the name, or would have been.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        match self {
            Self::Denied | Self::WouldDeny | Self::Rebinding | Self::Limited | Self::NotLeased => {
                true
            }
            Self::Allowed | Self::Unsupported | Self::Failed | Self::Local => false,
        }
    }
}

/// A call that is about no destination, or a process that left the job's cgroup.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IncidentSeen {
    /// The call, for example `setsockopt`; `leave-cgroup` for a process that was moved.
    pub call: String,
    /// What it was about.
    pub about: String,
    /// `deny`, `would-deny`, or `noted` for a process that was moved.
    pub verdict: String,
    /// The kernel's reason.
    pub reason: String,
    /// How often.
    pub count: u64,
    /// Who.
    pub processes: Vec<ProcessChain>,
}

/// Sockets of one kind that were refused.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SocketDenied {
    /// For example `AF_INET SOCK_RAW protocol 1`.
    pub kind: String,
    /// How often, among the records that were not lost.
    pub count: u64,
    /// Who.
    pub processes: Vec<ProcessChain>,
}

/// What ran.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Platform {
    /// Kernel release.
    pub kernel: String,
    /// Machine architecture.
    pub architecture: String,
    /// Version of cordon.
    pub agent_version: String,
    /// SHA-256 of the running executable, hex.
    pub agent_sha256: String,
    /// SHA-256 of the BPF object that was loaded, hex.
    pub object_sha256: String,
    /// How the signing key is kept: `file`, `tpm`, `systemd-creds-host` and others, by the host's own word.
    pub key_protection: String,
}
