//! The machine the stories run on: where things are, and what it cannot do.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// Name of the environment variable that says where `cordon` is.
const CORDON_BIN: &str = "CORDON_BIN";

/// The machine and the program under test.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The cgroup v2 mount.
    pub cgroup2: PathBuf,
    /// The v1 memory hierarchy, or the v2 mount if that has the controller.
    pub memory: Option<PathBuf>,
    /// This binary, for clients.
    pub own: PathBuf,
    /// The `cordon` binary; it may not exist.
    pub cordon: PathBuf,
    /// How much longer things take than on a machine of today (an emulated guest: 10).
    pub slowness: u32,
}

impl Environment {
    /// Looks around.
    pub fn detect(emulated: bool) -> Result<Self> {
        let own = std::env::current_exe().context("find the own executable")?;
        let cordon = std::env::var_os(CORDON_BIN)
            .map_or_else(|| own.with_file_name("cordon"), PathBuf::from);
        let cgroup2 = cgroup2_mount()?;
        Ok(Self {
            memory: memory_hierarchy(&cgroup2),
            cgroup2,
            own,
            cordon,
            slowness: if emulated { 10 } else { 1 },
        })
    }

    /// The `cordon` binary.
    pub fn cordon(&self) -> Result<&Path> {
        ensure!(
            self.cordon.is_file(),
            "there is no `cordon` at {}: `cargo xtask build` makes it, {CORDON_BIN} names another",
            self.cordon.display(),
        );
        Ok(&self.cordon)
    }

    /// A time limit in seconds, longer on a slow machine.
    pub fn seconds(&self, seconds: u32) -> Duration {
        Duration::from_secs(u64::from(seconds * self.slowness))
    }
}

/// Where the cgroup v2 hierarchy is mounted.
pub fn cgroup2_mount() -> Result<PathBuf> {
    mounts("cgroup2", "")
        .context("no cgroup v2 hierarchy is mounted: `mount -t cgroup2 none /sys/fs/cgroup`")
}

/// Every hierarchy in which a world may have groups.
pub fn cgroup_mounts() -> Vec<PathBuf> {
    cgroup2_mount().into_iter().chain(legacy_mounts()).collect()
}

/// The v1 hierarchies with controllers that limit; none where cgroup v2 is whole.
pub fn legacy_mounts() -> Vec<PathBuf> {
    let mounts = ["memory", "pids", "cpu", "blkio"].map(|option| mounts("cgroup", option));
    let mut mounts: Vec<PathBuf> = mounts.into_iter().flatten().collect();
    mounts.sort();
    mounts.dedup();
    mounts
}

fn memory_hierarchy(cgroup2: &Path) -> Option<PathBuf> {
    let controllers = fs::read_to_string(cgroup2.join("cgroup.subtree_control")).ok()?;
    if controllers.split_whitespace().any(|word| word == "memory") {
        return Some(cgroup2.to_owned());
    }
    mounts("cgroup", "memory")
}

/// First mount point of this file system type whose super options name `option`.
fn mounts(kind: &str, option: &str) -> Option<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    table.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let matches = back.next()? == kind
            && (option.is_empty() || back.nth(1)?.split(',').any(|word| word == option));
        matches.then(|| front.split(' ').nth(4).map(PathBuf::from))?
    })
}
