//! The check of a report and its bundle with a public key: offline, pure, and in one order.

use serde_json::Value;

use super::attested::{Attestation as _, Attested};
use super::envelope::{Bundle, EnvelopeError};
use super::run::RunReport;
use super::signer::VerifyingKey;
use super::statement::{Statement, StatementError, sha256_hex};
use super::sweep::SweepReport;
use super::{Report, json};

/// Evidence that is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The report says two things that cannot both be true.
    #[error("the report contradicts itself: {0}")]
    Contradiction(String),
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
    #[error("the report is not one that this version of cordon reads ({expected})")]
    Report {
        /// What it should be.
        expected: &'static str,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The report is of another kind or version.
    #[error("the report is `{found}`, and not one that this version of cordon reads ({expected})")]
    Schema {
        /// What it is.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The signed payload is something else.
    #[error(transparent)]
    Statement(#[from] StatementError),
}

/// Evidence that one key vouches for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified<R: Attested> {
    /// The report.
    pub report: R,
    /// What was signed about it.
    pub statement: Statement<R::Predicate>,
    /// Exactly the bytes that were signed.
    pub payload: Vec<u8>,
}

/// A report of any kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AnyReport {
    /// What left the job.
    Egress(Box<Report>),
    /// Which secrets it held.
    Sweep(Box<SweepReport>),
    /// What both come to.
    Run(Box<RunReport>),
}

/// Checks that `key` signed `bundle`, a statement about reports of this kind, and that it is about
/// `report`.
///
/// # Errors
/// See [`VerifyError`].
pub fn verify<R: Attested>(
    report: &[u8],
    bundle: &[u8],
    key: VerifyingKey,
) -> Result<Verified<R>, VerifyError> {
    let payload = Bundle::parse(bundle)?.verify(key)?;
    let statement = Statement::<R::Predicate>::parse(&payload)?;
    let found = sha256_hex(report);
    if !statement.is_about(&found) {
        return Err(VerifyError::OtherReport {
            found,
            signed: statement.predicate.report_sha256().into(),
        });
    }
    let report = parse_report(report)?;
    Ok(Verified {
        report,
        statement,
        payload,
    })
}

/// Reads a report of one kind; nobody vouches for it.
///
/// # Errors
/// It is not one, is one of another version, or contradicts itself.
pub fn parse_report<R: Attested>(bytes: &[u8]) -> Result<R, VerifyError> {
    let (schema, value) = open(bytes, R::SCHEMA)?;
    if schema != R::SCHEMA {
        return Err(VerifyError::Schema {
            found: schema,
            expected: R::SCHEMA,
        });
    }
    read(value)
}

impl AnyReport {
    /// Reads a report of any kind; nobody vouches for it.
    ///
    /// # Errors
    /// It is none, is one of another version, or contradicts itself.
    pub fn parse(bytes: &[u8]) -> Result<Self, VerifyError> {
        /// All kinds, for messages.
        const ANY: &str = "cordon/egress-report/v1, cordon/secret-sweep/v1 or cordon/runner-run/v1";
        let (found, value) = open(bytes, ANY)?;
        match found.as_str() {
            <Report as Attested>::SCHEMA => Ok(Self::Egress(Box::new(read(value)?))),
            <SweepReport as Attested>::SCHEMA => Ok(Self::Sweep(Box::new(read(value)?))),
            <RunReport as Attested>::SCHEMA => Ok(Self::Run(Box::new(read(value)?))),
            _ => Err(VerifyError::Schema {
                found,
                expected: ANY,
            }),
        }
    }
}

/// What a document calls itself, and the whole of it. The name comes first: a report of another
/// kind is not a broken one of this.
fn open(bytes: &[u8], expected: &'static str) -> Result<(String, Value), VerifyError> {
    let value: Value =
        json::parse(bytes).map_err(|source| VerifyError::Report { expected, source })?;
    let schema = value.get("schema").and_then(Value::as_str);
    Ok((schema.unwrap_or_default().to_owned(), value))
}

fn read<R: Attested>(value: Value) -> Result<R, VerifyError> {
    let report = R::deserialize(value).map_err(|source| VerifyError::Report {
        expected: R::SCHEMA,
        source,
    })?;
    match report.contradiction() {
        Some(contradiction) => Err(VerifyError::Contradiction(contradiction)),
        None => Ok(report),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::signer::SigningKey;
    use crate::report::signer::tests::published_key;
    use crate::report::sweep::Verdict;
    use crate::report::{fixture, sweep};

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

    fn check((report, bundle): &(Vec<u8>, Vec<u8>)) -> Result<Verified<Report>, VerifyError> {
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
        let error = verify::<Report>(&report, &bundle, other).unwrap_err();
        assert!(matches!(
            error,
            VerifyError::Envelope(EnvelopeError::Untrusted { .. })
        ));
    }

    #[test]
    fn one_report_does_not_pass_for_the_other() {
        let key = published_key();
        let (egress, its_bundle) = evidence();
        let swept = sweep::fixture::report();
        let file = json::pretty(&swept).unwrap().into_bytes();
        let statement = Statement::new(&swept, &file, &key.public().id(), &[]);
        let bundle = Bundle::sign(&statement.to_bytes().unwrap(), &key).unwrap();
        let bundle = serde_json::to_vec(&bundle).unwrap();
        let key = key.public();
        assert_eq!(
            verify::<SweepReport>(&file, &bundle, key).unwrap().report,
            swept
        );
        // The statement is of the other type, whichever report it comes with.
        for (report, bundle) in [(&file, &bundle), (&egress, &bundle)] {
            let error = verify::<Report>(report, bundle, key).unwrap_err();
            assert!(matches!(error, VerifyError::Statement(_)), "{error}");
        }
        for report in [&file, &egress] {
            let error = verify::<SweepReport>(report, &its_bundle, key).unwrap_err();
            assert!(matches!(error, VerifyError::Statement(_)), "{error}");
        }
        let error = parse_report::<Report>(&file).unwrap_err();
        assert!(matches!(error, VerifyError::Schema { .. }), "{error}");
        let error = parse_report::<SweepReport>(&egress).unwrap_err();
        assert!(matches!(error, VerifyError::Schema { .. }), "{error}");
        assert!(matches!(AnyReport::parse(&file), Ok(AnyReport::Sweep(_))));
        assert!(matches!(
            AnyReport::parse(&egress),
            Ok(AnyReport::Egress(_))
        ));
    }

    #[test]
    fn a_sweep_whose_verdict_does_not_follow_is_refused_though_signed() {
        let key = published_key();
        let mut swept = sweep::fixture::report();
        swept.verdict = Verdict::Clean;
        let file = json::pretty(&swept).unwrap().into_bytes();
        let statement = Statement::new(&swept, &file, &key.public().id(), &[]);
        let bundle = Bundle::sign(&statement.to_bytes().unwrap(), &key).unwrap();
        let bundle = serde_json::to_vec(&bundle).unwrap();
        let error = verify::<SweepReport>(&file, &bundle, key.public()).unwrap_err();
        assert!(matches!(error, VerifyError::Contradiction(_)), "{error}");
    }

    proptest! {
        #[test]
        fn reading_a_report_is_total(bytes in any::<Vec<u8>>()) {
            drop(AnyReport::parse(&bytes));
        }
    }
}
