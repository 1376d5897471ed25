//! The terminal cordon was started at, if any.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp, tcsetpgrp};

/// Signals that end or stop a process at a terminal.
const HELD: [Signal; 5] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGTSTP,
];

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

/// A terminal that does not show what is typed, until this is dropped.
///
/// Signals that would end or stop the process in between wait until it is dropped, so that the
/// terminal is left as it was found.
#[derive(Debug)]
pub struct Unseen<'t> {
    terminal: BorrowedFd<'t>,
    before: Termios,
    /// Readable when such a signal has come.
    signals: SignalFd,
    mask: SigSet,
}

impl<'t> Unseen<'t> {
    /// Stops showing what is typed. What was typed before is thrown away.
    ///
    /// # Errors
    /// It is no terminal, or goes on showing.
    pub fn begin(terminal: BorrowedFd<'t>) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let held: SigSet = HELD.into_iter().collect();
        let signals = SignalFd::with_flags(&held, SfdFlags::SFD_CLOEXEC)?;
        let mask = held.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        // From here on the end of it puts back what was changed.
        let unseen = Self {
            terminal,
            before,
            signals,
            mask,
        };
        let mut wanted = unseen.before.clone();
        wanted.local_flags.remove(LocalFlags::ECHO);
        // A whole line at a time; its end is shown, so that what follows begins on a new one.
        wanted
            .local_flags
            .insert(LocalFlags::ECHONL | LocalFlags::ICANON);
        tcsetattr(terminal, SetArg::TCSAFLUSH, &wanted)?;
        // The call succeeds as soon as one of the changes is made.
        if tcgetattr(terminal)?.local_flags.contains(LocalFlags::ECHO) {
            return Err(io::Error::other("it goes on showing what is typed"));
        }
        Ok(unseen)
    }

    /// Waits for a line; `false` if a signal came first.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn wait(&self) -> io::Result<bool> {
        let mut wait = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.terminal, PollFlags::POLLIN),
        ];
        loop {
            match poll(&mut wait, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(_) => {
                    let signal = wait.first().and_then(PollFd::any);
                    return Ok(!signal.unwrap_or(true));
                }
            }
        }
    }
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        // What else was typed or pasted was meant for this, and not for the shell.
        let shown = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before);
        if let Err(errno) = shown.and_then(|()| self.mask.thread_set_mask()) {
            tracing::warn!(%errno, "the terminal could not be left as it was; run `stty echo`");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use nix::pty::openpty;

    use super::*;

    fn shows(terminal: BorrowedFd<'_>) -> bool {
        let flags = tcgetattr(terminal).unwrap().local_flags;
        flags.contains(LocalFlags::ECHO)
    }

    #[test]
    fn what_is_typed_is_not_shown_and_afterwards_it_is_again() {
        let pair = openpty(None, None).unwrap();
        let (mut keyboard, terminal) = (File::from(pair.master), pair.slave);
        assert!(shows(terminal.as_fd()));
        let unseen = Unseen::begin(terminal.as_fd()).unwrap();
        assert!(!shows(terminal.as_fd()));
        keyboard.write_all(b"marker\n").unwrap();
        assert!(unseen.wait().unwrap());
        let mut line = [0; 16];
        assert_eq!(nix::unistd::read(&terminal, &mut line).unwrap(), 7);
        drop(unseen);
        assert!(shows(terminal.as_fd()));
        keyboard.write_all(b"seen").unwrap();
        let mut shown = [0; 6];
        keyboard.read_exact(&mut shown).unwrap();
        assert_eq!(&shown, b"\r\nseen");
    }

    #[test]
    fn a_signal_ends_the_wait_and_is_delivered_afterwards() {
        let pair = openpty(None, None).unwrap();
        let unseen = Unseen::begin(pair.slave.as_fd()).unwrap();
        // To this thread alone, in which it is blocked.
        nix::sys::signal::raise(Signal::SIGTERM).unwrap();
        assert!(!unseen.wait().unwrap());
        assert!(unseen.signals.read_signal().unwrap().is_some());
        drop(unseen);
        assert!(shows(pair.slave.as_fd()));
    }

    #[test]
    fn what_is_no_terminal_is_refused() {
        let (reader, _writer) = io::pipe().unwrap();
        Unseen::begin(reader.as_fd()).unwrap_err();
    }
}
