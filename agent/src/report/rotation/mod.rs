//! A key that takes the place of another: the statement in which both say so.
//!
//! The old key vouches for the new one, and the new one shows that it is there: a statement with the
//! public halves of both and the time of their overlap, as two envelopes over the same bytes, the old
//! key's first. Whoever trusts the old key can so come to trust the new one, and nobody else's.
//!
//! **Not here**: whom a gate believes. That is its policy, which the owner changes by hand ([`keys`
//! in `gate::policy`](crate::gate::policy)); and the files of a rotation, which are [`steps`].

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::attested::Attestation;
use super::envelope::{Bundle, EnvelopeError};
use super::predicate::Digest;
use super::signer::{KeyError, SigningKey, VerifyingKey};
use super::statement::{Statement, StatementError, Subject, sha256_hex};

pub mod steps;

/// Type of the predicate; its number changes when its meaning does.
pub const PREDICATE_TYPE: &str = "urn:cordon:attestation:key-rotation:v1";

/// 64 KiB: a statement has about two.
pub const MAX_ROTATION: u64 = 64 << 10;

/// [`PREDICATE_TYPE`]
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RotationPredicate {
    /// The file of the new public key.
    pub key: Digest,
    /// The key that signed until now.
    pub old: PublicKey,
    /// The key that signs from now on.
    pub new: PublicKey,
    /// When the new one was made, by the clock of the host.
    pub rotated_on: Timestamp,
    /// Until when evidence of the old one should count.
    pub overlap_until: Timestamp,
}

/// A public key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PublicKey {
    /// Its id.
    pub fingerprint: String,
    /// The key as SPKI PEM.
    pub pem: String,
}

/// A rotation that is not believed.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// A signature is not that of its key, or an envelope is malformed.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// There must be two envelopes.
    #[error("it has {count} envelopes, not two: the old key's and the new key's")]
    Envelopes {
        /// How many it has.
        count: usize,
    },
    /// The keys signed different things.
    #[error("the two keys did not sign the same statement")]
    Different,
    /// A key in the statement is not what it says it is.
    #[error("its `{which}` key is not the one of its fingerprint")]
    Fingerprint {
        /// `old` or `new`.
        which: &'static str,
    },
    /// A key cannot be written, or cannot sign.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It is about another key than the one that is trusted.
    #[error("it replaces key {found}, not {known}")]
    OtherKey {
        /// What it replaces.
        found: String,
        /// What is trusted.
        known: String,
    },
    /// What was signed is something else.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// It has no JSON form.
    #[error("the statement cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
}

impl Attestation for RotationPredicate {
    const TYPE: &'static str = PREDICATE_TYPE;
    const ABOUT: &'static str = "a key's rotation";

    fn report_sha256(&self) -> &str {
        &self.key.sha256
    }
}

impl PublicKey {
    fn of(key: VerifyingKey) -> Result<Self, KeyError> {
        Ok(Self {
            fingerprint: key.id(),
            pem: key.to_pem()?,
        })
    }

    /// The key, if it has this fingerprint.
    #[must_use]
    pub fn key(&self) -> Option<VerifyingKey> {
        VerifyingKey::from_pem(&self.pem).filter(|key| key.id() == self.fingerprint)
    }
}

/// The statement that `new` takes the place of `old`, signed by both: one envelope a line.
///
/// # Errors
/// A key cannot sign.
pub fn sign(
    old: &SigningKey,
    new: &SigningKey,
    rotated_on: Timestamp,
    overlap_until: Timestamp,
) -> Result<String, RotationError> {
    let (was, is) = (PublicKey::of(old.public())?, PublicKey::of(new.public())?);
    let sha256 = sha256_hex(is.pem.as_bytes());
    let subject = Subject::new(&is.fingerprint, &sha256);
    let predicate = RotationPredicate {
        key: Digest { sha256 },
        old: was,
        new: is,
        rotated_on,
        overlap_until,
    };
    let statement = Statement::about(subject, &[], predicate);
    let payload = statement.to_bytes().map_err(RotationError::Encode)?;
    let mut lines = String::new();
    for key in [old, new] {
        let line = Bundle::sign(&payload, key)?.envelope_line();
        lines.push_str(&line.map_err(RotationError::Encode)?);
    }
    Ok(lines)
}

/// What a rotation says, if `known` is the old key and both keys signed it.
///
/// # Errors
/// See [`RotationError`].
pub fn open(bytes: &[u8], known: VerifyingKey) -> Result<RotationPredicate, RotationError> {
    let lines: Vec<_> = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .collect();
    let [first, second] = lines.as_slice() else {
        let count = lines.len();
        return Err(RotationError::Envelopes { count });
    };
    let payload = match Bundle::parse_envelope(first)?.verify(known) {
        Ok(payload) => payload,
        Err(EnvelopeError::Untrusted { named, .. }) if named != known.id() => {
            return Err(RotationError::OtherKey {
                found: named,
                known: known.id(),
            });
        }
        Err(error) => return Err(error.into()),
    };
    let predicate = Statement::<RotationPredicate>::parse(&payload)?.predicate;
    let fingerprint = |which| RotationError::Fingerprint { which };
    let old = predicate.old.key().ok_or_else(|| fingerprint("old"))?;
    if old != known {
        return Err(RotationError::OtherKey {
            found: old.id(),
            known: known.id(),
        });
    }
    let new = predicate.new.key().ok_or_else(|| fingerprint("new"))?;
    if Bundle::parse_envelope(second)?.verify(new)? != payload {
        return Err(RotationError::Different);
    }
    Ok(predicate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::signer::tests::published_key;

    fn times() -> (Timestamp, Timestamp) {
        let time = |text: &str| text.parse().unwrap();
        (time("2026-11-22T08:00:00Z"), time("2026-12-22T08:00:00Z"))
    }

    fn rotation(old: &SigningKey, new: &SigningKey) -> String {
        let (now, until) = times();
        sign(old, new, now, until).unwrap()
    }

    #[test]
    fn whoever_trusts_the_old_key_learns_the_new_one() {
        let (old, new) = (published_key(), SigningKey::generate().unwrap());
        let read = open(rotation(&old, &new).as_bytes(), old.public()).unwrap();
        assert_eq!(read.new.key(), Some(new.public()));
        assert_eq!((read.rotated_on, read.overlap_until), times());
        let pem = new.public().to_pem().unwrap();
        assert_eq!(read.key.sha256, sha256_hex(pem.as_bytes()));
    }

    #[test]
    fn without_both_signatures_over_one_statement_it_is_nothing() {
        let (old, new) = (published_key(), SigningKey::generate().unwrap());
        let stranger = SigningKey::generate().unwrap();
        let text = rotation(&old, &new);
        let (first, second) = text.trim_end().split_once('\n').unwrap();
        let refused = |text: &str| open(text.as_bytes(), old.public()).unwrap_err();
        // One of them alone, or one of them twice.
        for alone in [first, second, ""] {
            assert!(matches!(refused(alone), RotationError::Envelopes { .. }));
        }
        refused(&format!("{first}\n{first}"));
        refused(&format!("{second}\n{first}"));
        refused(&format!("{text}{first}"));
        // The old key alone cannot make another's key the next one.
        let foreign = rotation(&old, &stranger);
        let foreign = foreign.lines().nth(1).unwrap();
        refused(&format!("{first}\n{foreign}"));
        // Nor can anybody else vouch.
        let error = refused(&rotation(&stranger, &new));
        assert!(matches!(error, RotationError::OtherKey { .. }), "{error}");
        // The same keys, another time: both signed, but not the same.
        let (now, until) = times();
        let later = sign(&old, &new, until, now).unwrap();
        let later = later.lines().nth(1).unwrap();
        let error = refused(&format!("{first}\n{later}"));
        assert!(matches!(error, RotationError::Different), "{error}");
    }
}
