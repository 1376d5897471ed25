//! What was wanted, what was done about a finding, and what looked.

use cordon_secrets::{KeyId, Rule};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::finding::Class;
use crate::report::ProfileFacts;

/// What was done about a finding.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Action {
    /// What the policy says to do.
    pub on_finding: OnFinding,
    /// What was done.
    pub taken: Taken,
    /// When; absent if nothing was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Fingerprint of the finding that was the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// How long it took; absent if nothing was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<Windows>,
}

/// What the policy says to do about a finding.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OnFinding {
    /// Write it down.
    Report,
    /// Stop every process of the job.
    Freeze,
    /// End the job.
    Kill,
}

/// What was done.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Taken {
    /// Nothing.
    None,
    /// Every process of the job was stopped.
    Frozen,
    /// The job was ended.
    Killed,
}

/// For how long a secret could be used, in nanoseconds from the exec of the process that had it.
/// Absent is what was not measured.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Windows {
    /// Until it had been judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec_to_verdict_ns: Option<u64>,
    /// Until the job could send nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec_to_closed_ns: Option<u64>,
    /// Until its processes were gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec_to_killed_ns: Option<u64>,
}

/// One entry of the policy's allow list. What is absent, it does not ask for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Allowance {
    /// Whether it was of use.
    pub state: AllowanceState,
    /// How many secrets it allowed.
    pub matched: u64,
    /// Pattern of variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
    /// Class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// Rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Pattern of processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Fingerprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Why, by whoever wrote it.
    pub reason: String,
    /// Last day on which it applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Date>,
    /// `FILE:LINE` it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// Whether an entry of the allow list was of use.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum AllowanceState {
    /// It allowed something.
    Used,
    /// It allowed nothing: one to remove.
    Stale,
    /// Its day is past: it did not apply, and what it would have allowed was judged without it.
    Expired,
}

/// What was wanted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SweepPolicyFacts {
    /// Name of the policy (the profile, or several joined by `+`).
    pub name: String,
    /// What is right for secrets that no entry is about.
    pub default: SweepDefault,
    /// Seconds between two sweeps.
    pub interval_seconds: u64,
    /// Seconds for which a job stays frozen.
    pub freeze_for_seconds: u64,
    /// The longest life, in seconds, of a credential that counts as short-lived.
    pub max_lifetime_seconds: u64,
    /// Programs that may hold job tokens; empty: any of the job.
    pub holders: Vec<String>,
    /// Rules that are switched off.
    pub rules_off: Vec<String>,
    /// The profile files that made it, in the order of their merging.
    pub profiles: Vec<ProfileFacts>,
}

/// What is right for secrets that no entry is about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SweepDefault {
    /// Short-lived and federated credentials only.
    OidcOnly,
    /// Long-lived ones are warned of.
    Lenient,
}

/// What looked.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scanner {
    /// `cordon`
    pub name: String,
    /// Its version.
    pub version: String,
    /// Rules in force.
    pub rule_count: u64,
    /// BLAKE3 of their ids, each followed by a line feed, in order; hex.
    pub rules_digest: String,
    /// Values of the operator's that were looked for.
    pub known_values: u64,
    /// Id of the key of the fingerprints: those of another key cannot be compared.
    pub key_id: String,
}

impl Scanner {
    /// This version of cordon, with these rules in the order of their ids, that many values of the
    /// operator's, and fingerprints under this key.
    #[must_use]
    pub fn new(rules: impl Iterator<Item = Rule>, known_values: u64, key: KeyId) -> Self {
        let mut digest = blake3::Hasher::new();
        let mut rule_count = 0_u64;
        for rule in rules {
            digest.update(rule.id.as_bytes()).update(b"\n");
            rule_count = rule_count.saturating_add(1);
        }
        Self {
            name: "cordon".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            rule_count,
            rules_digest: digest.finalize().to_hex().as_str().into(),
            known_values,
            key_id: key.to_string(),
        }
    }
}
