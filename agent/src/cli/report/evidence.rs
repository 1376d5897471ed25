//! The reports of an evidence directory with the bytes of their files, and what their signatures are
//! worth.

use std::io;
use std::path::Path;

use super::check::{bound_to, same_job, sealed};
use super::{Failure, Kind, MAX_REPORT, open_evidence, present};
use crate::report::attested::Attested;
use crate::report::envelope::{Bundle, MAX_BUNDLE};
use crate::report::html::{Document, Documents, Seal, Trust};
use crate::report::run::RunReport;
use crate::report::signer::VerifyingKey;
use crate::report::statement::{Subject, sha256_hex};
use crate::report::sweep::SweepReport;
use crate::report::verify::{AnyReport, parse_report, verify};
use crate::report::{Report, binding};
use crate::sys::dir::Directory;
use crate::sys::fs;

/// A report, and the bytes of its file.
#[derive(Debug)]
pub(super) struct Read<R> {
    pub(super) report: R,
    file: Vec<u8>,
}

/// What there is of a job.
#[derive(Debug)]
pub(super) struct Evidence {
    pub(super) egress: Option<Read<Report>>,
    pub(super) sweep: Option<Read<SweepReport>>,
    pub(super) run: Option<Read<RunReport>>,
    trust: Trust,
    images: Vec<Subject>,
}

impl<R> Read<R> {
    fn document(&self) -> Document<'_, R> {
        Document {
            report: &self.report,
            file: &self.file,
        }
    }
}

impl Evidence {
    /// Reads a directory, or one report file. With a key, everything must be signed with it, as for
    /// `cordon report verify`.
    pub(super) fn read(path: &Path, key: Option<&Path>) -> Result<Self, Failure> {
        let dir = match open_evidence(path) {
            Ok(dir) => dir,
            Err(error) if error.source.kind() == io::ErrorKind::NotADirectory => {
                return match key {
                    Some(_) => Err(Failure::KeyForFile),
                    None => Self::of_file(path),
                };
            }
            Err(error) => return Err(error.into()),
        };
        match key {
            Some(key) => Self::checked(&dir, VerifyingKey::load(key)?),
            None => Self::unchecked(&dir),
        }
    }

    /// What a page is made from, in the form in which it takes it.
    pub(super) fn documents(&self) -> Documents<'_> {
        Documents {
            egress: self.egress.as_ref().map(Read::document),
            sweep: self.sweep.as_ref().map(Read::document),
            run: self.run.as_ref().map(Read::document),
            images: &self.images,
            trust: self.trust.clone(),
            baseline: None,
        }
    }

    /// The egress report, which what is asked for is about.
    pub(super) fn egress(&self) -> Result<&Report, Failure> {
        let egress = self.egress.as_ref().map(|read| &read.report);
        egress.ok_or(Failure::NoEgress)
    }

    /// The report of the sweep, where there is one.
    pub(super) fn swept(&self) -> Option<&SweepReport> {
        self.sweep.as_ref().map(|read| &read.report)
    }

    fn of_file(path: &Path) -> Result<Self, Failure> {
        let file = fs::read(path, MAX_REPORT)?;
        let mut evidence = Self {
            egress: None,
            sweep: None,
            run: None,
            trust: Trust::NotChecked { named: None },
            images: Vec::new(),
        };
        match AnyReport::parse(&file)? {
            AnyReport::Egress(report) => {
                let report = *report;
                evidence.egress = Some(Read { report, file });
            }
            AnyReport::Sweep(report) => {
                let report = *report;
                evidence.sweep = Some(Read { report, file });
            }
            AnyReport::Run(report) => {
                let report = *report;
                evidence.run = Some(Read { report, file });
            }
        }
        Ok(evidence)
    }

    fn unchecked(dir: &Directory) -> Result<Self, Failure> {
        let present = present(dir, None)?;
        let mut named = None;
        let evidence = Self {
            egress: (present.has(Kind::Egress))
                .then(|| read(dir, &mut named))
                .transpose()?,
            sweep: (present.has(Kind::Sweep))
                .then(|| read(dir, &mut named))
                .transpose()?,
            run: (present.has(Kind::Run))
                .then(|| read(dir, &mut named))
                .transpose()?,
            trust: Trust::NotChecked { named },
            images: Vec::new(),
        };
        evidence.of_one_job()?;
        Ok(evidence)
    }

    fn checked(dir: &Directory, key: VerifyingKey) -> Result<Self, Failure> {
        let present = present(dir, None)?;
        let mut images = Vec::new();
        let mut evidence = Self {
            egress: (present.has(Kind::Egress))
                .then(|| genuine(dir, key, &mut images))
                .transpose()?,
            sweep: (present.has(Kind::Sweep))
                .then(|| genuine(dir, key, &mut images))
                .transpose()?,
            run: (present.has(Kind::Run))
                .then(|| genuine(dir, key, &mut images))
                .transpose()?,
            trust: Trust::Checked {
                key_id: key.id(),
                seal: None,
            },
            images: Vec::new(),
        };
        evidence.of_one_job()?;
        if present.seal {
            let (statement, sha256) = sealed(dir, key)?;
            let contents = evidence.documents();
            // What was read above is what the seal names, whoever writes here meanwhile.
            for (name, file) in contents.contents() {
                let digest = sha256_hex(file);
                if statement.predicate.digest_of(name) != Some(&digest) {
                    let name = name.to_owned();
                    return Err(Failure::Piece { name });
                }
            }
            images.extend_from_slice(statement.artefacts());
            if dir.contains(binding::BUNDLE_NAME)? {
                images.extend(bound_to(dir, key, &sha256)?);
            }
            evidence.trust = Trust::Checked {
                key_id: key.id(),
                seal: Some(Seal { sha256 }),
            };
        }
        images.sort_by(|one, other| {
            one.digest
                .cmp(&other.digest)
                .then(one.name.cmp(&other.name))
        });
        images.dedup();
        evidence.images = images;
        Ok(evidence)
    }

    /// Evidence put together from two jobs is evidence of neither.
    fn of_one_job(&self) -> Result<(), Failure> {
        let Some(egress) = self.egress.as_ref().map(|read| &read.report) else {
            return Ok(());
        };
        let swept = self.swept();
        let swept = swept.map(|sweep| sweep.job.as_ref().map_or("", |job| job.id.as_str()));
        same_job(egress, "secret sweep", swept)?;
        let ran = self.run.as_ref().map(|run| run.report.job.id.as_str());
        same_job(egress, "run", ran)
    }
}

/// Reads a report, and which key its bundle names, if it has one that can be read.
fn read<R: Attested>(dir: &Directory, named: &mut Option<String>) -> Result<Read<R>, Failure> {
    let file = dir.read(R::REPORT_NAME, MAX_REPORT)?;
    let report = parse_report(&file)?;
    let bundle = dir.read(R::BUNDLE_NAME, MAX_BUNDLE as u64).ok();
    let bundle = bundle.and_then(|bytes| Bundle::parse(&bytes).ok());
    *named = named
        .take()
        .or_else(|| bundle.map(|bundle| bundle.key_id().to_owned()));
    Ok(Read { report, file })
}

/// Reads a report that the key signed, and which images its statement names.
fn genuine<R: Attested>(
    dir: &Directory,
    key: VerifyingKey,
    images: &mut Vec<Subject>,
) -> Result<Read<R>, Failure> {
    let file = dir.read(R::REPORT_NAME, MAX_REPORT)?;
    let bundle = dir.read(R::BUNDLE_NAME, MAX_BUNDLE as u64)?;
    let verified = verify::<R>(&file, &bundle, key)?;
    images.extend_from_slice(verified.statement.artefacts());
    Ok(Read {
        report: verified.report,
        file,
    })
}
