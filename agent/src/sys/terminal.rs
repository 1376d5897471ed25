//! The terminal cordon was started at, if any.

use std::fs::File;
use std::io;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::unistd::{getpgrp, tcgetpgrp, tcsetpgrp};

fn controlling() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/tty")
}

/// Whether this process has a controlling terminal.
#[must_use]
pub fn is_controlling() -> bool {
    controlling().is_ok()
}

/// A terminal whose foreground was this process' group.
///
/// A shell in a job takes the foreground for a group of its own, and cannot give it back: the group
/// it had it from has no number in the job's pid namespace.
#[derive(Debug)]
pub struct Foreground(Option<File>);

impl Foreground {
    /// Notes whether this process' group has the foreground.
    #[must_use]
    pub fn note() -> Self {
        let has = |terminal: &File| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp());
        Self(controlling().ok().filter(has))
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let Some(terminal) = &self.0 else { return };
        if tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()) {
            return;
        }
        // Taking the foreground from behind stops a process that does not block the signal.
        let stop = SigSet::from(Signal::SIGTTOU);
        let Ok(before) = stop.thread_swap_mask(SigmaskHow::SIG_BLOCK) else {
            return;
        };
        let taken = tcsetpgrp(terminal, getpgrp()).and_then(|()| before.thread_set_mask());
        if let Err(errno) = taken {
            tracing::warn!(%errno, "the terminal's foreground could not be taken back");
        }
    }
}
