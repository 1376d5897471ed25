//! Which hierarchy holds which controller, and a job's directories in those of cgroup v1.
//!
//! A host is whole (all controllers in cgroup v2) or hybrid (v2 without the controllers that v1
//! hierarchies hold). On a hybrid host a job has a directory of the same name in each of these, in a
//! slice below the same path as in v2.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::hierarchy::{Hierarchy, Root, unescape};
use super::{Cgroup, CgroupError, SLICE};
use crate::sys::fs;

/// A controller that limits or counts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Controller {
    /// Memory and swap.
    Memory,
    /// Processes and threads.
    Pids,
    /// Processor time.
    Cpu,
    /// Disks: `io`, in v1 `blkio`.
    Io,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Memory, Self::Pids, Self::Cpu, Self::Io];

    /// Its name in cgroup v2.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::Io => "io",
        }
    }

    /// Its name in the options of a v1 mount.
    const fn legacy_name(self) -> &'static str {
        match self {
            Self::Io => "blkio",
            Self::Memory | Self::Pids | Self::Cpu => self.name(),
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a controller is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Seat {
    /// In cgroup v2.
    Unified,
    /// In a v1 hierarchy: the directory there that stands for the root.
    Legacy(PathBuf),
    /// Nowhere.
    Absent,
}

/// A generation of cgroups: their files differ.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Generation {
    /// cgroup v1.
    #[serde(rename = "cgroup-v1")]
    Legacy,
    /// cgroup v2.
    #[serde(rename = "cgroup-v2")]
    Unified,
}

/// The controllers of this host, as seen from a root.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Controllers {
    root: PathBuf,
    /// The operator gave the root to cordon: it may hand controllers down in it.
    delegated: bool,
    seats: BTreeMap<Controller, Seat>,
}

impl Controllers {
    /// Looks where they are. `delegated` says that the root was set by the operator.
    ///
    /// # Errors
    /// The mounts or the root cannot be read.
    pub fn find(hierarchy: &Hierarchy, root: &Root, delegated: bool) -> Result<Self, CgroupError> {
        let mountinfo = fs::read_to_string(Path::new("/proc/self/mountinfo"), 16 << 20)?;
        let unified = words(&hierarchy.mount_point().join("cgroup.controllers"))?;
        let root = root.cgroup.path();
        let below = root.strip_prefix(hierarchy.mount_point());
        let below = below.unwrap_or_else(|_elsewhere| Path::new(""));
        Ok(Self {
            root: root.to_owned(),
            delegated,
            seats: seats(&unified, &mountinfo, below),
        })
    }

    /// Where one of them is.
    #[must_use]
    pub fn seat(&self, controller: Controller) -> &Seat {
        self.seats.get(&controller).unwrap_or(&Seat::Absent)
    }

    /// Makes a job's directories in the v1 hierarchies, as far as they can be made: who needs one asks
    /// [`Controllers::groups`]. The caller has the host lock.
    pub fn make(&self, name: &str) {
        for parent in self.legacy() {
            let made = Cgroup::open(parent)
                .and_then(|parent| parent.child(SLICE))
                .and_then(|slice| slice.child(name));
            if let Err(error) = made {
                tracing::debug!(error = %crate::enforce::chain(&error), "no cgroup of v1");
            }
        }
    }

    /// A job's directories.
    #[must_use]
    pub fn groups(&self, job: &Cgroup) -> Groups {
        let directories = self.seats.iter().map(|(controller, seat)| {
            let found = match seat {
                Seat::Unified => Ok((Generation::Unified, job.path().to_owned())),
                Seat::Absent => Err(Lack::Absent),
                Seat::Legacy(parent) => {
                    let directory = parent.join(SLICE).join(job.name());
                    if directory.is_dir() {
                        Ok((Generation::Legacy, directory))
                    } else {
                        Err(Lack::Place(parent.clone()))
                    }
                }
            };
            (*controller, found)
        });
        Groups {
            directories: directories.collect(),
        }
    }

    /// Removes a job's directories in the v1 hierarchies, and the slices there that are empty then. The
    /// caller has the host lock.
    ///
    /// # Errors
    /// One is still in use; the first that is.
    pub fn remove(&self, name: &str) -> Result<(), CgroupError> {
        let mut first = Ok(());
        for parent in self.legacy() {
            let slice = parent.join(SLICE);
            if !slice.is_dir() {
                continue;
            }
            let removed = Cgroup::open(&slice).and_then(|slice| {
                let job = slice.path().join(name);
                if job.is_dir() {
                    Cgroup::open(&job)?.remove()?;
                }
                if slice.children()?.is_empty() && slice.processes()?.is_empty() {
                    slice.remove()?;
                }
                Ok(())
            });
            first = first.and(removed);
        }
        first
    }

    /// Sees to it that jobs of the slice have a controller of cgroup v2: hands it down in the slice,
    /// and in the root if the operator gave that to cordon.
    ///
    /// # Errors
    /// It is not handed down to here, or cannot be.
    pub fn enable(&self, controller: Controller) -> Result<(), EnableError> {
        let slice = self.root.join(SLICE);
        if has(&slice.join(SUBTREE), controller)? {
            return Ok(());
        }
        if !has(&slice.join("cgroup.controllers"), controller)? {
            let withheld = |directory: &Path| EnableError::NotDelegated {
                controller,
                directory: directory.to_owned(),
            };
            if !has(&self.root.join("cgroup.controllers"), controller)? {
                return Err(withheld(self.root.parent().unwrap_or(&self.root)));
            }
            if !self.delegated {
                return Err(withheld(&self.root));
            }
            hand_down(&self.root, controller)?;
        }
        hand_down(&slice, controller)
    }

    /// Whether jobs could have a controller, and where it would be. Makes a directory of this name in a v1
    /// hierarchy, and removes it.
    ///
    /// # Errors
    /// They could not.
    pub fn try_out(&self, controller: Controller, name: &str) -> Result<PathBuf, TryError> {
        match self.seat(controller) {
            Seat::Absent => Err(Lack::Absent.into()),
            Seat::Unified => {
                let listed = if self.delegated {
                    "cgroup.controllers"
                } else {
                    SUBTREE
                };
                if has(&self.root.join(listed), controller).map_err(EnableError::from)? {
                    return Ok(self.root.clone());
                }
                let directory = self.root.clone();
                let withheld = EnableError::NotDelegated {
                    controller,
                    directory,
                };
                Err(withheld.into())
            }
            Seat::Legacy(parent) => {
                let parent = Cgroup::open(parent).map_err(|_none| Lack::Place(parent.clone()))?;
                parent.child(name)?.remove()?;
                Ok(parent.path().to_owned())
            }
        }
    }

    /// As [`Controllers::enable`] without touching what is above the slice, for what is only counted.
    ///
    /// # Errors
    /// As [`Controllers::enable`].
    pub fn enable_in_slice(&self, controller: Controller) -> Result<(), EnableError> {
        Self {
            delegated: false,
            ..self.clone()
        }
        .enable(controller)
    }

    /// The directories that stand for the root, each once: several controllers can share a hierarchy.
    fn legacy(&self) -> BTreeSet<&Path> {
        let parents = self.seats.values().filter_map(|seat| match seat {
            Seat::Legacy(parent) => Some(parent.as_path()),
            Seat::Unified | Seat::Absent => None,
        });
        parents.collect()
    }
}

const SUBTREE: &str = "cgroup.subtree_control";

fn hand_down(directory: &Path, controller: Controller) -> Result<(), EnableError> {
    let path = directory.join(SUBTREE);
    fs::write_existing(&path, format!("+{controller}").as_bytes()).map_err(|source| {
        EnableError::Refused {
            controller,
            directory: directory.to_owned(),
            source,
        }
    })
}

fn has(path: &Path, controller: Controller) -> Result<bool, fs::FileError> {
    Ok(words(path)?.contains(controller.name()))
}

fn words(path: &Path) -> Result<BTreeSet<String>, fs::FileError> {
    let text = fs::read_to_string(path, 4096)?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// A controller that jobs of the slice do not have.
#[derive(Debug, thiserror::Error)]
pub enum EnableError {
    /// Reading what there is.
    #[error(transparent)]
    File(#[from] fs::FileError),
    /// Somebody above does not hand it down.
    #[error(
        "the controller `{controller}` is not handed down by `{}`; let its owner do it: with systemd \
         `Delegate={controller}` in the unit, by hand `echo +{controller} > {}/cgroup.subtree_control`",
        directory.display(), directory.display()
    )]
    NotDelegated {
        /// Which.
        controller: Controller,
        /// Who would have to.
        directory: PathBuf,
    },
    /// The kernel does not let it be handed down.
    #[error(
        "the controller `{controller}` cannot be handed down in `{}`: if there are processes in this very \
         directory, move them into one below it",
        directory.display()
    )]
    Refused {
        /// Which.
        controller: Controller,
        /// Where.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: fs::FileError,
    },
}

/// Why a job has no directory for a controller.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Lack {
    /// No hierarchy has it.
    #[error("no mounted cgroup hierarchy of this host has the controller")]
    Absent,
    /// Its v1 hierarchy has no directory for the root.
    #[error(
        "cordon could not make its directory in `{}`; if that is not there, make it: `mkdir -p {}`",
        .0.display(), .0.display()
    )]
    Place(PathBuf),
}

/// Why jobs could not have a controller.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    /// There is no place.
    #[error(transparent)]
    Lack(#[from] Lack),
    /// It is not handed down.
    #[error(transparent)]
    Enable(#[from] EnableError),
    /// A directory could not be made or removed.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
}

/// A job's directories.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Groups {
    directories: BTreeMap<Controller, Result<(Generation, PathBuf), Lack>>,
}

impl Groups {
    /// Where a controller's files of the job are, and of which generation they are.
    ///
    /// # Errors
    /// Nowhere.
    pub fn of(&self, controller: Controller) -> Result<(Generation, &Path), Lack> {
        match self.directories.get(&controller) {
            Some(Ok((generation, path))) => Ok((*generation, path)),
            Some(Err(lack)) => Err(lack.clone()),
            None => Err(Lack::Absent),
        }
    }

    /// Directories a process of the job must join besides that of cgroup v2, each once.
    #[must_use]
    pub fn to_join(&self) -> Vec<PathBuf> {
        let found = self.directories.values().flatten();
        let legacy = found.filter(|(generation, _)| *generation == Generation::Legacy);
        let each: BTreeSet<_> = legacy.map(|(_, path)| path.clone()).collect();
        each.into_iter().collect()
    }
}

/// From what cgroup v2 offers and the text of `/proc/self/mountinfo`: a v1 hierarchy that has a
/// controller keeps it from v2.
fn seats(unified: &BTreeSet<String>, mountinfo: &str, below: &Path) -> BTreeMap<Controller, Seat> {
    let seat = |controller: Controller| {
        if unified.contains(controller.name()) {
            return Seat::Unified;
        }
        let mount = mountinfo
            .lines()
            .rev()
            .find_map(|line| legacy_mount(line, controller));
        mount.map_or(Seat::Absent, |mount| Seat::Legacy(mount.join(below)))
    };
    Controller::ALL
        .into_iter()
        .map(|controller| (controller, seat(controller)))
        .collect()
}

/// Where this line mounts the v1 hierarchy of a controller, if it does.
fn legacy_mount(line: &str, controller: Controller) -> Option<PathBuf> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut kind = kind.split(' ');
    let is_legacy = kind.next()? == "cgroup";
    let mut options = kind.nth(1)?.split(',');
    let has = options.any(|option| option == controller.legacy_name());
    let at = mount.split(' ').nth(4)?;
    (is_legacy && has).then(|| PathBuf::from(unescape(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
25 20 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
26 25 0:23 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
27 25 0:24 / /sys/fs/cgroup/cpu\\040s rw - cgroup cgroup rw,cpu,cpuacct
28 25 0:25 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
29 25 0:26 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
";

    fn all(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_controller_is_found_where_it_is() {
        let found = seats(&all(&["hugetlb"]), HYBRID, Path::new("ci/cordon"));
        let legacy = |path: &str| Seat::Legacy(PathBuf::from(path));
        assert_eq!(found[&Controller::Memory], Seat::Absent);
        assert_eq!(
            found[&Controller::Pids],
            legacy("/sys/fs/cgroup/pids/ci/cordon")
        );
        assert_eq!(
            found[&Controller::Cpu],
            legacy("/sys/fs/cgroup/cpu s/ci/cordon")
        );
        assert_eq!(
            found[&Controller::Io],
            legacy("/sys/fs/cgroup/blkio/ci/cordon")
        );
    }

    #[test]
    fn a_whole_cgroup_v2_has_all_of_them() {
        let found = seats(
            &all(&["memory", "pids", "cpu", "io"]),
            "garbage\n",
            Path::new(""),
        );
        assert!(found.values().all(|seat| *seat == Seat::Unified));
    }

    /// Directories with the files that make them look like a hierarchy.
    fn hierarchy(controllers: &str, below: &str) -> (tempfile::TempDir, Controllers) {
        let dir = tempfile::tempdir().unwrap();
        let slice = dir.path().join(SLICE);
        std::fs::create_dir(&slice).unwrap();
        for (directory, own, handed) in [(dir.path(), controllers, below), (&slice, below, "")] {
            for (name, text) in [("cgroup.controllers", own), (SUBTREE, handed)] {
                fs::write_atomic(&directory.join(name), text.as_bytes(), 0o600).unwrap();
            }
        }
        let controllers = Controllers {
            root: dir.path().to_owned(),
            delegated: false,
            seats: BTreeMap::new(),
        };
        (dir, controllers)
    }

    fn subtree(directory: &Path) -> String {
        fs::read_to_string(&directory.join(SUBTREE), 4096).unwrap()
    }

    #[test]
    fn a_controller_is_handed_down_in_the_slice_and_above_it_only_where_that_is_cordons() {
        let (dir, controllers) = hierarchy("cpu memory", "memory");
        controllers.enable(Controller::Memory).unwrap();
        assert_eq!(subtree(&dir.path().join(SLICE)), "+memory");
        assert_eq!(subtree(dir.path()), "memory");

        let refused = controllers.enable(Controller::Cpu).unwrap_err();
        assert!(
            matches!(&refused, EnableError::NotDelegated { directory, .. } if directory == dir.path()),
            "{refused}"
        );
        assert_eq!(subtree(dir.path()), "memory");
        let delegated = Controllers {
            delegated: true,
            ..controllers
        };
        delegated.enable_in_slice(Controller::Cpu).unwrap_err();
        delegated.enable(Controller::Cpu).unwrap();
        assert!(subtree(dir.path()).starts_with("+cpu"));
        // What the root itself does not have, its parent would have to give.
        let refused = delegated.enable(Controller::Io).unwrap_err();
        assert!(refused.to_string().contains("+io"), "{refused}");
    }
}
