//! The trust policy: whose evidence counts, and what it must show. Pure.
//!
//! **Invariants**: nothing has a default that lets more pass than its absence says; a key that is
//! unknown is an error; all mistakes of a file are told at once.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Number, Value};

use crate::policy::diagnostic::SourceText;
use crate::policy::limits::Resource;
use crate::policy::reader::Reader;
use crate::policy::{Mistake, Mistakes};
use crate::report::image::ImageDigest;
use crate::report::signer::VerifyingKey;

mod field;
mod job;
mod keys;
mod read;
mod require;
mod signature;

pub use field::parse_length;
pub use job::JobRules;
pub use keys::{KeyStatus, Role};
pub(crate) use require::is_relative;
pub use signature::{POLICY_PREDICATE_TYPE, PolicyPredicate};

/// 256 KiB: hundreds of keys.
pub const MAX_POLICY: u64 = 256 << 10;

/// What evidence must show.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrustPolicy {
    /// Its name, for people.
    pub name: String,
    /// From when on it must not be used.
    pub expires: Option<Timestamp>,
    /// Whose signatures count.
    pub keys: Vec<TrustedKey>,
    /// What is asked of evidence as a whole.
    pub evidence: EvidenceRules,
    /// What is asked of the run.
    pub run: RunRules,
    /// What is asked of jobs of CI systems; absent: none of them will do.
    pub job: Option<JobRules>,
    /// Whether there must be a list of revoked keys.
    pub revocations: Option<RevocationRule>,
    /// How much may be lost.
    pub allowed: Allowed,
    /// What is asked of the sweep for secrets.
    pub sweep: SweepRules,
    /// Other pieces that the release's bundle must have.
    pub require: Vec<Requirement>,
}

/// A key whose signatures count.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrustedKey {
    /// What it may sign.
    pub role: Role,
    /// The key.
    pub key: VerifyingKey,
    /// Since when it counts.
    pub not_before: Option<Timestamp>,
    /// Until when it counts.
    pub not_after: Option<Timestamp>,
    /// Since when none of its signatures counts, whatever time they claim.
    pub revoked_from: Option<Timestamp>,
    /// Ids of the keys whose place it took, and whose chain of seals it goes on with.
    pub replaces: Vec<String>,
    /// Names of hosts it may speak for, `*` is any text; empty: any.
    pub hosts: Vec<String>,
    /// Predicate types it may sign besides those of its role.
    pub predicate_types: BTreeSet<String>,
}

/// What is asked of evidence as a whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EvidenceRules {
    /// How long ago the job may have ended.
    pub max_age: SignedDuration,
    /// How far clocks may differ.
    pub skew: SignedDuration,
    /// What is asked of the chain of seals.
    pub chain: ChainRule,
    /// Accepted classes of how the key is kept that signed, by the host's own word; empty: any.
    pub key_protection: BTreeSet<String>,
    /// Whether the single events must be there, all of them.
    pub events: EventRule,
}

/// What is asked of single events.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum EventRule {
    /// Nothing, where there are none. Those that are there must be genuine.
    #[default]
    Optional,
    /// They must be there, and none left out.
    Required,
}

/// What is asked of the chain of seals.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChainRule {
    /// Nothing known may contradict it.
    Consistent,
    /// The seal before must be known too: every run of the host is shown to the gate.
    Unbroken,
}

/// What is asked of the run.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RunRules {
    /// Layers that must have been active.
    pub layers: BTreeSet<String>,
    /// Resources whose limit must be proved to have held.
    pub limits: BTreeSet<Resource>,
    /// Accepted exit statuses of the command.
    pub status: BTreeSet<i32>,
    /// Accepted commands (first word); empty: any.
    pub commands: BTreeSet<String>,
    /// Accepted SHA-256 of profile files, hex; empty: any.
    pub profiles: BTreeSet<String>,
    /// Accepted BLAKE3 of rulesets, hex; empty: any.
    pub rulesets: BTreeSet<String>,
    /// Lowest accepted version of cordon.
    pub min_version: Option<Version>,
    /// Accepted SHA-256 of cordon's executable, hex; empty: any.
    pub agents: BTreeSet<String>,
    /// Accepted SHA-256 of the BPF object, hex; empty: any.
    pub objects: BTreeSet<String>,
    /// Denied attempts that are accepted; absent: any number.
    pub max_denied: Option<u64>,
    /// Whether a destination may be among the denied and the allowed ones.
    pub denied_then_allowed: Answer,
}

/// What is asked of the list of revoked keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RevocationRule {
    /// How long ago it may have been issued: until then the withholding of a newer one goes unnoticed.
    pub max_age: SignedDuration,
}

/// Whether something is accepted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Answer {
    /// It is.
    Allow,
    /// It is not.
    #[default]
    Refuse,
}

/// How much may be lost; what is absent in a file is zero.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Allowed {
    /// Sum of the egress report's losses.
    pub losses: u64,
    /// Times in which cordon was dead.
    pub interruptions: u64,
    /// What the sweep did not look into.
    pub sweep_gaps: u64,
    /// What was not as it should be about start and end of a CI system's job.
    pub attendance: u64,
}

/// What is asked of the sweep for secrets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SweepRules {
    /// Whether there must be one.
    pub required: bool,
    /// Whether it may have found something.
    pub findings: Answer,
}

/// A version, as `1.2.3`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Version(pub u64, pub u64, pub u64);

/// Another piece that the release's bundle must have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Requirement {
    /// The file, relative to the bundle; absent: any statement of the type.
    pub path: Option<String>,
    /// The type of the signed statement that it must be, or that must be about it.
    pub predicate_type: Option<String>,
    /// What the JSON document must call itself, in `$schema`, `schema` or `bomFormat`.
    pub schema: Option<String>,
    /// What it must be.
    pub digest: Option<ImageDigest>,
    /// How old it may be.
    pub max_age: Option<SignedDuration>,
    /// Where its time is: a JSON pointer into the document, or into the statement's predicate.
    pub time: Option<String>,
    /// Whether it counts although nobody vouches for it.
    pub unsigned: Answer,
    /// What it must say, or the statement's predicate.
    pub values: Vec<Claim>,
    /// Another required file that must have the same entries.
    pub parity: Option<Parity>,
}

/// What a document must say at one place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claim {
    /// A JSON pointer.
    pub at: String,
    /// What must be there.
    pub says: Says,
}

/// What a value must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Says {
    /// This text, number or truth value.
    Is(Value),
    /// A number, and no larger.
    AtMost(Number),
    /// A number, and no smaller.
    AtLeast(Number),
}

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(value) => write!(f, "{value}"),
            Self::AtMost(number) => write!(f, "at most {number}"),
            Self::AtLeast(number) => write!(f, "at least {number}"),
        }
    }
}

/// The same entries as in another file, as in bills of materials of two architectures.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parity {
    /// The other file.
    pub with: String,
    /// Where the list is, in both: a JSON pointer.
    pub at: String,
    /// What makes two entries the same: JSON pointers into an entry.
    pub by: Vec<String>,
}

impl Version {
    /// Reads `1`, `1.2` or `1.2.3`; what follows a `-` or `+` is left out.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.split(['-', '+']).next()?;
        let mut parts = text.split('.');
        let mut number = || match parts.next() {
            None => Some(0),
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok()
            }
            Some(_) => None,
        };
        let version = Self(number()?, number()?, number()?);
        parts.next().is_none().then_some(version)
    }
}

impl TrustPolicy {
    /// The ids of all keys that have one chain of seals with this one: those it replaces, those that
    /// replace it, and so on.
    #[must_use]
    pub fn line(&self, key_id: &str) -> BTreeSet<String> {
        let mut line = BTreeSet::from([key_id.to_owned()]);
        // Each round adds one at least, or is the last one.
        loop {
            let before = line.len();
            for key in &self.keys {
                let id = key.key.id();
                if line.contains(&id) {
                    line.extend(key.replaces.iter().cloned());
                } else if key.replaces.iter().any(|old| line.contains(old)) {
                    line.insert(id);
                }
            }
            if line.len() == before {
                return line;
            }
        }
    }

    /// Reads a policy from bytes; touches no file.
    ///
    /// # Errors
    /// Something in it is wrong: all mistakes.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, Mistakes> {
        if bytes.len() as u64 > MAX_POLICY {
            let size = bytes.len();
            let mistake = format!("`{name}` has {size} bytes, more than the {MAX_POLICY} it may");
            return Err(Mistake::new(mistake).into());
        }
        let text = str::from_utf8(bytes)
            .map_err(|error| Mistake::new(format!("`{name}` is not UTF-8 text: {error}")))?;
        let source = Arc::new(SourceText::new(name, text));
        let (policy, mistakes) = Reader::run(&source, &read::ROOT, read::policy);
        Mistakes::check(mistakes)?;
        policy.ok_or_else(|| Mistake::new(format!("`{name}` is not a trust policy")).into())
    }
}

#[cfg(test)]
mod tests;
