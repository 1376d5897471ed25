//! The job's DNS.
//!
//! The kernel sends everything a job addresses to port 53 to the job's own listener, which is made
//! here. A name the policy allows is forwarded; its addresses become *leases* in the kernel before
//! the answer leaves. Every other name is refused, and nothing of it leaves the host.
//!
//! The way of one question: [`Listener`] (sockets, bounds) → `handler` (the order of things) →
//! `question` (pure: may it be asked) → `limiter` (pure: is it what a wildcard is for) →
//! [`Upstream`] → `answer` (pure: what of it may be given, and for how long) → [`LeaseSink`] →
//! `message` (bytes) → back to the job.
//!
//! **Invariants**: a name that is not allowed is never sent upstream in enforce mode; an address is
//! in an answer only after its lease is in the kernel; whatever a resolver does, a question ends in
//! bounded time and memory.
//!
//! **Not here**: BPF maps (behind [`LeaseSink`]), the policy (behind [`NamePolicy`]) and reports
//! (behind [`NameLog`]).

use std::net::{IpAddr, SocketAddr};

use cordon_ebpf::abi::ruleset::RuleIndex;
use cordon_ebpf::abi::verdict::Mode;

use crate::report::NameVerdict;

mod address_class;
mod answer;
mod cache;
mod chain;
mod embedded;
mod handler;
mod limiter;
mod listener;
mod message;
mod names;
mod own;
mod question;
mod reverse;
mod serve;
#[cfg(test)]
mod tests;
mod upstream;

pub use address_class::AddressClass;
pub use answer::fuzz_answer;
pub use handler::{Memory, Resolution};
pub use limiter::WildcardLimits;
pub use listener::{BindError, Bound};
pub use own::{Interfaces, OwnAddresses};
pub use question::fuzz_query;
pub use serve::{Counts, Limits, Listener};
pub use upstream::{TrustError, Upstream, UpstreamError};

/// What the policy says about names.
pub trait NamePolicy: Send + Sync + 'static {
    /// Indices of the rules that allow `name` (lower-case ASCII, no final dot), in order; none: it
    /// is denied.
    fn rules_for_name(&self, name: &str) -> Vec<RuleIndex>;
    /// What the wildcard of a rule that allows `name` stands for in it; `None` if the rule spells
    /// the name out.
    fn wildcard_part<'a>(&self, rule: RuleIndex, name: &'a str) -> Option<&'a str>;
    /// Under which rule names of a rule are counted: the one it is a part of, so that nobody gets more by naming
    /// parts of a wildcard.
    fn counted_as(&self, rule: RuleIndex) -> RuleIndex {
        rule
    }
    /// What verdicts do now, where they did `first` when the job began.
    fn mode(&self, first: Mode) -> Mode {
        first
    }
    /// Whether every one of these rules lets its names have addresses that are not public. Asked
    /// for one rule at a time: a rule that says so does not say it for the others.
    fn allows_private(&self, rules: &[RuleIndex]) -> bool;
}

/// One address a name was resolved to, with all rules it was allowed by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lease {
    /// The asked name (never a CNAME target), lower-case ASCII without the final dot.
    pub name: String,
    /// The address.
    pub address: IpAddr,
    /// Indices of the policy's rules that allow the name, in order; empty in audit mode for a name
    /// no rule allows (then nothing is granted, but the name is remembered for reports).
    pub rules: Vec<RuleIndex>,
    /// Seconds from now until it runs out: the answer's TTL, not below the configured floor.
    pub seconds: u32,
}

/// Where leases go: the kernel's maps.
pub trait LeaseSink: Send + Sync + 'static {
    /// Puts all leases of one answer into the kernel. Returns only when they are there.
    ///
    /// # Errors
    /// One of them could not be granted; the caller must then not give the answer to the job.
    fn grant(&self, leases: &[Lease]) -> Result<(), LeaseError>;
}

/// A lease the kernel did not take.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The job's lease map is full, or has no memory.
    #[error("no room for a lease of {address} for `{name}`")]
    Full {
        /// The name asked for.
        name: String,
        /// The address that found no room.
        address: IpAddr,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// More different grants on one address than the kernel's entry can hold.
    #[error("too many rules grant {address} (asked for as `{name}`)")]
    TooManyGrants {
        /// The name asked for.
        name: String,
        /// The address.
        address: IpAddr,
    },
}

/// Who sent a question, found by network namespace, transport and source port.
pub trait ClientLookup: Send + Sync + 'static {
    /// Who is behind a packet from this loopback port; `None` if the kernel does not know.
    fn client(&self, netns: u64, protocol: u8, port: u16) -> Option<Client>;
}

/// Who sent a question.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Client {
    /// The process.
    pub process: u32,
    /// The server it meant to ask.
    pub server: SocketAddr,
}

/// One question and what became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// The name in lower-case ASCII without the final dot.
    pub name: String,
    /// Record type, for example `A`.
    pub kind: String,
    /// What the listener did.
    pub verdict: NameVerdict,
    /// First rule that allows the name.
    pub rule: Option<RuleIndex>,
    /// Addresses answered.
    pub addresses: Vec<IpAddr>,
    /// Process that asked, if known.
    pub process: Option<u32>,
}

/// Where questions are recorded.
pub trait NameLog: Send + Sync + 'static {
    /// Takes one question. Must not block.
    fn record(&self, question: Question);
}
