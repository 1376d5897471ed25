//! Which process it was: process ids to chains of executables.
//!
//! The kernel tells of every fork and exec of a job, in order; the table follows. A process that
//! started before its records (the job's first one) or whose records were lost is looked up through
//! [`Living`], while it lives.

use std::collections::BTreeMap;

/// Longest chain reported; a job that nests deeper is cut at its near end.
pub const CHAIN_LIMIT: usize = 16;
/// Processes remembered. A fork bomb beyond it costs the names of its own children.
const TABLE_LIMIT: usize = 65_536;

/// What can be asked about a process that still runs.
pub trait Living {
    /// Its executable's path.
    fn executable(&self, tgid: u32) -> Option<String>;
    /// Its parent.
    fn parent(&self, tgid: u32) -> Option<u32>;
}

/// A process and its ancestors, itself first.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Chain {
    /// The process.
    pub tgid: u32,
    /// Executables, from it upwards.
    pub executables: Vec<String>,
}

#[derive(Clone, Debug)]
struct Process {
    parent: Option<u32>,
    executable: Option<String>,
}

/// The processes of one job.
#[derive(Debug, Default)]
pub struct Processes {
    table: BTreeMap<u32, Process>,
    forgotten: u64,
}

impl Processes {
    /// A process made another; a pid used again begins anew.
    pub fn forked(&mut self, parent: u32, child: u32) {
        if self.table.len() >= TABLE_LIMIT && !self.table.contains_key(&child) {
            self.forgotten = self.forgotten.saturating_add(1);
            return;
        }
        let executable = self
            .table
            .get(&parent)
            .and_then(|process| process.executable.clone());
        self.table.insert(
            child,
            Process {
                parent: Some(parent),
                executable,
            },
        );
    }

    /// A process became a program.
    pub fn executed(&mut self, tgid: u32, executable: String) {
        if self.table.len() >= TABLE_LIMIT && !self.table.contains_key(&tgid) {
            self.forgotten = self.forgotten.saturating_add(1);
            return;
        }
        self.table
            .entry(tgid)
            .or_insert(Process {
                parent: None,
                executable: None,
            })
            .executable = Some(executable);
    }

    /// How many processes found no room.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The chain of a process. Executables that are the same as the child's (a shell's subshell)
    /// are kept: each is a process.
    #[must_use]
    pub fn chain(&self, tgid: u32, living: &impl Living) -> Chain {
        let mut executables = Vec::new();
        let mut next = Some(tgid);
        while let Some(current) = next {
            let known = self.table.get(&current);
            if known.is_none() && current != tgid {
                // An ancestor without records is outside the job: the chain ends there.
                break;
            }
            let executable = known
                .and_then(|process| process.executable.clone())
                .or_else(|| living.executable(current));
            executables.push(executable.unwrap_or_else(|| "(unknown)".to_owned()));
            if executables.len() >= CHAIN_LIMIT {
                break;
            }
            next = known.map_or_else(|| living.parent(current), |process| process.parent);
        }
        Chain { tgid, executables }
    }
}

/// The processes of this host, from `/proc`.
#[derive(Clone, Copy, Debug)]
pub struct Proc;

impl Living for Proc {
    fn executable(&self, tgid: u32) -> Option<String> {
        let path = std::fs::read_link(format!("/proc/{tgid}/exe")).ok()?;
        Some(path.to_string_lossy().into_owned())
    }

    fn parent(&self, tgid: u32) -> Option<u32> {
        let path = format!("/proc/{tgid}/status");
        let status = crate::sys::fs::read_to_string(path.as_ref(), 1 << 16).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        line.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;
    impl Living for Nobody {
        fn executable(&self, _: u32) -> Option<String> {
            None
        }
        fn parent(&self, _: u32) -> Option<u32> {
            None
        }
    }

    fn job() -> Processes {
        let mut processes = Processes::default();
        processes.executed(10, "/bin/sh".to_owned());
        processes.forked(10, 11);
        processes.executed(11, "/usr/bin/make".to_owned());
        processes.forked(11, 12);
        processes
    }

    #[test]
    fn a_chain_leads_from_the_process_to_the_first_of_the_job() {
        let mut processes = job();
        processes.executed(12, "/usr/bin/curl".to_owned());
        let chain = processes.chain(12, &Nobody);
        assert_eq!(
            chain.executables,
            ["/usr/bin/curl", "/usr/bin/make", "/bin/sh"]
        );
    }

    #[test]
    fn a_child_that_did_not_exec_is_its_parents_program() {
        let chain = job().chain(12, &Nobody);
        assert_eq!(
            chain.executables,
            ["/usr/bin/make", "/usr/bin/make", "/bin/sh"]
        );
    }

    #[test]
    fn a_pid_used_again_is_another_process() {
        let mut processes = job();
        processes.executed(12, "/usr/bin/curl".to_owned());
        processes.forked(10, 12);
        assert_eq!(
            processes.chain(12, &Nobody).executables,
            ["/bin/sh", "/bin/sh"]
        );
    }

    #[test]
    fn a_process_without_records_is_unknown_and_said_so() {
        assert_eq!(job().chain(99, &Nobody).executables, ["(unknown)"]);
    }

    #[test]
    fn a_cycle_of_parents_ends() {
        let mut processes = Processes::default();
        processes.forked(1, 2);
        processes.forked(2, 1);
        assert_eq!(processes.chain(1, &Nobody).executables.len(), CHAIN_LIMIT);
    }

    #[test]
    fn a_fork_bomb_is_bounded_and_counted() {
        let mut processes = Processes::default();
        for child in (0..).take(TABLE_LIMIT + 5) {
            processes.forked(1, child);
        }
        assert_eq!(processes.forgotten(), 5);
    }
}
