//! The evidence directory: `egress-report.json`, `secret-sweep.json`, and the bundles that vouch for
//! them.
//!
//! It is opened, checked and locked before the job starts, and written through the same descriptor
//! afterwards, so that a job that renames, links or replaces the path changes nothing.
//!
//! **Invariants**: evidence is never written over; bundles are written after all reports, and that of
//! egress last, so that where it is there is everything else.

use std::io;
use std::path::{Path, PathBuf};

use super::attested::Attested;
use super::envelope::{Bundle, MAX_PAYLOAD};
use super::signer::{KeyError, SigningKey};
use super::statement::{Statement, sha256_hex};
use super::sweep::{SARIF_NAME, SweepReport, sarif};
use super::{Report, json};
use crate::sys::dir::Directory;
use crate::sys::fs;

/// File name of the bundle about egress.
pub const BUNDLE_NAME: &str = "egress.sigstore.json";

/// Everything that is written here.
const NAMES: [&str; 5] = [
    <Report as Attested>::REPORT_NAME,
    <SweepReport as Attested>::REPORT_NAME,
    SARIF_NAME,
    <SweepReport as Attested>::BUNDLE_NAME,
    <Report as Attested>::BUNDLE_NAME,
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
}

/// A directory that waits for the evidence of one job.
#[derive(Debug)]
pub struct EvidenceDir {
    directory: Directory,
}

/// What is to be written.
#[derive(Clone, Debug)]
pub struct Reports<'r> {
    egress: Option<&'r Report>,
    sweep: Option<Box<SweepReport>>,
}

/// Evidence on disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Written {
    /// Where it is.
    pub directory: PathBuf,
    /// The reports with their bundles: that of egress first, where there is one.
    pub reports: Vec<WrittenReport>,
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

impl<'r> From<&'r Report> for Reports<'r> {
    fn from(egress: &'r Report) -> Self {
        Self {
            egress: Some(egress),
            sweep: None,
        }
    }
}

impl From<&SweepReport> for Reports<'_> {
    fn from(sweep: &SweepReport) -> Self {
        Self {
            egress: None,
            // A verdict that does not follow from the rest would be evidence that nobody accepts.
            sweep: Some(Box::new(sweep.clone().concluded())),
        }
    }
}

impl<'r> From<(&'r Report, &SweepReport)> for Reports<'r> {
    fn from((egress, sweep): (&'r Report, &SweepReport)) -> Self {
        Self {
            egress: Some(egress),
            ..Self::from(sweep)
        }
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

    /// Writes the reports, signs them, writes the bundles.
    ///
    /// # Errors
    /// See [`SinkError`]. There is no bundle about egress then, unless the error is
    /// [`SinkError::Moved`].
    pub fn write(&self, reports: &Reports<'_>, key: &SigningKey) -> Result<Written, SinkError> {
        let Reports { egress, sweep } = reports;
        // All of it is made before any of it is written: what cannot be signed leaves nothing behind.
        let egress = egress.map(|report| Signed::new(report, key)).transpose()?;
        let sweep = sweep.as_deref();
        let findings = sweep.map(sarif::render).transpose()?;
        let sweep = sweep.map(|report| Signed::new(report, key)).transpose()?;
        self.check_vacant()?;
        for signed in egress.iter().chain(&sweep) {
            self.publish(signed.report_name, &signed.report)?;
        }
        if let Some(findings) = findings {
            self.publish(SARIF_NAME, &findings)?;
        }
        for signed in sweep.iter().chain(&egress) {
            self.publish(signed.bundle_name, &signed.bundle)?;
        }
        if !self.directory.is_at_its_path()? {
            let path = self.path().into();
            return Err(SinkError::Moved { path });
        }
        let reports = egress.iter().chain(&sweep).map(|signed| WrittenReport {
            report: self.path().join(signed.report_name),
            sha256: sha256_hex(signed.report.as_bytes()),
            bundle: self.path().join(signed.bundle_name),
        });
        Ok(Written {
            directory: self.path().into(),
            reports: reports.collect(),
            key_id: key.public().id(),
        })
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

/// A report and its bundle, as they are to be written.
struct Signed {
    report_name: &'static str,
    report: String,
    bundle_name: &'static str,
    bundle: String,
}

impl Signed {
    fn new<R: Attested>(report: &R, key: &SigningKey) -> Result<Self, SinkError> {
        let file = json::pretty(report)?;
        let statement = Statement::new(report, file.as_bytes(), &key.public().id(), &[]);
        let payload = statement.to_bytes()?;
        if payload.len() > MAX_PAYLOAD {
            let size = payload.len();
            return Err(SinkError::Large { size });
        }
        let mut bundle = serde_json::to_string(&Bundle::sign(&payload, key)?)?;
        bundle.push('\n');
        Ok(Self {
            report_name: R::REPORT_NAME,
            report: file,
            bundle_name: R::BUNDLE_NAME,
            bundle,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::report::signer::tests::published_key;
    use crate::report::sweep::Verdict;
    use crate::report::verify::verify;
    use crate::report::{fixture, sweep};

    fn write_to(path: &Path) -> (Vec<u8>, Vec<u8>) {
        let evidence = EvidenceDir::prepare(path).unwrap();
        let written = evidence
            .write(&Reports::from(&fixture::report()), &published_key())
            .unwrap();
        read(&written.reports[0])
    }

    fn read(written: &WrittenReport) -> (Vec<u8>, Vec<u8>) {
        let read = |path| fs::read(path, 1 << 20).unwrap();
        (read(&written.report), read(&written.bundle))
    }

    #[test]
    fn the_same_report_and_key_give_the_same_bytes_and_they_verify() {
        let base = tempfile::tempdir().unwrap();
        let one = write_to(&base.path().join("one"));
        let two = write_to(&base.path().join("two"));
        assert_eq!(one, two);
        verify::<Report>(&one.0, &one.1, published_key().public()).unwrap();
        assert!(one.0.ends_with(b"}\n") && one.0.is_ascii());
    }

    #[test]
    fn evidence_of_another_job_is_not_written_over() {
        let base = tempfile::tempdir().unwrap();
        write_to(base.path());
        let error = EvidenceDir::prepare(base.path()).unwrap_err();
        assert!(matches!(error, SinkError::Occupied { .. }), "{error}");
    }

    #[test]
    fn other_files_in_the_directory_are_none_of_its_business() {
        let base = tempfile::tempdir().unwrap();
        fs::write_atomic(&base.path().join("build.log"), b"", 0o644).unwrap();
        write_to(base.path());
    }

    #[test]
    fn a_link_in_place_of_the_directory_or_a_file_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let link = base.path().join("link");
        symlink(base.path(), &link).unwrap();
        assert!(matches!(
            EvidenceDir::prepare(&link),
            Err(SinkError::File(_))
        ));
        symlink("/nowhere", base.path().join(BUNDLE_NAME)).unwrap();
        let error = EvidenceDir::prepare(base.path()).unwrap_err();
        assert!(matches!(error, SinkError::Occupied { .. }));
    }

    #[test]
    fn two_jobs_do_not_share_a_directory() {
        let base = tempfile::tempdir().unwrap();
        let first = EvidenceDir::prepare(base.path()).unwrap();
        let error = EvidenceDir::prepare(base.path()).unwrap_err();
        assert!(matches!(error, SinkError::Busy { .. }));
        drop(first);
        EvidenceDir::prepare(base.path()).unwrap();
    }

    #[test]
    fn a_file_planted_by_the_job_is_not_followed_and_the_write_fails() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("evidence");
        let victim = base.path().join("victim");
        let evidence = EvidenceDir::prepare(&dir).unwrap();
        symlink(&victim, dir.join(Report::REPORT_NAME)).unwrap();
        let error = evidence.write(&Reports::from(&fixture::report()), &published_key());
        assert!(matches!(
            error,
            Err(SinkError::Occupied {
                name: <Report as Attested>::REPORT_NAME,
                ..
            })
        ));
        assert!(!victim.exists() && !dir.join(BUNDLE_NAME).exists());
    }

    #[test]
    fn evidence_stays_in_its_directory_when_the_path_is_redirected() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("evidence");
        let evidence = EvidenceDir::prepare(&dir).unwrap();
        std::fs::rename(&dir, base.path().join("moved")).unwrap();
        symlink("/tmp", &dir).unwrap();
        let error = evidence.write(&Reports::from(&fixture::report()), &published_key());
        assert!(matches!(error, Err(SinkError::Moved { .. })));
        assert!(base.path().join("moved").join(BUNDLE_NAME).exists());
    }

    #[test]
    fn both_reports_are_written_and_each_bundle_is_about_its_own() {
        let base = tempfile::tempdir().unwrap();
        let evidence = EvidenceDir::prepare(base.path()).unwrap();
        let (egress, swept) = (fixture::report(), sweep::fixture::report());
        let written = evidence
            .write(&Reports::from((&egress, &swept)), &published_key())
            .unwrap();
        let [(one, its), (other, others)] = [0, 1].map(|index| read(&written.reports[index]));
        let key = published_key().public();
        assert_eq!(verify::<Report>(&one, &its, key).unwrap().report, egress);
        let verified = verify::<SweepReport>(&other, &others, key).unwrap();
        assert_eq!(verified.report, swept);
        verify::<Report>(&other, &others, key).unwrap_err();
        verify::<SweepReport>(&one, &its, key).unwrap_err();
        let sarif = fs::read_to_string(&base.path().join(SARIF_NAME), 1 << 20).unwrap();
        assert_eq!(sarif, sarif::render(&swept).unwrap());
    }

    #[test]
    fn a_name_of_either_report_that_is_taken_stops_both() {
        for name in NAMES {
            let base = tempfile::tempdir().unwrap();
            let evidence = EvidenceDir::prepare(base.path()).unwrap();
            symlink("/nowhere", base.path().join(name)).unwrap();
            let (egress, swept) = (fixture::report(), sweep::fixture::report());
            let both = Reports::from((&egress, &swept));
            let error = evidence.write(&both, &published_key()).unwrap_err();
            assert!(
                matches!(error, SinkError::Occupied { .. }),
                "{name}: {error}"
            );
            assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 1, "{name}");
        }
    }

    #[test]
    fn files_are_written_in_the_order_of_the_list() {
        let (egress, swept) = (fixture::report(), sweep::fixture::report());
        // Times of files come in ticks of milliseconds: the order shows in a write that crosses one.
        let crossed_a_tick = (0..200).any(|_| {
            let base = tempfile::tempdir().unwrap();
            let evidence = EvidenceDir::prepare(base.path()).unwrap();
            evidence
                .write(&Reports::from((&egress, &swept)), &published_key())
                .unwrap();
            let made = NAMES.map(|name| {
                let file = std::fs::metadata(base.path().join(name)).unwrap();
                file.modified().unwrap()
            });
            assert!(made.is_sorted(), "{made:?}");
            made.first() < made.last()
        });
        assert!(crossed_a_tick);
        assert_eq!(NAMES.last(), Some(&BUNDLE_NAME));
    }

    #[test]
    fn a_verdict_that_does_not_follow_is_not_signed() {
        let base = tempfile::tempdir().unwrap();
        let evidence = EvidenceDir::prepare(base.path()).unwrap();
        let mut swept = sweep::fixture::report();
        swept.verdict = Verdict::Clean;
        let written = evidence
            .write(&Reports::from(&swept), &published_key())
            .unwrap();
        let (report, bundle) = read(&written.reports[0]);
        let verified = verify::<SweepReport>(&report, &bundle, published_key().public()).unwrap();
        assert_eq!(verified.report.verdict, Verdict::Findings);
    }
}
