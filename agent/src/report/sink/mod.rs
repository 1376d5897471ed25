//! The evidence directory: `egress-report.json`, `secret-sweep.json`, `run.json`, the bundles that
//! vouch for them, the seal that says what belongs together, and renderings for people.
//!
//! It is opened, checked and locked before the job starts, and written through the same descriptor
//! afterwards, so that a job that renames, links or replaces the path changes nothing.
//!
//! **Invariants**: evidence is never written over; bundles are written after all reports, and the
//! seal last, so that where it is there is everything else.

use std::io;
use std::path::{Path, PathBuf};

use super::attested::Attested;
use super::chain::{Chain, ChainError};
use super::envelope::MAX_PAYLOAD;
use super::run::RunReport;
use super::seal::Reference;
use super::signer::{KeyError, SigningKey};
use super::statement::{Statement, Subject, sha256_hex};
use super::sweep::{SARIF_NAME, SweepReport};
use super::{Report, html, ocsf, seal, summary};
use crate::events::journal::Kept;
use crate::sys::dir::Directory;
use crate::sys::fs;

mod pieces;
#[cfg(test)]
mod tests;

use pieces::{Pieces, Signed, SignedStatement, sign};

/// File name of the bundle about egress.
pub const BUNDLE_NAME: &str = "egress.sigstore.json";

/// Everything that is written here, in the order in which it is.
const NAMES: [&str; 12] = [
    <Report as Attested>::REPORT_NAME,
    <SweepReport as Attested>::REPORT_NAME,
    <RunReport as Attested>::REPORT_NAME,
    ocsf::NAME,
    SARIF_NAME,
    html::NAME,
    summary::NAME,
    <SweepReport as Attested>::BUNDLE_NAME,
    <RunReport as Attested>::BUNDLE_NAME,
    <Report as Attested>::BUNDLE_NAME,
    seal::ENVELOPES_NAME,
    seal::BUNDLE_NAME,
];

/// Evidence that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Another process holds the directory.
    #[error(
        "another job is writing its evidence to `{}`: give each job a directory of its own",
        path.display()
    )]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// The chain of seals gave no number.
    #[error("the evidence is not sealed")]
    Chain(#[from] ChainError),
    /// The report has no JSON form.
    #[error("the report cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] fs::FileError),
    /// The statement is larger than verifiers take.
    #[error(
        "the statement has {size} bytes, and verifiers take {MAX_PAYLOAD}: the policy has \
         too many or too long rules"
    )]
    Large {
        /// Its size.
        size: usize,
    },
    /// The path leads elsewhere now.
    #[error(
        "`{}` was moved or replaced while the job ran; the evidence is in the directory it was before",
        path.display()
    )]
    Moved {
        /// The path.
        path: PathBuf,
    },
    /// The directory holds evidence already.
    #[error(
        "`{}` holds evidence already (`{name}`), which is never written over: give each job a \
         directory of its own",
        path.display()
    )]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// The file that is there.
        name: &'static str,
    },
    /// The key failed.
    #[error(transparent)]
    Sign(#[from] KeyError),
    /// The key failed when a job was over.
    #[error(
        "the evidence is not signed; what would have been is in `{}`, and worth something once \
         `cordon report sign --seal` has signed it with a key that can",
        path.display()
    )]
    Unsigned {
        /// The directory.
        path: PathBuf,
        /// Why it is not.
        #[source]
        source: KeyError,
    },
}

/// A directory that waits for the evidence of one job.
#[derive(Debug)]
pub struct EvidenceDir {
    directory: Directory,
}

/// What is to be written.
#[derive(Clone, Debug, Default)]
pub struct Reports<'r> {
    egress: Option<&'r Report>,
    sweep: Option<Box<SweepReport>>,
    run: Option<&'r RunReport>,
}

/// What makes a job's evidence one piece.
#[derive(Clone, Copy, Debug)]
pub struct Sealing<'s> {
    /// What signs.
    pub key: &'s SigningKey,
    /// Where the number comes from.
    pub chain: &'s Chain,
    /// [`RunReport::host`]
    pub host: &'s str,
    /// What the job made: further subjects of every statement.
    pub artefacts: &'s [Subject],
    /// Its single events.
    pub events: Option<&'s Kept>,
}

/// Evidence on disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Written {
    /// Where it is.
    pub directory: PathBuf,
    /// The reports with their bundles: that of egress first, where there is one.
    pub reports: Vec<WrittenReport>,
    /// What holds them together; absent where reports were only signed.
    pub seal: Option<WrittenSeal>,
    /// Id of the key that signed.
    pub key_id: String,
}

/// A report on disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WrittenReport {
    /// The report.
    pub report: PathBuf,
    /// Its SHA-256, hex.
    pub sha256: String,
    /// The signed bundle.
    pub bundle: PathBuf,
}

/// A seal on disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WrittenSeal {
    /// The signed bundle.
    pub bundle: PathBuf,
    /// Its SHA-256, hex.
    pub sha256: String,
    /// Its number in the chain of its key.
    pub sequence: u64,
}

impl<'r> From<&'r Report> for Reports<'r> {
    fn from(egress: &'r Report) -> Self {
        Self {
            egress: Some(egress),
            ..Self::default()
        }
    }
}

impl<'r> Reports<'r> {
    /// Adds the egress report; `false` if there is one.
    #[must_use]
    pub fn add_egress(&mut self, egress: &'r Report) -> bool {
        self.egress.replace(egress).is_none()
    }

    /// Adds the report of a sweep; `false` if there is one.
    #[must_use]
    pub fn add_sweep(&mut self, sweep: &SweepReport) -> bool {
        // A verdict that does not follow from the rest would be evidence that nobody accepts.
        let concluded = Box::new(sweep.clone().concluded());
        self.sweep.replace(concluded).is_none()
    }

    /// Adds the run report; `false` if there is one.
    #[must_use]
    pub fn add_run(&mut self, run: &'r RunReport) -> bool {
        self.run.replace(run).is_none()
    }
}

impl EvidenceDir {
    /// Opens the directory, making it where it is missing, and keeps it for one job.
    ///
    /// # Errors
    /// See [`SinkError`]; the job must not start.
    pub fn prepare(path: &Path) -> Result<Self, SinkError> {
        let directory = Directory::open_or_create(path, 0o755)?;
        if !directory.try_lock()? {
            return Err(SinkError::Busy { path: path.into() });
        }
        let evidence = Self { directory };
        evidence.check_vacant()?;
        Ok(evidence)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Removes it again, if nothing is in it: there was no job.
    pub fn discard(&self) {
        // What has something in it is not removed.
        if let Err(error) = std::fs::remove_dir(self.path()) {
            tracing::debug!(%error, "an evidence directory stays");
        }
    }

    /// Writes the reports, signs them, writes the bundles. There is no seal.
    ///
    /// # Errors
    /// See [`SinkError`]. There is no bundle about egress then, unless the error is
    /// [`SinkError::Moved`].
    pub fn write(&self, reports: &Reports<'_>, key: &SigningKey) -> Result<Written, SinkError> {
        let Reports { egress, sweep, run } = reports;
        // All of it is made before any of it is written: what cannot be signed leaves nothing behind.
        let run = run.map(|run| Signed::new(run, key, &[])).transpose()?;
        let pieces = Pieces {
            run,
            ..Pieces::new(*egress, sweep.as_deref(), key, &[])?
        };
        self.check_vacant()?;
        self.publish_all(&pieces, None, None)?;
        Ok(self.written(&pieces, None, key))
    }

    /// Writes the reports of a job with what they come to, signs them, and seals all of it.
    ///
    /// # Errors
    /// See [`SinkError`]. There is no seal then, unless the error is [`SinkError::Moved`]; where the
    /// chain gave no number ([`SinkError::Chain`]), the reports and their bundles are there without
    /// it, and where the key did not sign ([`SinkError::Unsigned`]) the reports without their bundles.
    pub fn seal(
        &self,
        egress: &Report,
        sweep: Option<&SweepReport>,
        sealing: Sealing<'_>,
    ) -> Result<Written, SinkError> {
        match self.seal_signed(egress, sweep, sealing) {
            Err(SinkError::Sign(source)) => {
                self.leave_unsigned(egress, sweep, sealing.events)?;
                let path = self.path().into();
                Err(SinkError::Unsigned { path, source })
            }
            sealed => sealed,
        }
    }

    /// Writes what could not be signed: a TPM may be away for a time, and what was seen of the job is seen
    /// once only.
    fn leave_unsigned(
        &self,
        egress: &Report,
        sweep: Option<&SweepReport>,
        events: Option<&Kept>,
    ) -> Result<(), SinkError> {
        self.check_vacant()?;
        self.publish(Report::REPORT_NAME, &crate::report::json::pretty(egress)?)?;
        if let Some(sweep) = sweep {
            let sweep = sweep.clone().concluded();
            self.publish(
                SweepReport::REPORT_NAME,
                &crate::report::json::pretty(&sweep)?,
            )?;
        }
        if let Some(kept) = events {
            self.publish_events(kept)?;
        }
        Ok(())
    }

    fn seal_signed(
        &self,
        egress: &Report,
        sweep: Option<&SweepReport>,
        sealing: Sealing<'_>,
    ) -> Result<Written, SinkError> {
        let Sealing {
            key,
            chain,
            host,
            artefacts,
            events,
        } = sealing;
        let concluded = sweep.map(|sweep| sweep.clone().concluded());
        let sweep = concluded.as_ref();
        let mut pieces = Pieces::new(Some(egress), sweep, key, artefacts)?;
        self.check_vacant()?;
        let next = match chain.next() {
            Ok(next) => next,
            Err(error) => {
                self.publish_all(&pieces, None, None)?;
                return Err(error.into());
            }
        };
        let run = RunReport::new(egress, sweep, pieces.digests(), host, next.link.clone());
        let run = run.with_events(events.map(|kept| kept.facts.clone()));
        let sequence = run.chain.sequence;
        pieces.run = Some(Signed::new(&run, key, artefacts)?);
        pieces.render((egress, sweep, &run), &key.public().id(), artefacts);
        let mut references = pieces.references();
        references.extend(events.map(|kept| Reference::of_digest(ocsf::NAME, &kept.sha256)));
        let statement = Statement::seal(&run, references, &key.public().id(), artefacts);
        let seal = sign(&statement, key)?;
        let sha256 = sha256_hex(seal.text.as_bytes());
        // From here on the number is used, whatever happens.
        next.keep(&sha256)?;
        self.publish_all(&pieces, events, Some(&seal))?;
        let seal = WrittenSeal {
            bundle: self.path().join(seal::BUNDLE_NAME),
            sha256,
            sequence,
        };
        Ok(self.written(&pieces, Some(seal), key))
    }

    /// Copies the evidence of a job that was sealed elsewhere, in the order in which it was written.
    ///
    /// # Errors
    /// There is evidence here, or a file cannot be copied; what was copied stays, without the seal.
    pub fn copy_of(&self, sealed: &Path) -> Result<(), SinkError> {
        self.check_vacant()?;
        let from = Directory::open(sealed)?;
        for name in NAMES {
            if !from.contains(name)? {
                continue;
            }
            let copied = self
                .directory
                .publish_copy(name, &mut from.open_file(name)?, 0o644);
            match copied {
                Err(error) if error.source.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(self.occupied(name));
                }
                other => other?,
            }
        }
        if !self.directory.is_at_its_path()? {
            let path = self.path().into();
            return Err(SinkError::Moved { path });
        }
        Ok(())
    }

    fn publish_all(
        &self,
        pieces: &Pieces,
        events: Option<&Kept>,
        seal: Option<&SignedStatement>,
    ) -> Result<(), SinkError> {
        let Pieces {
            egress,
            sweep,
            run,
            findings,
            renderings,
        } = pieces;
        for signed in egress.iter().chain(sweep).chain(run) {
            self.publish(signed.report_name, &signed.report)?;
        }
        if let Some(kept) = events {
            self.publish_events(kept)?;
        }
        if let Some(findings) = findings {
            self.publish(SARIF_NAME, findings)?;
        }
        for (name, text) in renderings {
            self.publish(name, text)?;
        }
        for signed in sweep.iter().chain(run).chain(egress) {
            self.publish(signed.bundle_name, &signed.bundle.text)?;
        }
        if let Some(seal) = seal {
            self.publish(seal::ENVELOPES_NAME, &pieces.envelopes(seal))?;
            self.publish(seal::BUNDLE_NAME, &seal.text)?;
        }
        if !self.directory.is_at_its_path()? {
            let path = self.path().into();
            return Err(SinkError::Moved { path });
        }
        Ok(())
    }

    fn publish_events(&self, kept: &Kept) -> Result<(), SinkError> {
        let mut from = &kept.file;
        let copied = self.directory.publish_copy(ocsf::NAME, &mut from, 0o644);
        match copied {
            Err(error) if error.source.kind() == io::ErrorKind::AlreadyExists => {
                Err(self.occupied(ocsf::NAME))
            }
            other => Ok(other?),
        }
    }

    fn written(&self, pieces: &Pieces, seal: Option<WrittenSeal>, key: &SigningKey) -> Written {
        let reports = pieces.signed().map(|signed| WrittenReport {
            report: self.path().join(signed.report_name),
            sha256: sha256_hex(signed.report.as_bytes()),
            bundle: self.path().join(signed.bundle_name),
        });
        Written {
            directory: self.path().into(),
            reports: reports.collect(),
            seal,
            key_id: key.public().id(),
        }
    }

    fn check_vacant(&self) -> Result<(), SinkError> {
        for name in NAMES {
            if self.directory.contains(name)? {
                return Err(self.occupied(name));
            }
        }
        Ok(())
    }

    fn publish(&self, name: &'static str, text: &str) -> Result<(), SinkError> {
        match self.directory.publish(name, text.as_bytes(), 0o644) {
            Err(error) if error.source.kind() == io::ErrorKind::AlreadyExists => {
                Err(self.occupied(name))
            }
            other => Ok(other?),
        }
    }

    fn occupied(&self, name: &'static str) -> SinkError {
        SinkError::Occupied {
            path: self.path().into(),
            name,
        }
    }
}
