//! What the signed reports have in common: names, types, and a predicate that states each.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::predicate::Predicate;
use super::{Report, SCHEMA, sink, statement};

/// A report that a key can vouch for.
pub trait Attested: DeserializeOwned + Serialize {
    /// What its statement says.
    type Predicate: Attestation;

    /// What it calls itself.
    const SCHEMA: &'static str;
    /// Its file, and the name of its statement's first subject.
    const REPORT_NAME: &'static str;
    /// The file of its bundle.
    const BUNDLE_NAME: &'static str;

    /// What stands for it in its statement, if its file has this digest (SHA-256, hex) and is signed
    /// by the key of this id.
    fn predicate(&self, report_sha256: &str, key_id: &str) -> Self::Predicate;

    /// Where it says two things that cannot both be true: in words for whoever is given it.
    fn contradiction(&self) -> Option<String>;
}

/// The predicate of a statement about a report.
pub trait Attestation: DeserializeOwned + Serialize {
    /// Type of the predicate.
    const TYPE: &'static str;
    /// What it is about, in words: `egress`.
    const ABOUT: &'static str;

    /// The SHA-256 of the report it is about, hex.
    fn report_sha256(&self) -> &str;
}

impl Attested for Report {
    type Predicate = Predicate;

    const SCHEMA: &'static str = SCHEMA;
    const REPORT_NAME: &'static str = statement::REPORT_NAME;
    const BUNDLE_NAME: &'static str = sink::BUNDLE_NAME;

    fn predicate(&self, report_sha256: &str, key_id: &str) -> Predicate {
        Predicate::new(self, report_sha256, key_id)
    }

    fn contradiction(&self) -> Option<String> {
        None
    }
}

impl Attestation for Predicate {
    const TYPE: &'static str = statement::PREDICATE_TYPE;
    const ABOUT: &'static str = "egress";

    fn report_sha256(&self) -> &str {
        &self.cordon_report.sha256
    }
}
