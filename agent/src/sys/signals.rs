//! Signals as data: which one, and whether a terminal or a process sent it.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::unix::AsyncFd;

use super::readiness;

/// Signals that ask a job to end.
const FORWARDED: [Signal; 6] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// `si_code` of a signal the kernel sent, as a terminal does for Ctrl-C.
pub const SI_KERNEL: i32 = 0x80;

/// A signal cordon received.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// Which.
    pub signal: Signal,
    /// Whether the terminal sent it: then the job, which shares the terminal, has it already.
    pub from_terminal: bool,
}

/// The signals cordon passes on, blocked and read from a descriptor.
#[derive(Debug)]
pub struct Signals {
    fd: AsyncFd<SignalFd>,
}

impl Signals {
    /// Blocks the signals in this thread (and those made after it) and starts to collect them.
    ///
    /// # Errors
    /// The kernel refused, which it has no reason to.
    pub fn block() -> io::Result<Self> {
        let set: SigSet = FORWARDED.into_iter().collect();
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self {
            fd: readiness::signals(fd)?,
        })
    }

    /// Waits for the next signal.
    ///
    /// # Errors
    /// The descriptor cannot be read.
    pub async fn next(&mut self) -> io::Result<Received> {
        loop {
            let mut ready = self.fd.readable_mut().await?;
            if let Some(info) = ready.get_inner_mut().read_signal()? {
                let number = i32::try_from(info.ssi_signo).unwrap_or_default();
                return Ok(Received {
                    signal: Signal::try_from(number)?,
                    from_terminal: info.ssi_code == SI_KERNEL,
                });
            }
            ready.clear_ready();
        }
    }
}

/// For a job's init: the signals it passes on, and those of its children, blocked and read from a
/// descriptor.
///
/// # Errors
/// The kernel refused.
pub fn for_init() -> nix::Result<SignalFd> {
    let set: SigSet = FORWARDED.into_iter().chain([Signal::SIGCHLD]).collect();
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// Unblocks everything in the calling thread: a command starts with a clean mask.
///
/// # Errors
/// The kernel refused.
pub fn unblock_all() -> nix::Result<()> {
    SigSet::all().thread_unblock()
}
