//! What of cordon is in the kernel: asked, and left as it is.

use std::os::fd::AsFd as _;
use std::path::PathBuf;

use nix::fcntl::FlockArg;

use super::census::Census;
use super::hooks::HOOKS;
use super::pins::{Held, Pins};
use super::{EnforceError, inspect, lock, object, own_layout};
use crate::cgroup::SLICE;
use crate::cgroup::hierarchy::Hierarchy;
use crate::config::HostConfig;
use crate::sys::{bpf, fs};

/// The kernel side of a host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// The cgroup the programs are attached to.
    pub root: PathBuf,
    /// Where programs and maps are pinned.
    pub pins: PathBuf,
    /// What the directory holds.
    pub held: Held,
    /// SHA-256 of this agent's own object, hex.
    pub own_object: String,
    /// What is wrong with the pins; empty if nothing.
    pub wrong: Vec<String>,
    /// Each hook and the ids of its link and program; `None` where there is none.
    pub hooks: Vec<(&'static str, Option<(u32, u32)>)>,
    /// The jobs.
    pub jobs: Vec<JobStatus>,
    /// Pins of other layouts.
    pub others: Vec<PathBuf>,
}

/// One job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JobStatus {
    /// The job.
    pub id: String,
    /// Whether a cordon watches it.
    pub watched: bool,
    /// Its processes.
    pub processes: usize,
}

/// Asks.
///
/// # Errors
/// Something cannot be asked about.
pub fn status(config: &HostConfig) -> Result<Status, EnforceError> {
    let layout = own_layout()?;
    let root = Hierarchy::find()?.root(config.cgroup_root.as_deref())?;
    let run_dir = config.run_dir.join(root.cgroup.id().to_string());
    let slice_path = root.cgroup.path().join(SLICE);
    let slice = slice_path.exists().then(|| root.cgroup.child(SLICE));
    let slice = slice.transpose()?;
    let slice_id = slice.as_ref().map_or(0, crate::cgroup::Cgroup::id);
    let pins = Pins::open(&config.bpffs, root.cgroup.id(), slice_id, &layout.digest())?;
    let held = pins.held()?;
    let wrong = match &held {
        Held::Nothing | Held::HalfMade => Vec::new(),
        Held::Loaded { object } => {
            inspect::differences(&root, &pins, layout, *object == object::sha256())?
        }
        Held::Upgrading { .. } => inspect::differences(&root, &pins, layout, false)?,
    };
    let hooks = HOOKS.map(|hook| {
        let link = bpf::open_pin(&pins.link(hook.name)).ok();
        let info = link.and_then(|link| bpf::link_info(link.as_fd()).ok());
        (hook.name, info.map(|info| (info.id, info.program)))
    });
    let mut jobs = Vec::new();
    if let Some(slice) = &slice {
        fs::create_dir_all(&run_dir)?;
        let _alone = lock(&run_dir.join("lock"), FlockArg::LockExclusive)?;
        let census = Census::take(slice, &run_dir, &config.job_records(root.cgroup.path()))?;
        let processes = |id: &str| {
            let cgroups = slice.children().unwrap_or_default();
            let own = cgroups
                .iter()
                .find(|cgroup| cgroup.path().ends_with(format!("job-{id}")));
            own.and_then(|cgroup| cgroup.processes().ok())
                .map_or(0, |processes| processes.len())
        };
        jobs.extend(census.living.iter().map(|id| JobStatus {
            id: id.clone(),
            watched: true,
            processes: processes(id),
        }));
        jobs.extend(census.orphans.iter().map(|orphan| JobStatus {
            id: orphan.id.clone(),
            watched: false,
            processes: processes(&orphan.id),
        }));
    }
    let others = pins.others(root.cgroup.id())?;
    Ok(Status {
        root: root.cgroup.path().to_owned(),
        pins: pins.path().to_owned(),
        held,
        own_object: object::sha256(),
        wrong,
        hooks: hooks.to_vec(),
        jobs,
        others: others.iter().map(|other| other.path().to_owned()).collect(),
    })
}
