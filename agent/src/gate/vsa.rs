//! The decision as a SLSA verification summary: for those who want to know that the gate was asked,
//! and not to ask it again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::decision::{Decision, Verdict};
use crate::report::attested::Attestation;
use crate::report::image::Image;
use crate::report::predicate::Digest;
use crate::report::statement::{Statement, Subject, sha256_hex};

/// Type of the predicate.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/verification_summary/v1";

/// Who decides: `verifier.id`.
pub const VERIFIER: &str = "urn:cordon:verifier:gate:v1";

/// The level of what was promoted; the specification allows levels of one's own.
pub const LEVEL: &str = "CORDON_PROMOTE_V1";

/// [`PREDICATE_TYPE`]
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct VsaPredicate {
    /// Who decided.
    pub verifier: Verifier,
    /// When: the time that was taken for the present.
    pub time_verified: Timestamp,
    /// What it is about.
    pub resource_uri: String,
    /// By which policy.
    pub policy: PolicyReference,
    /// On which statements.
    pub input_attestations: Vec<Input>,
    /// `PASSED` or `FAILED`.
    pub verification_result: String,
    /// [`LEVEL`], or `FAILED`.
    pub verified_levels: Vec<String>,
    /// What the standard fields do not say.
    pub cordon_decision: DecisionFacts,
}

/// Who decided.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Verifier {
    /// [`VERIFIER`]
    pub id: String,
    /// Version of each program.
    pub version: std::collections::BTreeMap<String, String>,
}

/// By which policy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PolicyReference {
    /// Its name.
    pub uri: String,
    /// The file.
    pub digest: Digest,
}

/// A statement that the decision was made on.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Input {
    /// The file's name.
    pub uri: String,
    /// The file.
    pub digest: Digest,
}

/// What the standard fields do not say.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DecisionFacts {
    /// Exit status of the gate.
    pub status: u8,
    /// The image, SHA-256.
    pub image: Digest,
    /// The decision as JSON, as it was printed.
    pub decision: Digest,
    /// Whether somebody chose the time, rather than the clock.
    pub time_given: bool,
    /// Id of the key that signed the policy; absent if it was used unsigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_signed_by: Option<String>,
}

impl Attestation for VsaPredicate {
    const TYPE: &'static str = PREDICATE_TYPE;
    const ABOUT: &'static str = "a verification";

    fn report_sha256(&self) -> &str {
        &self.cordon_decision.image.sha256
    }
}

impl Statement<VsaPredicate> {
    /// The summary of a decision, whose JSON has these bytes. None where it could not be decided:
    /// that is neither passed nor failed.
    #[must_use]
    pub fn summary(decision: &Decision, json: &[u8], image: &Image) -> Option<Self> {
        let (result, level) = match decision.verdict {
            Verdict::Promote => ("PASSED", LEVEL),
            Verdict::Deny => ("FAILED", "FAILED"),
            Verdict::Undecided => return None,
        };
        let version = ("cordon".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        let digest = |sha256: &str| Digest {
            sha256: sha256.to_owned(),
        };
        let inputs = decision.inputs.iter().map(|file| Input {
            uri: file.name.clone(),
            digest: digest(&file.sha256),
        });
        let hex = image.digest.hex();
        let predicate = VsaPredicate {
            verifier: Verifier {
                id: VERIFIER.to_owned(),
                version: [version].into(),
            },
            time_verified: decision.now.time,
            resource_uri: resource(image),
            policy: PolicyReference {
                uri: format!("urn:cordon:policy:{}", escaped(&decision.policy.name)),
                digest: digest(&decision.policy.sha256),
            },
            input_attestations: inputs.collect(),
            verification_result: result.to_owned(),
            verified_levels: vec![level.to_owned()],
            cordon_decision: DecisionFacts {
                status: decision.status,
                image: digest(&hex),
                decision: digest(&sha256_hex(json)),
                time_given: decision.now.given,
                policy_signed_by: decision.policy.signed_by.clone(),
            },
        };
        Some(Self::about(Subject::from(image), &[], predicate))
    }
}

/// The image as a package URL.
fn resource(image: &Image) -> String {
    let name = image.name.as_deref().unwrap_or("image");
    let short = name.rsplit('/').next().unwrap_or(name);
    let short = short.split(':').next().unwrap_or(short);
    format!("pkg:oci/{}@sha256%3A{}", escaped(short), image.digest.hex())
}

fn escaped(text: &str) -> String {
    crate::report::predicate::percent_encoded(text, b"")
}
