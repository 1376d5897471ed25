//! Passports: what `cordon-runtime` knows of a job.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use cordon_engine::passport::{DIRECTORY, Passport, Workspace};

use crate::sys::fs::{self, FileError};

/// Where they are. Only root reads and writes there.
#[derive(Debug)]
pub(super) struct Passports {
    directory: PathBuf,
    issued: Option<String>,
}

impl Passports {
    pub(super) fn of(run_dir: &Path) -> Self {
        Self {
            directory: run_dir.join(DIRECTORY),
            issued: None,
        }
    }

    fn path(&self, job: &str) -> PathBuf {
        let name = Passport::file_of(job).unwrap_or_default();
        self.directory.join(name)
    }

    /// Where the runtime asks for a container of the job.
    pub(super) fn door(&self, job: &str) -> PathBuf {
        self.directory
            .join(Passport::door_of(job).unwrap_or_default())
    }

    /// From now on, containers of the job may start.
    pub(super) fn issue(
        &mut self,
        job: &str,
        cgroup: &str,
        workspace: Vec<Workspace>,
        engine_root: String,
        lsm: bool,
    ) -> Result<(), FileError> {
        let made = std::fs::DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(&self.directory);
        made.map_err(FileError::on("create directory", &self.directory))?;
        let passport = Passport {
            job: job.to_owned(),
            cgroup: cgroup.to_owned(),
            workspace,
            engine_root,
            lsm,
        };
        let path = self.path(job);
        let bytes = serde_json::to_vec(&passport)
            .map_err(std::io::Error::other)
            .map_err(FileError::on("write", &path))?;
        self.issued = Some(job.to_owned());
        fs::write_atomic(&path, &bytes, 0o600)
    }

    /// Removes the door of a cordon that was killed.
    pub(super) fn wall_up(&self, job: &str) {
        let _gone = std::fs::remove_file(self.door(job));
    }

    /// From now on, none may.
    pub(super) fn withdraw(&mut self, job: &str) -> Result<(), FileError> {
        let path = self.path(job);
        self.issued = None;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(FileError::on("remove", &path)),
        }
    }
}

/// A start that failed takes it along.
impl Drop for Passports {
    fn drop(&mut self) {
        if let Some(job) = self.issued.take()
            && let Err(error) = self.withdraw(&job)
        {
            tracing::error!(error = %crate::enforce::chain(&error), "a job's passport is left");
        }
    }
}
