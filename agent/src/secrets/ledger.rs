//! What a sweep saw, bounded and in order. No I/O; holds no byte of a secret.

use std::collections::BTreeMap;

use cordon_secrets::{Detection, Judgement, Scanned, Source, Variable};

use super::procfs::Unreadable;
use crate::attribution::Chain;

/// Different findings kept. Beyond: counted.
const ROWS: usize = 4_096;
/// Processes kept for each finding. Beyond: counted.
const PROCESSES_PER_ROW: usize = 32;
/// Processes of which it is remembered whether they were read.
const PROCESSES: usize = 65_536;
/// Sweeps listed. Beyond: counted.
const SWEEPS: usize = 512;
/// Latencies kept for the figures of a report; later ones replace earlier ones.
const LATENCIES: usize = 4_096;

/// How a process was read.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Via {
    /// The kernel's copy at exec.
    Exec,
    /// Its files below `/proc`.
    Proc,
}

/// Why processes were swept.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Occasion {
    /// The job began.
    Start,
    /// Time had passed.
    Interval,
    /// The command had ended.
    End,
    /// The evidence was about to be sealed.
    BeforeSeal,
    /// A person asked.
    Request,
}

/// A secret that was seen in a new place, for whoever watches the job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// The secret, without itself.
    pub detection: Detection,
    /// What is thought of it.
    pub judgement: Judgement,
    /// Who has it.
    pub chain: Chain,
}

/// One sweep over processes. Times are boot times in ns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SweepDone {
    /// Why.
    pub occasion: Occasion,
    /// When it began.
    pub started: u64,
    /// When it ended.
    pub finished: u64,
    /// How many processes it looked at.
    pub processes: u64,
}

/// Where a credential was seen: what makes two sights of it one line of a report.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub struct RowKey {
    /// Id of the rule.
    pub rule: &'static str,
    /// Hex fingerprint.
    pub fingerprint: String,
    /// Environment or arguments.
    pub source: Source,
    /// The variable.
    pub variable: Variable,
    /// The field inside of it.
    pub field: Variable,
}

/// One credential in one place.
#[derive(Clone, Debug)]
pub struct Row {
    /// As it was seen first.
    pub detection: Detection,
    /// The worst that is thought of it in any process.
    pub judgement: Judgement,
    /// Boot time (ns) of the first sight.
    pub first: u64,
    /// Of the last one.
    pub last: u64,
    /// Whether it was in a copy made at exec.
    pub at_exec: bool,
    /// Whether it was in `/proc`.
    pub in_proc: bool,
    /// Who had it.
    pub processes: BTreeMap<Chain, Sight>,
    /// Sights in processes beyond [`PROCESSES_PER_ROW`].
    pub omitted: u64,
}

/// One process' sights of a credential.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sight {
    /// Boot time (ns) of the first.
    pub first: u64,
    /// Of the last.
    pub last: u64,
    /// How many.
    pub times: u64,
}

/// What became of the copies made at exec.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Execs {
    /// Programs that were started.
    pub seen: u64,
    /// Copied whole by the kernel.
    pub whole: u64,
    /// Copied in part, and read whole from `/proc`.
    pub completed: u64,
    /// Read in part only.
    pub cut: u64,
    /// Not read at all.
    pub lost: u64,
}

/// What happened to processes that were stopped until they were swept.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// How many.
    pub stopped: u64,
    /// Nanoseconds from exec to the verdict, of the last [`LATENCIES`].
    latencies: Vec<u64>,
    /// The longest of all.
    pub longest: u64,
}

/// What was seen, and how completely.
#[derive(Debug, Default)]
pub struct SweepLedger {
    /// Credentials by place.
    pub rows: BTreeMap<RowKey, Row>,
    /// Processes that were seen.
    pub seen: u64,
    /// Those of which something was scanned.
    pub scanned: u64,
    /// Those that have nothing to read.
    pub nothing: u64,
    /// Those that could not be read, by why.
    pub unreadable: BTreeMap<Unreadable, u64>,
    /// Copies made at exec.
    pub execs: Execs,
    /// What the engine counted.
    pub engine: Scanned,
    /// Sweeps, the first ones.
    pub sweeps: Vec<SweepDone>,
    /// Sweeps that are not listed.
    pub sweeps_omitted: u64,
    /// The last sweep.
    pub last_sweep: Option<SweepDone>,
    /// Processes that were held.
    pub held: Held,
    /// Sights and processes that found no room.
    pub dropped: u64,
    /// Whether each process was scanned.
    processes: BTreeMap<u32, bool>,
}

impl SweepLedger {
    /// A process was made: its memory is its parent's, and so is what was scanned of it.
    pub fn forked(&mut self, parent: u32, child: u32) {
        let scanned = self.processes.get(&parent).copied().unwrap_or(false);
        // A number used again is another process.
        self.processes.remove(&child);
        self.noticed(child);
        if scanned {
            self.was_scanned(child);
        }
    }

    /// A process is there. Returns whether it is new.
    pub fn noticed(&mut self, process: u32) -> bool {
        if self.processes.contains_key(&process) {
            return false;
        }
        self.seen = self.seen.saturating_add(1);
        if self.processes.len() < PROCESSES {
            self.processes.insert(process, false);
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
        true
    }

    /// Something of a process was scanned.
    pub fn was_scanned(&mut self, process: u32) {
        match self.processes.get_mut(&process) {
            Some(scanned) if *scanned => {}
            Some(scanned) => {
                *scanned = true;
                self.scanned = self.scanned.saturating_add(1);
            }
            None => self.scanned = self.scanned.saturating_add(1),
        }
    }

    /// A process could not be read. One that was scanned before has only ended.
    pub fn not_read(&mut self, process: u32, why: Unreadable) {
        if why == Unreadable::Vanished && self.is_accounted(process) {
            return;
        }
        let count = self.unreadable.entry(why).or_default();
        *count = count.saturating_add(1);
    }

    /// A process has nothing to read, or nothing any more.
    pub fn had_nothing(&mut self, process: u32) {
        if self.is_accounted(process) {
            return;
        }
        self.nothing = self.nothing.saturating_add(1);
        self.processes.insert(process, true);
    }

    fn is_accounted(&self, process: u32) -> bool {
        self.processes.get(&process).copied().unwrap_or(false)
    }

    /// The engine has scanned a block.
    pub fn add(&mut self, scanned: Scanned) {
        self.engine = self.engine.and(scanned);
    }

    /// A process was stopped, and its verdict took so long.
    pub fn was_held(&mut self, nanoseconds: u64) {
        let place = usize::try_from(self.held.stopped)
            .unwrap_or_default()
            .checked_rem(LATENCIES)
            .unwrap_or_default();
        match self.held.latencies.get_mut(place) {
            Some(latency) => *latency = nanoseconds,
            None => self.held.latencies.push(nanoseconds),
        }
        self.held.stopped = self.held.stopped.saturating_add(1);
        self.held.longest = self.held.longest.max(nanoseconds);
    }

    /// A sweep is done.
    pub fn swept(&mut self, sweep: SweepDone) {
        self.last_sweep = Some(sweep);
        if self.sweeps.len() < SWEEPS {
            self.sweeps.push(sweep);
        } else {
            self.sweeps_omitted = self.sweeps_omitted.saturating_add(1);
        }
    }

    /// A credential was seen in a process at boot time `now` (ns). Returns whether it is new in that
    /// place, or in that process.
    pub fn detected(
        &mut self,
        detection: &Detection,
        judgement: Judgement,
        chain: &Chain,
        via: Via,
        now: u64,
    ) -> bool {
        let key = RowKey {
            rule: detection.rule.id,
            fingerprint: detection.fingerprint.to_string(),
            source: detection.place.source,
            variable: detection.place.variable.clone(),
            field: detection.place.field.clone(),
        };
        if !self.rows.contains_key(&key) && self.rows.len() >= ROWS {
            self.dropped = self.dropped.saturating_add(1);
            return true;
        }
        let row = self.rows.entry(key).or_insert_with(|| Row {
            detection: detection.clone(),
            judgement,
            first: now,
            last: now,
            at_exec: false,
            in_proc: false,
            processes: BTreeMap::new(),
            omitted: 0,
        });
        row.last = row.last.max(now);
        match via {
            Via::Exec => row.at_exec = true,
            Via::Proc => row.in_proc = true,
        }
        // A pair that was found later says more.
        if detection.confidence > row.detection.confidence {
            row.detection = detection.clone();
        }
        if judgement.outcome > row.judgement.outcome {
            row.judgement = judgement;
        }
        row.seen_in(chain, now)
    }
}

impl Row {
    fn seen_in(&mut self, chain: &Chain, now: u64) -> bool {
        if let Some(sight) = self.processes.get_mut(chain) {
            sight.last = sight.last.max(now);
            sight.times = sight.times.saturating_add(1);
            return false;
        }
        if self.processes.len() >= PROCESSES_PER_ROW {
            self.omitted = self.omitted.saturating_add(1);
            return false;
        }
        self.processes.insert(
            chain.clone(),
            Sight {
                first: now,
                last: now,
                times: 1,
            },
        );
        true
    }
}

impl Held {
    /// A quantile of the verdicts' times, in ns; `per_mille` of 500 is the median. `None` if none was held.
    #[must_use]
    pub fn quantile(&self, per_mille: usize) -> Option<u64> {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        let at = last.saturating_mul(per_mille).checked_div(1000)?;
        sorted.get(at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_of_a_scanned_process_is_scanned_until_its_number_is_used_again() {
        let mut ledger = SweepLedger::default();
        assert!(ledger.noticed(10));
        ledger.was_scanned(10);
        ledger.was_scanned(10);
        ledger.forked(10, 11);
        assert!(!ledger.noticed(11));
        assert_eq!((ledger.seen, ledger.scanned), (2, 2));
        ledger.forked(7, 11);
        assert_eq!((ledger.seen, ledger.scanned), (3, 2));
    }

    #[test]
    fn quantiles_are_of_what_was_held() {
        let mut ledger = SweepLedger::default();
        assert_eq!(ledger.held.quantile(500), None);
        for nanoseconds in (1..=1000).rev() {
            ledger.was_held(nanoseconds);
        }
        assert_eq!(ledger.held.quantile(500), Some(500));
        assert_eq!(ledger.held.quantile(990), Some(990));
        assert_eq!(ledger.held.longest, 1000);
    }
}
