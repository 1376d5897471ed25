//! How long a job lasts that is not one command of cordon's, and who has a say in it.

use std::io;

use nix::sys::signal::Signal;

use super::attended::Attach;
use super::narrowing::Narrow;
use super::watch::{Watch, ends};
use crate::cgroup::Cgroup;
use crate::report::attendance::Narrowing;
use crate::report::{Attendance, Outcome};
use crate::sandbox::link::Init;
use crate::sys::pidfd::Process;
use crate::sys::signals::Signals;

/// What somebody wants of a running job.
#[derive(Debug)]
pub enum Wish {
    /// Every process of it is to end.
    End,
    /// It is over: nothing more will be started in it.
    Finish,
    /// It is to go on without this cordon, for another one to take over.
    Leave,
    /// Somebody in it says that it is about to be over.
    Announced {
        /// Who.
        by: String,
    },
    /// Who waited for its command says how it ended.
    Ended(Box<CommandEnd>),
    /// A process is to be moved into it.
    Attach(Box<Attach>),
    /// Its policy is to become narrower.
    Narrow(Box<Narrow>),
    /// It was dealt with.
    Nothing,
}

/// How the command of a job ended, whose init is somebody else's child.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CommandEnd {
    /// It ran, or could not be executed.
    Ran(Outcome),
    /// No process of it ever was in the job.
    NotEntered {
        /// Why.
        why: String,
    },
}

/// Who has a say in a running job.
pub trait Master {
    /// The next wish.
    ///
    /// # Errors
    /// Nobody can be heard any more.
    fn next(&mut self) -> impl Future<Output = io::Result<Wish>>;

    /// Somebody in the job said that it is about to be over, when so many programs had been started in it.
    fn announced(&mut self, _by: String, _executed: u64) {}

    /// The job narrowed its policy.
    fn narrowed(&mut self, _narrowing: Narrowing) {}

    /// Who waited for the command said how it ended.
    fn ended(&mut self, _end: CommandEnd) {}

    /// How the command ended, if somebody said so.
    fn end(&self) -> Option<&CommandEnd> {
        None
    }

    /// What is to be said of who asked for the job and of its end. `None`: what was said before.
    fn conclude(&mut self, _life: &Life, _watch: &Watch) -> Option<Attendance> {
        None
    }
}

impl Master for Signals {
    /// A request to end means the whole job: there is no command to pass it on to.
    async fn next(&mut self) -> io::Result<Wish> {
        let received = Self::next(self).await?;
        Ok(if ends(received.signal) {
            Wish::End
        } else {
            Wish::Nothing
        })
    }
}

/// How the watching of a job came to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// Its worker has ended, its last process has, or its owner said that it is over.
    Over,
    /// It was ended.
    Ended,
    /// It goes on, unwatched: it waits for another cordon.
    Left,
}

/// Who passes on to a command what it is asked.
pub trait Asked {
    /// Asks it to end.
    ///
    /// # Errors
    /// It cannot be asked. Being gone is none.
    fn ask_to_end(&self) -> io::Result<()>;
}

impl Asked for Init {
    fn ask_to_end(&self) -> io::Result<()> {
        self.signal(Signal::SIGTERM)
    }
}

impl Asked for Process {
    /// `cordon run` passes it on.
    fn ask_to_end(&self) -> io::Result<()> {
        match self.end() {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            asked => asked,
        }
    }
}

/// What a job lives as long as.
#[derive(Debug)]
pub enum Life {
    /// Until no process of it is left.
    Processes,
    /// As long as this process.
    Worker(Process),
    /// Until whoever waits for its command says how that ended; without them, until no process of it is left.
    Command(Option<Process>),
    /// As long as its cgroup is there: whoever made it removes it, and it may be empty for a while.
    Unit,
    /// Until it is said to be over.
    Open,
}

impl Life {
    /// Whether it is over.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn is_over(&self, cgroup: &Cgroup) -> io::Result<bool> {
        match self {
            Self::Processes => Ok(!cgroup.is_populated().map_err(io::Error::other)?),
            Self::Worker(worker) => worker.has_ended(),
            Self::Command(waits) => {
                let waits = waits.as_ref().map_or(Ok(true), Process::has_ended)?;
                Ok(waits && !cgroup.is_populated().map_err(io::Error::other)?)
            }
            // Another one of the same name is another one.
            Self::Unit => Ok(Cgroup::open(cgroup.path()).is_ok_and(|now| now != *cgroup)
                || !cgroup.path().exists()),
            Self::Open => Ok(false),
        }
    }

    /// The process whose end is worth a look.
    #[must_use]
    pub const fn process(&self) -> Option<&Process> {
        match self {
            Self::Worker(process) | Self::Command(Some(process)) => Some(process),
            Self::Processes | Self::Command(None) | Self::Unit | Self::Open => None,
        }
    }

    /// How its command ended, as far as that is known.
    #[must_use]
    pub fn outcome(&self, end: Option<&CommandEnd>) -> Outcome {
        match (self, end) {
            (Self::Command(_), Some(CommandEnd::Ran(outcome))) => *outcome,
            (Self::Command(_) | Self::Processes, _) => Outcome::Unknown,
            (Self::Worker(_) | Self::Unit | Self::Open, _) => Outcome::Finished,
        }
    }

    /// Who can ask the command to end.
    #[must_use]
    pub fn asked(&self) -> Option<&dyn Asked> {
        match self {
            Self::Command(Some(waits)) => Some(waits),
            _ => None,
        }
    }
}
