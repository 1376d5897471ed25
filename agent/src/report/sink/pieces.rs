//! Reports, bundles and envelopes as they are to be written: bytes in memory, before any of it is on
//! disk.

use super::{SARIF_NAME, SinkError};
use crate::report::attested::{Attestation, Attested};
use crate::report::envelope::{Bundle, MAX_PAYLOAD};
use crate::report::html::{self, Document, Documents, Trust};
use crate::report::run::{FileDigest, RunReport};
use crate::report::seal::Reference;
use crate::report::signer::SigningKey;
use crate::report::statement::{Statement, Subject, sha256_hex};
use crate::report::sweep::{SweepReport, sarif};
use crate::report::{Report, json, summary};

/// All that is written of a job but its seal.
pub(super) struct Pieces {
    pub(super) egress: Option<Signed>,
    pub(super) sweep: Option<Signed>,
    pub(super) run: Option<Signed>,
    pub(super) findings: Option<String>,
    /// What people read, by the name of its file: never authority.
    pub(super) renderings: Vec<(&'static str, String)>,
}

impl Pieces {
    pub(super) fn new(
        egress: Option<&Report>,
        sweep: Option<&SweepReport>,
        key: &SigningKey,
        artefacts: &[Subject],
    ) -> Result<Self, SinkError> {
        let egress = egress.map(|report| Signed::new(report, key, artefacts));
        let findings = sweep.map(sarif::render).transpose()?;
        let sweep = sweep.map(|report| Signed::new(report, key, artefacts));
        Ok(Self {
            egress: egress.transpose()?,
            sweep: sweep.transpose()?,
            run: None,
            findings,
            renderings: Vec::new(),
        })
    }

    /// Adds the renderings of the reports, of which all must be there. One that fails is left out:
    /// evidence is not lost for a page.
    pub(super) fn render(
        &mut self,
        (egress, sweep, run): (&Report, Option<&SweepReport>, &RunReport),
        key_id: &str,
        artefacts: &[Subject],
    ) {
        let documents = Documents {
            egress: document(self.egress.as_ref(), Some(egress)),
            sweep: document(self.sweep.as_ref(), sweep),
            run: document(self.run.as_ref(), Some(run)),
            images: artefacts,
            trust: Trust::AtSource {
                key_id: key_id.to_owned(),
            },
            baseline: None,
        };
        let mut renderings = Vec::new();
        renderings.extend(html::render(&documents).ok().map(|page| (html::NAME, page)));
        renderings.push((summary::NAME, summary::render(&documents, summary::MAX)));
        self.renderings = renderings;
    }

    pub(super) fn signed(&self) -> impl Iterator<Item = &Signed> {
        self.egress.iter().chain(&self.sweep).chain(&self.run)
    }

    pub(super) fn digests(&self) -> Vec<FileDigest> {
        let digest = |signed: &Signed| FileDigest {
            name: signed.report_name.to_owned(),
            sha256: sha256_hex(signed.report.as_bytes()),
        };
        self.signed().map(digest).collect()
    }

    pub(super) fn references(&self) -> Vec<Reference> {
        let mut references: Vec<_> = self
            .signed()
            .flat_map(|signed| {
                let report = Reference::new(signed.report_name, signed.report.as_bytes());
                let bundle = signed.bundle.text.as_bytes();
                [report, Reference::new(signed.bundle_name, bundle)]
            })
            .collect();
        let findings = self.findings.iter();
        let renderings = self.renderings.iter();
        references.extend(renderings.map(|(name, text)| Reference::new(name, text.as_bytes())));
        references.extend(findings.map(|text| Reference::new(SARIF_NAME, text.as_bytes())));
        references
    }

    pub(super) fn envelopes(&self, seal: &SignedStatement) -> String {
        let signed = self.signed().map(|signed| &signed.bundle);
        let lines = signed.chain([seal]).map(|signed| signed.envelope.as_str());
        lines.collect()
    }
}

fn document<'d, R>(signed: Option<&'d Signed>, report: Option<&'d R>) -> Option<Document<'d, R>> {
    let file = signed?.report.as_bytes();
    let report = report?;
    Some(Document { report, file })
}

/// A report and its bundle, as they are to be written.
pub(super) struct Signed {
    pub(super) report_name: &'static str,
    pub(super) report: String,
    pub(super) bundle_name: &'static str,
    pub(super) bundle: SignedStatement,
}

/// A bundle, and the envelope that is in it, each with its line feed.
pub(super) struct SignedStatement {
    pub(super) text: String,
    pub(super) envelope: String,
}

impl Signed {
    pub(super) fn new<R: Attested>(
        report: &R,
        key: &SigningKey,
        artefacts: &[Subject],
    ) -> Result<Self, SinkError> {
        let file = json::pretty(report)?;
        let statement = Statement::new(report, file.as_bytes(), &key.public().id(), artefacts);
        Ok(Self {
            report_name: R::REPORT_NAME,
            report: file,
            bundle_name: R::BUNDLE_NAME,
            bundle: sign(&statement, key)?,
        })
    }
}

pub(super) fn sign<P: Attestation>(
    statement: &Statement<P>,
    key: &SigningKey,
) -> Result<SignedStatement, SinkError> {
    let payload = statement.to_bytes()?;
    if payload.len() > MAX_PAYLOAD {
        let size = payload.len();
        return Err(SinkError::Large { size });
    }
    let bundle = Bundle::sign(&payload, key)?;
    let mut text = serde_json::to_string(&bundle)?;
    text.push('\n');
    Ok(SignedStatement {
        text,
        envelope: bundle.envelope_line()?,
    })
}
