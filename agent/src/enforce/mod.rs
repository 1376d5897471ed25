//! The kernel side of a host: up before the first job, down after the last, and a proof for each
//! job that it holds.
//!
//! **Invariant**: nothing outside this module makes an [`Enforced`], and nothing starts without one.

pub mod btf;
pub mod census;
pub mod hooks;
pub mod inspect;
pub mod kernel;
pub mod layout;
pub mod maps;
mod members;
pub mod object;
pub mod pins;
mod proof;
pub mod status;
pub mod upgrade;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use aya::maps::{Map, MapData};
use nix::fcntl::{Flock, FlockArg};

use self::census::{Census, JOB_PREFIX};
pub use self::census::{Orphan, unit_id, unit_of};
use self::hooks::HOOKS;
use self::kernel::{Kernel, KernelError};
use self::layout::Layout;
use self::maps::{ContainerMaps, JobMaps, Leases};
use self::pins::{Held, Pins};
pub use self::proof::ProofError;
use crate::cgroup::controllers::Controllers;
use crate::cgroup::hierarchy::{Hierarchy, Root};
use crate::cgroup::{self, Cgroup, SLICE};
use crate::config::HostConfig;
use crate::policy::Ruleset;
use crate::report::Layer;
use crate::sys::fs;

/// Why a job cannot be enforced.
#[derive(Debug, thiserror::Error)]
pub enum EnforceError {
    /// The cgroup hierarchy.
    #[error(transparent)]
    Cgroup(#[from] cgroup::CgroupError),
    /// The programs.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The maps.
    #[error(transparent)]
    Map(#[from] maps::MapsError),
    /// A file.
    #[error(transparent)]
    File(#[from] fs::FileError),
    /// Enforcement was set up, and does not hold.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// Jobs run under programs and maps this agent cannot work with.
    #[error(
        "jobs are running ({}) under programs this cordon cannot take over: {}; they stay enforced as \
         they are; let them end, or end them with the cordon that started them",
        jobs.join(", "), differs.join("; ")
    )]
    Incompatible {
        /// The jobs.
        jobs: Vec<String>,
        /// What is not as it should be.
        differs: Vec<String>,
    },
    /// Jobs run, and the programs that should enforce them are not there.
    #[error(
        "jobs are running ({}) and nothing is pinned in `{}` that would enforce them: somebody removed \
         it; end them at once, for example with `echo 1 > {}/cgroup.kill`",
        jobs.join(", "), directory.display(), slice.display()
    )]
    Unenforced {
        /// The jobs.
        jobs: Vec<String>,
        /// Where the pins should be.
        directory: PathBuf,
        /// The slice.
        slice: PathBuf,
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
    controllers: Controllers,
    slice: Cgroup,
    pins: Pins,
    run_dir: PathBuf,
    records: PathBuf,
    /// The host lock, from opening until a place is made: meanwhile nobody takes anything down.
    alone: Option<Flock<File>>,
    /// Jobs whose cordon is dead.
    orphans: Vec<Orphan>,
    /// Jobs some cordon holds.
    living: Vec<String>,
    /// Programs and maps.
    pub kernel: Kernel,
}

/// The lock of a daemon, which needs the programs as long as it lives.
#[derive(Debug)]
pub struct Resident(#[expect(dead_code, reason = "held, not used")] Flock<File>);

/// Name of its file.
const RESIDENT: &str = "daemon.lock";

/// A job's place: its cgroup, and the lock that says that its cordon lives.
#[derive(Debug)]
pub struct Place {
    /// The job.
    pub id: String,
    /// Its directory in the slice.
    pub cgroup: Cgroup,
    /// Id of the cgroup of the runner it came from, or 0.
    pub parent: u64,
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
    /// Brings the kernel side up, or finds it up and brings its programs up to date. Jobs whose
    /// cordon is dead are found, not touched: they stay denied what they were, and wait for
    /// [`Host::take_orphans`]. Until [`Host::place`] or [`Host::unlock`] other cordons wait.
    ///
    /// # Errors
    /// Anything that enforces is missing, or is not what it should be while jobs run. Nothing of a
    /// failed start is left behind.
    pub fn open(config: &HostConfig) -> Result<Self, EnforceError> {
        Self::open_and(config, true)
    }

    /// The same for a job of a daemon, which has counted the jobs and keeps the programs there: none is counted.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn join(config: &HostConfig) -> Result<Self, EnforceError> {
        Self::open_and(config, false)
    }

    fn open_and(config: &HostConfig, counted: bool) -> Result<Self, EnforceError> {
        let layout = own_layout()?;
        let hierarchy = Hierarchy::find()?;
        let root = hierarchy.root(config.cgroup_root.as_deref())?;
        let delegated = config.cgroup_root.is_some();
        let controllers = Controllers::find(&hierarchy, &root, delegated)?;
        let run_dir = config.run_dir.join(root.cgroup.id().to_string());
        fs::create_dir_all(&run_dir)?;
        let alone = lock(&run_dir.join("lock"), FlockArg::LockExclusive)?;
        let records = config.job_records(root.cgroup.path());
        let slice = root.cgroup.child(SLICE)?;
        let pins = Pins::open(
            &config.bpffs,
            root.cgroup.id(),
            slice.id(),
            &layout.digest(),
        )?;
        let count = || Census::take(&slice, &run_dir, &records);
        let mut census = counted.then(count).transpose()?;
        let opened = open_kernel(&root, &slice, &pins, layout, (&mut census, &count));
        if opened.is_err() && slice.children().is_ok_and(|jobs| jobs.is_empty()) {
            // The error that stopped the start is the one to report; an empty slice stays harmless.
            drop(slice.remove());
        }
        let kernel = opened?;
        let Census { living, orphans } = census.unwrap_or_default();
        Ok(Self {
            root,
            controllers,
            slice,
            pins,
            run_dir,
            records,
            alone: Some(alone),
            orphans,
            living,
            kernel,
        })
    }

    /// The jobs whose cordon was dead when the host was opened, each held by its lock.
    #[must_use]
    pub fn take_orphans(&mut self) -> Vec<Orphan> {
        std::mem::take(&mut self.orphans)
    }

    /// Jobs that some cordon held when the host was opened.
    #[must_use]
    pub fn living(&self) -> &[String] {
        &self.living
    }

    /// Lets other cordons go on.
    pub fn unlock(&mut self) {
        self.alone = None;
    }

    /// The directory that all jobs are below.
    #[must_use]
    pub fn slice(&self) -> &Cgroup {
        &self.slice
    }

    /// Whether the slice is still the one that is enforced. Somebody who removes an empty slice and makes it
    /// again has made one that no program knows.
    #[must_use]
    pub fn has_its_slice(&self) -> bool {
        Cgroup::open(self.slice.path()).is_ok_and(|now| now == self.slice)
    }

    /// Keeps the programs in the kernel, whether there are jobs or not, as long as the value lives.
    ///
    /// # Errors
    /// Another daemon does so already.
    pub fn reside(&self) -> Result<Resident, EnforceError> {
        let path = self.run_dir.join(RESIDENT);
        Ok(Resident(lock(&path, FlockArg::LockExclusiveNonblock)?))
    }

    /// The name of the cgroup of a job or runner that a process belongs to by descent.
    #[must_use]
    pub fn member(&self, tgid: u32) -> Option<String> {
        let job = self.kernel.maps.job_of_member(tgid)?;
        let children = self.slice.children().ok()?;
        let home = children.iter().find(|cgroup| cgroup.id() == job);
        home.map(Cgroup::name)
    }

    /// Where the controllers of this host are.
    #[must_use]
    pub fn controllers(&self) -> &Controllers {
        &self.controllers
    }

    /// Where the record of a job is.
    #[must_use]
    pub fn record_of(&self, id: &str) -> PathBuf {
        self.records.join(format!("{JOB_PREFIX}{id}.json"))
    }

    /// Where the single events of a job are. It goes with its record.
    #[must_use]
    pub fn events_of(&self, id: &str) -> PathBuf {
        self.records.join(format!("{JOB_PREFIX}{id}.json.events"))
    }

    /// SHA-256 of the object whose programs run, hex.
    #[must_use]
    pub fn object(&self) -> String {
        match self.pins.held() {
            Ok(Held::Loaded { object } | Held::Upgrading { object }) => object,
            Ok(Held::Nothing | Held::HalfMade) | Err(_) => "unknown".to_owned(),
        }
    }

    /// Replaces all programs by those of this agent's object, also where they are the same.
    ///
    /// # Errors
    /// A program is refused, or a link cannot be updated; what runs enforces.
    pub fn upgrade(&self) -> Result<(), EnforceError> {
        let _alone = self.alone()?;
        Ok(upgrade::upgrade(&self.root, &self.slice, &self.pins)?)
    }

    /// Makes a place for a job. Everything in it is denied until it is armed.
    ///
    /// # Errors
    /// The cgroup or its lock cannot be made.
    pub fn place(&mut self, id: &str) -> Result<Place, EnforceError> {
        let _alone = match self.alone.take() {
            Some(alone) => alone,
            None => lock(&self.run_dir.join("lock"), FlockArg::LockExclusive)?,
        };
        let lock = lock(&self.lock_of(id), FlockArg::LockExclusive)?;
        let cgroup = self.slice.child(&format!("{JOB_PREFIX}{id}"))?;
        self.controllers.make(&cgroup.name());
        Ok(Place {
            id: id.to_owned(),
            cgroup,
            parent: 0,
            lock,
        })
    }

    /// A place for a cgroup that somebody else made directly in the slice: the unit of a runner. Everything in
    /// it is denied until it is armed. Its cgroup is not removed in the end.
    ///
    /// # Errors
    /// There is no such cgroup, or its lock cannot be taken.
    pub fn place_of_unit(&mut self, name: &str) -> Result<Place, EnforceError> {
        let _alone = match self.alone.take() {
            Some(alone) => alone,
            None => lock(&self.run_dir.join("lock"), FlockArg::LockExclusive)?,
        };
        let id = unit_id(name);
        let lock = lock(&self.lock_of(&id), FlockArg::LockExclusiveNonblock)?;
        let cgroup = Cgroup::open(&self.slice.path().join(name))?;
        Ok(Place {
            id,
            cgroup,
            parent: 0,
            lock,
        })
    }

    /// The cgroups directly in the slice that are no jobs of cordon's: units of runners. Slices in the slice are
    /// none: what is in them is denied.
    ///
    /// # Errors
    /// The slice cannot be read.
    pub fn units(&self) -> Result<Vec<Cgroup>, EnforceError> {
        let is_foreign = |name: &Path| {
            let is_slice = name.extension().is_some_and(|kind| kind == "slice");
            !is_slice && !name.to_string_lossy().starts_with(JOB_PREFIX)
        };
        Ok(self.slice.children_named(is_foreign)?)
    }

    /// Publishes a job's ruleset and proves that the kernel applies it to that job's processes.
    ///
    /// # Errors
    /// It does not; the job is denied everything.
    pub fn arm(&mut self, place: &Place, ruleset: &Arc<Ruleset>) -> Result<Enforced, EnforceError> {
        let mut maps = self
            .kernel
            .maps
            .publish(place.cgroup.id(), place.parent, ruleset)?;
        let proof = self.prove(place, ruleset, &mut maps)?;
        Ok(Enforced {
            layers: self.layers(),
            proof,
            lsm: self.kernel.lsm.is_ok(),
            maps,
        })
    }

    /// Puts a narrower ruleset in the place of a job's, and proves that the kernel has it.
    ///
    /// # Errors
    /// It has the old one, or nothing of the job leaves any more.
    pub fn narrow(
        &mut self,
        place: &Place,
        leases: &Leases,
        ruleset: &Arc<Ruleset>,
    ) -> Result<(), EnforceError> {
        let maps = &mut self.kernel.maps;
        maps.narrow(place.cgroup.id(), leases, ruleset)?;
        self.holds(place, ruleset)
    }

    /// Takes a job over from a cordon that is dead: nothing is published anew, what the kernel has
    /// is checked. `layers` and `proof` are what the first cordon found before it started the job.
    ///
    /// # Errors
    /// The kernel does not enforce this ruleset for this job.
    pub fn readopt(
        &self,
        place: &Place,
        ruleset: &Arc<Ruleset>,
        layers: Vec<Layer>,
        proof: Vec<String>,
    ) -> Result<Enforced, EnforceError> {
        self.holds(place, ruleset)?;
        let maps = self.kernel.maps.reopen(place.cgroup.id(), ruleset)?;
        Ok(Enforced {
            layers,
            proof,
            lsm: self.kernel.lsm.is_ok(),
            maps,
        })
    }

    /// The maps that change while a job's containers come and go.
    ///
    /// # Errors
    /// The job is not in force.
    pub fn containers(&self, place: &Place) -> Result<ContainerMaps, EnforceError> {
        let sockets = MapData::from_pin(self.pins.map("SOCKETS")).and_then(Map::from_map_data);
        let sockets = sockets.map_err(|source| maps::MapsError {
            operation: "open",
            map: "SOCKETS",
            source,
        })?;
        Ok(self.kernel.maps.containers(place.cgroup.id(), sockets)?)
    }

    /// Ends a job: kills what is left of it, takes it out of force, removes its place; after the
    /// last one takes the programs down. Goes on after an error.
    ///
    /// # Errors
    /// All steps that failed, in one error.
    pub fn retire(&mut self, place: Place) -> Result<(), EnforceError> {
        let _alone = self.alone()?;
        let mut failures = Vec::new();
        let Place {
            id, cgroup, lock, ..
        } = place;
        self.clear(&id, Some(&cgroup), lock, &mut failures);
        if failures.is_empty() {
            self.close_if_last(&mut failures);
        }
        Self::ended(failures)
    }

    /// Like [`Host::retire`], but the programs stay.
    ///
    /// # Errors
    /// All steps that failed, in one error.
    pub fn clear_place(&mut self, place: Place) -> Result<(), EnforceError> {
        let _alone = self.alone()?;
        let mut failures = Vec::new();
        let Place {
            id, cgroup, lock, ..
        } = place;
        self.clear(&id, Some(&cgroup), lock, &mut failures);
        Self::ended(failures)
    }

    /// Takes the programs down if there is no job.
    ///
    /// # Errors
    /// All steps that failed, in one error.
    pub fn close(&mut self) -> Result<(), EnforceError> {
        let _alone = self.alone()?;
        let mut failures = Vec::new();
        self.close_if_last(&mut failures);
        Self::ended(failures)
    }

    /// Clears away what is left of a job whose cordon is dead. The programs stay.
    ///
    /// # Errors
    /// All steps that failed, in one error.
    pub fn clear_orphan(&mut self, orphan: Orphan) -> Result<(), EnforceError> {
        let _alone = self.alone()?;
        let mut failures = Vec::new();
        let Orphan {
            id, cgroup, lock, ..
        } = orphan;
        self.clear(&id, cgroup.as_ref(), lock, &mut failures);
        Self::ended(failures)
    }

    fn ended(failures: Vec<String>) -> Result<(), EnforceError> {
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

    /// Asks the kernel whether every enforcing program is where it should be.
    ///
    /// # Errors
    /// One is not.
    pub fn is_in_force(&self) -> Result<(), EnforceError> {
        Ok(kernel::check_links(&self.root, &self.pins, &self.kernel)?)
    }

    /// What the kernel has counted of a job or runner that could not be itemised, and its denials. `None`: it is gone,
    /// or cannot be read.
    #[must_use]
    pub fn counts_of(&self, id: &str) -> Option<cordon_ebpf::abi::job::Losses> {
        let name = unit_of(id).map_or_else(|| format!("{JOB_PREFIX}{id}"), str::to_owned);
        let cgroup = Cgroup::open(&self.slice.path().join(name)).ok()?;
        self.kernel.maps.losses(cgroup.id()).ok()
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
            .filter(|hook| !hooks::is_lsm(hook) || lsm.is_none())
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

    /// The host lock, unless this value has it already.
    fn alone(&self) -> Result<Option<Flock<File>>, EnforceError> {
        if self.alone.is_some() {
            return Ok(None);
        }
        let path = self.run_dir.join("lock");
        Ok(Some(lock(&path, FlockArg::LockExclusive)?))
    }

    fn lock_of(&self, id: &str) -> PathBuf {
        census::lock_path(&self.run_dir, id)
    }

    /// The record goes last but for the lock: where an ending is cut short, the next one finds it.
    fn clear(
        &mut self,
        id: &str,
        cgroup: Option<&Cgroup>,
        held: Flock<File>,
        failures: &mut Vec<String>,
    ) {
        let is_unit = unit_of(id).is_some();
        if let Some(cgroup) = cgroup {
            if !is_unit {
                note(failures, cgroup.kill());
                note(failures, self.kill_members(cgroup.id()));
            }
            if let Err(errors) = self.kernel.maps.withdraw(cgroup.id()) {
                failures.extend(errors.iter().map(|error| chain(error)));
            }
            if !is_unit {
                note(failures, cgroup.remove());
            }
        }
        if !is_unit {
            note(
                failures,
                self.controllers.remove(&format!("{JOB_PREFIX}{id}")),
            );
        }
        if failures.is_empty() {
            note(failures, remove_records(&self.records, id));
            note(failures, remove_if_there(&self.lock_of(id)));
        }
        drop(held);
    }

    fn close_if_last(&self, failures: &mut Vec<String>) {
        match self.slice.children() {
            Ok(jobs) if jobs.is_empty() => {}
            Ok(_) => return,
            Err(error) => return failures.push(chain(&error)),
        }
        let resident = self.run_dir.join(RESIDENT);
        if resident.exists() && lock(&resident, FlockArg::LockExclusiveNonblock).is_err() {
            return;
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

impl Place {
    /// Says that its cordon lives: the next one reads from this how long nobody watched.
    ///
    /// # Errors
    /// The lock's times cannot be set.
    pub fn touch(&self) -> std::io::Result<()> {
        self.lock.set_modified(SystemTime::now())
    }
}

/// The layout of the object in this executable.
fn own_layout() -> Result<&'static Layout, KernelError> {
    // It stays the same, and to read it takes a job of the daemon's longer than anything else it does alone.
    static OWN: OnceLock<Layout> = OnceLock::new();
    if let Some(known) = OWN.get() {
        return Ok(known);
    }
    let found = Layout::of(object::bytes().ok_or(KernelError::NoObject)?)?;
    Ok(OWN.get_or_init(|| found))
}

/// What a look at the pins of this layout came to.
enum Looked {
    /// All is there; `current` says whether the programs are this agent's.
    Whole { current: bool },
    /// It cannot be used.
    Unusable(Vec<String>),
}

fn look(root: &Root, pins: &Pins, layout: &Layout) -> Result<Looked, EnforceError> {
    let current = match pins.held()? {
        Held::Nothing => return Ok(Looked::Unusable(Vec::new())),
        Held::HalfMade => {
            let half = format!("`{}` is half made", pins.path().display());
            return Ok(Looked::Unusable(vec![half]));
        }
        Held::Loaded { object } => object == object::sha256(),
        Held::Upgrading { .. } => false,
    };
    let mut wrong = inspect::differences(root, pins, layout, current)?;
    if wrong.is_empty() {
        return Ok(Looked::Whole { current });
    }
    wrong.insert(0, format!("`{}` is damaged", pins.path().display()));
    Ok(Looked::Unusable(wrong))
}

fn open_kernel(
    root: &Root,
    slice: &Cgroup,
    pins: &Pins,
    layout: &Layout,
    (census, count): (
        &mut Option<Census>,
        &dyn Fn() -> Result<Census, EnforceError>,
    ),
) -> Result<Kernel, EnforceError> {
    let others = pins.others(root.cgroup.id())?;
    let mut differs = match look(root, pins, layout)? {
        Looked::Whole { current } => {
            for other in others {
                // What a start that was cut short set aside.
                other.remove()?;
            }
            if !current {
                upgrade::upgrade(root, slice, pins)?;
            }
            return Ok(kernel::adopt(root, pins)?);
        }
        Looked::Unusable(differs) => differs,
    };
    let census = match census {
        Some(census) => census,
        None => census.insert(count()?),
    };
    if !census.living.is_empty() {
        // Programs are never taken down while a job lives.
        let jobs = census.living.clone();
        let (directory, slice) = (pins.path().to_owned(), slice.path().to_owned());
        differs.extend(others.iter().map(|other| {
            format!(
                "`{}` has another layout of maps than `{}`",
                other.path().display(),
                pins.path().display()
            )
        }));
        return Err(if differs.is_empty() {
            EnforceError::Unenforced {
                jobs,
                directory,
                slice,
            }
        } else {
            EnforceError::Incompatible { jobs, differs }
        });
    }
    // Nobody can take over the maps of jobs whose cordon is dead: they end while the old programs
    // still hold them.
    census.end_all(&differs)?;
    if pins.path().exists() {
        pins.set_aside()?;
    }
    let kernel = kernel::load(root, slice, pins)?;
    // Only now, so that there is no moment in which nothing enforces.
    for other in pins.others(root.cgroup.id())? {
        other.remove()?;
    }
    Ok(kernel)
}

/// Takes a lock file, making it if need be. The file is only removed by who holds its lock.
fn lock(path: &Path, how: FlockArg) -> Result<Flock<File>, fs::FileError> {
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

/// Removes the record of a job, and what a cordon left that was killed while it wrote one.
fn remove_records(directory: &Path, id: &str) -> Result<(), fs::FileError> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(fs::FileError::on("list", directory))?,
    };
    let own = format!("{JOB_PREFIX}{id}.json");
    for entry in entries.filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(&own) {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> Result<(), fs::FileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(fs::FileError::on("remove", path)),
    }
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
