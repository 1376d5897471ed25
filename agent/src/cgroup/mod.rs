//! Directories of the cgroup v2 hierarchy: the root cordon attaches at, the slice, the job; and those of
//! a job in v1 hierarchies that hold controllers.
//!
//! **Not here**: what is written into the controllers' files is in [`crate::limits`].

pub mod controllers;
pub mod hierarchy;

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::sys::fs;

/// Name of the directory all jobs are below.
pub const SLICE: &str = "cordon.slice";

/// How long killed processes may take to go: a process in uninterruptible sleep can hold on.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// A cgroup that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A file or directory operation failed.
    #[error(transparent)]
    File(#[from] fs::FileError),
    /// No cgroup v2 is mounted.
    #[error("no cgroup v2 hierarchy is mounted; mount one: `mount -t cgroup2 none /sys/fs/cgroup`")]
    NotMounted,
    /// The configured root is not in it.
    #[error("`{}` is not a directory of the cgroup v2 hierarchy", path.display())]
    NotACgroup {
        /// What was configured.
        path: PathBuf,
    },
    /// Processes that will not die.
    #[error("{count} processes of `{}` survived SIGKILL", path.display())]
    Unkillable {
        /// Their cgroup.
        path: PathBuf,
        /// How many.
        count: usize,
    },
}

/// One cgroup directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cgroup {
    path: PathBuf,
    id: u64,
}

impl Cgroup {
    /// An existing one.
    ///
    /// # Errors
    /// It is not there, or not in the cgroup v2 hierarchy.
    pub fn open(path: &Path) -> Result<Self, CgroupError> {
        if !path.join("cgroup.procs").exists() {
            return Err(CgroupError::NotACgroup {
                path: path.to_owned(),
            });
        }
        let metadata = std::fs::metadata(path).map_err(fs::FileError::on("open cgroup", path))?;
        Ok(Self {
            path: path.to_owned(),
            id: metadata.ino(),
        })
    }

    /// A child of this one, made if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn child(&self, name: &str) -> Result<Self, CgroupError> {
        let path = self.path.join(name);
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.map_err(fs::FileError::on("create cgroup", &path))?,
        }
        Self::open(&path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Name of its directory.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The kernel's id: the inode number of the directory.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its child cgroups, in the order of their names. One that is removed meanwhile is none of them.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn children(&self) -> Result<Vec<Self>, CgroupError> {
        self.children_named(|_name| true)
    }

    /// Those of its child cgroups whose names are `wanted`. The others are not looked at.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn children_named(&self, wanted: impl Fn(&Path) -> bool) -> Result<Vec<Self>, CgroupError> {
        let failed = fs::FileError::on("list", &self.path);
        let entries = std::fs::read_dir(&self.path).map_err(failed)?;
        let mut children = Vec::new();
        for entry in entries {
            let entry = entry.map_err(fs::FileError::on("list", &self.path))?;
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !is_dir || !wanted(Path::new(&entry.file_name())) {
                continue;
            }
            // Whatever is a directory here is a cgroup.
            match entry.metadata() {
                Ok(metadata) => children.push(Self {
                    path: entry.path(),
                    id: metadata.ino(),
                }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(fs::FileError::on("open cgroup", &entry.path())(error).into());
                }
            }
        }
        children.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(children)
    }

    /// Processes in it and below it. One that is gone has none: the kernel lets nobody remove one that has.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn processes(&self) -> Result<Vec<u32>, CgroupError> {
        let mut found = Vec::new();
        let mut waiting = vec![self.clone()];
        while let Some(cgroup) = waiting.pop() {
            match cgroup
                .own_processes()
                .and_then(|own| Ok((own, cgroup.children()?)))
            {
                Ok((own, children)) => {
                    found.extend(own);
                    waiting.extend(children);
                }
                Err(_) if !cgroup.path.exists() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn own_processes(&self) -> Result<Vec<u32>, CgroupError> {
        let procs = fs::read_to_string(&self.path.join("cgroup.procs"), 64 << 20)?;
        let numbers = procs.lines().filter_map(|line| line.parse::<u32>().ok());
        Ok(numbers.collect())
    }

    /// Whether there is a process in it or below it, as the kernel says.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn is_populated(&self) -> Result<bool, CgroupError> {
        let events = fs::read_to_string(&self.path.join("cgroup.events"), 4096)?;
        Ok(!events.lines().any(|line| line == "populated 0"))
    }

    /// Kills every process in it and below it, and waits until they are gone. Returns how many
    /// there were.
    ///
    /// # Errors
    /// They cannot be killed, or do not go.
    pub fn kill(&self) -> Result<usize, CgroupError> {
        let before = self.processes()?.len();
        if before == 0 {
            return Ok(0);
        }
        fs::write_existing(&self.path.join("cgroup.kill"), b"1")?;
        let deadline = Instant::now().checked_add(KILL_DEADLINE);
        loop {
            let left = self.processes()?.len();
            if left == 0 {
                return Ok(before);
            }
            if deadline.is_none_or(|deadline| Instant::now() > deadline) {
                return Err(CgroupError::Unkillable {
                    path: self.path.clone(),
                    count: left,
                });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Has every process in it and below it stand still.
    ///
    /// # Errors
    /// They cannot be frozen.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        Ok(fs::write_existing(&self.path.join("cgroup.freeze"), b"1")?)
    }

    /// Removes it and everything below it. It must hold no process; one that is gone already is
    /// fine.
    ///
    /// # Errors
    /// It is still in use after a moment's patience: the kernel lets go of a cgroup a little after
    /// its last process.
    pub fn remove(&self) -> Result<(), CgroupError> {
        if !self.path.exists() {
            return Ok(());
        }
        for child in self.children()? {
            child.remove()?;
        }
        for _ in 0..100 {
            match std::fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                done => return Ok(done.map_err(fs::FileError::on("remove cgroup", &self.path))?),
            }
        }
        Ok(std::fs::remove_dir(&self.path)
            .map_err(fs::FileError::on("remove cgroup", &self.path))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with the one file that makes it look like a cgroup.
    fn fake() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        fs::write_atomic(&dir.path().join("cgroup.procs"), b"12\n34\n", 0o600).unwrap();
        let path = dir.path().to_owned();
        (dir, path)
    }

    #[test]
    fn a_plain_directory_is_no_cgroup() {
        let dir = tempfile::tempdir().unwrap();
        let error = Cgroup::open(dir.path()).unwrap_err();
        assert!(matches!(error, CgroupError::NotACgroup { .. }), "{error}");
    }

    #[test]
    fn processes_of_children_count() {
        let (_dir, path) = fake();
        let child = path.join("nested");
        std::fs::create_dir(&child).unwrap();
        fs::write_atomic(&child.join("cgroup.procs"), b"56\n", 0o600).unwrap();
        let cgroup = Cgroup::open(&path).unwrap();
        let mut processes = cgroup.processes().unwrap();
        processes.sort_unstable();
        assert_eq!(processes, [12, 34, 56]);
    }

    #[test]
    fn children_that_are_removed_meanwhile_are_none() {
        let (_dir, path) = fake();
        std::fs::create_dir(path.join("stays")).unwrap();
        let cgroup = Cgroup::open(&path).unwrap();
        let until = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !until.load(std::sync::atomic::Ordering::Relaxed) {
                    for number in 0..64 {
                        std::fs::create_dir(path.join(number.to_string())).unwrap();
                    }
                    for number in 0..64 {
                        std::fs::remove_dir(path.join(number.to_string())).unwrap();
                    }
                }
            });
            let lists = (0..2_000).map(|_| cgroup.children()).collect::<Vec<_>>();
            until.store(true, std::sync::atomic::Ordering::Relaxed);
            for children in lists {
                let children = children.unwrap();
                assert!(children.iter().any(|child| child.name() == "stays"));
            }
        });
    }

    #[test]
    fn one_that_is_gone_has_no_processes() {
        let (dir, path) = fake();
        let cgroup = Cgroup::open(&path).unwrap();
        drop(dir);
        assert_eq!(cgroup.processes().unwrap(), Vec::<u32>::new());
    }

    #[test]
    fn a_kill_file_that_is_not_there_is_an_error_not_a_new_file() {
        let (_dir, path) = fake();
        Cgroup::open(&path).unwrap().kill().unwrap_err();
        assert!(!path.join("cgroup.kill").exists());
    }
}
