//! What a job sees of the file systems that show or control more than the job.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use crate::cgroup::hierarchy::unescape;

/// One change to the job's mounts.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize)]
pub struct Mount {
    /// Where.
    pub at: PathBuf,
    /// What is there afterwards.
    pub what: Cover,
}

/// What a path of the job leads to.
#[derive(
    Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize,
)]
pub enum Cover {
    /// An empty directory nobody may write to.
    Empty,
    /// The null device: connecting to it is refused, reading it gives nothing.
    Null,
    /// The message queues of the job's own IPC namespace.
    Queues,
    /// The processes of the job's own pid namespace.
    Processes,
    /// The mount that is there already, read-only.
    ReadOnly,
    /// A part of a mount, read-only.
    ReadOnlyPart,
}

/// File systems by which root sets the kernel, or looks into it, without a capability.
const SETTINGS: [&str; 7] = [
    "configfs",
    "debugfs",
    "efivarfs",
    "pstore",
    "securityfs",
    "sysfs",
    "tracefs",
];

/// What a job of root must not write: settings of the whole host, which the kernel leaves to the
/// user number alone. One of them names a program to be run at a crash. `changes` are those the
/// same table asks for in any job.
///
/// Not for others, who cannot write there anyway: with anything mounted below /proc, nobody in the
/// job could mount a /proc for a user namespace of their own.
#[must_use]
pub fn sealed_for_root(mountinfo: &str, changes: &[Mount]) -> Vec<Mount> {
    let processes = changes
        .iter()
        .filter(|change| change.what == Cover::Processes);
    let mut sealed: Vec<Mount> = processes
        .flat_map(|change| {
            ["sys", "sysrq-trigger"].map(|part| Mount {
                at: change.at.join(part),
                what: Cover::ReadOnlyPart,
            })
        })
        .collect();
    let settings = mountinfo.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let is_setting = SETTINGS.contains(&kind.split(' ').next()?);
        let at = PathBuf::from(unescape(mount.split(' ').nth(4)?));
        is_setting.then_some(Mount {
            at,
            what: Cover::ReadOnly,
        })
    });
    for mount in settings {
        if !sealed.contains(&mount) {
            sealed.push(mount);
        }
    }
    sealed
}

/// The changes a mount table asks for, in the order of the table, which has parents first.
#[must_use]
pub fn changes(mountinfo: &str) -> Vec<Mount> {
    let mut changes: Vec<Mount> = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, kind)) = line.split_once(" - ") else {
            continue;
        };
        let mut fields = mount.split(' ').skip(3);
        let (Some(root), Some(at)) = (fields.next(), fields.next()) else {
            continue;
        };
        let at = PathBuf::from(unescape(at));
        let what = match kind.split(' ').next() {
            // A job may read them.
            Some("cgroup" | "cgroup2") => Cover::ReadOnly,
            // Read-only is not enough: who may open a pinned map by its file's mode can write to
            // the map, and the kernel asks for no capability then.
            Some("bpf") => Cover::Empty,
            Some("mqueue") => Cover::Queues,
            Some("proc") if is_below_processes(&at, &changes) => continue,
            Some("proc") if root == "/" => Cover::Processes,
            // A part of /proc mounted elsewhere, such as one process' directory.
            Some("proc") if at.is_dir() => Cover::Empty,
            Some("proc") => Cover::Null,
            _ => continue,
        };
        let change = Mount { at, what };
        // Mounts in one place lie on top of each other: one cover hides them all.
        if !changes.contains(&change) {
            changes.push(change);
        }
    }
    changes
}

/// A part of /proc mounted over itself (read-only in containers) lies below what is covered.
fn is_below_processes(at: &Path, changes: &[Mount]) -> bool {
    changes.iter().any(|change| {
        change.what == Cover::Processes && at != change.at && at.starts_with(&change.at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(changes: &[Mount], what: Cover) -> Vec<&Path> {
        let of = changes.iter().filter(|change| change.what == what);
        of.map(|change| change.at.as_path()).collect()
    }

    #[test]
    fn cgroups_are_to_be_read_only_and_bpf_to_be_hidden() {
        let mountinfo = "\
26 25 0:23 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
27 25 0:24 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw
28 25 0:25 / /sys/fs/bpf rw - bpf bpf rw,mode=700
29 25 0:26 / /mnt/two\\040words rw - bpf none rw
30 25 0:27 / /tmp rw - tmpfs tmpfs rw
";
        let changes = changes(mountinfo);
        let expected = |list: [&'static str; 2]| list.map(Path::new);
        assert_eq!(
            paths(&changes, Cover::ReadOnly),
            expected(["/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified"])
        );
        assert_eq!(
            paths(&changes, Cover::Empty),
            expected(["/sys/fs/bpf", "/mnt/two words"])
        );
        assert_eq!(changes.len(), 4);
    }

    #[test]
    fn every_proc_shows_the_jobs_processes_or_nothing() {
        let mountinfo = "\
20 1 0:20 / /proc rw - proc proc rw
21 20 0:20 /sys /proc/sys ro - proc proc rw
22 1 0:20 / /chroot/proc rw - proc proc rw
23 1 0:20 /1 /tmp rw - proc proc rw
24 1 0:20 /1/status /nonexistent/status rw - proc proc rw
25 1 0:21 / /dev/mqueue rw - mqueue mqueue rw
26 1 0:20 / /proc rw - proc proc rw
";
        let changes = changes(mountinfo);
        assert_eq!(
            paths(&changes, Cover::Processes),
            [Path::new("/proc"), Path::new("/chroot/proc")]
        );
        assert_eq!(paths(&changes, Cover::Empty), [Path::new("/tmp")]);
        assert_eq!(
            paths(&changes, Cover::Null),
            [Path::new("/nonexistent/status")]
        );
        assert_eq!(paths(&changes, Cover::Queues), [Path::new("/dev/mqueue")]);
        assert_eq!(changes.len(), 5);
    }

    #[test]
    fn settings_are_sealed_wherever_they_are_mounted() {
        let mountinfo = "\
20 1 0:20 / /a/proc rw - proc proc rw
21 1 0:21 / /sys rw - sysfs sysfs rw
22 21 0:22 / /sys/kernel/tracing rw - tracefs tracefs rw
23 21 0:22 / /srv rw - ext4 /dev/vda rw
";
        let sealed = sealed_for_root(mountinfo, &changes(mountinfo));
        assert_eq!(
            paths(&sealed, Cover::ReadOnlyPart),
            [Path::new("/a/proc/sys"), Path::new("/a/proc/sysrq-trigger")]
        );
        assert_eq!(
            paths(&sealed, Cover::ReadOnly),
            [Path::new("/sys"), Path::new("/sys/kernel/tracing")]
        );
        assert_eq!(sealed.len(), 4);
    }
}
