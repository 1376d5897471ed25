//! Which jobs there are: by their cgroups, their locks and their records, because a cordon can be
//! killed between making any two of these.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};

use super::{EnforceError, Place, lock};
use crate::cgroup::Cgroup;
use crate::sys::fs::FileError;

/// Prefix of a job's cgroup, lock and record.
pub(super) const JOB_PREFIX: &str = "job-";

/// What the id of a unit's place begins with.
const UNIT_PREFIX: &str = "unit-";

/// The id of the place of a unit.
#[must_use]
pub fn unit_id(name: &str) -> String {
    format!("{UNIT_PREFIX}{name}")
}

/// The name of the unit that has a place of this id.
#[must_use]
pub fn unit_of(id: &str) -> Option<&str> {
    id.strip_prefix(UNIT_PREFIX)
}

/// A job whose cordon is dead. Nobody else has it while this value lives.
#[derive(Debug)]
pub struct Orphan {
    /// The job.
    pub id: String,
    /// Its cgroup, if that is still there.
    pub cgroup: Option<Cgroup>,
    /// When its cordon was last known to live.
    pub last_seen: Option<SystemTime>,
    /// Why its maps are not to be had, if they are not: then its processes are dead already.
    pub lost: Option<String>,
    pub(super) lock: Flock<File>,
}

impl Orphan {
    /// The job's place, for who takes it over.
    ///
    /// # Errors
    /// It has no cgroup any more; the orphan is given back.
    pub fn into_place(self) -> Result<Place, Box<Self>> {
        match self.cgroup {
            Some(cgroup) => Ok(Place {
                id: self.id,
                cgroup,
                // What the kernel has of it stays.
                parent: 0,
                lock: self.lock,
            }),
            None => Err(Box::new(self)),
        }
    }
}

/// All jobs of a root.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Jobs whose lock somebody holds.
    pub(super) living: Vec<String>,
    /// The others.
    pub(super) orphans: Vec<Orphan>,
}

impl Census {
    /// Counts them. The caller has the host lock, so that none comes or goes meanwhile.
    pub(super) fn take(
        slice: &Cgroup,
        run_dir: &Path,
        records: &Path,
    ) -> Result<Self, EnforceError> {
        let cgroups = slice.children()?;
        let mut ids: BTreeSet<String> = cgroups.iter().filter_map(job_id).collect();
        ids.extend(named(run_dir, ".lock")?);
        ids.extend(named(records, ".json")?);
        let mut census = Self {
            living: Vec::new(),
            orphans: Vec::new(),
        };
        for id in ids {
            let path = lock_path(run_dir, &id);
            let last_seen = path
                .metadata()
                .and_then(|metadata| metadata.modified())
                .ok();
            // What cannot be locked counts as alive: it is left alone.
            let Ok(lock) = lock(&path, FlockArg::LockExclusiveNonblock) else {
                census.living.push(id);
                continue;
            };
            let cgroup = match unit_of(&id) {
                Some(unit) => cgroups.iter().find(|cgroup| cgroup.name() == unit),
                None => cgroups
                    .iter()
                    .find(|cgroup| job_id(cgroup).as_ref() == Some(&id)),
            };
            census.orphans.push(Orphan {
                cgroup: cgroup.cloned(),
                last_seen,
                lost: None,
                lock,
                id,
            });
        }
        Ok(census)
    }

    /// Kills the processes of all jobs whose cordon is dead, because their maps are lost.
    pub(super) fn end_all(&mut self, why: &[String]) -> Result<(), EnforceError> {
        for orphan in &mut self.orphans {
            if let Some(cgroup) = &orphan.cgroup {
                // Nothing enforces it any more, so it ends, a runner too.
                cgroup.kill()?;
            }
            orphan.lost = Some(if why.is_empty() {
                "nothing of it is pinned any more".to_owned()
            } else {
                why.join("; ")
            });
        }
        Ok(())
    }
}

/// Where the lock of a job is.
pub(super) fn lock_path(run_dir: &Path, id: &str) -> PathBuf {
    run_dir.join(format!("{JOB_PREFIX}{id}.lock"))
}

fn job_id(cgroup: &Cgroup) -> Option<String> {
    let name = cgroup.path().file_name()?.to_str()?;
    Some(name.strip_prefix(JOB_PREFIX)?.to_owned())
}

/// Jobs that have a file of this ending in a directory.
fn named(directory: &Path, ending: &str) -> Result<Vec<String>, FileError> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(FileError::on("list", directory))?,
    };
    let id = |name: &str| {
        let id = name.strip_prefix(JOB_PREFIX)?.strip_suffix(ending)?;
        Some(id.to_owned())
    };
    Ok(entries
        .filter_map(Result::ok)
        .filter_map(|entry| id(entry.file_name().to_str()?))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_jobs() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "job-1.json",
            "job-2.json.new-77",
            "job-3.lock",
            "other.json",
        ] {
            crate::sys::fs::write_atomic(&dir.path().join(name), b"", 0o600).unwrap();
        }
        assert_eq!(named(dir.path(), ".json").unwrap(), ["1"]);
        assert_eq!(named(&dir.path().join("none"), ".json").unwrap().len(), 0);
    }
}
