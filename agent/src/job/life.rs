//! How long a job lasts that is not one command of cordon's, and who has a say in it.

use std::io;

use super::attended::Attach;
use super::narrowing::Narrow;
use super::watch::{Watch, ends};
use crate::cgroup::Cgroup;
use crate::report::Attendance;
use crate::report::attendance::Narrowing;
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
    /// A process is to be moved into it.
    Attach(Box<Attach>),
    /// Its policy is to become narrower.
    Narrow(Box<Narrow>),
    /// It was dealt with.
    Nothing,
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

/// What a job lives as long as.
#[derive(Debug)]
pub enum Life {
    /// Until no process of it is left.
    Processes,
    /// As long as this process.
    Worker(Process),
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
            // Another one of the same name is another one.
            Self::Unit => Ok(Cgroup::open(cgroup.path()).is_ok_and(|now| now != *cgroup)
                || !cgroup.path().exists()),
            Self::Open => Ok(false),
        }
    }
}
