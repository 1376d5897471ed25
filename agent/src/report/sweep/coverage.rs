//! What a sweep looked into, and what it did not.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::report::Interruption;

/// What was looked into and what was not.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Coverage {
    /// Times in which nobody swept, because cordon was killed while the job ran. What had been found
    /// before is not in this report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interruptions: Vec<Interruption>,
    /// Processes, each counted once however often it was swept.
    pub processes: Processes,
    /// Processes whose environment and arguments nobody could read, neither at exec nor later, by
    /// why; in the order of [`Why`], none with a count of zero.
    pub unreadable: Vec<Unreadable>,
    /// Processes that have nothing to read: zombies and kernel threads. They hide nothing.
    pub nothing_to_read: u64,
    /// What the kernel copied when programs were executed.
    pub execs: Execs,
    /// Passes over the living processes, in the order of their start: the first ones, and always the
    /// last.
    pub sweeps: Vec<Sweep>,
    /// Passes between those that are not listed.
    pub sweeps_omitted: u64,
    /// The last pass; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sweep: Option<LastSweep>,
    /// When the last process of the job was gone; absent without a job, or where nobody saw it end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_end: Option<Timestamp>,
    /// Bytes of environment and arguments that were looked into, repetitions included.
    pub bytes: u64,
    /// Entries in them.
    pub entries: u64,
    /// Of those, entries that were known from before, most by inheritance: their result was used
    /// again.
    pub entries_seen_before: u64,
    /// Encoded layers that were seen and not looked into. An entry that is seen again counts again.
    pub undecoded: Undecoded,
    /// Credentials that were found and are not listed, because one entry held too many.
    pub excess: u64,
    /// Processes that were stopped at exec until they had been looked into; absent if that was not
    /// asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Credentials or processes for which the ledger's own bounds had no room.
    pub details_dropped: u64,
    /// Kernel records of the sweep for which the ring had no room.
    pub records_lost: u64,
    /// What no sweep of this kind can see, each in a sentence.
    pub blind_spots: Vec<String>,
}

/// Processes that were swept.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Processes {
    /// Different processes that were seen: `scanned`, unreadable and nothing to read together.
    pub seen: u64,
    /// Of those, the ones whose environment and arguments were looked into at least once.
    pub scanned: u64,
}

/// Processes that could not be read for one reason.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Unreadable {
    /// Why.
    pub why: Why,
    /// How many.
    pub count: u64,
}

/// Why a process could not be read.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It ended before it was read, and nothing of it had been copied at exec.
    Vanished,
    /// The kernel refused to show it.
    Refused,
    /// It is in no `/proc` that cordon can see.
    Hidden,
}

/// Programs that were executed, and what the kernel copied of them then.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Execs {
    /// Executions, counted by the kernel: all that follow together.
    pub seen: u64,
    /// Copied whole.
    pub whole: u64,
    /// Copied in part, and read whole from `/proc` while the process was still there.
    pub completed_from_proc: u64,
    /// Copied in part, and the rest could not be read.
    pub cut: u64,
    /// Not copied, or the copy did not arrive.
    pub lost: u64,
}

/// One pass over the living processes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sweep {
    /// When it began.
    pub started: Timestamp,
    /// When it was done.
    pub finished: Timestamp,
    /// What it was for.
    pub kind: SweepKind,
    /// Processes it met.
    pub processes: u64,
}

/// What a sweep was for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SweepKind {
    /// The job had just begun.
    Start,
    /// Regularly, while it ran.
    Interval,
    /// Its command had ended, and what it left behind had not been killed yet.
    End,
    /// Once more, just before the evidence was written.
    BeforeSeal,
    /// Somebody asked for it.
    Request,
}

/// The last pass.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LastSweep {
    /// What it was for.
    pub kind: SweepKind,
    /// When it was done.
    pub finished: Timestamp,
    /// How long before the job's end that was, in nanoseconds; absent if it was after the end, or if
    /// there was no job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_job_end_ns: Option<u64>,
}

/// Layers that were seen and not looked into, by why.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Undecoded {
    /// Too many layers around it.
    pub deep: u64,
    /// The layers of one entry together would be too long.
    pub output: u64,
    /// More than there was memory set aside for.
    pub scratch: u64,
    /// Compressed; no compression is undone.
    pub compressed: u64,
}

/// Processes that were stopped at exec until they had been looked into.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Held {
    /// Stopped before their first instruction.
    pub stopped: u64,
    /// Ran before there was a verdict, because they could not be stopped.
    pub not_stopped: u64,
    /// The longest stop, in nanoseconds.
    pub longest_ns: u64,
    /// Half of the stops were no longer, in nanoseconds.
    pub p50_ns: u64,
    /// 99 of 100 stops were no longer, in nanoseconds.
    pub p99_ns: u64,
}

impl Undecoded {
    /// How many there are.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.bounded().saturating_add(self.compressed)
    }

    /// Those that only a bound of the scanner's kept from being looked into.
    #[must_use]
    pub const fn bounded(self) -> u64 {
        self.deep
            .saturating_add(self.output)
            .saturating_add(self.scratch)
    }
}

impl From<cordon_secrets::Undecoded> for Undecoded {
    fn from(undecoded: cordon_secrets::Undecoded) -> Self {
        let cordon_secrets::Undecoded {
            deep,
            output,
            scratch,
            compressed,
        } = undecoded;
        Self {
            deep,
            output,
            scratch,
            compressed,
        }
    }
}

impl LastSweep {
    /// The last of some sweeps, and how long before the job's end it was.
    #[must_use]
    pub fn of(sweeps: &[Sweep], job_end: Option<Timestamp>) -> Option<Self> {
        let last = sweeps.iter().max_by_key(|sweep| sweep.finished)?;
        let before = job_end.and_then(|end| {
            // None where the sweep was after the end.
            u64::try_from(end.duration_since(last.finished).as_nanos()).ok()
        });
        Some(Self {
            kind: last.kind,
            finished: last.finished,
            before_job_end_ns: before.filter(|nanoseconds| *nanoseconds > 0),
        })
    }
}
