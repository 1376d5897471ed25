//! Where programs and maps outlive cordon: a directory in bpffs.
//!
//! The directory's name says what it holds: cgroup ids of root and slice, and the digest of the
//! [layout](super::layout) of the maps. An agent with another layout, or a slice made anew, has
//! another directory; no agent ever adopts maps of a layout it does not know. Which BPF object's
//! programs run is said inside, by the name of a marker, because it changes with an upgrade.
//!
//! bpffs takes no regular files: markers are empty directories.

use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::layout::LayoutDigest;
use crate::sys::fs::{self, FileError};

/// Marker: everything of the object with this digest is pinned.
const LOADED: &str = "object_";
/// Marker: everything is pinned, and programs are being replaced by those of this object.
const UPGRADING: &str = "upgrade_";
/// Marker: this hook has a link here.
const HOOK: &str = "hook_";
/// A link that takes the place of another at the next rename.
const NEXT: &str = "_next";

/// The pins of one loaded object.
#[derive(Clone, Debug)]
pub struct Pins {
    path: PathBuf,
}

/// What a directory of pins holds, by its markers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Held {
    /// There is none.
    Nothing,
    /// Its loader did not come to the end. Nothing was released under it.
    HalfMade,
    /// All of this object.
    Loaded {
        /// SHA-256, hex.
        object: String,
    },
    /// Programs of two objects: an upgrade to this one did not come to the end.
    Upgrading {
        /// SHA-256, hex.
        object: String,
    },
}

impl Held {
    /// From the names in the directory.
    fn from_names(names: &[String]) -> Self {
        let marked = |prefix: &str| {
            let mut found = names.iter().filter_map(|name| name.strip_prefix(prefix));
            found.next().map(str::to_owned)
        };
        match (marked(UPGRADING), marked(LOADED)) {
            (Some(object), _) => Self::Upgrading { object },
            (None, Some(object)) => Self::Loaded { object },
            (None, None) => Self::HalfMade,
        }
    }
}

impl Pins {
    /// The directory for this root, slice and layout. Mounts bpffs if nothing is mounted there.
    ///
    /// # Errors
    /// bpffs is not there and cannot be mounted.
    pub fn open(
        bpffs: &Path,
        root: u64,
        slice: u64,
        layout: &LayoutDigest,
    ) -> Result<Self, FileError> {
        ensure_bpffs(bpffs)?;
        let path = bpffs
            .join("cordon")
            .join(format!("{root}-{slice}-{layout}"));
        Ok(Self { path })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the link of a program is pinned.
    #[must_use]
    pub fn link(&self, program: &str) -> PathBuf {
        self.path.join(format!("link_{program}"))
    }

    /// Where the link that is to take its place is pinned.
    #[must_use]
    pub fn next_link(&self, program: &str) -> PathBuf {
        self.path.join(format!("link_{program}{NEXT}"))
    }

    /// Where a map is pinned.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.path.join(format!("map_{name}"))
    }

    /// What the markers say.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn held(&self) -> Result<Held, FileError> {
        if !self.path.exists() {
            return Ok(Held::Nothing);
        }
        Ok(Held::from_names(&self.names()?))
    }

    /// The hooks that were attached by who loaded the programs.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn hooks(&self) -> Result<Vec<String>, FileError> {
        let names = self.names()?;
        let hooks = names.iter().filter_map(|name| name.strip_prefix(HOOK));
        Ok(hooks.map(str::to_owned).collect())
    }

    /// Says that a hook has its link here.
    ///
    /// # Errors
    /// The marker cannot be made.
    pub fn mark_hook(&self, program: &str) -> Result<(), FileError> {
        fs::create_dir_all(&self.path.join(format!("{HOOK}{program}")))
    }

    /// Removes the link of a hook that no program is for any more.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn forget_hook(&self, program: &str) -> Result<(), FileError> {
        remove_if_there(&self.link(program))?;
        let marker = self.path.join(format!("{HOOK}{program}"));
        std::fs::remove_dir(&marker).map_err(FileError::on("unpin", marker))
    }

    /// Puts the next link of a program in the place of its link, in one step.
    ///
    /// # Errors
    /// It cannot be renamed; the old link stays.
    pub fn swap_link(&self, program: &str) -> Result<(), FileError> {
        let next = self.next_link(program);
        std::fs::rename(&next, self.link(program)).map_err(FileError::on("rename", next))
    }

    /// Removes a next link that an interrupted upgrade left.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn forget_next_link(&self, program: &str) -> Result<(), FileError> {
        remove_if_there(&self.next_link(program))
    }

    /// Says that everything of an object is pinned.
    ///
    /// # Errors
    /// The marker cannot be made.
    pub fn mark_loaded(&self, object: &str) -> Result<(), FileError> {
        fs::create_dir_all(&self.path.join(format!("{LOADED}{object}")))
    }

    /// Says that programs are about to be replaced by those of an object.
    ///
    /// # Errors
    /// The marker cannot be renamed.
    pub fn begin_upgrade(&self, object: &str) -> Result<(), FileError> {
        let to = self.path.join(format!("{UPGRADING}{object}"));
        for from in self.markers()? {
            if from != to {
                std::fs::rename(&from, &to).map_err(FileError::on("rename", from))?;
            }
        }
        Ok(())
    }

    /// Says that all programs are those of an object.
    ///
    /// # Errors
    /// The marker cannot be renamed.
    pub fn end_upgrade(&self, object: &str) -> Result<(), FileError> {
        let to = self.path.join(format!("{LOADED}{object}"));
        for from in self.markers()? {
            if from != to {
                std::fs::rename(&from, &to).map_err(FileError::on("rename", from))?;
            }
        }
        Ok(())
    }

    /// Makes the directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(&self) -> Result<(), FileError> {
        fs::create_dir_all(&self.path)
    }

    /// Gives the directory another name, under which [`Pins::others`] finds it: what is pinned in it
    /// stays attached until something better is.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn set_aside(&self) -> Result<(), FileError> {
        for number in 0..u32::MAX {
            let mut name = self.path.as_os_str().to_owned();
            name.push(format!("-stale{number}"));
            let aside = PathBuf::from(name);
            if !aside.exists() {
                return std::fs::rename(&self.path, &aside)
                    .map_err(FileError::on("rename", &self.path));
            }
        }
        Ok(())
    }

    fn markers(&self) -> Result<Vec<PathBuf>, FileError> {
        let names = self.names()?;
        let is_marker = |name: &&String| name.starts_with(LOADED) || name.starts_with(UPGRADING);
        let markers = names.iter().filter(is_marker);
        Ok(markers.map(|name| self.path.join(name)).collect())
    }

    fn names(&self) -> Result<Vec<String>, FileError> {
        let entries = std::fs::read_dir(&self.path).map_err(FileError::on("list", &self.path))?;
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Directories of the same root that are not this one: another layout, or an older slice.
    ///
    /// # Errors
    /// The parent cannot be read.
    pub fn others(&self, root: u64) -> Result<Vec<Self>, FileError> {
        let Some(parent) = self.path.parent() else {
            return Ok(Vec::new());
        };
        let entries = match std::fs::read_dir(parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(FileError::on("list", parent))?,
        };
        let prefix = format!("{root}-");
        let mut others = Vec::new();
        for entry in entries {
            let entry = entry.map_err(FileError::on("list", parent))?;
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with(&prefix) && path != self.path {
                others.push(Self { path });
            }
        }
        Ok(others)
    }

    /// Unpins everything. Programs whose links are pinned nowhere else are detached by this.
    ///
    /// # Errors
    /// A pin cannot be removed; the others are removed nevertheless.
    pub fn remove(&self) -> Result<(), FileError> {
        let mut first_error = None;
        let entries = match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(FileError::on("list", &self.path))?,
        };
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            let removed = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                std::fs::remove_dir(&path)
            } else {
                std::fs::remove_file(&path)
            };
            if let Err(error) = removed.map_err(FileError::on("unpin", &path)) {
                first_error.get_or_insert(error);
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        std::fs::remove_dir(&self.path).map_err(FileError::on("remove", &self.path))?;
        if let Some(parent) = self.path.parent() {
            // Other roots may have pins beside ours; then the parent stays.
            let _still_used = std::fs::remove_dir(parent);
        }
        Ok(())
    }
}

fn remove_if_there(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(FileError::on("unpin", path)),
    }
}

fn ensure_bpffs(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path)?;
    let kind = statfs(path)
        .map_err(io::Error::from)
        .map_err(FileError::on("look at", path))?;
    if kind.filesystem_type() == BPF_FS_MAGIC {
        return Ok(());
    }
    mount(
        Some("bpf"),
        path,
        Some("bpf"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=700"),
    )
    .map_err(io::Error::from)
    .map_err(FileError::on("mount bpffs on", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(names: &[&str]) -> Held {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        Held::from_names(&names)
    }

    #[test]
    fn what_a_killed_loader_left_is_half_made() {
        assert_eq!(held(&[]), Held::HalfMade);
        assert_eq!(
            held(&["link_egress", "map_JOBS", "hook_egress"]),
            Held::HalfMade
        );
    }

    #[test]
    fn an_upgrade_counts_until_its_marker_has_its_last_name() {
        let object = "ab".to_owned();
        assert_eq!(
            held(&["map_JOBS", "upgrade_ab"]),
            Held::Upgrading {
                object: object.clone()
            }
        );
        assert_eq!(held(&["map_JOBS", "object_ab"]), Held::Loaded { object });
    }

    #[test]
    fn markers_follow_an_upgrade_and_a_second_attempt() {
        let base = tempfile::tempdir().unwrap();
        let pins = Pins {
            path: base.path().join("pins"),
        };
        assert_eq!(pins.held().unwrap(), Held::Nothing);
        pins.create().unwrap();
        pins.mark_loaded("one").unwrap();
        pins.begin_upgrade("two").unwrap();
        // The second attempt is by a third object.
        pins.begin_upgrade("three").unwrap();
        let object = "three".to_owned();
        assert_eq!(
            pins.held().unwrap(),
            Held::Upgrading {
                object: object.clone()
            }
        );
        pins.end_upgrade("three").unwrap();
        assert_eq!(pins.held().unwrap(), Held::Loaded { object });
        assert_eq!(pins.names().unwrap().len(), 1);
    }
}
