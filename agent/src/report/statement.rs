//! The in-toto statement: which report, by digest, and what it says.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::attested::{Attestation, Attested};
use super::json;
use super::predicate::{Digest, Predicate};

/// Type of every in-toto statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// Type of the predicate about egress.
pub const PREDICATE_TYPE: &str = "https://in-toto.io/attestation/runtime-trace/v0.1";

/// File name of the egress report, and name of its statement's first subject.
pub const REPORT_NAME: &str = "egress-report.json";

/// Signed bytes that are not the statement that was expected.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    /// Not a statement of the expected form.
    #[error("the signed payload is not a statement about {what}")]
    Json {
        /// What it should be about.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A statement about something else.
    #[error("the signed payload has {field} `{found}`, not `{expected}`")]
    OtherType {
        /// Which field.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it must say.
        expected: &'static str,
    },
}

/// An in-toto statement about a report: that of egress, or another one's.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Statement<P = Predicate> {
    /// [`STATEMENT_TYPE`]
    #[serde(rename = "_type")]
    pub r#type: String,
    /// What the statement is about; consumers match by digest, names are for people.
    pub subject: Vec<Subject>,
    /// [`Attestation::TYPE`]
    pub predicate_type: String,
    /// What it says.
    pub predicate: P,
}

/// One artefact a statement is about.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Subject {
    /// A name for people.
    pub name: String,
    /// Its content.
    pub digest: Digest,
}

impl Subject {
    /// A subject of this name and SHA-256 (lower-case hex).
    #[must_use]
    pub fn new(name: &str, sha256: &str) -> Self {
        Self {
            name: name.into(),
            digest: Digest {
                sha256: sha256.into(),
            },
        }
    }
}

impl<P: Attestation> Statement<P> {
    /// The statement about a report whose file has these bytes, signed by the key of this id.
    ///
    /// `artefacts` are further subjects: what the job made, for example an image.
    #[must_use]
    pub fn new<R>(report: &R, file: &[u8], key_id: &str, artefacts: &[Subject]) -> Self
    where
        R: Attested<Predicate = P>,
    {
        let sha256 = sha256_hex(file);
        let predicate = report.predicate(&sha256, key_id);
        Self::about(Subject::new(R::REPORT_NAME, &sha256), artefacts, predicate)
    }

    /// A statement about a subject, and about artefacts besides.
    #[must_use]
    pub fn about(subject: Subject, artefacts: &[Subject], predicate: P) -> Self {
        let mut subject = vec![subject];
        subject.extend_from_slice(artefacts);
        Self {
            r#type: STATEMENT_TYPE.into(),
            subject,
            predicate_type: P::TYPE.into(),
            predicate,
        }
    }

    /// The bytes to sign.
    ///
    /// # Errors
    /// The statement has no JSON form.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads bytes whose signature has been verified.
    ///
    /// # Errors
    /// See [`StatementError`].
    pub fn parse(verified: &[u8]) -> Result<Self, StatementError> {
        let malformed = |source| StatementError::Json {
            what: P::ABOUT,
            source,
        };
        // The types come first: a statement about something else is not a broken one of ours.
        let head: Head = json::parse(verified).map_err(malformed)?;
        expect("_type", head.r#type, STATEMENT_TYPE)?;
        expect("predicateType", head.predicate_type, P::TYPE)?;
        json::parse(verified).map_err(malformed)
    }

    /// What it is about besides its report: what the job made.
    #[must_use]
    pub fn artefacts(&self) -> &[Subject] {
        self.subject.get(1..).unwrap_or_default()
    }

    /// Whether it is about content of this SHA-256.
    #[must_use]
    pub fn is_about(&self, sha256: &str) -> bool {
        let mut subjects = self.subject.iter();
        self.predicate.report_sha256() == sha256
            && subjects.any(|subject| subject.digest.sha256 == sha256)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(rename = "_type")]
    r#type: String,
    predicate_type: String,
}

/// SHA-256 as lower-case hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    finished_hex(Sha256::new().chain_update(bytes))
}

/// The SHA-256 of what was hashed piece by piece, lower-case hex.
#[must_use]
pub fn finished_hex(hash: Sha256) -> String {
    hash.finalize()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

fn expect(
    field: &'static str,
    found: String,
    expected: &'static str,
) -> Result<(), StatementError> {
    if found != expected {
        return Err(StatementError::OtherType {
            field,
            found,
            expected,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::fixture;

    fn statement() -> Statement {
        let artefacts = [Subject::new("registry.test/app", &sha256_hex(b"image"))];
        Statement::new(&fixture::report(), b"file", "SHA256:key", &artefacts)
    }

    fn parse(bytes: &[u8]) -> Result<Statement, StatementError> {
        Statement::parse(bytes)
    }

    #[test]
    fn the_statement_is_the_golden_one() {
        let pretty = json::pretty(&statement()).unwrap();
        fixture::assert_golden("statement.json", &pretty);
    }

    #[test]
    fn a_statement_is_read_as_it_was_written() {
        let bytes = statement().to_bytes().unwrap();
        assert_eq!(Statement::parse(&bytes).unwrap(), statement());
    }

    #[test]
    fn it_is_about_the_file_of_its_digest_and_no_other() {
        let statement = statement();
        assert!(statement.is_about(&sha256_hex(b"file")));
        assert!(!statement.is_about(&sha256_hex(b"fil3")));
        assert!(!statement.is_about(&sha256_hex(b"image")));
    }

    #[test]
    fn another_type_is_named_even_where_the_predicate_is_unknown() {
        let other = br#"{"_type":"https://in-toto.io/Statement/v1","subject":[],
            "predicateType":"https://slsa.dev/provenance/v1","predicate":{}}"#;
        let error = parse(other).unwrap_err();
        assert!(matches!(
            error,
            StatementError::OtherType {
                field: "predicateType",
                ..
            }
        ));
        let old = br#"{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"x"}"#;
        let error = parse(old).unwrap_err();
        assert!(matches!(
            error,
            StatementError::OtherType { field: "_type", .. }
        ));
    }

    #[test]
    fn the_digest_is_sha256() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(
            sha256_hex(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    proptest! {
        #[test]
        fn any_text_of_a_job_survives_the_way_there_and_back(text in any::<String>()) {
            let report = fixture::report_saying(&text);
            let statement = Statement::new(&report, b"file", "SHA256:key", &[]);
            prop_assert_eq!(Statement::parse(&statement.to_bytes().unwrap()).unwrap(), statement);
        }

        #[test]
        fn reading_is_total(bytes in any::<Vec<u8>>()) {
            drop(parse(&bytes));
        }
    }
}
