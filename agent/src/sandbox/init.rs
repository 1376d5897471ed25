//! Process 1 of a job's pid namespace: `cordon` once more, between the agent and the command.
//!
//! It makes the sandbox, starts the command in it, reaps orphans, passes signals on and tells the
//! command's exact status. It stays outside the job's cgroup, without a privilege, and out of the
//! job's reach: not dumpable, so that nobody without `CAP_SYS_PTRACE` traces it or opens its files.
//!
//! It is a program of its own and no fork of the agent, whose memory has the signing key.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, RawFd};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::{Pid, getpid, setpgid};

use super::Plan;
use super::link::{Message, send};
use super::mounts::{Cover, Mount};
use crate::enforce::chain;
use crate::job::limiting::GRACE;
use crate::sys::clock::BootTime;
use crate::sys::landlock::Rules;
use crate::sys::spawn::{self, Entry};
use crate::sys::{mounts, privilege, signals};

/// First argument of a `cordon` that is to be an init; no command of a person.
pub const WORD: &str = "__init";

/// Mount flags of what only hides.
const SEALED: MsFlags = MsFlags::MS_RDONLY
    .union(MsFlags::MS_NOSUID)
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);

const NONE: Option<&str> = None;

/// Becomes an init if the command line says so: `__init LINK ORDERS COMMAND…`.
#[must_use]
pub fn requested() -> Option<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    if words.next()? != WORD {
        return None;
    }
    let mut number = || words.next()?.to_str()?.parse::<RawFd>().ok();
    let (link, orders) = (number()?, number()?);
    let command: Vec<_> = words.collect();
    // Nothing else makes a process 1 with these open.
    let is_init = getpid() == Pid::from_raw(1);
    let pipes = is_init.then(|| spawn::own_pipe(link).zip(spawn::own_pipe(orders)));
    Some(pipes.flatten().map_or(ExitCode::FAILURE, |(link, orders)| {
        run(link, orders, &command)
    }))
}

fn run(mut link: File, orders: File, command: &[OsString]) -> ExitCode {
    let (message, ran) = match start(orders, command) {
        Ok(running) => (Message::Started, Some(running)),
        Err(message) => (message, None),
    };
    let told = send(&mut link, &message);
    let attended = match (ran, told) {
        (Some(running), Ok(())) => settle().and_then(|()| running.attend(&mut link)),
        (_, told) => told,
    };
    // Whatever is left in the namespace, the kernel ends with its init.
    attended.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// For `map_err`.
fn at(what: impl Into<String>) -> impl FnOnce(Errno) -> Message {
    move |errno| Message::NotEntered {
        what: what.into(),
        errno: errno as i32,
    }
}

/// For `map_err` of what std calls.
fn io_at(what: impl Into<String>) -> impl FnOnce(io::Error) -> Message {
    move |error| Message::NotEntered {
        what: what.into(),
        errno: error.raw_os_error().unwrap_or(libc::EIO),
    }
}

/// The command, from its start to its end.
struct Running {
    command: Pid,
    signals: SignalFd,
    /// When everything in the namespace is killed, boot time in ns.
    deadline: Option<u64>,
}

/// How much later than cordon init ends a job whose time is over: cordon has seen to it by then, or is gone.
const LATER: Duration = Duration::from_secs(2);
/// Longest time that is waited at once: a host that was suspended is behind its clock.
const WAIT: Duration = Duration::from_mins(1);

fn start(orders: File, words: &[OsString]) -> Result<Running, Message> {
    let plan: Plan = serde_json::from_reader(orders)
        .map_err(io::Error::from)
        .map_err(io_at("read the plan"))?;
    // Before there is anything in the namespace that could look.
    nix::sys::prctl::set_dumpable(false).map_err(at("be undumpable"))?;
    let signals = signals::for_init().map_err(at("collect signals"))?;
    // Cgroups are joined by what is open now; they are read-only afterwards.
    let mut entry = Entry::new(&plan).map_err(|error| io_at(error.to_string())(error.source))?;
    furnish(&plan)?;
    // Of the paths as the job will see them.
    for paths in &plan.confined.writable {
        let rules =
            Rules::new(paths).map_err(|error| io_at(chain(&error))(io::ErrorKind::Other.into()))?;
        entry.leave_writable(rules);
    }
    let (program, arguments) = words.split_first().ok_or(Message::NotExecuted {
        errno: libc::EINVAL,
    })?;
    let mut command = Command::new(program);
    command.args(arguments);
    for (key, value) in &plan.environment {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    entry.apply(&mut command);
    let child = command
        .spawn()
        .map_err(|error| match spawn::entry_error(&error) {
            Some((step, error)) => io_at(step)(error),
            None => Message::NotExecuted {
                errno: error.raw_os_error().unwrap_or(libc::EIO),
            },
        })?;
    let command = i32::try_from(child.id()).map_err(|_no_pid| Message::NotExecuted {
        errno: libc::EOVERFLOW,
    })?;
    Ok(Running {
        command: Pid::from_raw(command),
        signals,
        deadline: plan.limited.deadline.map(|deadline| {
            let later = GRACE.saturating_add(LATER).as_nanos();
            deadline.saturating_add(u64::try_from(later).unwrap_or(u64::MAX))
        }),
    })
}

/// Gives up what only starting the command needed. If that fails, init ends, and the command with
/// it.
fn settle() -> io::Result<()> {
    // The command keeps the terminal's process group; what is sent to all of that group must not
    // come by way of init as well.
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    privilege::keep_only_kill().map_err(io::Error::other)?;
    Ok(nix::sys::prctl::set_no_new_privs()?)
}

/// Makes the namespaces and mounts of the job.
fn furnish(plan: &Plan) -> Result<(), Message> {
    let directory = std::env::current_dir().map_err(io_at("find the working directory"))?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(at("make a mount namespace"))?;
    unshare(CloneFlags::CLONE_NEWIPC).map_err(at("make an IPC namespace"))?;
    unshare(CloneFlags::CLONE_NEWUTS).map_err(at("make a UTS namespace"))?;
    // What is mounted here must not show outside, nor the other way round.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .map_err(at("make mounts private"))?;
    for change in &plan.mounts {
        match cover(change) {
            // A kernel without this part of /proc.
            Err(Errno::ENOENT) if change.what == Cover::ReadOnlyPart => {}
            covered => covered.map_err(at(naming(change)))?,
        }
    }
    for path in &plan.confined.read_only {
        seal(path).map_err(io_at(format!("make read-only `{}`", path.display())))?;
    }
    for path in &plan.confined.private {
        own(path).map_err(at(format!("mount an empty `{}`", path.display())))?;
    }
    for change in plan.hidden.iter().chain(&plan.confined.hidden) {
        match cover(change) {
            // Gone since it was found: there is nothing to hide.
            Err(Errno::ENOENT) => {}
            covered => covered.map_err(at(naming(change)))?,
        }
    }
    // By its name once more: it may lie below what was covered now.
    std::env::set_current_dir(&directory).map_err(io_at("enter the working directory"))
}

fn naming(change: &Mount) -> String {
    let what = match change.what {
        Cover::Empty => "hide",
        Cover::Null => "hide the socket",
        Cover::Queues => "mount message queues at",
        Cover::Processes => "mount proc at",
        Cover::ReadOnly | Cover::ReadOnlyPart => "make read-only",
    };
    format!("{what} `{}`", change.at.display())
}

/// Makes what is at a path read-only, with all that is mounted below it.
fn seal(path: &Path) -> io::Result<()> {
    // The root is a mount, and mounted upon itself it would be another place than where the job is.
    if path != Path::new("/") {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(path), path, NONE, flags, NONE)?;
    }
    mounts::seal_tree(path)
}

/// Puts an empty directory for everybody in the job over one of the host.
fn own(path: &Path) -> nix::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("cordon"),
        path,
        Some("tmpfs"),
        flags,
        Some("mode=1777"),
    )
}

fn cover(change: &Mount) -> nix::Result<()> {
    let Mount { at, what } = change;
    let careful = SEALED.difference(MsFlags::MS_RDONLY);
    match what {
        Cover::Empty => mount(
            Some("cordon"),
            at,
            Some("tmpfs"),
            SEALED,
            Some("size=4k,mode=000"),
        ),
        // No flags: a bind mount has those of what it shows, and writing to it does nothing.
        Cover::Null => mount(Some("/dev/null"), at, NONE, MsFlags::MS_BIND, NONE),
        Cover::Processes => mount(Some("proc"), at, Some("proc"), careful, NONE),
        Cover::Queues => mount(Some("mqueue"), at, Some("mqueue"), careful, NONE),
        Cover::ReadOnlyPart => {
            mount(Some(at), at, NONE, MsFlags::MS_BIND, NONE)?;
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | SEALED;
            mount(NONE, at, NONE, flags, NONE)
        }
        Cover::ReadOnly => {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | SEALED;
            mount(NONE, at, NONE, flags, NONE)
        }
    }
}

impl Running {
    /// Reaps and passes on until the command is gone and cordon knows, or is gone too.
    fn attend(mut self, link: &mut File) -> io::Result<()> {
        let mut ended = false;
        // Once cordon is gone, the job goes on without it until the command ends.
        let mut orphaned = false;
        while !(ended && orphaned) {
            let patience = self.keep_time()?;
            let (signalled, hung_up) = {
                let mut fds = [
                    PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                    // Hanging up is reported without being asked for.
                    PollFd::new(link.as_fd(), PollFlags::empty()),
                ];
                let watched = if orphaned {
                    fds.get_mut(..1)
                } else {
                    fds.get_mut(..)
                };
                match poll(watched.unwrap_or_default(), patience) {
                    Err(Errno::EINTR) => continue,
                    polled => polled?,
                };
                let [signals, link] = &fds;
                (signals.any() == Some(true), link.any() == Some(true))
            };
            orphaned |= hung_up;
            if signalled && let Some(status) = self.signal()? {
                ended = true;
                // Whether it is heard shows in the next poll.
                orphaned |= send(link, &Message::Ended { status }).is_err();
            }
        }
        Ok(())
    }

    /// Kills everything in the namespace when the job's time is over, whether cordon lives or not. Returns
    /// how long to wait before it is asked again.
    fn keep_time(&mut self) -> io::Result<PollTimeout> {
        let Some(deadline) = self.deadline else {
            return Ok(PollTimeout::NONE);
        };
        let left = Duration::from_nanos(deadline.saturating_sub(BootTime::now()?.0));
        if left.is_zero() {
            self.deadline = None;
            return match kill(Pid::from_raw(-1), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => Ok(PollTimeout::NONE),
                Err(errno) => Err(errno.into()),
            };
        }
        let left = left.min(WAIT).saturating_add(Duration::from_millis(1));
        PollTimeout::try_from(left).map_err(io::Error::other)
    }

    /// Takes one signal. Returns the command's status when it has ended.
    fn signal(&self) -> io::Result<Option<i32>> {
        let Some(info) = self.signals.read_signal()? else {
            return Ok(None);
        };
        let number = i32::try_from(info.ssi_signo).unwrap_or_default();
        let signal = Signal::try_from(number)?;
        if signal == Signal::SIGCHLD {
            let mut status = None;
            while let Some((pid, raw)) = spawn::reap()? {
                if pid == self.command {
                    status = Some(raw);
                }
            }
            return Ok(status);
        }
        // A sender outside the namespace has no number here. Others can signal the command
        // themselves, and what a terminal sends, the command has already.
        if info.ssi_pid == 0 && info.ssi_code != signals::SI_KERNEL {
            match kill(self.command, signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(None)
    }
}
