//! What a job's init tells cordon: a line of JSON each, over a pipe.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::unix::pipe::Receiver;

/// One thing init tells.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub enum Message {
    /// The sandbox could not be made; nothing was executed.
    NotEntered {
        /// What was tried.
        what: String,
        /// Why it failed.
        errno: i32,
    },
    /// The command could not be executed.
    NotExecuted {
        /// Why.
        errno: i32,
    },
    /// The command runs.
    Started,
    /// The command is gone.
    Ended {
        /// Its status, as waitpid(2) has it.
        status: i32,
    },
}

/// Sends one message, whole or not at all: it is shorter than what a pipe takes at once.
///
/// # Errors
/// Nobody listens any more.
pub fn send(link: &mut File, message: &Message) -> io::Result<()> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::other)?;
    line.push(b'\n');
    link.write_all(&line)
}

/// A job's init, and what it tells. Dropping it ends the job's whole pid namespace.
#[derive(Debug)]
pub struct Init {
    child: Child,
    messages: Lines<BufReader<Receiver>>,
}

impl Init {
    /// An init that was started with the other end of this pipe.
    ///
    /// # Errors
    /// The pipe cannot be polled.
    pub fn new(child: Child, pipe: io::PipeReader) -> io::Result<Self> {
        let receiver = Receiver::from_owned_fd(pipe.into())?;
        Ok(Self {
            child,
            messages: BufReader::new(receiver).lines(),
        })
    }

    /// The next message. `None`: init is gone.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub async fn next(&mut self) -> io::Result<Option<Message>> {
        let Some(line) = self.messages.next_line().await? else {
            return Ok(None);
        };
        serde_json::from_str(&line)
            .map(Some)
            .map_err(io::Error::other)
    }

    /// Waits until the command is gone. May be dropped and called again.
    ///
    /// # Errors
    /// What init says cannot be read.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        loop {
            match self.next().await? {
                Some(Message::Ended { status }) => return Ok(ExitStatus::from_raw(status)),
                Some(_) => {}
                // Somebody killed init; the kernel then kills everything in the namespace.
                None => return Ok(ExitStatus::from_raw(libc::SIGKILL)),
            }
        }
    }

    /// Asks init to pass a signal on to the command.
    ///
    /// # Errors
    /// It cannot be sent. Init being gone is none: its end is what comes next.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).map_err(io::Error::other)?);
        match nix::sys::signal::kill(pid, signal) {
            Err(nix::errno::Errno::ESRCH) => Ok(()),
            sent => Ok(sent?),
        }
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        // It is not reaped yet, so the number is still its own. Gone already is what is wanted.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            tracing::error!(%error, "the job's init could not be ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_short_line() {
        let message = Message::NotEntered {
            what: "mount /a\nb".to_owned(),
            errno: 1,
        };
        let text = serde_json::to_string(&message).unwrap();
        assert!(!text.contains('\n'), "{text}");
        assert_eq!(serde_json::from_str::<Message>(&text).unwrap(), message);
    }
}
