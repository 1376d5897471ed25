//! cgroup directories of a world: made below the mount, emptied and removed on drop.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::environment::legacy_mounts;

/// How long processes get to end once they have been killed.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// A subtree of the cgroup v2 hierarchy that belongs to one world, and those of the same name in the v1
/// hierarchies that hold controllers.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    legacy: Vec<PathBuf>,
}

impl Tree {
    /// Makes the subtree below the v2 mount, with a `host` group for what is no job.
    pub fn new(mount: &Path, name: &str) -> Result<Self> {
        let root = mount.join(name);
        fs::create_dir(&root).with_context(|| format!("create cgroup {}", root.display()))?;
        let mut tree = Self {
            root,
            legacy: Vec::new(),
        };
        for mount in legacy_mounts() {
            let directory = mount.join(name);
            fs::create_dir(&directory)
                .with_context(|| format!("create cgroup {}", directory.display()))?;
            tree.legacy.push(directory);
        }
        fs::create_dir(tree.host()).context("create the cgroup `host`")?;
        Ok(tree)
    }

    /// The directory cordon attaches to in this world.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The same in the v1 hierarchies.
    pub fn legacy(&self) -> &[PathBuf] {
        &self.legacy
    }

    /// Where cordon itself and other processes of the "host" live: below the point of attachment,
    /// as on a real machine, and outside the slice.
    pub fn host(&self) -> PathBuf {
        self.root.join("host")
    }

    /// Process ids of the whole subtree.
    pub fn processes(&self) -> Vec<i32> {
        processes(&self.root)
    }

    /// Names of the groups cordon left below the root.
    pub fn slices(&self) -> Vec<String> {
        let roots = std::iter::once(&self.root).chain(&self.legacy);
        roots
            .flat_map(|root| children(root))
            .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
            .filter(|name| name != "host")
            .collect()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for root in std::iter::once(&self.root).chain(&self.legacy) {
            // A story may have removed one.
            if let Err(error) = remove(root)
                && root.exists()
            {
                eprintln!("cgroup {} is left: {error:#}", root.display());
            }
        }
    }
}

/// Kills all processes of a subtree and removes it, deepest directories first.
pub fn remove(root: &Path) -> Result<()> {
    kill_all(root)?;
    let deadline = Instant::now() + KILL_PATIENCE;
    while !processes(root).is_empty() && Instant::now() < deadline {
        sleep(Duration::from_millis(2));
    }
    let left = processes(root);
    ensure!(left.is_empty(), "processes {left:?} do not end");
    remove_directories(root, deadline)
}

fn kill_all(root: &Path) -> Result<()> {
    let file = root.join("cgroup.kill");
    if file.exists() {
        return fs::write(file, "1").context("cgroup.kill");
    }
    // v1 cannot do it at once: by id, and only ids of this very group.
    for id in processes(root) {
        match kill(Pid::from_raw(id), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).context("kill a process of a group"),
        }
    }
    Ok(())
}

fn remove_directories(directory: &Path, deadline: Instant) -> Result<()> {
    for child in children(directory) {
        remove_directories(&child, deadline)?;
    }
    loop {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            // A process that was just killed still counts until the kernel has reaped it.
            Err(_) if Instant::now() < deadline => sleep(Duration::from_millis(2)),
            Err(error) => return Err(error).context(format!("rmdir {}", directory.display())),
        }
    }
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

/// Ids of all processes at and below a cgroup directory.
pub fn processes(directory: &Path) -> Vec<i32> {
    let own = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let mut ids: Vec<i32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    for child in children(directory) {
        ids.extend(processes(&child));
    }
    ids
}

/// A group that limits memory, where the machine has that controller.
#[derive(Debug)]
pub struct MemoryLimit {
    directory: PathBuf,
}

impl MemoryLimit {
    /// A group below this hierarchy (v1) or subtree (v2) with a limit in bytes.
    pub fn new(parent: &Path, name: &str, bytes: u64) -> Result<Self> {
        let directory = parent.join(name);
        fs::create_dir(&directory)
            .with_context(|| format!("create cgroup {}", directory.display()))?;
        let group = Self { directory };
        for file in ["memory.limit_in_bytes", "memory.max"] {
            let path = group.directory.join(file);
            if path.exists() {
                fs::write(&path, bytes.to_string()).context(file)?;
                return Ok(group);
            }
        }
        anyhow::bail!("{} has no memory limit", group.directory.display())
    }

    /// The directory to join.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.directory) {
            eprintln!("cgroup {} is left: {error:#}", self.directory.display());
        }
    }
}
