//! What a process could leave behind, and its removal: by the process that supervised it, and at
//! the next start for one whose supervisor was killed too.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{cgroup, environment};

/// First part of every name; the process id and a number follow.
const PREFIX: &str = "cordon-tests-";

/// How long processes get to end by themselves (cordon seals its evidence on a signal).
const GRACE: Duration = Duration::from_secs(5);

/// A name that tells whose it is: `cordon-tests-PID-NUMBER`.
pub fn name(number: u32) -> String {
    format!("{PREFIX}{}-{number}", std::process::id())
}

/// Removes what the process `pid` made and did not remove. Says what it could not.
pub fn remove_of(pid: u32) {
    remove_where(|owner| owner == pid);
}

/// Removes what processes made that are no more.
pub fn remove_stale() {
    remove_where(|owner| !Path::new(&format!("/proc/{owner}")).exists());
}

fn remove_where(gone: impl Fn(u32) -> bool) {
    let of_gone = |path: &PathBuf| owner(path).is_some_and(&gone);
    for group in environment::cgroup_mounts()
        .iter()
        .flat_map(|mount| entries(mount))
    {
        if of_gone(&group) {
            wait_until_empty(&group);
            if let Err(error) = cgroup::remove(&group) {
                eprintln!("cgroup {} is left: {error:#}", group.display());
            }
        }
    }
    for path in entries(&std::env::temp_dir()).filter(of_gone) {
        if let Err(error) = fs::remove_dir_all(&path) {
            eprintln!("directory {} is left: {error}", path.display());
        }
    }
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

fn owner(path: &Path) -> Option<u32> {
    let rest = path.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    rest.split('-').next()?.parse().ok()
}

fn wait_until_empty(group: &Path) {
    let deadline = Instant::now() + GRACE;
    while !cgroup::processes(group).is_empty() && Instant::now() < deadline {
        sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_owner() {
        assert_eq!(owner(Path::new(&name(7))), Some(std::process::id()));
        assert_eq!(owner(Path::new("/tmp/cordon-tests-12-3")), Some(12));
        assert_eq!(owner(Path::new("/tmp/cordon-tests-x-3")), None);
        assert_eq!(owner(Path::new("/tmp/other-12-3")), None);
    }
}
