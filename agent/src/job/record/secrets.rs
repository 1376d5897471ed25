//! [`SecretsPolicy`] as text.

use std::collections::BTreeSet;
use std::time::Duration;

use cordon_secrets::{Class, Fingerprint};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::policy::secrets::{
    Allowance, Holders, OnFinding, ProgramPattern, Stance, VariablePattern,
};
use crate::policy::{Origin, SecretsPolicy};

/// What a policy says about secrets. Times are in seconds.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StoredSecrets {
    on_finding: String,
    policy: String,
    interval: u64,
    freeze_for: u64,
    max_lifetime: u64,
    holders: Vec<Vec<String>>,
    allow: Vec<StoredAllowance>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredAllowance {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variable: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Date>,
    source: String,
    line: usize,
}

/// That of a record from before there was one: what a profile has that says nothing.
impl Default for StoredSecrets {
    fn default() -> Self {
        Self::from(&SecretsPolicy::default())
    }
}

impl From<&SecretsPolicy> for StoredSecrets {
    fn from(policy: &SecretsPolicy) -> Self {
        let SecretsPolicy {
            on_finding,
            stance,
            interval,
            freeze_for,
            max_lifetime,
            holders: Holders { lists },
            allow,
        } = policy;
        let texts =
            |list: &BTreeSet<ProgramPattern>| list.iter().map(ToString::to_string).collect();
        Self {
            on_finding: on_finding.name().to_owned(),
            policy: stance.name().to_owned(),
            interval: interval.as_secs(),
            freeze_for: freeze_for.as_secs(),
            max_lifetime: max_lifetime.as_secs(),
            holders: lists.iter().map(texts).collect(),
            allow: allow.iter().map(StoredAllowance::from).collect(),
        }
    }
}

impl StoredSecrets {
    /// `None` if something in it is not what this version writes.
    pub(super) fn load(&self) -> Option<SecretsPolicy> {
        let Self {
            on_finding,
            policy,
            interval,
            freeze_for,
            max_lifetime,
            holders,
            allow,
        } = self;
        let list = |list: &Vec<String>| list.iter().map(|text| program(text)).collect();
        Some(SecretsPolicy {
            on_finding: OnFinding::parse(on_finding)?,
            stance: Stance::parse(policy)?,
            interval: Duration::from_secs(*interval),
            freeze_for: Duration::from_secs(*freeze_for),
            max_lifetime: Duration::from_secs(*max_lifetime),
            holders: Holders {
                lists: holders.iter().map(list).collect::<Option<_>>()?,
            },
            allow: allow
                .iter()
                .map(StoredAllowance::load)
                .collect::<Option<_>>()?,
        })
    }
}

fn program(text: &str) -> Option<ProgramPattern> {
    ProgramPattern::parse(text).ok()
}

impl From<&Allowance> for StoredAllowance {
    fn from(allowance: &Allowance) -> Self {
        let Allowance {
            variable,
            class,
            process,
            fingerprint,
            rule,
            reason,
            expires,
            origin: Origin { source, line },
        } = allowance;
        Self {
            variable: variable.as_ref().map(ToString::to_string),
            class: class.map(|class| class.name().to_owned()),
            process: process.as_ref().map(ToString::to_string),
            fingerprint: fingerprint.map(|value| value.to_string()),
            rule: rule.clone(),
            reason: reason.clone(),
            expires: *expires,
            source: source.clone(),
            line: *line,
        }
    }
}

impl StoredAllowance {
    fn load(&self) -> Option<Allowance> {
        let Self {
            variable,
            class,
            process,
            fingerprint,
            rule,
            reason,
            expires,
            source,
            line,
        } = self;
        Some(Allowance {
            variable: read(variable.as_deref(), |text| {
                VariablePattern::parse(text).ok()
            })
            .ok()?,
            class: read(class.as_deref(), Class::parse).ok()?,
            process: read(process.as_deref(), program).ok()?,
            fingerprint: read(fingerprint.as_deref(), Fingerprint::parse).ok()?,
            // A rule that this version has no more matches nothing.
            rule: rule.clone(),
            reason: reason.clone(),
            expires: *expires,
            origin: Origin {
                source: source.clone(),
                line: *line,
            },
        })
    }
}

/// Something is there and cannot be read.
struct Damaged;

/// What is there must be good: without it the allowance would be wider.
fn read<T>(text: Option<&str>, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Damaged> {
    text.map(|text| parse(text).ok_or(Damaged)).transpose()
}
