//! A sweep that a person asks for: of the host, of a job, or of some processes.

use std::io;

use cordon_ebpf::abi::job::Losses;
use cordon_secrets::Tree;

use super::ledger::{Occasion, SweepDone};
use super::procfs::ProcFs;
use super::report::{Facts, build};
use super::sweeper::{Identity, Subject};
use crate::attribution::{Proc, Processes};
use crate::config::Config;
use crate::policy::Policy;
use crate::report::Platform;
use crate::report::sweep::SweepReport;
use crate::sys::clock::{BootTime, Calendar};
use crate::sys::fs;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Processes or clock cannot be asked about.
    #[error("processes cannot be listed")]
    Proc(#[from] io::Error),
    /// The host cannot be swept.
    #[error(transparent)]
    Sweep(#[from] super::SweepError),
}

/// What is swept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Targets {
    /// Every process of the host but this one.
    All,
    /// These.
    Processes(Vec<u32>),
}

/// Sweeps, and says what was found. `progress` is told how many of how many are done.
///
/// # Errors
/// The host's key or registered values cannot be read, memory cannot be locked, or processes cannot be
/// listed.
pub fn sweep(
    config: &Config,
    policy: &Policy,
    targets: &Targets,
    platform: Platform,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<SweepReport, RequestError> {
    let mut sweeper = super::sweeper(config, &policy.secrets, None)?;
    let own = std::process::id();
    let processes = match targets {
        Targets::All => {
            let mut all = ProcFs::default().processes()?;
            all.retain(|process| *process != own);
            all
        }
        Targets::Processes(processes) => processes.clone(),
    };
    let started = BootTime::now()?.0;
    let nobody = Processes::default();
    for (done, process) in processes.iter().enumerate() {
        progress(done, processes.len());
        let find = || (nobody.chain(*process, &Proc), tree_of(*process));
        let subject = Subject {
            process: *process,
            identity: &Identity::new(&find),
            now: BootTime::now()?.0,
        };
        // What cannot be read is counted in the ledger, what is found is kept there.
        let _read = sweeper.process(subject, &mut |_detection, _judgement, _new| {});
    }
    progress(processes.len(), processes.len());
    sweeper.ledger.swept(SweepDone {
        occasion: Occasion::Request,
        started,
        finished: BootTime::now()?.0,
        processes: processes.len() as u64,
    });
    let facts = Facts {
        policy,
        acted: None,
        losses: Losses::default(),
        interruptions: &[],
        job: None,
        platform,
        calendar: Calendar::now()?,
    };
    Ok(build(&sweeper, facts, false))
}

/// Whether a process is in the cgroup of a job.
fn tree_of(process: u32) -> Tree {
    let path = format!("/proc/{process}/cgroup");
    let cgroups = fs::read_to_string(path.as_ref(), 1 << 16).unwrap_or_default();
    let in_job = |line: &str| {
        let unified = line.strip_prefix("0::");
        unified.is_some_and(|path| path.contains("/cordon.slice/job-"))
    };
    if cgroups.lines().any(in_job) {
        Tree::Job
    } else {
        Tree::Outside
    }
}
