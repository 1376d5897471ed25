//! What is to be thought of a detection: the pure decision of a sweep.
//!
//! The default is "OIDC only": a job works with its platform's token and with what it gets for its
//! identity, and every credential that outlives it is a finding.

use std::collections::BTreeSet;

use crate::credential::Class;
use crate::fingerprint::Fingerprint;

mod glob;
mod judge;
mod pattern;
mod platform;
mod usage;

pub use glob::{Glob, GlobError};
pub use judge::{Judgement, Outcome, Reason, Severity};
pub use pattern::{PatternError, ProgramPattern, VariablePattern};
pub use usage::{Stale, Usage};

/// What credentials a job may hold, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SweepPolicy {
    /// What holds where no entry says something else.
    pub default: Baseline,
    /// Programs that may hold the job's own token: one of each list. Without a list, every process of the job may.
    pub holders: Vec<BTreeSet<ProgramPattern>>,
    /// Programs of the runner itself, which may hold the runner's identity.
    pub runners: Vec<ProgramPattern>,
    /// Issuers of short-lived credentials that this job is known to use: the issuer, host or account
    /// that a credential names.
    pub issuers: Vec<Glob>,
    /// What is allowed all the same.
    pub allow: Vec<AllowEntry>,
    /// How long a short-lived credential may live, in seconds.
    pub max_lifetime: i64,
}

impl Default for SweepPolicy {
    fn default() -> Self {
        Self {
            default: Baseline::default(),
            holders: Vec::new(),
            runners: Vec::new(),
            issuers: Vec::new(),
            allow: Vec::new(),
            // One hour: what clouds give for an identity token unless asked for more.
            max_lifetime: 3600,
        }
    }
}

/// What holds where no entry says something else.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Baseline {
    /// Only the platform's token and what an identity provider gives for the job. All else is a finding.
    #[default]
    OidcOnly,
    /// Static credentials and unknown ones are noted. The runner's identity is a finding.
    Lenient,
}

/// A credential that is allowed. What is given must match; an entry that gives nothing to match
/// allows nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AllowEntry {
    /// The environment variable, or the option of an argument.
    pub variable: Option<VariablePattern>,
    /// The id of the rule that finds it.
    pub rule: Option<String>,
    /// The class.
    pub class: Option<Class>,
    /// The program that has it.
    pub process: Option<ProgramPattern>,
    /// The value itself, by its fingerprint under the host's key.
    pub fingerprint: Option<Fingerprint>,
    /// Why, for the report.
    pub reason: String,
    /// Until when, in seconds of the Unix epoch.
    pub expires: Option<i64>,
}

/// Where a detection was made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place<'p> {
    /// The path of its executable; empty if it is not known.
    pub path: &'p str,
    /// Whose process it is.
    pub tree: Tree,
}

/// Whose process it is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Tree {
    /// One of the job.
    Job,
    /// Another one of the host.
    Outside,
}

#[cfg(test)]
mod tests;
