//! The process of the mediator: another user's, with nothing but a socket to cordon.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;

use super::EngineError;

/// `nobody`: it owns nothing, and shares what it is with nothing that has rights.
const NOBODY: u32 = 65_534;

/// How long it may take to remove what the engine has of a job.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The process.
#[derive(Debug)]
pub(super) struct Child(process::Child);

impl Child {
    /// Starts it; returns cordon's end of the socket.
    pub(super) fn start(program: &Path) -> Result<(Self, OwnedFd), EngineError> {
        let failed = |source| EngineError::Start {
            path: program.to_owned(),
            source,
        };
        let (own, other) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .map_err(|errno| failed(errno.into()))?;
        let child = Command::new(program)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(other))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            // Also takes all groups away.
            .uid(NOBODY)
            .gid(NOBODY)
            // What a terminal sends is for the job.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        Ok((Self(child), own))
    }

    /// Whether it has ended.
    fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    /// Asks it to remove what there is of the job, and to end.
    pub(super) fn ask_to_end(&self) {
        if let Ok(process) = i32::try_from(self.0.id()) {
            // Gone already is as good.
            let _gone = kill(Pid::from_raw(process), Signal::SIGTERM);
        }
    }

    /// Waits until it has ended, and sees to it that it has.
    pub(super) fn wait(&mut self) {
        let begun = Instant::now();
        while !self.has_ended() && begun.elapsed() < PATIENCE {
            std::thread::sleep(LOOK_EVERY);
        }
        self.kill();
    }

    fn kill(&mut self) {
        if self.has_ended() {
            return;
        }
        let ended: io::Result<_> = self.0.kill().and_then(|()| self.0.wait());
        if let Err(error) = ended {
            tracing::error!(%error, "the mediator does not end");
        }
    }
}

/// A start that failed takes it along.
impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}
