//! The jobs and runners of a daemon, as it knows them.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use super::api::types::{JobStatus, RunnerStatus, State};
use super::feed::Feed;
use crate::enforce::unit_of;
use crate::job::attended::Orders;
use crate::policy::Mode;
use crate::report::attendance::Identity;

/// Jobs that are over and can still be asked about.
const REMEMBERED: usize = 256;

/// A job or a runner.
#[derive(Debug)]
pub struct Entry {
    /// The name of its place.
    pub id: String,
    /// The unit: of a runner its own, of a job that of the runner it came from.
    pub unit: Option<String>,
    /// How far it is.
    pub state: State,
    /// When it was asked for.
    pub since: Timestamp,
    /// Its policy.
    pub policy: String,
    /// BLAKE3 of the ruleset, hex.
    pub ruleset_digest: String,
    /// Its mode.
    pub mode: Mode,
    /// What the CI system calls it.
    pub identity: Identity,
    /// Where its grant stands.
    pub grant: Option<String>,
    /// Processes that were moved into it at its start.
    pub moved: u64,
    /// Where its evidence is, or will be.
    pub evidence: Option<PathBuf>,
    /// Where it finds its container engine.
    pub engine: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Why its line of telemetry is missing.
    pub telemetry_error: Option<String>,
    /// What happens in it.
    pub feed: Arc<Feed>,
    /// How many lines that were.
    pub told: Arc<AtomicU64>,
    /// The way to its thread, while that runs.
    pub orders: Option<Orders>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Table {
    entries: BTreeMap<String, Entry>,
    /// Order in which jobs ended.
    over: Vec<String>,
}

impl Entry {
    /// Whether it is a runner and not a job.
    #[must_use]
    pub fn is_runner(&self) -> bool {
        unit_of(&self.id).is_some()
    }

    /// Whether its thread runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        matches!(self.state, State::Starting | State::Enforced)
    }

    /// As it is told.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        JobStatus {
            id: self.id.clone(),
            unit: self.unit.clone(),
            state: self.state,
            since: self.since,
            policy: self.policy.clone(),
            ruleset_digest: self.ruleset_digest.clone(),
            mode: self.mode,
            identity: self.identity.clone(),
            grant: self.grant.clone(),
            moved: self.moved,
            told: self.told.load(Ordering::Relaxed),
            evidence: self.evidence.clone(),
            engine: self.engine.clone(),
            error: self.error.clone(),
            telemetry_error: self.telemetry_error.clone(),
        }
    }

    /// As a runner is told.
    #[must_use]
    pub fn runner_status(&self) -> RunnerStatus {
        RunnerStatus {
            unit: self.unit.clone().unwrap_or_default(),
            state: self.state,
            policy: self.policy.clone(),
            error: self.error.clone(),
        }
    }
}

impl Table {
    /// Adds one.
    pub fn add(&mut self, entry: Entry) {
        self.entries.insert(entry.id.clone(), entry);
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Entry> {
        self.entries.get_mut(id)
    }

    /// The runner of a unit.
    #[must_use]
    pub fn runner(&self, unit: &str) -> Option<&Entry> {
        let mut runners = self.runners();
        runners.find(|entry| entry.unit.as_deref() == Some(unit))
    }

    /// Runners.
    pub fn runners(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| entry.is_runner())
    }

    /// Jobs.
    pub fn jobs(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| !entry.is_runner())
    }

    /// Those whose threads run.
    pub fn alive(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| entry.is_alive())
    }

    /// Forgets one that should not be there any more.
    pub fn forget(&mut self, id: &str) {
        self.entries.remove(id);
    }

    /// Notes that one is over, and forgets the oldest of those.
    pub fn is_over(&mut self, id: &str) {
        self.over.push(id.to_owned());
        if self.over.len() > REMEMBERED {
            let oldest = self.over.remove(0);
            if self.get(&oldest).is_some_and(|entry| !entry.is_alive()) {
                self.entries.remove(&oldest);
            }
        }
    }
}
