//! Where the cgroup v2 hierarchy is mounted, and how deep in it a directory lies.

use std::path::{Component, Path, PathBuf};

use super::{Cgroup, CgroupError};
use crate::sys::fs;

/// The cgroup v2 mount.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hierarchy {
    mount_point: PathBuf,
    /// Which directory of the hierarchy is mounted there.
    mounted: PathBuf,
}

/// The cgroup cordon attaches at, with its depth: the kernel asks for ancestors by depth.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Root {
    /// The cgroup.
    pub cgroup: Cgroup,
    /// 0 for the root of the hierarchy.
    pub level: u32,
}

impl Hierarchy {
    /// The one this process sees.
    ///
    /// # Errors
    /// There is none.
    pub fn find() -> Result<Self, CgroupError> {
        let mountinfo = fs::read_to_string(Path::new("/proc/self/mountinfo"), 16 << 20)?;
        Self::parse(&mountinfo).ok_or(CgroupError::NotMounted)
    }

    /// From the text of `/proc/self/mountinfo`: the last cgroup2 mount, which is the one on top.
    fn parse(mountinfo: &str) -> Option<Self> {
        mountinfo.lines().rev().find_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let mut fields = mount.split(' ').skip(3);
            let (mounted, mount_point) = (fields.next()?, fields.next()?);
            kind.starts_with("cgroup2 ").then(|| Self {
                mount_point: PathBuf::from(unescape(mount_point)),
                mounted: PathBuf::from(unescape(mounted)),
            })
        })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// Where a directory below the mount is, from the root of the hierarchy.
    #[must_use]
    pub fn place(&self, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(&self.mount_point).ok()?;
        Some(self.mounted.join(below))
    }

    /// The directory to attach at: the given one, or the whole hierarchy.
    ///
    /// # Errors
    /// It is not in the hierarchy.
    pub fn root(&self, configured: Option<&Path>) -> Result<Root, CgroupError> {
        let path = configured.unwrap_or(&self.mount_point);
        let outside = || CgroupError::NotACgroup {
            path: path.to_owned(),
        };
        let below = path
            .strip_prefix(&self.mount_point)
            .map_err(|_elsewhere| outside())?;
        let depth = names(&self.mounted).saturating_add(names(below));
        let level = u32::try_from(depth).map_err(|_too_deep| outside())?;
        Ok(Root {
            cgroup: Cgroup::open(path)?,
            level,
        })
    }
}

fn names(path: &Path) -> usize {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .count()
}

/// Undoes mountinfo's octal escapes of space, tab, newline and backslash.
pub(crate) fn unescape(field: &str) -> String {
    field
        .replace(r"\040", " ")
        .replace(r"\011", "\t")
        .replace(r"\012", "\n")
        .replace(r"\134", r"\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
25 20 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
26 25 0:23 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
27 25 0:24 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
";

    #[test]
    fn the_unified_mount_of_a_hybrid_host_is_found() {
        let found = Hierarchy::parse(HYBRID).unwrap();
        assert_eq!(found.mount_point, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(found.mounted, Path::new("/"));
    }

    #[test]
    fn a_host_without_cgroup_v2_has_none() {
        assert_eq!(
            Hierarchy::parse("26 25 0:23 / /c rw - cgroup cgroup rw,pids\n"),
            None
        );
        assert_eq!(Hierarchy::parse("garbage\n"), None);
    }

    #[test]
    fn depth_counts_what_is_mounted_and_what_is_below() {
        assert_eq!(names(Path::new("/")), 0);
        assert_eq!(names(Path::new("/system.slice/docker-1.scope")), 2);
    }

    #[test]
    fn a_root_outside_the_mount_is_refused() {
        let found = Hierarchy::parse(HYBRID).unwrap();
        let error = found.root(Some(Path::new("/tmp"))).unwrap_err();
        assert!(matches!(error, CgroupError::NotACgroup { .. }), "{error}");
    }
}
