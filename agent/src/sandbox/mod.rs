//! What `cordon run` puts around a command besides the cgroup: namespaces, hidden mounts, a system
//! call filter. It closes what cgroup hooks cannot see, on every kernel.
//!
//! A part of it that cannot be had stops the start. What it leaves open is said in
//! [`coverage`](crate::job::coverage).

pub mod confine;
pub mod descriptors;
pub mod filter;
pub mod init;
pub mod link;
pub mod mounts;
pub mod sockets;

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use self::confine::Confined;
use self::descriptors::Verdict;
use self::filter::Judges;
use self::mounts::{Cover, Mount};
use crate::sys::fs::{self, FileError};
use crate::sys::seccomp::{self, Filter};
use crate::sys::spawn::Account;
use crate::sys::{descriptors as open, privilege, terminal};

/// Everything init needs to know.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub struct Plan {
    /// The job's cgroup.
    pub cgroup: PathBuf,
    /// Who runs the command; `None` is the caller.
    pub account: Option<Account>,
    /// What changes in its mounts.
    pub mounts: Vec<Mount>,
    /// Sockets of daemons, and directories of them, that are covered as well.
    pub hidden: Vec<Mount>,
    /// The command gets a process group of its own. Without a terminal, always: `kill(0)` reaches
    /// the whole group, also outside the namespace.
    pub own_group: bool,
    /// What judges its sockets.
    pub judges: Judges,
    /// What its processes are limited by, besides that cgroup.
    pub limited: Limited,
    /// What its environment has besides the caller's; without a value, what it has not.
    #[serde(default)]
    pub environment: Vec<(String, Option<String>)>,
    /// What its profiles take away besides.
    pub confined: Confined,
}

/// Limits that init has a part in.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Limited {
    /// Cgroups of v1 that the job's processes are in as well.
    pub groups: Vec<PathBuf>,
    /// Files each process may have open.
    pub open_files: Option<u64>,
    /// When the job's time is over, boot time in ns.
    pub deadline: Option<u64>,
}

impl Plan {
    /// For a job of this host, as it is now.
    ///
    /// # Errors
    /// Mounts cannot be read.
    pub fn new(cgroup: &Path, account: Option<Account>, judges: Judges) -> Result<Self, FileError> {
        let mountinfo = fs::read_to_string(Path::new("/proc/self/mountinfo"), 16 << 20)?;
        // A kernel without Unix sockets has no such file, and nothing to hide.
        let unix = fs::read(Path::new("/proc/net/unix"), 64 << 20).unwrap_or_default();
        let mut hidden = outside_sockets(&String::from_utf8_lossy(&unix));
        hidden.sort();
        hidden.dedup();
        let mut mounts = mounts::changes(&mountinfo);
        if account
            .as_ref()
            .map_or_else(privilege::is_root, Account::is_root)
        {
            mounts.extend(mounts::sealed_for_root(&mountinfo, &mounts));
        }
        Ok(Self {
            cgroup: cgroup.to_owned(),
            account,
            mounts,
            hidden,
            own_group: !terminal::is_controlling(),
            judges,
            limited: Limited::default(),
            environment: Vec::new(),
            confined: Confined::default(),
        })
    }
}

/// A job that was not started because of what would have been inherited.
#[derive(Debug, thiserror::Error)]
pub enum InheritedError {
    /// They cannot be listed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A standard stream that must not be a job's.
    #[error("{0}")]
    Stream(String),
    /// One that cannot be kept back.
    #[error("descriptor {number} cannot be kept from the job")]
    Withhold {
        /// Which.
        number: i32,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Keeps from a job what cordon inherited and is not known to be harmless.
///
/// # Errors
/// A standard stream is not, or one cannot be kept back.
pub fn withhold_inherited() -> Result<(), InheritedError> {
    for descriptor in open::inherited()? {
        match descriptor.verdict() {
            Verdict::Keep => {}
            Verdict::Refuse => return Err(InheritedError::Stream(descriptor.refusal())),
            Verdict::Withhold => {
                let number = descriptor.number;
                open::withhold(number)
                    .map_err(|source| InheritedError::Withhold { number, source })?;
                tracing::debug!(number, target = %descriptor.target.display(), "withheld");
            }
        }
    }
    Ok(())
}

/// Covers for the daemons' sockets there are.
fn outside_sockets(unix: &str) -> Vec<Mount> {
    let mut paths = Vec::new();
    for pattern in sockets::usual() {
        match sockets::split(pattern) {
            Err(path) => paths.push(path.to_owned()),
            Ok((directory, rest)) => {
                let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
                paths.extend(entries.map(|entry| entry.path().join(rest)));
            }
        }
    }
    paths.extend(sockets::named(unix));
    paths.iter().flat_map(|path| covers(path)).collect()
}

/// What hides one path, if there is something there.
fn covers(path: &Path) -> Vec<Mount> {
    // Links are followed: what counts is the socket at their end.
    let Ok(real) = path.canonicalize() else {
        return Vec::new();
    };
    let Ok(metadata) = real.metadata() else {
        return Vec::new();
    };
    let null = |at| Mount {
        at,
        what: Cover::Null,
    };
    if metadata.file_type().is_socket() {
        return vec![null(real)];
    }
    if !metadata.is_dir() {
        return Vec::new();
    }
    if real == path {
        return vec![Mount {
            at: real,
            what: Cover::Empty,
        }];
    }
    // Where a link leads is up to who made it: never a whole directory of somebody else's choice.
    let entries = std::fs::read_dir(&real).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()))
        .map(|entry| null(entry.path()))
        .collect()
}

/// What a part of the sandbox said when it was tried.
#[derive(Debug)]
pub struct Probed {
    /// Which part.
    pub part: &'static str,
    /// Whether it works here, or why not.
    pub works: Result<(), String>,
}

/// Tries each part by doing it, on threads that end with it.
#[must_use]
pub fn probe() -> Vec<Probed> {
    use nix::sched::{CloneFlags, unshare};
    let namespace = |part, flag: CloneFlags| Probed {
        part,
        works: on_thread(move || unshare(flag).map_err(|errno| errno.to_string())),
    };
    vec![
        namespace("pid namespace", CloneFlags::CLONE_NEWPID),
        namespace("ipc namespace", CloneFlags::CLONE_NEWIPC),
        namespace("mount namespace", CloneFlags::CLONE_NEWNS),
        namespace("uts namespace", CloneFlags::CLONE_NEWUTS),
        Probed {
            part: "seccomp",
            works: on_thread(probe_filter),
        },
    ]
}

fn probe_filter() -> Result<(), String> {
    let strictest = Judges {
        lsm: false,
        any_unix: false,
        root: true,
    };
    nix::sys::prctl::set_no_new_privs().map_err(|errno| errno.to_string())?;
    let filter = Filter::new(&filter::program(strictest));
    filter.install().map_err(|error| error.to_string())?;
    match seccomp::refused_call() {
        error if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
        error => Err(format!("installed, and a refused call still says: {error}")),
    }
}

fn on_thread(act: impl FnOnce() -> Result<(), String> + Send) -> Result<(), String> {
    std::thread::scope(|scope| scope.spawn(act).join())
        .unwrap_or_else(|_panic| Err("could not be tried".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_socket_at_the_end_of_a_link_is_covered() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let (socket, link) = (dir.join("engine"), dir.join("docker.sock"));
        let _listener = UnixListener::bind(&socket).unwrap();
        symlink(&socket, &link).unwrap();
        let expected = Mount {
            at: socket,
            what: Cover::Null,
        };
        assert_eq!(covers(&link), [expected]);
    }

    #[test]
    fn a_link_does_not_choose_a_directory_to_cover() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let (real, link) = (dir.join("real"), dir.join("podman"));
        std::fs::create_dir(&real).unwrap();
        symlink(&real, &link).unwrap();
        assert_eq!(covers(&link), []);
        let _listener = UnixListener::bind(real.join("sock")).unwrap();
        let expected = Mount {
            at: real.join("sock"),
            what: Cover::Null,
        };
        assert_eq!(covers(&link), [expected]);
        let whole = Mount {
            at: real.clone(),
            what: Cover::Empty,
        };
        assert_eq!(covers(&real), [whole]);
    }

    #[test]
    fn what_is_not_there_needs_no_cover() {
        assert_eq!(covers(Path::new("/nonexistent/docker.sock")), []);
        assert_eq!(covers(Path::new("/dev/null")), []);
    }

    #[test]
    fn a_filter_is_tried_by_installing_it() {
        // Unprivileged, as tests may be: a filter needs no capability then.
        assert_eq!(on_thread(probe_filter), Ok(()));
    }
}
