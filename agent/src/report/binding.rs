//! The binding: what a job made, said after its evidence was sealed.
//!
//! An image may get its digest only when the job has ended. The same key then signs that this seal is
//! the one of that image.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::attested::Attestation;
use super::predicate::{Digest, MonitoredProcess};
use super::seal::{self, SealPredicate};
use super::statement::{Statement, Subject};

/// Type of the predicate; its number changes when its meaning does.
pub const PREDICATE_TYPE: &str = "urn:cordon:attestation:image-binding:v1";

/// File name of the bundle.
pub const BUNDLE_NAME: &str = "binding.sigstore.json";

/// [`PREDICATE_TYPE`]
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct BindingPredicate {
    /// The file of the seal.
    pub seal: Digest,
    /// [`SealPredicate::cordon_process`]
    pub monitored_process: MonitoredProcess,
    /// [`SealPredicate::cordon_sequence`]
    pub cordon_sequence: u64,
    /// When it was said, by the clock of whoever said it.
    pub bound_on: Timestamp,
}

impl Attestation for BindingPredicate {
    const TYPE: &'static str = PREDICATE_TYPE;
    const ABOUT: &'static str = "a binding";

    fn report_sha256(&self) -> &str {
        &self.seal.sha256
    }
}

impl Statement<BindingPredicate> {
    /// The statement that a seal, whose file has this SHA-256 (hex), is that of these images.
    #[must_use]
    pub fn bind(
        sealed: &SealPredicate,
        seal_sha256: &str,
        images: &[Subject],
        now: Timestamp,
    ) -> Self {
        let predicate = BindingPredicate {
            seal: Digest {
                sha256: seal_sha256.to_owned(),
            },
            monitored_process: sealed.cordon_process.clone(),
            cordon_sequence: sealed.cordon_sequence,
            bound_on: now,
        };
        Self::about(
            Subject::new(seal::BUNDLE_NAME, seal_sha256),
            images,
            predicate,
        )
    }
}
