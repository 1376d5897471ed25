//! Moves processes into a job that somebody else started: a worker of a CI system and all that descend from it.
//!
//! A process belongs to the job in the kernel's list of members before it is in its cgroup, so that there is no
//! moment in which it is nobody's. Children it makes meanwhile are found in the next pass, until there are none.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::cgroup::Cgroup;
use crate::enforce::{Host, Place};
use crate::sandbox::Limited;
use crate::sys::pidfd::Process;
use crate::sys::{fs, limits, process};

/// Passes over the processes of a runner. Each finds what was made during the one before.
const PASSES: usize = 64;

/// Why processes could not be moved into a job.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttachError {
    /// The worker is gone.
    #[error("its worker ended before it was in the job")]
    Gone,
    /// New processes kept coming.
    #[error("its worker made processes faster than they could be moved; {moved} were")]
    Restless {
        /// How many were moved.
        moved: u64,
    },
    /// A file of a cgroup.
    #[error(transparent)]
    File(#[from] fs::FileError),
    /// A cgroup.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::CgroupError),
    /// The kernel's list of members.
    #[error(transparent)]
    Maps(#[from] crate::enforce::maps::MapsError),
    /// A limit of the process itself.
    #[error("the files process {pid} may have open could not be limited")]
    OpenFiles {
        /// The process.
        pid: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Moves `root` and all that descend from it out of `from` into the job: into `home`, its cgroup or one below it.
/// Returns how many there were.
///
/// # Errors
/// Not all could be moved; those that were are in the job.
pub(super) fn attach(
    host: &mut Host,
    place: &Place,
    (home, limited): (&Path, &Limited),
    from: &Cgroup,
    root: u32,
) -> Result<u64, AttachError> {
    let joined = Joined {
        procs: procs(home, limited),
        open_files: limited.open_files,
    };
    let mut moved = BTreeSet::new();
    for _ in 0..PASSES {
        let inside: BTreeSet<u32> = from.processes()?.into_iter().collect();
        let parents = parents(inside.iter().copied());
        let waiting: Vec<u32> = descendants(root, &parents)
            .into_iter()
            .filter(|pid| inside.contains(pid))
            .collect();
        if waiting.is_empty() {
            let there = place.cgroup.processes()?.contains(&root);
            return if there {
                Ok(moved.len() as u64)
            } else {
                Err(AttachError::Gone)
            };
        }
        for pid in waiting {
            if joined.take(host, place, pid)? {
                moved.insert(pid);
            }
        }
    }
    Err(AttachError::Restless {
        moved: moved.len() as u64,
    })
}

fn procs(cgroup: &Path, limited: &Limited) -> Vec<PathBuf> {
    let all = std::iter::once(cgroup).chain(limited.groups.iter().map(PathBuf::as_path));
    all.map(|cgroup| cgroup.join("cgroup.procs")).collect()
}

/// Where each process goes.
struct Joined {
    procs: Vec<PathBuf>,
    open_files: Option<u64>,
}

impl Joined {
    /// Whether the process was moved; one that has ended meanwhile was not.
    fn take(&self, host: &mut Host, place: &Place, pid: u32) -> Result<bool, AttachError> {
        let Ok(process) = Process::open(pid) else {
            return Ok(false);
        };
        host.kernel.maps.join_member(place.cgroup.id(), pid)?;
        for procs in &self.procs {
            match fs::write_existing(procs, pid.to_string().as_bytes()) {
                Err(_) if process.has_ended().unwrap_or(true) => {
                    host.kernel.maps.forget_member(pid);
                    return Ok(false);
                }
                written => written?,
            }
        }
        if let Some(most) = self.open_files {
            limits::open_files_of(pid, most)
                .map_err(|source| AttachError::OpenFiles { pid, source })?;
        }
        Ok(true)
    }
}

/// The parent of each process that still lives.
fn parents(processes: impl Iterator<Item = u32>) -> BTreeMap<u32, u32> {
    processes
        .filter_map(|pid| Some((pid, process::stat(pid).ok()?.parent)))
        .collect()
}

/// A process and all that descend from it, ancestors before descendants.
fn descendants(root: u32, parents: &BTreeMap<u32, u32>) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        let children = parents.iter().filter(|(_, of)| **of == parent);
        let new: Vec<u32> = children
            .map(|(pid, _)| *pid)
            .filter(|pid| !found.contains(pid))
            .collect();
        found.extend(new);
        at = at.saturating_add(1);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_descend_from_a_process_are_found_parents_first() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (6, 2), (7, 99)]);
        assert_eq!(descendants(2, &parents), [2, 3, 6, 4]);
        assert_eq!(descendants(7, &parents), [7]);
        // What cannot be is no endless loop.
        let circle = BTreeMap::from([(1, 2), (2, 1)]);
        assert_eq!(descendants(1, &circle), [1, 2]);
    }
}
