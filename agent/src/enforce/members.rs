//! Processes of a job that are no longer in its cgroup: somebody moved them. They end with the job.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{EnforceError, Host, Place};
use crate::sys::pidfd::{self, Process};

/// How long a killed process may take to go.
const PATIENCE: Duration = Duration::from_secs(10);

impl Host {
    /// Kills every process of a job, wherever it is. Returns how many there were.
    ///
    /// # Errors
    /// One cannot be killed, or does not go.
    pub fn kill(&mut self, place: &Place) -> Result<usize, EnforceError> {
        let inside = place.cgroup.kill()?;
        let outside = self.kill_members(place.cgroup.id())?;
        Ok(inside.saturating_add(outside))
    }

    /// Kills the processes that belong to a job by descent alone.
    pub(super) fn kill_members(&mut self, job: u64) -> Result<usize, EnforceError> {
        let mut killed = BTreeSet::new();
        let started = Instant::now();
        loop {
            // Asked again each time: one that was about to fork has a child now.
            let left = self.kernel.maps.members(job)?;
            if left.is_empty() {
                return Ok(killed.len());
            }
            if !pidfd::in_initial_namespace() || started.elapsed() > PATIENCE {
                let some: Vec<_> = left.iter().take(8).map(ToString::to_string).collect();
                return Err(EnforceError::Stray {
                    count: left.len(),
                    processes: some.join(", "),
                });
            }
            for tgid in left {
                if self.kill_member(job, tgid) {
                    killed.insert(tgid);
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether a process of the job was killed.
    fn kill_member(&mut self, job: u64, tgid: u32) -> bool {
        let Ok(process) = Process::open(tgid) else {
            // It ended, and the kernel's note of it was skipped.
            self.kernel.maps.forget_member(tgid);
            return false;
        };
        // The kernel forgets a process when it ends: noted still means the same process still.
        if !self.kernel.maps.is_member(job, tgid) {
            return false;
        }
        if process.has_ended().unwrap_or(false) {
            self.kernel.maps.forget_member(tgid);
            return false;
        }
        process.kill().is_ok()
    }
}
