//! Directories that a runtime has made for a job's containers in hierarchies of cgroup v1 that hold no
//! controller of cordon's.

use std::path::{Path, PathBuf};

use crate::cgroup::SLICE;
use crate::cgroup::hierarchy::unescape;
use crate::sys::fs;

/// Removes what is empty of a job's directories; in hierarchies that cordon uses itself, the job's own are
/// removed with the job.
pub(super) fn remove(place: &str) {
    let Ok(mountinfo) = fs::read_to_string(Path::new("/proc/self/mountinfo"), 16 << 20) else {
        return;
    };
    for mount in legacy(&mountinfo) {
        let directory = mount.join(place.trim_start_matches('/'));
        remove_empty(&directory);
        if let Some(slice) = directory.parent().filter(|slice| slice.ends_with(SLICE)) {
            // Other jobs may be in it.
            let _in_use = std::fs::remove_dir(slice);
        }
    }
}

/// A directory in which a process is stays.
fn remove_empty(directory: &Path) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let _in_use = std::fs::remove_dir(entry.path());
    }
    let _in_use = std::fs::remove_dir(directory);
}

fn legacy(mountinfo: &str) -> Vec<PathBuf> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let at = mount.split(' ').nth(4)?;
        kind.starts_with("cgroup ")
            .then(|| PathBuf::from(unescape(at)))
    });
    mounts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hierarchies_of_v1_are_looked_at() {
        let mountinfo = "\
26 25 0:23 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
27 25 0:24 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
        assert_eq!(legacy(mountinfo), [Path::new("/sys/fs/cgroup/pids")]);
    }
}
