//! The check of a report and its bundle with a public key: offline, pure, and in one order.

use super::envelope::{Bundle, EnvelopeError};
use super::signer::VerifyingKey;
use super::statement::{Statement, StatementError, sha256_hex};
use super::{Report, SCHEMA, json};

/// Evidence that is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The bundle is malformed, or not signed with the key.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The signature is good, and the statement is about another report.
    #[error(
        "the signed statement is about another report: this file has SHA-256 {found}, the statement \
         says {signed}"
    )]
    OtherReport {
        /// Digest of the file.
        found: String,
        /// Digest in the statement.
        signed: String,
    },
    /// The file is the signed one, and not a report this version reads.
    #[error("the report is not one that this version of cordon reads (`{SCHEMA}`)")]
    Report(#[source] serde_json::Error),
    /// The report is of another version.
    #[error("the report is `{found}`, and this version of cordon reads `{SCHEMA}`")]
    Schema {
        /// What it is.
        found: String,
    },
    /// The signed payload is something else.
    #[error(transparent)]
    Statement(#[from] StatementError),
}

/// Evidence that one key vouches for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified {
    /// The report.
    pub report: Report,
    /// What was signed about it.
    pub statement: Statement,
    /// Exactly the bytes that were signed.
    pub payload: Vec<u8>,
}

/// Checks that `key` signed `bundle`, an egress statement, and that it is about `report`.
///
/// # Errors
/// See [`VerifyError`].
pub fn verify(report: &[u8], bundle: &[u8], key: VerifyingKey) -> Result<Verified, VerifyError> {
    let payload = Bundle::parse(bundle)?.verify(key)?;
    let statement = Statement::parse(&payload)?;
    let found = sha256_hex(report);
    if !statement.is_about(&found) {
        return Err(VerifyError::OtherReport {
            found,
            signed: statement.predicate.cordon_report.sha256,
        });
    }
    let report = parse_report(report)?;
    Ok(Verified {
        report,
        statement,
        payload,
    })
}

/// Reads a report; nobody vouches for it.
///
/// # Errors
/// It is not one, or is one of another version.
pub fn parse_report(bytes: &[u8]) -> Result<Report, VerifyError> {
    let report: Report = json::parse(bytes).map_err(VerifyError::Report)?;
    if report.schema != SCHEMA {
        let found = report.schema;
        return Err(VerifyError::Schema { found });
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::fixture;
    use crate::report::signer::SigningKey;
    use crate::report::signer::tests::published_key;

    fn evidence() -> (Vec<u8>, Vec<u8>) {
        signed(&fixture::report(), |_| {})
    }

    fn signed(report: &Report, change: impl FnOnce(&mut Statement)) -> (Vec<u8>, Vec<u8>) {
        let file = json::pretty(report).unwrap().into_bytes();
        let key = published_key();
        let mut statement = Statement::new(report, &file, &key.public().id(), &[]);
        change(&mut statement);
        let bundle = Bundle::sign(&statement.to_bytes().unwrap(), &key).unwrap();
        (file, serde_json::to_vec(&bundle).unwrap())
    }

    fn check((report, bundle): &(Vec<u8>, Vec<u8>)) -> Result<Verified, VerifyError> {
        verify(report, bundle, published_key().public())
    }

    #[test]
    fn genuine_evidence_is_verified() {
        let verified = check(&evidence()).unwrap();
        assert_eq!(verified.report, fixture::report());
        assert_eq!(
            Statement::parse(&verified.payload).unwrap(),
            verified.statement
        );
    }

    #[test]
    fn another_report_is_told_apart() {
        let (mut report, bundle) = evidence();
        report.push(b'\n');
        let error = check(&(report, bundle)).unwrap_err();
        assert!(matches!(error, VerifyError::OtherReport { .. }));
    }

    #[test]
    fn a_statement_that_contradicts_itself_is_refused() {
        let zeros = || "00".repeat(32);
        let report = fixture::report();
        let subject = signed(&report, |statement| {
            statement.subject[0].digest.sha256 = zeros();
        });
        let reference = signed(&report, |s| s.predicate.cordon_report.sha256 = zeros());
        for evidence in [subject, reference] {
            assert!(matches!(
                check(&evidence),
                Err(VerifyError::OtherReport { .. })
            ));
        }
    }

    #[test]
    fn a_signed_statement_of_another_type_is_refused() {
        let evidence = signed(&fixture::report(), |s| s.predicate_type = "x".into());
        assert!(matches!(check(&evidence), Err(VerifyError::Statement(_))));
    }

    #[test]
    fn a_signed_report_of_another_version_is_refused() {
        let mut report = fixture::report();
        report.schema = "cordon/egress-report/v2".into();
        assert!(matches!(
            check(&signed(&report, |_| {})),
            Err(VerifyError::Schema { .. })
        ));
    }

    #[test]
    fn the_key_is_checked_before_anything_is_believed() {
        let (report, bundle) = signed(&fixture::report(), |s| s.predicate_type = "x".into());
        let other = SigningKey::generate().unwrap().public();
        let error = verify(&report, &bundle, other).unwrap_err();
        assert!(matches!(
            error,
            VerifyError::Envelope(EnvelopeError::Untrusted { .. })
        ));
    }

    proptest! {
        #[test]
        fn reading_a_report_is_total(bytes in any::<Vec<u8>>()) {
            drop(parse_report(&bytes));
        }
    }
}
