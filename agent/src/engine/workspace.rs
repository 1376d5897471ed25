//! Directories of the host that containers of a job may mount.
//!
//! Root in a container has root's rights over what it mounts, so a directory of somebody else is none. Where a path
//! leads is what the engine sees there: the daemon may have another view of the file system than the host has.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};

use cordon_engine::passport::Workspace;
use nix::fcntl::{OFlag, openat};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::stat::Mode;

use super::EngineError;
use crate::sys::privilege;

/// What of the host a job's containers may mount.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mounts {
    /// The directory that this process is in, if it is the user's own.
    Here {
        /// The user that the command runs as; without one, this process's.
        user: Option<u32>,
    },
    /// Directories that the host's owner named. Each must be the user's own.
    Named {
        /// Which.
        paths: Vec<PathBuf>,
        /// The user that the runner is.
        user: u32,
    },
}

impl Mounts {
    /// What they are now. `socket` is the engine's.
    ///
    /// # Errors
    /// One that was named cannot be mounted.
    pub fn find(&self, socket: &Path) -> Result<Vec<Workspace>, EngineError> {
        match self {
            Self::Here { user } => Ok(here(user.unwrap_or_else(privilege::uid))),
            Self::Named { paths, .. } if paths.is_empty() => Ok(Vec::new()),
            Self::Named { paths, user } => named(paths, *user, socket),
        }
    }
}

/// Whether a path can be one: absolute, as it is written, and not so near the root that it holds whole parts of the
/// host.
#[must_use]
pub fn is_workspace(path: &Path) -> bool {
    // `Path` leaves out some dots by itself.
    let plain = !path
        .as_os_str()
        .as_encoded_bytes()
        .split(|byte| *byte == b'/')
        .any(|part| part == b"." || part == b"..");
    let mut parts = path.components();
    let absolute = parts.next() == Some(Component::RootDir);
    absolute
        && plain
        && parts.count() >= 2
        && path.to_str().is_some_and(|text| !text.contains('\0'))
}

fn here(user: u32) -> Vec<Workspace> {
    let Ok(path) = std::env::current_dir().and_then(std::fs::canonicalize) else {
        return Vec::new();
    };
    let Ok(metadata) = path.metadata() else {
        return Vec::new();
    };
    if !is_workspace(&path) || metadata.uid() != user {
        return Vec::new();
    }
    workspace(&path, &metadata).into_iter().collect()
}

fn workspace(path: &Path, metadata: &std::fs::Metadata) -> Option<Workspace> {
    Some(Workspace {
        path: path.to_str()?.to_owned(),
        device: metadata.dev(),
        inode: metadata.ino(),
    })
}

fn named(paths: &[PathBuf], user: u32, socket: &Path) -> Result<Vec<Workspace>, EngineError> {
    let root = root_of_engine(socket).map_err(|error| EngineError::Unfit {
        socket: socket.to_owned(),
        why: format!("what it sees of the host's directories cannot be found out: {error}"),
    })?;
    let mut found = Vec::new();
    for path in paths {
        let refused = |why: String| EngineError::Workspace {
            path: path.clone(),
            why,
        };
        let metadata = open(&root, path)
            .and_then(|directory| directory.metadata())
            .map_err(|error| match error.raw_os_error() {
                Some(libc::ENOTDIR) => refused(
                    "it is no directory, or leads through a symbolic link; name the directory itself".to_owned(),
                ),
                _ => refused(error.to_string()),
            })?;
        if metadata.uid() != user {
            return Err(refused(format!(
                "it belongs to user {}, and the runner is user {user}; root in a container would own what is in it",
                metadata.uid()
            )));
        }
        found.extend(workspace(path, &metadata));
    }
    Ok(found)
}

/// The root directory of whoever listens at a socket: the engine, or the service manager for it.
fn root_of_engine(socket: &Path) -> io::Result<File> {
    let stream = UnixStream::connect(socket)?;
    let engine = getsockopt(&stream, PeerCredentials)?.pid();
    if engine <= 0 {
        return Err(io::Error::other("it is in another pid namespace"));
    }
    File::options()
        .read(true)
        .custom_flags((OFlag::O_PATH | OFlag::O_DIRECTORY).bits())
        .open(format!("/proc/{engine}/root"))
}

/// A directory below a root, by a path without links: part by part, because a service whose system calls are filtered has
/// no `openat2`.
fn open(root: &File, path: &Path) -> io::Result<File> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut directory = root.try_clone()?;
    for part in path.components().skip(1) {
        directory = openat(&directory, part.as_os_str(), flags, Mode::empty())?.into();
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_is_a_plain_path_that_is_deep_enough() {
        for good in ["/srv/runner", "/srv/runner/_work", "/srv//runner/"] {
            assert!(is_workspace(Path::new(good)), "{good}");
        }
        for bad in [
            "",
            "/",
            "/srv",
            "/srv/",
            "/srv/.",
            "srv/runner",
            "/srv/../etc",
            "/srv/a/..",
            "/./srv/a",
            "/srv/a/.",
        ] {
            assert!(!is_workspace(Path::new(bad)), "{bad}");
        }
    }

    #[test]
    fn a_directory_of_somebody_else_and_one_behind_a_link_are_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = std::fs::canonicalize(directory.path()).unwrap();
        let socket = path.join("sock");
        let _listens = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let (own, link) = (path.join("own"), path.join("link"));
        std::fs::create_dir(&own).unwrap();
        std::os::unix::fs::symlink(&own, &link).unwrap();
        let user = own.metadata().unwrap().uid();
        let find = |path: &Path, user| {
            let paths = vec![path.to_owned()];
            Mounts::Named { paths, user }.find(&socket)
        };
        let found = find(&own, user).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].inode, own.metadata().unwrap().ino());
        let of_another = find(&own, user.wrapping_add(1)).unwrap_err().to_string();
        assert!(of_another.contains("belongs to user"), "{of_another}");
        let linked = find(&link, user).unwrap_err().to_string();
        assert!(linked.contains("symbolic link"), "{linked}");
        find(&path.join("none"), user).unwrap_err();
        // It is a file.
        find(&socket, user).unwrap_err();
    }
}
