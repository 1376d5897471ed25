//! Where programs and maps outlive cordon: a directory in bpffs.
//!
//! The directory's name says what it holds: cgroup ids of root and slice, and the digest of the BPF
//! object. An agent with another object, or a slice made anew, has another directory; no agent ever
//! adopts maps of a layout it does not know.

use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::sys::fs::{self, FileError};

/// The pins of one loaded object.
#[derive(Clone, Debug)]
pub struct Pins {
    path: PathBuf,
}

impl Pins {
    /// The directory for this root, slice and object. Mounts bpffs if nothing is mounted there.
    ///
    /// # Errors
    /// bpffs is not there and cannot be mounted.
    pub fn open(
        bpffs: &Path,
        root: u64,
        slice: u64,
        object_sha256: &str,
    ) -> Result<Self, FileError> {
        ensure_bpffs(bpffs)?;
        let object = object_sha256.get(..16).unwrap_or(object_sha256);
        let path = bpffs
            .join("cordon")
            .join(format!("{root}-{slice}-{object}"));
        Ok(Self { path })
    }

    /// Where the link of a program is pinned.
    #[must_use]
    pub fn link(&self, program: &str) -> PathBuf {
        self.path.join(format!("link_{program}"))
    }

    /// Where a map is pinned.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.path.join(format!("map_{name}"))
    }

    /// Whether the object was loaded whole: the marker is made last.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.marker().is_dir()
    }

    /// Says that everything is pinned.
    ///
    /// # Errors
    /// The marker cannot be made.
    pub fn mark_complete(&self) -> Result<(), FileError> {
        fs::create_dir_all(&self.marker())
    }

    /// Makes the directory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(&self) -> Result<(), FileError> {
        fs::create_dir_all(&self.path)
    }

    fn marker(&self) -> PathBuf {
        self.path.join("complete")
    }

    /// Directories of the same root that are not this one: another object, or an older slice.
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
