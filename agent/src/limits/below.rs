//! What the kernel counts only in the cgroup it happens in: those below a job's, which are its containers'.
//!
//! Most counters of cgroup v2 are of a cgroup and all below it. Not so refused forks before Linux 6.11 (which has
//! `pids.events.local` for the old meaning), and nothing of cgroup v1.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::counters::{Counters, keyed};
use crate::cgroup::controllers::{Controller, Generation};
use crate::sys::fs;

/// One of the numbers.
type Place = fn(&mut Counters) -> &mut Option<u64>;

/// File and key of what is counted apart, and where it belongs.
const fn apart(
    controller: Controller,
    generation: Generation,
) -> Option<(&'static str, &'static str, Place)> {
    match (controller, generation) {
        (Controller::Pids, _) => {
            Some(("pids.events", "max", |counters| &mut counters.forks_refused))
        }
        (Controller::Memory, Generation::Legacy) => {
            Some(("memory.oom_control", "oom_kill", |counters| {
                &mut counters.oom_kills
            }))
        }
        _ => None,
    }
}

/// What was counted in cgroups below a job's. One that is gone stays counted as it was seen last.
#[derive(Debug, Default)]
pub struct Below(BTreeMap<PathBuf, u64>);

impl Below {
    /// Adds what is counted below a job's directory of a controller to what is counted in it.
    pub fn add(
        &mut self,
        controller: Controller,
        generation: Generation,
        directory: &Path,
        counters: &mut Counters,
    ) {
        let Some((file, key, place)) = apart(controller, generation) else {
            return;
        };
        if directory.join(format!("{file}.local")).exists() {
            return;
        }
        let children = std::fs::read_dir(directory).into_iter().flatten().flatten();
        for child in children.filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir())) {
            let path = child.path().join(file);
            // One that is removed meanwhile says nothing new.
            let text = fs::read_to_string(&path, 1 << 20).unwrap_or_default();
            if let Some(count) = keyed(&text, key).filter(|count| *count > 0) {
                self.0.insert(path, count);
            }
        }
        let of_this = self
            .0
            .iter()
            .filter(|(path, _)| path.starts_with(directory));
        let sum = of_this.fold(0, |sum: u64, (_, count)| sum.saturating_add(*count));
        if sum > 0 {
            let total = place(counters);
            *total = Some(total.unwrap_or_default().saturating_add(sum));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(below: &mut Below, directory: &Path) -> Option<u64> {
        let mut counters = Counters {
            forks_refused: Some(1),
            ..Counters::default()
        };
        below.add(
            Controller::Pids,
            Generation::Unified,
            directory,
            &mut counters,
        );
        counters.forks_refused
    }

    fn write(path: &Path, text: &str) {
        fs::write_atomic(path, text.as_bytes(), 0o600).unwrap();
    }

    #[test]
    fn what_containers_were_refused_is_their_jobs_also_when_they_are_gone() {
        let job = tempfile::tempdir().unwrap();
        let mut below = Below::default();
        assert_eq!(counted(&mut below, job.path()), Some(1));
        for (name, text) in [("one", "max 2\n"), ("two", "max 3\n"), ("none", "")] {
            std::fs::create_dir(job.path().join(name)).unwrap();
            write(&job.path().join(name).join("pids.events"), text);
        }
        assert_eq!(counted(&mut below, job.path()), Some(6));
        assert_eq!(counted(&mut below, job.path()), Some(6));
        std::fs::remove_dir_all(job.path().join("two")).unwrap();
        write(&job.path().join("one/pids.events"), "max 4\n");
        assert_eq!(counted(&mut below, job.path()), Some(8));
    }

    #[test]
    fn a_kernel_that_adds_them_up_itself_is_not_helped() {
        let job = tempfile::tempdir().unwrap();
        std::fs::create_dir(job.path().join("one")).unwrap();
        write(&job.path().join("one/pids.events"), "max 2\n");
        write(&job.path().join("pids.events.local"), "max 0\n");
        assert_eq!(counted(&mut Below::default(), job.path()), Some(1));
    }
}
