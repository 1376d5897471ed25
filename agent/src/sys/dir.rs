//! A directory held open: what happens in it cannot be moved elsewhere by renaming or linking the
//! path it was opened under.
//!
//! **Invariants**: no symbolic link is followed, neither for the directory itself nor for a name
//! in it; nothing that exists is written over, except by [`Directory::replace`]
//! and [`Directory::rename`].

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2, renameat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use super::fs::FileError;

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    handle: File,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory that exists.
    ///
    /// # Errors
    /// It is not there, is not a directory, or its last component is a symbolic link.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        // A trailing slash would make the kernel follow a link in the last component.
        let path: PathBuf = path.components().collect();
        OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits())
            .open(&path)
            .map_err(FileError::on("open directory", &path))
            .map(|handle| Self { handle, path })
    }

    /// Opens a directory, making it (with these permission bits) and its parents where missing.
    ///
    /// # Errors
    /// As [`Self::open`], and where one of them cannot be made.
    pub fn open_or_create(path: &Path, mode: u32) -> Result<Self, FileError> {
        let path: PathBuf = path.components().collect();
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            super::fs::create_dir_all(parent)?;
        }
        match std::fs::DirBuilder::new().mode(mode).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(FileError::on("create directory", &path)(error))
            }
            _ => Self::open(&path),
        }
    }

    /// The path it was opened under.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the directory for this process until it is dropped; `false` if another has it.
    ///
    /// # Errors
    /// The file system has no locks.
    pub fn try_lock(&self) -> Result<bool, FileError> {
        match self.handle.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(FileError::on("lock", &self.path)(error)),
        }
    }

    /// Whether there is something of this name, be it a dangling link.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn contains(&self, name: &str) -> Result<bool, FileError> {
        match fstatat(&self.handle, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(self.error("look up", name, errno)),
        }
    }

    /// Whether the path it was opened under still leads to it.
    ///
    /// # Errors
    /// The directory cannot be examined.
    pub fn is_at_its_path(&self) -> Result<bool, FileError> {
        let here = self
            .handle
            .metadata()
            .map_err(FileError::on("examine", &self.path))?;
        Ok(std::fs::symlink_metadata(&self.path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (here.dev(), here.ino())))
    }

    /// Reads a regular file of at most `limit` bytes.
    ///
    /// # Errors
    /// It is missing, a link, no regular file, larger than `limit`, or cannot be read.
    pub fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, FileError> {
        super::fs::read_regular(self.open_file(name)?, &self.path.join(name), limit)
    }

    /// Opens a file for reading, without waiting for anything.
    ///
    /// # Errors
    /// It is missing, a link, or may not be read.
    pub fn open_file(&self, name: &str) -> Result<File, FileError> {
        // Not blocking, because a pipe of that name would otherwise hold the reader for ever.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        openat(&self.handle, name, flags, Mode::empty())
            .map(File::from)
            .map_err(|errno| self.error("open", name, errno))
    }

    /// Reads a regular file of at most `limit` bytes somewhere below the directory.
    ///
    /// # Errors
    /// As [`Self::read`]; also where a link is on the way, or the path leads out.
    pub fn read_below(&self, path: &str, limit: u64) -> Result<Vec<u8>, FileError> {
        super::fs::read_regular(self.open_below(path)?, &self.path.join(path), limit)
    }

    /// Hands over a regular file of at most `limit` bytes somewhere below the directory, piece by piece, and
    /// says how long it is.
    ///
    /// # Errors
    /// As [`Self::read_below`].
    pub fn stream_below(
        &self,
        path: &str,
        limit: u64,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<u64, FileError> {
        super::fs::stream_regular(self.open_below(path)?, &self.path.join(path), limit, take)
    }

    fn open_below(&self, path: &str) -> Result<File, FileError> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
            .resolve(
                ResolveFlag::RESOLVE_BENEATH
                    | ResolveFlag::RESOLVE_NO_SYMLINKS
                    | ResolveFlag::RESOLVE_NO_MAGICLINKS,
            );
        openat2(&self.handle, path, how)
            .map(File::from)
            .map_err(|errno| self.error("open", path, errno))
    }

    /// Writes a new file whole or not at all, on disk when this returns.
    ///
    /// # Errors
    /// Something of that name exists (`AlreadyExists`), or a step failed; then there is no file.
    pub fn publish(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), FileError> {
        self.publish_by(name, |temporary| self.write_new(temporary, bytes, mode))
    }

    /// Gives what is written under a name of its own the name it is meant to have, if that is free.
    fn publish_by(
        &self,
        name: &str,
        write: impl FnOnce(&str) -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        let temporary = format!(".{name}.new-{}", std::process::id());
        let written = write(&temporary).and_then(|()| self.link(&temporary, name));
        // Its content is under its own name by now, or failed; either way this one has had its use,
        // and a file that was never made cannot be removed.
        let removed = self.remove(&temporary);
        written?;
        removed?;
        self.handle
            .sync_all()
            .map_err(FileError::on("sync", &self.path))
    }

    /// Copies a file into the directory, whole or not at all, on disk when this returns.
    ///
    /// # Errors
    /// As [`Self::publish`], and where `from` cannot be read.
    pub fn publish_copy(
        &self,
        name: &str,
        from: &mut impl Read,
        mode: u32,
    ) -> Result<(), FileError> {
        self.publish_by(name, |temporary| self.copy_new(temporary, from, mode))
    }

    /// Writes a file whole or not at all, on disk when this returns, in place of what has its name.
    /// The caller keeps others from doing the same at once ([`try_lock`](Self::try_lock)).
    ///
    /// # Errors
    /// A step failed; then the old content, if there was any, is still there.
    pub fn replace(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), FileError> {
        let temporary = format!(".{name}.new-{}", std::process::id());
        let written = self.write_new(&temporary, bytes, mode).and_then(|()| {
            renameat(&self.handle, temporary.as_str(), &self.handle, name)
                .map_err(|errno| self.error("rename into place", name, errno))
        });
        if written.is_err() {
            // The error that matters is the first one; a file that was never made cannot be removed.
            drop(self.remove(&temporary));
            return written;
        }
        self.handle
            .sync_all()
            .map_err(FileError::on("sync", &self.path))
    }

    /// Removes a file.
    ///
    /// # Errors
    /// It is not there, or may not be removed.
    pub fn remove(&self, name: &str) -> Result<(), FileError> {
        unlinkat(&self.handle, name, UnlinkatFlags::NoRemoveDir)
            .map_err(|errno| self.error("remove", name, errno))
    }

    /// Gives a file a second name that no other file has, on disk when this returns.
    ///
    /// # Errors
    /// Something of that name exists (`AlreadyExists`), or there is no such file.
    pub fn link_to(&self, from: &str, to: &str) -> Result<(), FileError> {
        self.link(from, to)?;
        self.handle
            .sync_all()
            .map_err(FileError::on("sync", &self.path))
    }

    /// Puts a file in the place of another, at once and whole, on disk when this returns.
    ///
    /// # Errors
    /// It is not there, or may not be moved.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), FileError> {
        renameat(&self.handle, from, &self.handle, to)
            .map_err(|errno| self.error("rename into place", to, errno))?;
        self.handle
            .sync_all()
            .map_err(FileError::on("sync", &self.path))
    }

    fn write_new(&self, name: &str, bytes: &[u8], mode: u32) -> Result<(), FileError> {
        let mut file = self.create(name, mode)?;
        let path = self.path.join(name);
        file.write_all(bytes)
            .map_err(FileError::on("write", &path))?;
        file.sync_all().map_err(FileError::on("sync", &path))
    }

    fn copy_new(&self, name: &str, from: &mut impl Read, mode: u32) -> Result<(), FileError> {
        let mut file = self.create(name, mode)?;
        let path = self.path.join(name);
        io::copy(from, &mut file).map_err(FileError::on("copy to", &path))?;
        file.sync_all().map_err(FileError::on("sync", &path))
    }

    fn create(&self, name: &str, mode: u32) -> Result<File, FileError> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.handle, name, flags, Mode::from_bits_truncate(mode))
            .map(File::from)
            .map_err(|errno| self.error("create", name, errno))
    }

    /// Gives a file its second name. Unlike a rename, this cannot replace a file.
    fn link(&self, from: &str, to: &str) -> Result<(), FileError> {
        linkat(&self.handle, from, &self.handle, to, AtFlags::empty())
            .map_err(|errno| self.error("create", to, errno))
    }

    fn error(&self, operation: &'static str, name: &str, errno: Errno) -> FileError {
        FileError::on(operation, self.path.join(name))(errno.into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_directory_behind_a_link_is_not_opened_not_even_with_a_slash() {
        let base = tempfile::tempdir().unwrap();
        let link = base.path().join("link");
        symlink(base.path(), &link).unwrap();
        Directory::open(&link).unwrap_err();
        Directory::open(&base.path().join("link/")).unwrap_err();
        Directory::open_or_create(&link, 0o755).unwrap_err();
    }

    #[test]
    fn a_published_file_is_whole_alone_and_never_replaced() {
        let base = tempfile::tempdir().unwrap();
        let dir = Directory::open_or_create(&base.path().join("a/b"), 0o755).unwrap();
        dir.publish("file", b"one", 0o644).unwrap();
        let error = dir.publish("file", b"two", 0o644).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(dir.read("file", 3).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_replaced_file_is_whole_and_a_failure_leaves_the_old_one_alone() {
        let base = tempfile::tempdir().unwrap();
        let dir = Directory::open(base.path()).unwrap();
        symlink("elsewhere", base.path().join("file")).unwrap();
        for content in [b"one", b"two"] {
            dir.replace("file", content, 0o600).unwrap();
            assert_eq!(dir.read("file", 3).unwrap(), content);
        }
        assert!(!base.path().join("elsewhere").exists());
        std::fs::create_dir(base.path().join("taken")).unwrap();
        dir.replace("taken", b"new", 0o600).unwrap_err();
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 2);
    }

    #[test]
    fn reading_refuses_links_pipes_and_large_files() {
        let base = tempfile::tempdir().unwrap();
        let dir = Directory::open(base.path()).unwrap();
        dir.publish("file", b"four", 0o644).unwrap();
        symlink("file", base.path().join("link")).unwrap();
        nix::unistd::mkfifo(&base.path().join("pipe"), Mode::S_IRWXU).unwrap();
        dir.read("link", 9).unwrap_err();
        dir.read("pipe", 9).unwrap_err();
        let error = dir.read("file", 3).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn reading_below_follows_no_link_and_does_not_leave() {
        let base = tempfile::tempdir().unwrap();
        let dir = Directory::open_or_create(&base.path().join("dir"), 0o755).unwrap();
        let sub = Directory::open_or_create(&base.path().join("dir/sub"), 0o755).unwrap();
        sub.publish("file", b"four", 0o644).unwrap();
        symlink("sub", base.path().join("dir/link")).unwrap();
        symlink("file", base.path().join("dir/sub/link")).unwrap();
        assert_eq!(dir.read_below("sub/file", 4).unwrap(), b"four");
        for path in [
            "sub/file/",
            "link/file",
            "sub/link",
            "../dir/sub/file",
            "/etc/passwd",
            "sub",
        ] {
            dir.read_below(path, 9).unwrap_err();
        }
        dir.read_below("sub/file", 3).unwrap_err();
    }

    #[test]
    fn writing_goes_to_the_opened_directory_wherever_its_path_leads_now() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("evidence");
        let dir = Directory::open_or_create(&path, 0o755).unwrap();
        assert!(dir.is_at_its_path().unwrap());
        std::fs::rename(&path, base.path().join("moved")).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(!dir.is_at_its_path().unwrap());
        dir.publish("file", b"x", 0o644).unwrap();
        assert!(base.path().join("moved/file").exists());
        assert!(!path.join("file").exists());
    }

    #[test]
    fn a_locked_directory_is_not_locked_twice() {
        let base = tempfile::tempdir().unwrap();
        let first = Directory::open(base.path()).unwrap();
        let second = Directory::open(base.path()).unwrap();
        assert!(first.try_lock().unwrap());
        assert!(!second.try_lock().unwrap());
        drop(first);
        assert!(second.try_lock().unwrap());
    }
}
