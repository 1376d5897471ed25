//! A trust policy is signed, by a key that is kept apart from those it is about.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::TrustPolicy;
use crate::report::attested::Attestation;
use crate::report::envelope::Bundle;
use crate::report::predicate::Digest;
use crate::report::signer::VerifyingKey;
use crate::report::statement::{Statement, Subject, sha256_hex};
use crate::report::verify::VerifyError;

/// Type of the predicate; its number changes when its meaning does.
pub const POLICY_PREDICATE_TYPE: &str = "urn:cordon:attestation:trust-policy:v1";

/// [`POLICY_PREDICATE_TYPE`]
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PolicyPredicate {
    /// The file.
    pub policy: Digest,
    /// [`TrustPolicy::name`]
    pub name: String,
    /// When it was signed, by the clock of whoever did.
    pub signed_on: Timestamp,
}

impl Attestation for PolicyPredicate {
    const TYPE: &'static str = POLICY_PREDICATE_TYPE;
    const ABOUT: &'static str = "a trust policy";

    fn report_sha256(&self) -> &str {
        &self.policy.sha256
    }
}

impl Statement<PolicyPredicate> {
    /// The statement that a file of these bytes is a policy to trust by.
    #[must_use]
    pub fn trust(policy: &TrustPolicy, file: &[u8], now: Timestamp) -> Self {
        let sha256 = sha256_hex(file);
        let subject = Subject::new("policy.toml", &sha256);
        let predicate = PolicyPredicate {
            policy: Digest { sha256 },
            name: policy.name.clone(),
            signed_on: now,
        };
        Self::about(subject, &[], predicate)
    }
}

impl TrustPolicy {
    /// Checks that `key` signed `bundle`, and that it is about a policy of these bytes.
    ///
    /// # Errors
    /// See [`VerifyError`].
    pub fn check_signature(
        file: &[u8],
        bundle: &[u8],
        key: VerifyingKey,
    ) -> Result<(), VerifyError> {
        let payload = Bundle::parse(bundle)?.verify(key)?;
        let statement = Statement::<PolicyPredicate>::parse(&payload)?;
        let found = sha256_hex(file);
        if !statement.is_about(&found) {
            let signed = statement.predicate.report_sha256().to_owned();
            return Err(VerifyError::OtherReport { found, signed });
        }
        Ok(())
    }
}
