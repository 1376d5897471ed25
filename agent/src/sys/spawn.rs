//! Starting a process inside a job: between fork and exec, where the kernel takes it into the
//! cgroup before it has run one instruction of its own.

#![expect(
    unsafe_code,
    reason = "code between fork and exec, and raw descriptors there"
)]

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, connect, sendto, socket,
};
use nix::unistd::{Gid, Uid, User, initgroups, setgid, setuid};

use super::fs::{self, FileError};
use super::{bpf, privilege, signals};
use crate::cgroup::hierarchy;

/// Who a command runs as.
#[derive(Clone, Debug)]
pub struct Account {
    name: std::ffi::CString,
    uid: Uid,
    gid: Gid,
}

impl Account {
    /// An account of this host, by name or number.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn find(name: &str) -> Result<Self, FileError> {
        let path = Path::new("/etc/passwd");
        let user = match name.parse::<u32>() {
            Ok(uid) => User::from_uid(Uid::from_raw(uid)),
            Err(_) => User::from_name(name),
        };
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no user `{name}`"));
        let user = user
            .map_err(io::Error::from)
            .and_then(|user| user.ok_or_else(missing))
            .map_err(FileError::on("find the user in", path))?;
        let name = std::ffi::CString::new(user.name)
            .map_err(io::Error::from)
            .map_err(FileError::on("read", path))?;
        Ok(Self {
            name,
            uid: user.uid,
            gid: user.gid,
        })
    }

    /// Whether it is root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.uid.is_root()
    }
}

/// How a job's first process starts.
#[derive(Debug)]
pub struct Entry {
    procs: File,
    account: Option<Account>,
    control: ControlMounts,
}

impl Entry {
    /// Into this cgroup, as this account, out of reach of the mounts in `control`.
    ///
    /// # Errors
    /// The cgroup cannot be joined.
    pub fn new(
        cgroup: &Path,
        account: Option<Account>,
        control: ControlMounts,
    ) -> Result<Self, FileError> {
        Ok(Self {
            procs: open_procs(cgroup)?,
            account,
            control,
        })
    }

    /// Makes a command start this way.
    pub fn apply(self, command: &mut Command) {
        // SAFETY: the closure runs in the child of a fork, where only this thread exists. It makes
        // system calls and, through `caps` and `nix`, small allocations, which glibc keeps usable
        // after fork; it takes no lock of ours.
        unsafe { command.pre_exec(move || self.enter().map_err(|error| mark_entry(&error))) };
    }

    fn enter(&self) -> io::Result<()> {
        (&self.procs).write_all(b"0")?;
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none: Option<&str> = None;
        // What is mounted here must not show outside, nor the other way round.
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let sealed =
            MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        for path in &self.control.read_only {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | sealed;
            mount(none, path, none, flags, none)?;
        }
        for path in &self.control.hidden {
            mount(
                Some("cordon"),
                path,
                Some("tmpfs"),
                sealed,
                Some("size=4k,mode=000"),
            )?;
        }
        privilege::withhold().map_err(io::Error::other)?;
        if let Some(account) = &self.account {
            initgroups(&account.name, account.gid)?;
            setgid(account.gid)?;
            setuid(account.uid)?;
        }
        nix::sys::prctl::set_no_new_privs()?;
        signals::unblock_all()?;
        Ok(())
    }
}

/// Errors of entering come back from `spawn` beyond this number, so that they are not taken for
/// errors of the command itself.
const ENTRY: i32 = 500_000;

fn mark_entry(error: &io::Error) -> io::Error {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    io::Error::from_raw_os_error(ENTRY.saturating_add(errno))
}

/// The error of entering a job behind an error of `spawn`, if it is one.
#[must_use]
pub fn entry_error(error: &io::Error) -> Option<io::Error> {
    let errno = error
        .raw_os_error()?
        .checked_sub(ENTRY)
        .filter(|errno| *errno > 0)?;
    Some(io::Error::from_raw_os_error(errno))
}

fn open_procs(cgroup: &Path) -> Result<File, FileError> {
    let path = cgroup.join("cgroup.procs");
    File::options()
        .write(true)
        .open(&path)
        .map_err(FileError::on("open for joining", path))
}

/// Mounts through which a process could change cgroups or pinned programs and maps.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ControlMounts {
    /// cgroup file systems: a job may read them.
    read_only: Vec<PathBuf>,
    /// BPF file systems. A read-only mount is not enough: who may open a pinned map by its file's
    /// mode can write to the map, and the kernel asks for no capability then.
    hidden: Vec<PathBuf>,
}

impl ControlMounts {
    /// Those of this mount namespace.
    ///
    /// # Errors
    /// The mounts cannot be read.
    pub fn find() -> Result<Self, FileError> {
        let mountinfo = fs::read_to_string(Path::new("/proc/self/mountinfo"), 16 << 20)?;
        Ok(Self::parse(&mountinfo))
    }

    fn parse(mountinfo: &str) -> Self {
        let mut mounts = Self::default();
        for line in mountinfo.lines() {
            let Some((mount, kind)) = line.split_once(" - ") else {
                continue;
            };
            let list = match kind.split(' ').next() {
                Some("cgroup" | "cgroup2") => &mut mounts.read_only,
                Some("bpf") => &mut mounts.hidden,
                _ => continue,
            };
            let path = mount.split(' ').nth(4);
            list.extend(path.map(|path| PathBuf::from(hierarchy::unescape(path))));
        }
        mounts
    }
}

/// Keeps sockets that cordon inherited out of the job: made outside, they would not be judged as
/// the job's. Standard input, output and error stay as they are.
///
/// # Errors
/// The open descriptors cannot be listed.
pub fn withhold_inherited_sockets() -> Result<usize, FileError> {
    let path = Path::new("/proc/self/fd");
    let entries = std::fs::read_dir(path).map_err(FileError::on("list", path))?;
    let mut withheld = 0usize;
    for entry in entries.filter_map(Result::ok) {
        let Some(fd) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<RawFd>().ok())
        else {
            continue;
        };
        let is_socket = std::fs::read_link(entry.path())
            .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
        if fd > 2 && is_socket {
            // SAFETY: sets one flag of a descriptor this process has open.
            if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == 0 {
                withheld = withheld.saturating_add(1);
            }
        }
    }
    Ok(withheld)
}

/// What came of an attempt to reach an address from inside a cgroup.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attempt {
    /// It went through.
    Reached,
    /// The kernel refused it, with this `errno`.
    Refused(i32),
}

/// How to try.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// `connect(2)` of a stream socket.
    Tcp,
    /// `sendto(2)` of one byte.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "a TCP connection",
            Self::Udp => "a UDP datagram",
        })
    }
}

// The child reports through the error that `spawn` hands back: one number, no exec.
const REACHED: i32 = 200_000;
const REFUSED: i32 = 300_000;
const NO_SOCKET: i32 = 400_000;

/// Tries an address from a process inside `cgroup` that does nothing else.
///
/// # Errors
/// The process could not be made, join, or have a socket; then nothing is known.
pub fn attempt(cgroup: &Path, transport: Transport, to: SocketAddrV4) -> io::Result<Attempt> {
    let procs = open_procs(cgroup).map_err(io::Error::other)?;
    let mut command = Command::new("/proc/self/exe");
    let code = move || -> io::Result<i32> {
        (&procs).write_all(b"0")?;
        Ok(try_address(transport, to))
    };
    // SAFETY: as in `Entry::apply`; the closure always fails, so nothing is executed.
    unsafe { command.pre_exec(move || Err(io::Error::from_raw_os_error(code()?))) };
    match command.spawn() {
        Ok(mut child) => {
            child.kill()?;
            child.wait()?;
            Err(io::Error::other("the probe ran on"))
        }
        Err(error) => match error.raw_os_error() {
            Some(REACHED) => Ok(Attempt::Reached),
            Some(code) if code > NO_SOCKET => {
                Err(io::Error::from_raw_os_error(code.saturating_sub(NO_SOCKET)))
            }
            Some(code) if code > REFUSED => Ok(Attempt::Refused(code.saturating_sub(REFUSED))),
            _ => Err(error),
        },
    }
}

/// Whether the kernel refuses `bpf(2)` to a process inside `cgroup` that has every capability.
///
/// # Errors
/// The process could not be made or join; then nothing is known.
pub fn is_bpf_refused(cgroup: &Path) -> io::Result<bool> {
    let procs = open_procs(cgroup).map_err(io::Error::other)?;
    let mut command = Command::new("/proc/self/exe");
    let code = move || -> io::Result<i32> {
        (&procs).write_all(b"0")?;
        Ok(if bpf::is_refused()? { REFUSED } else { REACHED })
    };
    // SAFETY: as in `attempt`.
    unsafe { command.pre_exec(move || Err(io::Error::from_raw_os_error(code()?))) };
    match command.spawn() {
        Ok(mut child) => {
            child.kill()?;
            child.wait()?;
            Err(io::Error::other("the probe ran on"))
        }
        Err(error) => match error.raw_os_error() {
            Some(REACHED) => Ok(false),
            Some(REFUSED) => Ok(true),
            _ => Err(error),
        },
    }
}

/// Between fork and exec: makes a socket and uses it once.
fn try_address(transport: Transport, to: SocketAddrV4) -> i32 {
    let kind = match transport {
        Transport::Tcp => SockType::Stream,
        Transport::Udp => SockType::Datagram,
    };
    let fd = match socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None) {
        Ok(fd) => fd,
        Err(errno) => return NO_SOCKET.saturating_add(errno as i32),
    };
    let address = SockaddrIn::from(to);
    let result = match transport {
        Transport::Tcp => connect(fd.as_raw_fd(), &address),
        Transport::Udp => sendto(fd.as_raw_fd(), b"?", &address, MsgFlags::empty()).map(drop),
    };
    match result {
        Ok(()) => REACHED,
        Err(errno) => REFUSED.saturating_add(errno as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_to_be_read_only_and_bpf_to_be_hidden() {
        let mountinfo = "\
26 25 0:23 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
27 25 0:24 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw
28 25 0:25 / /sys/fs/bpf rw - bpf bpf rw,mode=700
29 25 0:26 / /mnt/two\\040words rw - bpf none rw
30 25 0:27 / /tmp rw - tmpfs tmpfs rw
";
        let mounts = ControlMounts::parse(mountinfo);
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(
            mounts.read_only,
            paths(&["/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified"])
        );
        assert_eq!(mounts.hidden, paths(&["/sys/fs/bpf", "/mnt/two words"]));
    }
}
