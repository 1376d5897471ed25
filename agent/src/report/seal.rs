//! The seal: one signed statement that names every other file of a job's evidence by digest.
//!
//! Statements alone can be taken away or exchanged for those of another job one by one; the seal is
//! made last and says what belongs together. The one file it cannot name is `evidence.intoto.jsonl`,
//! in which its own envelope stands.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::attested::Attestation;
use super::envelope::{Bundle, EnvelopeError};
use super::predicate::{Digest, MonitoredProcess};
use super::run::{self, Link, RunReport};
use super::signer::VerifyingKey;
use super::statement::{Statement, StatementError, Subject, sha256_hex};

/// Type of the predicate: in-toto's references to documents.
pub const PREDICATE_TYPE: &str = "https://in-toto.io/attestation/reference/v0.1";

/// Who seals: `attester.id` of the predicate. Another reference statement is no seal.
pub const ATTESTER: &str = "urn:cordon:attester:seal:v1";

/// File name of the bundle.
pub const BUNDLE_NAME: &str = "seal.sigstore.json";

/// File name of all envelopes together, one a line.
pub const ENVELOPES_NAME: &str = "evidence.intoto.jsonl";

/// [`PREDICATE_TYPE`]
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SealPredicate {
    /// Who refers.
    pub attester: Attester,
    /// Every other file of the evidence, in the order of names.
    pub references: Vec<Reference>,
    /// The host, and which job.
    pub cordon_process: MonitoredProcess,
    /// When the job had ended.
    pub cordon_finished_on: Timestamp,
    /// How the key is kept that signs this.
    pub cordon_key_protection: String,
    /// [`Link::sequence`]
    pub cordon_sequence: u64,
    /// [`Link::previous`]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordon_previous: Option<String>,
}

/// Who refers to the documents.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Attester {
    /// [`ATTESTER`]
    pub id: String,
}

/// A file of the evidence: in-toto's resource descriptor, as far as used.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// Its name in the evidence directory.
    pub name: String,
    /// The same: relative to the seal.
    pub download_location: String,
    /// What it is.
    pub media_type: String,
    /// Its content.
    pub digest: Digest,
}

impl Reference {
    /// A file of this name and digest (hex).
    #[must_use]
    pub fn of_digest(name: &str, sha256: &str) -> Self {
        Self {
            name: name.to_owned(),
            download_location: name.to_owned(),
            media_type: media_type(name).to_owned(),
            digest: Digest {
                sha256: sha256.to_owned(),
            },
        }
    }

    /// A file of this name and content.
    #[must_use]
    pub fn new(name: &str, content: &[u8]) -> Self {
        Self::of_digest(name, &sha256_hex(content))
    }
}

/// What a file of the evidence is, by its name.
fn media_type(name: &str) -> &'static str {
    match name.split_once('.').map(|(_, suffix)| suffix) {
        Some("sigstore.json") => super::envelope::MEDIA_TYPE,
        Some("json") => "application/json",
        Some("html") => "text/html",
        Some("md") => "text/markdown",
        Some("ocsf.jsonl") => "application/jsonl",
        Some("sarif") => "application/sarif+json",
        _ => "application/octet-stream",
    }
}

impl Statement<SealPredicate> {
    /// The seal of a run: `references` are all other files, the run report among them.
    #[must_use]
    pub fn seal(
        run: &RunReport,
        mut references: Vec<Reference>,
        key_id: &str,
        artefacts: &[Subject],
    ) -> Self {
        references.sort();
        let Link { sequence, previous } = run.chain.clone();
        let predicate = SealPredicate {
            attester: Attester {
                id: ATTESTER.to_owned(),
            },
            references,
            cordon_process: MonitoredProcess::job(key_id, &run.job.id),
            cordon_finished_on: run.job.finished,
            cordon_key_protection: run.platform.key_protection.clone(),
            cordon_sequence: sequence,
            cordon_previous: previous,
        };
        let sha256 = predicate.report_sha256().to_owned();
        Self::about(
            Subject::new(run::REPORT_NAME, &sha256),
            artefacts,
            predicate,
        )
    }
}

impl SealPredicate {
    /// The SHA-256 (hex) that it says a file has.
    #[must_use]
    pub fn digest_of(&self, name: &str) -> Option<&str> {
        let mut references = self.references.iter();
        let found = references.find(|reference| reference.name == name);
        found.map(|reference| reference.digest.sha256.as_str())
    }
}

impl Attestation for SealPredicate {
    const TYPE: &'static str = PREDICATE_TYPE;
    const ABOUT: &'static str = "a seal";

    fn report_sha256(&self) -> &str {
        self.digest_of(run::REPORT_NAME).unwrap_or_default()
    }
}

/// A seal that is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The bundle is malformed, or not signed with the key.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// It refers to documents on somebody else's behalf.
    #[error("the signed references are by `{found}`, not a seal (`{ATTESTER}`)")]
    Attester {
        /// Who refers.
        found: String,
    },
    /// A reference is not to a file beside the seal, or two are to one.
    #[error("the seal names `{name}`, which is no single file beside it")]
    Name {
        /// What it names.
        name: String,
    },
    /// The signed payload is something else.
    #[error(transparent)]
    Statement(#[from] StatementError),
}

/// Checks that `key` signed `bundle`, and that it is a seal.
///
/// # Errors
/// See [`SealError`].
pub fn open(bundle: &[u8], key: VerifyingKey) -> Result<Statement<SealPredicate>, SealError> {
    let payload = Bundle::parse(bundle)?.verify(key)?;
    parse(&payload)
}

/// Reads a seal whose signature has been verified.
///
/// # Errors
/// It is something else, or names anything but files beside it, each once.
pub fn parse(verified: &[u8]) -> Result<Statement<SealPredicate>, SealError> {
    let statement = Statement::<SealPredicate>::parse(verified)?;
    let SealPredicate {
        attester,
        references,
        ..
    } = &statement.predicate;
    if attester.id != ATTESTER {
        let found = attester.id.clone();
        return Err(SealError::Attester { found });
    }
    let mut names = BTreeSet::new();
    for reference in references {
        let name = &reference.name;
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
        if !plain || !names.insert(name) {
            return Err(SealError::Name { name: name.clone() });
        }
    }
    Ok(statement)
}

/// Whether `bundle` is a seal by `key` in which a file of this name has this content.
#[must_use]
pub fn covers(bundle: &[u8], key: VerifyingKey, name: &str, content: &[u8]) -> bool {
    open(bundle, key)
        .is_ok_and(|statement| statement.predicate.digest_of(name) == Some(&sha256_hex(content)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::run::fixture;
    use crate::report::signer::SigningKey;
    use crate::report::signer::tests::published_key;
    use crate::report::{fixture as files, json};

    fn statement() -> Statement<SealPredicate> {
        let references = [
            "run.json",
            "run.sigstore.json",
            "egress-report.json",
            "x.sarif",
        ]
        .map(|name| Reference::new(name, name.as_bytes()));
        let image = [Subject::new("registry.test/app", &sha256_hex(b"image"))];
        Statement::seal(&fixture::report(), references.into(), "SHA256:key", &image)
    }

    #[test]
    fn the_statement_is_the_golden_one_and_is_about_the_run() {
        files::assert_golden("seal-statement.json", &json::pretty(&statement()).unwrap());
        let bytes = statement().to_bytes().unwrap();
        let read = Statement::<SealPredicate>::parse(&bytes).unwrap();
        assert_eq!(read, statement());
        assert!(read.is_about(&sha256_hex(b"run.json")));
        assert!(!read.is_about(&sha256_hex(b"x.sarif")));
    }

    #[test]
    fn it_covers_what_it_names_and_nothing_else() {
        let key = published_key();
        let sign = |statement: &Statement<SealPredicate>| {
            let bundle = Bundle::sign(&statement.to_bytes().unwrap(), &key).unwrap();
            serde_json::to_vec(&bundle).unwrap()
        };
        let bundle = sign(&statement());
        assert!(covers(&bundle, key.public(), "run.json", b"run.json"));
        assert!(!covers(&bundle, key.public(), "run.json", b"other"));
        assert!(!covers(&bundle, key.public(), "other", b"run.json"));
        assert!(!covers(b"{}", key.public(), "run.json", b"run.json"));
        let other = SigningKey::generate().unwrap().public();
        assert!(!covers(&bundle, other, "run.json", b"run.json"));
        let mut foreign = statement();
        foreign.predicate.attester.id = "https://sbom.test".into();
        assert!(!covers(
            &sign(&foreign),
            key.public(),
            "run.json",
            b"run.json"
        ));
    }

    #[test]
    fn names_that_lead_elsewhere_or_twice_to_one_file_are_refused() {
        for name in [
            "",
            ".",
            "..",
            "../run.json",
            "a/b",
            "/etc/passwd",
            ".hidden",
            "run.json",
        ] {
            let mut statement = statement();
            statement.predicate.references[0].name = name.into();
            let error = parse(&statement.to_bytes().unwrap()).unwrap_err();
            assert!(matches!(error, SealError::Name { .. }), "{name}: {error}");
        }
        parse(&statement().to_bytes().unwrap()).unwrap();
    }
}
