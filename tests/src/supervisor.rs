//! Runs the real work in a child process and removes what it leaves, however it ends.
//!
//! Destructors do not run in a process that is killed, or that panics (the workspace aborts on
//! panic). The supervisor does nothing but wait, so that it is there when its child is not.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context as _, Result, ensure};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, geteuid};
use tokio::signal::unix::{SignalKind, signal};

use crate::harness::leftovers;

/// Set in the child.
const WORKER: &str = "CORDON_TESTS_WORKER";

/// Does `work` in a child process of this same program; in the child, does it.
pub fn supervised(work: impl FnOnce() -> Result<ExitCode>) -> Result<ExitCode> {
    if std::env::var_os(WORKER).is_some() {
        return work();
    }
    ensure!(
        geteuid().is_root(),
        "namespaces, cgroups and BPF need root: run `sudo -E cargo xtask test` (or `demo`)"
    );
    leftovers::remove_stale();
    // What loses its parent becomes a child of this process, which can then reap it.
    set_child_subreaper(true).context("adopt orphans")?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(WORKER, "1")
        .spawn()
        .context("start the worker")?;
    let id = child.id();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let status = runtime.block_on(async {
        let waiting = tokio::task::spawn_blocking(move || child.wait());
        tokio::pin!(waiting);
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        loop {
            tokio::select! {
                status = &mut waiting => break status?.context("wait for the worker"),
                _ = interrupt.recv() => forward(id, Signal::SIGINT),
                _ = terminate.recv() => forward(id, Signal::SIGTERM),
            }
        }
    })?;
    leftovers::remove_of(id);
    reap();
    Ok(exit_code(status))
}

/// Takes leave of the dead: orphans that have ended.
fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}

/// Passes a signal on. The worker may have had it from the terminal already, and be gone.
fn forward(id: u32, signal: Signal) {
    let sent = i32::try_from(id).is_ok_and(|id| kill(Pid::from_raw(id), signal).is_ok());
    if !sent {
        eprintln!("{signal}: the worker has ended");
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}
