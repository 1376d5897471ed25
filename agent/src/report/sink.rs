//! The evidence directory: `egress-report.json`, and the bundle that vouches for it.
//!
//! It is opened, checked and locked before the job starts, and written through the same descriptor
//! afterwards, so that a job that renames, links or replaces the path changes nothing.
//!
//! **Invariants**: evidence is never written over; the bundle is written last, so that where there
//! is one there is the report it is about.

use std::io;
use std::path::{Path, PathBuf};

use super::envelope::{Bundle, MAX_PAYLOAD};
use super::signer::{KeyError, SigningKey};
use super::statement::{REPORT_NAME, Statement, sha256_hex};
use super::{Report, json};
use crate::sys::dir::Directory;
use crate::sys::fs;

/// File name of the bundle.
pub const BUNDLE_NAME: &str = "egress.sigstore.json";

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

/// Evidence on disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Written {
    /// The report.
    pub report: PathBuf,
    /// Its SHA-256, hex.
    pub report_sha256: String,
    /// The signed bundle.
    pub bundle: PathBuf,
    /// Id of the key that signed.
    pub key_id: String,
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

    /// Writes the report, signs it, writes the bundle.
    ///
    /// # Errors
    /// See [`SinkError`]. There is no bundle then, unless the error is [`SinkError::Moved`].
    pub fn write(&self, report: &Report, key: &SigningKey) -> Result<Written, SinkError> {
        let key_id = key.public().id();
        let file = json::pretty(report)?;
        let bundle = sign(report, file.as_bytes(), key)?;
        self.check_vacant()?;
        self.publish(REPORT_NAME, file.as_bytes())?;
        self.publish(BUNDLE_NAME, bundle.as_bytes())?;
        if !self.directory.is_at_its_path()? {
            let path = self.path().into();
            return Err(SinkError::Moved { path });
        }
        Ok(Written {
            report: self.path().join(REPORT_NAME),
            report_sha256: sha256_hex(file.as_bytes()),
            bundle: self.path().join(BUNDLE_NAME),
            key_id,
        })
    }

    fn check_vacant(&self) -> Result<(), SinkError> {
        for name in [REPORT_NAME, BUNDLE_NAME] {
            if self.directory.contains(name)? {
                return Err(self.occupied(name));
            }
        }
        Ok(())
    }

    fn publish(&self, name: &'static str, bytes: &[u8]) -> Result<(), SinkError> {
        match self.directory.publish(name, bytes, 0o644) {
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

fn sign(report: &Report, file: &[u8], key: &SigningKey) -> Result<String, SinkError> {
    let payload = Statement::new(report, file, &key.public().id(), &[]).to_bytes()?;
    if payload.len() > MAX_PAYLOAD {
        let size = payload.len();
        return Err(SinkError::Large { size });
    }
    let mut bundle = serde_json::to_string(&Bundle::sign(&payload, key)?)?;
    bundle.push('\n');
    Ok(bundle)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::report::fixture;
    use crate::report::signer::tests::published_key;
    use crate::report::verify::verify;

    fn write_to(path: &Path) -> (Vec<u8>, Vec<u8>) {
        let evidence = EvidenceDir::prepare(path).unwrap();
        let written = evidence
            .write(&fixture::report(), &published_key())
            .unwrap();
        let read = |path| fs::read(path, 1 << 20).unwrap();
        (read(&written.report), read(&written.bundle))
    }

    #[test]
    fn the_same_report_and_key_give_the_same_bytes_and_they_verify() {
        let base = tempfile::tempdir().unwrap();
        let one = write_to(&base.path().join("one"));
        let two = write_to(&base.path().join("two"));
        assert_eq!(one, two);
        verify(&one.0, &one.1, published_key().public()).unwrap();
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
        symlink(&victim, dir.join(REPORT_NAME)).unwrap();
        let error = evidence.write(&fixture::report(), &published_key());
        assert!(matches!(
            error,
            Err(SinkError::Occupied {
                name: REPORT_NAME,
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
        let error = evidence.write(&fixture::report(), &published_key());
        assert!(matches!(error, Err(SinkError::Moved { .. })));
        assert!(base.path().join("moved").join(BUNDLE_NAME).exists());
    }
}
