//! Steps about time, files and processes.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::client::step::{Abi, Step};
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
