//! The kernel side of a host: up before the first job, down after the last, and a proof for each
//! job that it holds.
//!
//! **Invariant**: nothing outside this module makes an [`Enforced`], and nothing starts without one.

pub mod btf;
pub mod kernel;
pub mod maps;
mod members;
pub mod object;
pub mod pins;
mod proof;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};

use self::kernel::{HOOKS, Kernel};
use self::maps::JobMaps;
use self::pins::Pins;
pub use self::proof::ProofError;
use crate::cgroup::hierarchy::{Hierarchy, Root};
use crate::cgroup::{self, Cgroup, SLICE};
use crate::config::HostConfig;
use crate::policy::Ruleset;
use crate::report::Layer;
use crate::sys::fs;

/// Prefix of a job's cgroup.
const JOB_PREFIX: &str = "job-";

/// Why a job cannot be enforced.
#[derive(Debug, thiserror::Error)]
pub enum EnforceError {
    /// The cgroup hierarchy.
    #[error(transparent)]
    Cgroup(#[from] cgroup::CgroupError),
    /// The programs.
    #[error(transparent)]
    Kernel(#[from] kernel::KernelError),
    /// The maps.
    #[error(transparent)]
    Map(#[from] maps::MapsError),
    /// A file.
    #[error(transparent)]
    File(#[from] fs::FileError),
    /// Enforcement was set up, and does not hold.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// A cordon of another version has jobs running.
    #[error(
        "jobs of another cordon version are running below `{}`: {jobs}; wait for them to end",
        slice.display()
    )]
    OtherVersion {
        /// The slice.
        slice: PathBuf,
        /// The jobs, joined.
        jobs: String,
    },
    /// Processes of a job outlive it, outside its cgroup.
    #[error(
        "{count} processes that left the job's cgroup could not be killed (numbers in the initial \
         pid namespace: {processes}); end them by hand"
    )]
    Stray {
        /// How many.
        count: usize,
        /// Some of them, joined.
        processes: String,
    },
    /// Several steps of an ending failed.
    #[error("{}", .0.join("; "))]
    Ending(Vec<String>),
}

impl EnforceError {
    /// Whether it says that this program is gone. What is not about one program is about all.
    #[must_use]
    pub fn is_about(&self, program: &str) -> bool {
        match self {
            Self::Kernel(error) => error.is_about(program),
            _ => true,
        }
    }
}

/// The kernel side of this host.
#[derive(Debug)]
pub struct Host {
    root: Root,
    slice: Cgroup,
    pins: Pins,
    run_dir: PathBuf,
    /// Programs and maps.
    pub kernel: Kernel,
}

/// A job's place: its cgroup, and the lock that says that its cordon lives.
#[derive(Debug)]
pub struct Place {
    /// The job.
    pub id: String,
    /// Its directory in the slice.
    pub cgroup: Cgroup,
    lock: Flock<File>,
}

/// The proof that a job is enforced: made here alone, needed to release the job, kept for the
/// report.
#[derive(Debug)]
#[must_use = "a job is released with it"]
pub struct Enforced {
    /// Every hook, attached or not.
    pub layers: Vec<Layer>,
    /// What was tried, and how it went.
    pub proof: Vec<String>,
    /// Whether the LSM programs judge the job: families, Unix sockets, received descriptors.
    pub lsm: bool,
    /// The job's maps.
    pub maps: JobMaps,
}

impl Host {
    /// Brings the kernel side up, or finds it up. Clears away jobs whose cordon is dead.
    ///
    /// # Errors
    /// Anything that enforces is missing. Nothing of a failed start is left behind.
    pub fn open(config: &HostConfig) -> Result<Self, EnforceError> {
        let root = Hierarchy::find()?.root(config.cgroup_root.as_deref())?;
        let run_dir = config.run_dir.join(root.cgroup.id().to_string());
        fs::create_dir_all(&run_dir)?;
        let _alone = lock(&run_dir.join("lock"), FlockArg::LockExclusive)?;
        let slice = root.cgroup.child(SLICE)?;
        let pins = Pins::open(
            &config.bpffs,
            root.cgroup.id(),
            slice.id(),
            &object::sha256(),
        )?;
        let opened = open_kernel(&root, &slice, &pins, &run_dir);
        if opened.is_err() && slice.children().is_ok_and(|jobs| jobs.is_empty()) {
            // The error that stopped the start is the one to report; an empty slice stays harmless.
            drop(slice.remove());
        }
        let kernel = opened?;
        let mut host = Self {
            root,
            slice,
            pins,
            run_dir,
            kernel,
        };
        host.clear_orphans()?;
        Ok(host)
    }

    /// Makes a place for a job. Everything in it is denied until it is armed.
    ///
    /// # Errors
    /// The cgroup or its lock cannot be made.
    pub fn place(&self, id: &str) -> Result<Place, EnforceError> {
        let _alone = self.alone()?;
        let lock = lock(&self.lock_of(id), FlockArg::LockExclusive)?;
        let cgroup = self.slice.child(&format!("{JOB_PREFIX}{id}"))?;
        Ok(Place {
            id: id.to_owned(),
            cgroup,
            lock,
        })
    }

    /// Publishes a job's ruleset and proves that the kernel applies it to that job's processes.
    ///
    /// # Errors
    /// It does not; the job is denied everything.
    pub fn arm(&mut self, place: &Place, ruleset: &Arc<Ruleset>) -> Result<Enforced, EnforceError> {
        let mut maps = self.kernel.maps.publish(place.cgroup.id(), ruleset)?;
        let proof = self.prove(place, ruleset, &mut maps)?;
        Ok(Enforced {
            layers: self.layers(),
            proof,
            lsm: self.kernel.lsm.is_ok(),
            maps,
        })
    }

    /// Ends a job: kills what is left of it, takes it out of force, removes its place; after the
    /// last one takes the programs down. Goes on after an error.
    ///
    /// # Errors
    /// All steps that failed, in one error.
    pub fn retire(&mut self, place: Place) -> Result<(), EnforceError> {
        let _alone = self.alone()?;
        let mut failures = Vec::new();
        self.clear(&place.cgroup, &mut failures);
        let path = self.lock_of(&place.id);
        note(
            &mut failures,
            std::fs::remove_file(&path).map_err(fs::FileError::on("remove", &path)),
        );
        drop(place.lock);
        if failures.is_empty() {
            self.close_if_last(&mut failures);
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(EnforceError::Ending(failures))
        }
    }

    /// Asks the kernel once more, at the end: whether every enforcing program is where it was, and
    /// the job's ruleset what was published.
    ///
    /// # Errors
    /// Something is not: there was a time without it.
    pub fn holds(&self, place: &Place, ruleset: &Ruleset) -> Result<(), EnforceError> {
        kernel::check_links(&self.root, &self.pins, &self.kernel)?;
        let entry = self.kernel.maps.job(place.cgroup.id())?;
        proof::is_published(entry, ruleset)?;
        Ok(())
    }

    /// Every hook of this host, for the report.
    fn layers(&self) -> Vec<Layer> {
        let lsm = self.kernel.lsm.as_ref().err().map(|why| Layer {
            name: "lsm".to_owned(),
            active: false,
            detail: format!("families, sockets, processes and files of others; not active: {why}"),
        });
        HOOKS
            .iter()
            .filter(|hook| !kernel::is_lsm(hook) || lsm.is_none())
            .filter(|hook| !self.kernel.unneeded.contains(&hook.name))
            .map(|hook| {
                let missing = self
                    .kernel
                    .missing
                    .iter()
                    .find(|(gone, _)| gone.name == hook.name);
                let detail = match missing {
                    Some((_, why)) => format!("{}; not active: {why}", hook.detail),
                    None => hook.detail.to_owned(),
                };
                Layer {
                    name: hook.name.to_owned(),
                    active: missing.is_none(),
                    detail,
                }
            })
            .chain(lsm.clone())
            .collect()
    }

    fn alone(&self) -> Result<Flock<File>, EnforceError> {
        Ok(lock(&self.run_dir.join("lock"), FlockArg::LockExclusive)?)
    }

    fn lock_of(&self, id: &str) -> PathBuf {
        self.run_dir.join(format!("{JOB_PREFIX}{id}.lock"))
    }

    /// Jobs whose cordon was killed are still denied everything but their live leases. They end
    /// here.
    fn clear_orphans(&mut self) -> Result<(), EnforceError> {
        let mut failures = Vec::new();
        for cgroup in self.slice.children()? {
            let Some(id) = job_id(&cgroup) else { continue };
            let path = self.lock_of(&id);
            let Ok(held) = lock(&path, FlockArg::LockExclusiveNonblock) else {
                continue;
            };
            tracing::warn!(job.id = %id, "ending a job whose cordon is dead");
            self.clear(&cgroup, &mut failures);
            note(
                &mut failures,
                std::fs::remove_file(&path).map_err(fs::FileError::on("remove", &path)),
            );
            drop(held);
        }
        if failures.is_empty() {
            Ok(())
        } else {
            Err(EnforceError::Ending(failures))
        }
    }

    fn clear(&mut self, cgroup: &Cgroup, failures: &mut Vec<String>) {
        note(failures, cgroup.kill());
        note(failures, self.kill_members(cgroup.id()));
        if let Err(errors) = self.kernel.maps.withdraw(cgroup.id()) {
            failures.extend(errors.iter().map(|error| chain(error)));
        }
        note(failures, cgroup.remove());
    }

    fn close_if_last(&self, failures: &mut Vec<String>) {
        match self.slice.children() {
            Ok(jobs) if jobs.is_empty() => {}
            Ok(_) => return,
            Err(error) => return failures.push(chain(&error)),
        }
        note(failures, self.pins.remove());
        if self
            .slice
            .processes()
            .is_ok_and(|processes| processes.is_empty())
        {
            note(failures, self.slice.remove());
        }
    }
}

fn open_kernel(
    root: &Root,
    slice: &Cgroup,
    pins: &Pins,
    run_dir: &std::path::Path,
) -> Result<Kernel, EnforceError> {
    let living = living_jobs(slice, run_dir)?;
    let others = pins.others(root.cgroup.id())?;
    if !living.is_empty() {
        // Programs are never taken down while a job lives.
        if !pins.complete() {
            let (slice, jobs) = (slice.path().to_owned(), living.join(", "));
            return Err(EnforceError::OtherVersion { slice, jobs });
        }
        return Ok(kernel::adopt(root, pins)?);
    }
    for other in others {
        other.remove()?;
    }
    if pins.complete()
        && let Ok(kernel) = kernel::adopt(root, pins)
    {
        return Ok(kernel);
    }
    Ok(kernel::load(root, slice, pins)?)
}

/// Jobs whose lock somebody holds.
fn living_jobs(slice: &Cgroup, run_dir: &std::path::Path) -> Result<Vec<String>, EnforceError> {
    let mut living = Vec::new();
    for cgroup in slice.children()? {
        let Some(id) = job_id(&cgroup) else { continue };
        let path = run_dir.join(format!("{JOB_PREFIX}{id}.lock"));
        if lock(&path, FlockArg::LockExclusiveNonblock).is_err() {
            living.push(id);
        }
    }
    Ok(living)
}

fn job_id(cgroup: &Cgroup) -> Option<String> {
    let name = cgroup.path().file_name()?.to_str()?;
    Some(name.strip_prefix(JOB_PREFIX)?.to_owned())
}

/// Takes a lock file, making it if need be. The file is only removed by who holds its lock.
fn lock(path: &std::path::Path, how: FlockArg) -> Result<Flock<File>, fs::FileError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(fs::FileError::on("open lock", path))?;
    Flock::lock(file, how)
        .map_err(|(_, errno)| std::io::Error::from(errno))
        .map_err(fs::FileError::on("lock", path))
}

fn note<T, E: std::error::Error>(failures: &mut Vec<String>, result: Result<T, E>) {
    if let Err(error) = result {
        failures.push(chain(&error));
    }
}

/// An error with its causes, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
