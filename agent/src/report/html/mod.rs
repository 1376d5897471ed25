//! A job's evidence as one HTML page that loads nothing, for a reviewer. Pure.
//!
//! The page is a rendering and never authority: its first lines say from which files it was made,
//! and whether anybody looked at their signatures.
//!
//! **Invariants**: what a job can choose reaches the page only through `shown::Shown`; lists have
//! bounds, and say how much they leave out; the same documents give the same bytes.

use askama::Template as _;

use super::attested::Attested as _;
use super::diff::Diff;
use super::run::RunReport;
use super::statement::{Subject, sha256_hex};
use super::sweep::SweepReport;
use super::{Platform, Report};

mod assets;
mod chart;
mod commands;
mod egress;
mod embed;
mod head;
mod limits;
mod names;
mod page;
pub(crate) mod shown;
mod sweep;
#[cfg(test)]
mod tests;
mod tree;

/// File name of the page in an evidence directory.
pub const NAME: &str = "report.html";

/// What a page is made from.
#[derive(Clone, Debug)]
pub struct Documents<'d> {
    /// What left the job.
    pub egress: Option<Document<'d, Report>>,
    /// Which secrets it held.
    pub sweep: Option<Document<'d, SweepReport>>,
    /// What both come to.
    pub run: Option<Document<'d, RunReport>>,
    /// Images the job made, as signed where the signatures were checked.
    pub images: &'d [Subject],
    /// Who vouches for them.
    pub trust: Trust,
    /// The run to compare with.
    pub baseline: Option<Baseline<'d>>,
}

/// A report, and the bytes of its file.
#[derive(Debug)]
pub struct Document<'d, R> {
    /// The report.
    pub report: &'d R,
    /// Its file, whose digest is signed.
    pub file: &'d [u8],
}

// Derived, they would ask for a report that can be copied.
impl<R> Clone for Document<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Document<'_, R> {}

/// A run to compare with.
#[derive(Clone, Copy, Debug)]
pub struct Baseline<'d> {
    /// What left it.
    pub egress: &'d Report,
    /// Which secrets it held.
    pub sweep: Option<&'d SweepReport>,
}

/// Whether anybody looked at the signatures.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Trust {
    /// The host made the page together with the evidence, before it was sealed.
    AtSource {
        /// The key that the evidence is signed with.
        key_id: String,
    },
    /// Nobody did.
    NotChecked {
        /// The key that a bundle says it was signed with.
        named: Option<String>,
    },
    /// All are good.
    Checked {
        /// The key.
        key_id: String,
        /// The seal, where there is one.
        seal: Option<Seal>,
    },
}

/// A seal that was checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seal {
    /// SHA-256 of its bundle, hex.
    pub sha256: String,
}

impl Documents<'_> {
    /// Name and SHA-256 of each file.
    fn files(&self) -> Vec<(&'static str, String)> {
        self.contents()
            .into_iter()
            .map(|(name, file)| (name, sha256_hex(file)))
            .collect()
    }

    /// Name and content of each file.
    #[must_use]
    pub fn contents(&self) -> Vec<(&'static str, &[u8])> {
        let mut files = Vec::new();
        files.extend(self.egress.map(|one| (Report::REPORT_NAME, one.file)));
        files.extend(self.sweep.map(|one| (SweepReport::REPORT_NAME, one.file)));
        files.extend(self.run.map(|one| (RunReport::REPORT_NAME, one.file)));
        files
    }

    fn platform(&self) -> Option<&Platform> {
        let egress = self.egress.map(|one| &one.report.platform);
        let sweep = self.sweep.map(|one| &one.report.platform);
        let run = self.run.map(|one| &one.report.platform);
        egress.or(sweep).or(run)
    }

    fn diff(&self) -> Option<Diff> {
        let after = self.egress?;
        let before = self.baseline?;
        let swept = self.sweep.map(|one| one.report);
        Some(Diff::new(
            (before.egress, before.sweep),
            (after.report, swept),
        ))
    }
}

/// The page.
///
/// # Errors
/// A template failed, which none does by itself.
pub fn render(documents: &Documents<'_>) -> Result<String, askama::Error> {
    page::Page::new(documents).render()
}
