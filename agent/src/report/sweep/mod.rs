//! The report of the secret sweep: what was looked into, what was done, and then what was found.
//!
//! The types here are the report's JSON, field for field. Whoever keeps the sweep's ledger builds a
//! [`SweepReport`] from it and calls [`SweepReport::concluded`]; the rest is the egress report's
//! way: rendered for people, stated, signed, verified.
//!
//! **Invariants**: no field holds a byte of a secret; everything is ordered, so that the same facts
//! give the same bytes; the verdict follows from coverage and findings and nobody chooses it.

use serde::{Deserialize, Serialize};

use super::{JobFacts, Platform};

mod coverage;
mod finding;
mod policy;
mod verdict;

pub use coverage::{
    Coverage, Execs, Held, LastSweep, Processes, Sweep, SweepKind, Undecoded, Unreadable, Why,
};
pub use finding::{
    Checksum, Class, Confidence, Entry, Fact, Finding, Letter, Life, LifeKind, Severity, Source,
    SweptProcess, Variable,
};
pub use policy::{
    Action, Allowance, AllowanceState, OnFinding, Scanner, SweepDefault, SweepPolicyFacts, Taken,
    Windows,
};
pub use verdict::{Gap, Verdict};

/// Value of [`SweepReport::schema`].
pub const SCHEMA: &str = "cordon/secret-sweep/v1";

/// The report of the secret sweep of one job, or of processes that a person asked about.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SweepReport {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// What coverage and findings come to; set by [`SweepReport::concluded`].
    pub verdict: Verdict,
    /// What was looked into and what was not: nothing below can be read without it.
    pub coverage: Coverage,
    /// What was done about a finding.
    pub action: Action,
    /// Secrets that the policy does not want where they were: violations, then warnings.
    pub findings: Vec<Finding>,
    /// What a reviewer may want to know, and the policy does not mind.
    pub notes: Vec<Finding>,
    /// Secrets that are where the policy expects or allows them.
    pub expected: Vec<Finding>,
    /// The policy's allow list, in its order; `allowance` of a finding is an index into it.
    pub allowances: Vec<Allowance>,
    /// What was wanted.
    pub policy: SweepPolicyFacts,
    /// What looked.
    pub scanner: Scanner,
    /// The job; absent where a person had processes swept without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobFacts>,
    /// What ran: kernel, agent, BPF object.
    pub platform: Platform,
}
