//! Which processor a process runs on.

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The processors a benchmark uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Processors {
    /// What is measured runs here.
    pub(super) server: usize,
    /// Load and upstream run here.
    pub(super) load: usize,
}

impl Processors {
    /// The first and the last that this process may use.
    pub(super) fn find() -> Result<Self> {
        let set = sched_getaffinity(Pid::from_raw(0)).context("sched_getaffinity")?;
        let mut mine = (0..CpuSet::count()).filter(|&one| set.is_set(one) == Ok(true));
        let server = mine.next().context("no processor")?;
        let load = mine.next_back().unwrap_or(server);
        if server == load {
            println!("one processor only: load, upstream and server share it");
        }
        Ok(Self { server, load })
    }
}

/// Puts the calling thread, and what it starts from now on, on one processor.
pub(super) fn pin(processor: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("sched_setaffinity")
}

/// Does something, such as starting a process, on one processor, and comes back to the other.
pub(super) fn on<T>(processor: usize, back: usize, act: impl FnOnce() -> Result<T>) -> Result<T> {
    pin(processor)?;
    let outcome = act();
    pin(back)?;
    outcome
}
