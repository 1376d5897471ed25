//! The list of revoked keys: a signed file that a gate is given beside its policy. Pure.
//!
//! A policy says whose evidence counts for months; that a key was stolen must be known within hours, by
//! every gate. The list has a number that only grows and the time it was issued, so that neither an older
//! list nor the withholding of the newest one brings a key back: the policy says how old it may be, and a
//! gate that remembers takes no smaller number.
//!
//! **Invariants**: nothing in a list is believed before its signature; a key on it counts for nothing,
//! whatever time its evidence claims; entries are never removed.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::decision::{Log, Refusal, RevocationFacts};
use super::policy::{KeyStatus, Role, TrustPolicy};
use super::state::State;
use crate::report::attested::Attestation;
use crate::report::envelope::{Bundle, EnvelopeError};
use crate::report::predicate::Digest;
use crate::report::signer::VerifyingKey;
use crate::report::statement::{Statement, StatementError, Subject, sha256_hex};

/// Type of the predicate; its number changes when its meaning does.
pub const PREDICATE_TYPE: &str = "urn:cordon:attestation:revocations:v1";

/// 4 MiB: some ten thousand keys.
pub const MAX_LIST: u64 = 4 << 20;

const CHECK: &str = "key";

/// [`PREDICATE_TYPE`]
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevocationsPredicate {
    /// The list that this is, without its signature.
    pub list: Digest,
    /// One more than that of the list before.
    pub number: u64,
    /// When it was signed, by the clock of whoever did.
    pub issued_on: Timestamp,
    /// The keys, in the order of their fingerprints.
    pub revoked: Vec<Revoked>,
}

/// A key of which nothing counts any more.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Revoked {
    /// Its fingerprint.
    pub key: String,
    /// When it was put on the list. It takes away earlier evidence too: only the key's own clock would
    /// say what is earlier.
    pub revoked_on: Timestamp,
    /// Why.
    pub reason: Reason,
    /// The same in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Why a key is revoked.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Somebody else has it, or may have.
    Compromised,
    /// Its host was taken over.
    HostCompromised,
    /// It is lost; nobody has it.
    Lost,
    /// It is not used any more.
    Retired,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compromised => "compromised",
            Self::HostCompromised => "host compromised",
            Self::Lost => "lost",
            Self::Retired => "retired",
        })
    }
}

/// A list that does not count.
#[derive(Debug, thiserror::Error)]
pub enum RevocationsError {
    /// It does not say what it is about.
    #[error("the list of revoked keys is not the one that its statement is about")]
    Digest,
    /// It is malformed, or nobody who may signed it.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// There is no higher number.
    #[error("the list of revoked keys has no number left")]
    Exhausted,
    /// Its content has no JSON form.
    #[error("the list of revoked keys cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// Signed, by nobody who may.
    #[error("no key that may sign policies signed the list of revoked keys; it names key {named}")]
    Signer {
        /// The key that it names; nobody vouches for that.
        named: String,
    },
    /// What was signed is something else.
    #[error(transparent)]
    Statement(#[from] StatementError),
}

impl RevocationsError {
    /// What it is for the gate.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Signer { .. } => Refusal::Untrusted,
            Self::Digest
            | Self::Envelope(_)
            | Self::Exhausted
            | Self::Json(_)
            | Self::Statement(_) => Refusal::Malformed,
        }
    }
}

impl Attestation for RevocationsPredicate {
    const TYPE: &'static str = PREDICATE_TYPE;
    const ABOUT: &'static str = "revoked keys";

    fn report_sha256(&self) -> &str {
        &self.list.sha256
    }
}

impl RevocationsPredicate {
    /// The list that follows `before`, with further keys. One that was on it stays as it was.
    ///
    /// # Errors
    /// There is no higher number.
    pub fn after(
        before: Option<Self>,
        further: Vec<Revoked>,
        now: Timestamp,
    ) -> Result<Self, RevocationsError> {
        let (last, revoked) = before.map_or((0, Vec::new()), |list| (list.number, list.revoked));
        let number = last.checked_add(1).ok_or(RevocationsError::Exhausted)?;
        let mut keys = BTreeMap::new();
        for revoked in revoked.into_iter().chain(further) {
            keys.entry(revoked.key.clone()).or_insert(revoked);
        }
        let revoked: Vec<_> = keys.into_values().collect();
        let sha256 = content(number, now, &revoked)?;
        Ok(Self {
            list: Digest { sha256 },
            number,
            issued_on: now,
            revoked,
        })
    }

    /// The statement to sign.
    #[must_use]
    pub fn statement(self) -> Statement<Self> {
        let subject = Subject::new("revocations", &self.list.sha256);
        Statement::about(subject, &[], self)
    }

    /// Reads a list that one of `signers` signed; which one it was is told.
    ///
    /// # Errors
    /// See [`RevocationsError`].
    pub fn open(
        bytes: &[u8],
        signers: &[VerifyingKey],
    ) -> Result<(Self, VerifyingKey), RevocationsError> {
        let bundle = Bundle::parse(bytes)?;
        for key in signers {
            let payload = match bundle.verify(*key) {
                Ok(payload) => payload,
                Err(EnvelopeError::Untrusted { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            let statement = Statement::<Self>::parse(&payload)?;
            let list = &statement.predicate;
            let sha256 = content(list.number, list.issued_on, &list.revoked)?;
            if list.number == 0 || !statement.is_about(&sha256) {
                return Err(RevocationsError::Digest);
            }
            return Ok((statement.predicate, *key));
        }
        let named = bundle.key_id().to_owned();
        Err(RevocationsError::Signer { named })
    }

    /// The entry of a key, if it is revoked.
    #[must_use]
    pub fn entry(&self, key_id: &str) -> Option<&Revoked> {
        self.revoked.iter().find(|revoked| revoked.key == key_id)
    }
}

/// SHA-256 (hex) of what a list says.
fn content(
    number: u64,
    issued: Timestamp,
    revoked: &[Revoked],
) -> Result<String, serde_json::Error> {
    Ok(sha256_hex(&serde_json::to_vec(&(number, issued, revoked))?))
}

/// Whose lists a gate believes: those of keys that may sign policies, the policy's own signer among them.
#[must_use]
pub fn signers(
    policy: &TrustPolicy,
    policy_key: Option<VerifyingKey>,
    now: Timestamp,
) -> Vec<VerifyingKey> {
    let of_policy = policy
        .keys
        .iter()
        .filter(|key| key.role == Role::Policy)
        .filter(|key| key.status(PREDICATE_TYPE, now) == KeyStatus::Good)
        .map(|key| key.key);
    policy_key.into_iter().chain(of_policy).collect()
}

/// Finds out which keys are revoked; what is wrong with the list is logged. Without a list that counts,
/// where there must be one, the release is refused.
pub(super) fn check(
    log: &mut Log,
    bytes: Option<&[u8]>,
    (policy, policy_key): (&TrustPolicy, Option<VerifyingKey>),
    (now, state): (Timestamp, Option<&State>),
) -> (Option<RevocationsPredicate>, Option<RevocationFacts>) {
    let seen = state.and_then(|state| state.revocations.as_ref());
    let Some(bytes) = bytes else {
        if policy.revocations.is_some() {
            let text = "the policy asks for a list of revoked keys (`--revocations FILE`)";
            log.bad(CHECK, Refusal::Missing, None, text);
        } else if let Some(seen) = seen {
            let number = seen.number;
            let text = format!(
                "this gate has seen list {number} of revoked keys, and was given none \
                 (`--revocations FILE`)"
            );
            log.bad(CHECK, Refusal::Missing, None, text);
        }
        return (None, None);
    };
    let (list, signer) = match RevocationsPredicate::open(bytes, &signers(policy, policy_key, now))
    {
        Ok(opened) => opened,
        Err(error) => {
            let text = super::evidence::with_cause(&error);
            log.bad(CHECK, error.refusal(), None, text);
            return (None, None);
        }
    };
    let (number, issued) = (list.number, list.issued_on);
    let stale = |log: &mut Log, text: String| log.bad(CHECK, Refusal::Stale, None, text);
    if let Some(seen) = seen {
        if number < seen.number {
            let text = format!(
                "list {number} of revoked keys is older than list {}, which this gate has seen",
                seen.number
            );
            stale(log, text);
        } else if number == seen.number && list.list.sha256 != seen.sha256 {
            let text = format!("another list of revoked keys had number {number}");
            stale(log, text);
        }
    }
    if issued.duration_since(now) > policy.evidence.skew {
        let text = format!("list {number} of revoked keys was issued in the future, at {issued}");
        stale(log, text);
    }
    let rule = policy.revocations.as_ref();
    if let Some(rule) = rule.filter(|rule| now.duration_since(issued) > rule.max_age) {
        let most = rule.max_age;
        let text = format!(
            "list {number} of revoked keys was issued at {issued}, longer ago than {most:#}; there \
             may be a newer one"
        );
        stale(log, text);
    }
    for (key, what) in [
        (Some(signer), "the list of revoked keys"),
        (policy_key, "the policy"),
    ] {
        let revoked = key.and_then(|key| list.entry(&key.id()));
        if let Some(Revoked { key, reason, .. }) = revoked {
            let text = format!("key {key}, which signed {what}, is revoked itself ({reason})");
            log.bad(CHECK, Refusal::Untrusted, None, text);
        }
    }
    let count = list.revoked.len();
    let text = format!("list {number} of revoked keys, of {issued}, names {count}");
    log.note(CHECK, None, text);
    let facts = RevocationFacts {
        list: list.list.clone(),
        number,
        issued_on: issued,
        signed_by: signer.id(),
    };
    (Some(list), Some(facts))
}
