//! Steps about time, files and processes.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;

use crate::client::step::{Abi, Outcome, Step};
use crate::client::{Done, Refused, at, call, io_at};

const PIDFD_OPEN: u32 = 434;
const PIDFD_GETFD: u32 = 438;

/// How long a file is waited for.
const FILE_PATIENCE: Duration = Duration::from_mins(1);

pub(super) fn mark(path: &Path) -> Result<Done, Refused> {
    File::create(path)
        .map(|_file| Done::default())
        .map_err(io_at("open"))
}

pub(super) fn write(path: &Path, text: &str) -> Result<Done, Refused> {
    let mut file = File::options()
        .write(true)
        .open(path)
        .map_err(io_at("open"))?;
    file.write_all(text.as_bytes()).map_err(io_at("write"))?;
    Ok(Done::default())
}

pub(super) fn wait_for(path: &Path) -> Result<Done, Refused> {
    let deadline = Instant::now() + FILE_PATIENCE;
    while !path.exists() {
        if Instant::now() > deadline {
            return Err(at("stat")(Errno::ETIMEDOUT));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(Done::default())
}

/// One after the other; each is there before the next one begins.
pub(super) fn execs(count: usize) -> Result<Done, Refused> {
    for _ in 0..count {
        Command::new("/bin/true")
            .status()
            .map_err(io_at("execve"))?;
    }
    Ok(Done::default())
}

pub(super) fn sleep(ms: u64) -> Done {
    std::thread::sleep(Duration::from_millis(ms));
    Done::default()
}

pub(super) fn raise(number: i32) -> Result<Done, Refused> {
    let signal = Signal::try_from(number).map_err(at("raise"))?;
    nix::sys::signal::raise(signal).map_err(at("raise"))?;
    Ok(Done::default())
}

/// Starts a process in a cgroup; it ends at once.
pub(super) fn start_in(cgroup: &Path) -> Result<Done, Refused> {
    let directory = File::open(cgroup).map_err(io_at("open"))?;
    call::clone_into(&directory)
}

/// Takes a copy of a descriptor another process has open.
pub(super) fn take_descriptor(pid: u32, number: i32) -> Result<Done, Refused> {
    let x86_64 = |call, arguments| call::perform(Abi::X86_64, call, arguments);
    let opened = x86_64(PIDFD_OPEN, [pid.into(), 0, 0, 0])?;
    let pidfd = i64::try_from(opened.bytes).unwrap_or(-1);
    x86_64(PIDFD_GETFD, [pidfd, number.into(), 0, 0])
}

/// Leaves the user and the network namespace for new ones, and brings loopback up.
pub(super) fn apart() -> Result<Done, Refused> {
    let user = nix::unistd::geteuid();
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(at("unshare"))?;
    // Root there, or `ip` would lose its capabilities when it is executed.
    std::fs::write("/proc/self/uid_map", format!("0 {user} 1")).map_err(io_at("uid_map"))?;
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .map_err(io_at("execve"))?;
    if up.success() {
        Ok(Done::default())
    } else {
        Err(at("ip link set lo up")(Errno::EIO))
    }
}

/// Starts this program once more, and again when it is done.
pub(super) fn again(count: usize, steps: &[Step]) -> Result<Done, Refused> {
    let steps = serde_json::to_string(steps).map_err(|_not_json| at("serialise")(Errno::EINVAL))?;
    let own = std::env::current_exe().map_err(io_at("readlink"))?;
    let mut done = Done::default();
    for _ in 0..count {
        let output = Command::new(&own)
            .args(["client", &steps])
            .output()
            .map_err(io_at("clone"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let outcomes: Vec<Outcome> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let worked = output.status.success() && outcomes.iter().all(|outcome| outcome.ok);
        done.bytes += usize::from(worked);
        // The last one's answers are those the story sees.
        done.outcome.answers = outcomes
            .into_iter()
            .flat_map(|outcome| outcome.answers)
            .collect();
    }
    Ok(done)
}

/// Starts this program once more, in a session of its own, and leaves it.
pub(super) fn background(steps: &[Step]) -> Result<Done, Refused> {
    let steps = serde_json::to_string(steps).map_err(|_not_json| at("serialise")(Errno::EINVAL))?;
    let own = std::env::current_exe().map_err(io_at("readlink"))?;
    Command::new(own)
        .args(["client", "--detached", &steps])
        .spawn()
        .map(|_child| Done::default())
        .map_err(io_at("clone"))
}
