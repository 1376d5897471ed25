//! Starting a process inside a job: between fork and exec, where the kernel takes it into the
//! cgroup before it has run one instruction of its own.

#![expect(
    unsafe_code,
    reason = "code between fork and exec, and raw descriptors there"
)]

use std::ffi::{CString, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd as _, FromRawFd as _, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, connect, sendto, socket,
};
use nix::unistd::{Gid, Pid, Uid, User, initgroups, setgid, setpgid, setuid};

use super::fs::FileError;
use super::landlock::Rules;
use super::seccomp::Filter;
use super::{bpf, descriptors, privilege, signals};
use crate::sandbox::{Plan, filter, init};

/// Who a command runs as.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
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
        Ok(Self {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            home: user.dir,
        })
    }

    /// Its number.
    #[must_use]
    pub const fn uid(&self) -> u32 {
        self.uid
    }

    /// Its home, as the host's list of users has it.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Whether it is root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }
}

/// Starts this program as process 1 of a new pid namespace, to do what the plan says. It tells of
/// it over the pipe.
///
/// # Errors
/// The namespace or the process cannot be made.
pub fn start_init(plan: &Plan, command: &[OsString]) -> io::Result<(Child, PipeReader)> {
    let (told, link) = io::pipe()?;
    let (orders, mut order) = io::pipe()?;
    let (link_number, orders_number) = (link.as_raw_fd(), orders.as_raw_fd());
    for passed in [link_number, orders_number] {
        descriptors::pass_on(passed)?;
    }
    let start = || {
        // Children of this thread are in the new namespace; the thread itself and all others stay.
        unshare(CloneFlags::CLONE_NEWPID)?;
        Command::new("/proc/self/exe")
            .arg0("cordon-init")
            .arg(init::WORD)
            .arg(link_number.to_string())
            .arg(orders_number.to_string())
            .args(command)
            .spawn()
    };
    // The thread ends here: with its pid namespace for children changed it cannot make threads.
    let child = std::thread::scope(|scope| scope.spawn(start).join())
        .unwrap_or_else(|_panic| Err(io::Error::other("the thread that starts jobs panicked")))?;
    drop((link, orders));
    // Not by its arguments, which every process of the job can read.
    let plan = serde_json::to_vec(plan).map_err(io::Error::other)?;
    order.write_all(&plan)?;
    Ok((child, told))
}

/// A pipe an init was started with, kept from the command. `None`: there is none of that number.
#[must_use]
pub fn own_pipe(number: RawFd) -> Option<File> {
    descriptors::withhold(number).ok()?;
    // SAFETY: it is open, it was made for this process, and nothing else here knows its number.
    Some(unsafe { File::from_raw_fd(number) })
}

/// A child of this process that has ended, with its status as the kernel has it; any signal, also
/// those `nix` has no name for. `None`: none has.
///
/// # Errors
/// The kernel refused, which it has no reason to.
pub fn reap() -> io::Result<Option<(Pid, i32)>> {
    let mut status = 0;
    // SAFETY: the kernel writes one int.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    match pid {
        0 => Ok(None),
        1.. => Ok(Some((Pid::from_raw(pid), status))),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
            error => Err(error),
        },
    }
}

/// What happens to a command between fork and exec.
#[derive(Debug)]
pub struct Entry {
    /// Of all cgroups it joins.
    procs: Vec<File>,
    open_files: Option<u64>,
    account: Option<(CString, Uid, Gid)>,
    own_group: bool,
    /// The only capabilities that are left, as bits.
    capabilities: Option<u64>,
    /// What says who is who in a user namespace of its own: a file and its content each.
    users: Option<[(&'static str, String); 3]>,
    /// The only paths that can be written to: those of all rules.
    writable: Vec<Rules>,
    filter: Filter,
}

/// The steps of it. Their numbers travel with an error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    Join,
    Group,
    Capabilities,
    Account,
    NoNewPrivs,
    Signals,
    Filter,
    OpenFiles,
    Fewer,
    Paths,
    Users,
}

impl Step {
    const ALL: [(Self, &str); 11] = [
        (Self::Join, "join the job's cgroups"),
        (Self::Group, "make a process group"),
        (Self::Capabilities, "drop capabilities"),
        (Self::Account, "become the user"),
        (Self::NoNewPrivs, "set no_new_privs"),
        (Self::Signals, "unblock signals"),
        (Self::Filter, "install the system call filter"),
        (Self::OpenFiles, "limit open files"),
        (Self::Fewer, "leave the capabilities of `[sandbox]`"),
        (
            Self::Paths,
            "leave the paths of `[sandbox]` to be written to",
        ),
        (
            Self::Users,
            "make a user namespace (`user_namespace` of `[sandbox]`; does this host let users make them? \
             `sysctl user.max_user_namespaces kernel.unprivileged_userns_clone`)",
        ),
    ];
}

impl Entry {
    /// As planned.
    ///
    /// # Errors
    /// A cgroup cannot be joined.
    pub fn new(plan: &Plan) -> Result<Self, FileError> {
        let account = plan.account.as_ref().map(|account| {
            let name = CString::new(account.name.as_str())
                .map_err(io::Error::from)
                .map_err(FileError::on("read a user of", "/etc/passwd"))?;
            Ok((name, Uid::from_raw(account.uid), Gid::from_raw(account.gid)))
        });
        Ok(Self {
            procs: std::iter::once(&plan.cgroup)
                .chain(&plan.limited.groups)
                .map(|cgroup| open_procs(cgroup))
                .collect::<Result<_, _>>()?,
            open_files: plan.limited.open_files,
            account: account.transpose()?,
            own_group: plan.own_group,
            capabilities: plan.confined.capabilities,
            users: plan.confined.own_users.then(|| one_user(plan)),
            writable: Vec::new(),
            filter: Filter::new(&filter::program(plan.judges)),
        })
    }

    /// Limits where the command writes, beside what limits it already.
    pub fn leave_writable(&mut self, rules: Rules) {
        self.writable.push(rules);
    }

    /// Makes a command start this way.
    pub fn apply(self, command: &mut Command) {
        // SAFETY: the closure runs in the child of a fork, where only this thread exists. It makes
        // system calls and, through `caps` and `nix`, small allocations, which glibc keeps usable
        // after fork; it takes no lock of ours.
        unsafe { command.pre_exec(move || self.enter()) };
    }

    fn enter(&self) -> io::Result<()> {
        for mut procs in &self.procs {
            at(Step::Join, procs.write_all(b"0"))?;
        }
        // While there still is the capability to raise what was inherited.
        if let Some(most) = self.open_files {
            at(Step::OpenFiles, limit_open_files(most))?;
        }
        if self.own_group {
            let own = Pid::from_raw(0);
            at(Step::Group, setpgid(own, own).map_err(io::Error::from))?;
        }
        at(
            Step::Capabilities,
            privilege::withhold(self.capabilities).map_err(io::Error::other),
        )?;
        if let Some((name, uid, gid)) = &self.account {
            let become_it = initgroups(name, *gid)
                .and_then(|()| setgid(*gid))
                .and_then(|()| setuid(*uid));
            at(Step::Account, become_it.map_err(io::Error::from))?;
        }
        if let Some(users) = &self.users {
            at(Step::Users, own_users(users))?;
            // Who makes one has every capability in it, also those that were taken before.
            let withheld = privilege::withhold(self.capabilities).map_err(io::Error::other);
            at(Step::Capabilities, withheld)?;
        }
        if let Some(left) = self.capabilities {
            let kept = privilege::keep_only(left).map_err(io::Error::other);
            at(Step::Fewer, kept)?;
        }
        let no_new_privs = nix::sys::prctl::set_no_new_privs();
        at(Step::NoNewPrivs, no_new_privs.map_err(io::Error::from))?;
        at(
            Step::Signals,
            signals::unblock_all().map_err(io::Error::from),
        )?;
        for rules in &self.writable {
            at(Step::Paths, rules.apply())?;
        }
        // Last: nothing above has to pass it.
        at(Step::Filter, self.filter.install())
    }
}

/// The one user and the one group that a job has in its own user namespace: those it has outside.
fn one_user(plan: &Plan) -> [(&'static str, String); 3] {
    let (uid, gid) = plan.account.as_ref().map_or_else(
        || (Uid::effective().as_raw(), Gid::effective().as_raw()),
        |account| (account.uid, account.gid),
    );
    [
        // The kernel wants that first of whoever has no right to choose groups.
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{uid} {uid} 1")),
        ("/proc/self/gid_map", format!("{gid} {gid} 1")),
    ]
}

/// Puts the calling process into a user namespace of its own.
fn own_users(users: &[(&str, String)]) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWUSER)?;
    // Files in /proc of a process that became another user are root's until it executes something, which the next
    // thing it does is.
    nix::sys::prctl::set_dumpable(true)?;
    for (path, content) in users {
        let mut file = File::options().write(true).open(path)?;
        file.write_all(content.as_bytes())?;
    }
    Ok(())
}

/// Sets both limits and asks for them again: what a process has here, all it starts have.
fn limit_open_files(most: u64) -> io::Result<()> {
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    if getrlimit(Resource::RLIMIT_NOFILE)? == (most, most) {
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(libc::EIO))
}

/// Errors of entering come back from `spawn` beyond this number, a block for each step, so that
/// they are not taken for errors of the command itself.
const ENTRY: i32 = 500_000;
/// More than there are error numbers.
const BLOCK: i32 = 10_000;

fn at(step: Step, result: io::Result<()>) -> io::Result<()> {
    result.map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        let block = (step as i32).saturating_mul(BLOCK);
        io::Error::from_raw_os_error(ENTRY.saturating_add(block).saturating_add(errno))
    })
}

/// The error of entering a job behind an error of `spawn`, if it is one, and what was tried.
#[must_use]
pub fn entry_error(error: &io::Error) -> Option<(&'static str, io::Error)> {
    let code = error
        .raw_os_error()?
        .checked_sub(ENTRY)
        .filter(|code| *code > 0)?;
    let step = code.checked_div(BLOCK)?;
    let (_, what) = Step::ALL.iter().find(|(known, _)| *known as i32 == step)?;
    let errno = code.checked_rem(BLOCK)?;
    Some((what, io::Error::from_raw_os_error(errno)))
}

fn open_procs(cgroup: &Path) -> Result<File, FileError> {
    let path = cgroup.join("cgroup.procs");
    File::options()
        .write(true)
        .open(&path)
        .map_err(FileError::on("open for joining", path))
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

// What the child comes to: one number.
const REACHED: i32 = 200_000;
const REFUSED: i32 = 300_000;
const NO_SOCKET: i32 = 400_000;

/// Tries an address from a process inside `cgroup` that does nothing else.
///
/// # Errors
/// The process could not be made, join, or have a socket; then nothing is known.
pub fn attempt(cgroup: &Path, transport: Transport, to: SocketAddrV4) -> io::Result<Attempt> {
    match number_inside(cgroup, move || Ok(try_address(transport, to)))? {
        REACHED => Ok(Attempt::Reached),
        code => Ok(Attempt::Refused(code.saturating_sub(REFUSED))),
    }
}

/// Whether the kernel refuses `bpf(2)` to a process inside `cgroup` that has every capability.
///
/// # Errors
/// The process could not be made or join; then nothing is known.
pub fn is_bpf_refused(cgroup: &Path) -> io::Result<bool> {
    let asked = || Ok(if bpf::is_refused()? { REFUSED } else { REACHED });
    number_inside(cgroup, asked).map(|code| code != REACHED)
}

/// The number that a process comes to which is in `cgroup` from its first instruction on. Moving a process there
/// would wait until every processor has let go of the lock that all forks take.
fn number_inside(cgroup: &Path, act: impl Fn() -> io::Result<i32>) -> io::Result<i32> {
    // The constant of `libc` overflows.
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let directory = super::fs::open(cgroup).map_err(io::Error::other)?;
    let (mut told, mut link) = io::pipe()?;
    // SAFETY: plain numbers, for which zero means nothing is asked for.
    let mut asked: libc::clone_args = unsafe { std::mem::zeroed() };
    asked.flags = INTO_CGROUP;
    asked.exit_signal = u64::try_from(libc::SIGCHLD).map_err(io::Error::other)?;
    asked.cgroup = u64::try_from(directory.as_raw_fd()).map_err(io::Error::other)?;
    let size = size_of::<libc::clone_args>();
    // SAFETY: a process of its own with a copy of this memory, as by fork. In the child only this thread exists: it
    // makes system calls, takes no lock, allocates nothing, and ends without running anything that waits for an end.
    let mut pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const asked, size) };
    let mut procs = None;
    if pid < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS) {
        // A filter of system calls cannot read the flags of this one, so those that forbid namespaces answer as if
        // it were not there: systemd's `RestrictNamespaces=`, and engines of containers.
        procs = Some(open_procs(cgroup).map_err(io::Error::other)?);
        // SAFETY: as above.
        pid = unsafe { libc::fork() }.into();
    }
    match pid {
        0 => {
            let joined = (procs.as_mut()).map_or(Ok(()), |procs| procs.write_all(b"0"));
            let number = joined.and_then(|()| act()).unwrap_or_else(|error| {
                NO_SOCKET.saturating_add(error.raw_os_error().unwrap_or(libc::EIO))
            });
            let said = link.write_all(&number.to_ne_bytes());
            // SAFETY: it does not return.
            unsafe { libc::_exit(i32::from(said.is_err())) }
        }
        1.. => {
            // The child's end is the only other one: without it, its death is the end of the pipe.
            drop(link);
            let mut number = [0; 4];
            let read = told.read_exact(&mut number);
            let pid = i32::try_from(pid).map_err(io::Error::other)?;
            nix::sys::wait::waitpid(Pid::from_raw(pid), None)?;
            read?;
            match i32::from_ne_bytes(number) {
                code if code > NO_SOCKET => {
                    Err(io::Error::from_raw_os_error(code.saturating_sub(NO_SOCKET)))
                }
                code => Ok(code),
            }
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// In the child: makes a socket and uses it once.
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
    fn an_error_of_entering_names_its_step() {
        for (step, what) in Step::ALL {
            let error = at(step, Err(io::Error::from_raw_os_error(libc::EPERM))).unwrap_err();
            let (found, error) = entry_error(&error).unwrap();
            assert_eq!(found, what);
            assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        }
        assert!(entry_error(&io::Error::from_raw_os_error(libc::ENOENT)).is_none());
    }
}
