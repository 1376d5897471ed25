//! What evidence says of a job's limits: what was asked, what the kernel held, what it met, what was
//! used, and what that is estimated to come to.
//!
//! **Boundary**: these types are JSON, field for field. They stand in the egress report, and know
//! nothing of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::estimate::Estimate;
use crate::cgroup::controllers::Generation;
use crate::policy::limits::Resource;

/// All of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Each resource, limited or not.
    pub resources: Vec<Pinned>,
    /// Limits that somebody outside the job changed while it ran.
    pub changes: Vec<Change>,
    /// Limits the job met.
    pub events: Vec<Met>,
    /// What it used.
    pub usage: Usage,
    /// What that is estimated to come to.
    pub estimate: Estimate,
}

impl Limits {
    /// Limits that were asked for and of which it is not proved that they held from start to end.
    pub fn unproved(&self) -> impl Iterator<Item = &Pinned> {
        let asked = self.resources.iter();
        asked.filter(|pinned| !matches!(pinned.state, State::NotLimited | State::Pinned))
    }

    /// Whether the job was ended because its time was over.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.events.iter().any(|met| met.kind == Kind::TimeOver)
    }
}

/// One resource.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pinned {
    /// Which.
    pub resource: Resource,
    /// Whether it was limited, and whether that held.
    pub state: State,
    /// The limit, in the words of profiles, for example `64MiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configured: Option<String>,
    /// `FILE:LINE` that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Who holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<Holder>,
    /// What was read from the kernel, for each value of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proofs: Vec<Proof>,
}

/// Whether a resource was limited.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// No profile asked for it.
    NotLimited,
    /// A limit in cgroups was read back before the first process and after the last, and never seen
    /// changed. One of processes was set and read back in the first, and none of them can raise it.
    Pinned,
    /// It was found changed while the job ran.
    Changed,
    /// It was pinned, and at the end could not be read.
    NotProved,
}

/// Who holds a limit.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    /// A controller of cgroup v1.
    CgroupV1,
    /// A controller of cgroup v2.
    CgroupV2,
    /// The limit every process of the job has inherited, and none can raise.
    ProcessLimit,
    /// Cordon, and the init of the job where cordon is gone.
    Cordon,
}

impl From<Generation> for Holder {
    fn from(generation: Generation) -> Self {
        match generation {
            Generation::Legacy => Self::CgroupV1,
            Generation::Unified => Self::CgroupV2,
        }
    }
}

/// One value in the kernel.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proof {
    /// The file, as in `memory.max`, with the disk for those of io.
    pub file: String,
    /// What was written.
    pub written: String,
    /// What was read back before the first process started.
    pub at_start: String,
    /// What was there when the last process had ended; absent if it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_end: Option<String>,
}

/// A limit that was found changed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    /// Which.
    pub resource: Resource,
    /// The file.
    pub file: String,
    /// What should have been there.
    pub expected: String,
    /// What was there; absent if nothing could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// When it was seen first.
    pub seen: Timestamp,
    /// What was done about it.
    pub answer: Answer,
}

/// What was done about a changed limit.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It was written again, and read back.
    Restored,
    /// It could not be, and the job was ended.
    JobEnded,
    /// No process was left that it could have mattered to.
    JobOver,
}

/// A limit the job met.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Met {
    /// What happened.
    pub kind: Kind,
    /// How often.
    pub count: u64,
    /// When it was noticed first; cordon looks once a second.
    pub first_noticed: Timestamp,
    /// Which processes, as far as that is known; at most a few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Victim>,
    /// How many of them are not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub processes_unknown: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What happens at a limit.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// No memory was left, and the kernel killed a process.
    OutOfMemory,
    /// A fork, or a new thread, was refused.
    ForkRefused,
    /// The job had used up its processor time of a period, and waited for the next.
    Throttled,
    /// Its time was over, and cordon ended it.
    TimeOver,
}

/// A process that the kernel chose.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Victim {
    /// Process id on the host.
    pub pid: u32,
    /// Executables from the process up to the job's first one.
    pub executables: Vec<String>,
}

/// What a job used. Absent: nobody counted it; `unknown` says why.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Usage {
    /// From its release to the end of its last process, in milliseconds.
    pub wall_milliseconds: u64,
    /// Processor time, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_microseconds: Option<u64>,
    /// Of that, in programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_user_microseconds: Option<u64>,
    /// Of that, in the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_system_microseconds: Option<u64>,
    /// How long it had to wait for its next share of a limited processor, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_microseconds: Option<u64>,
    /// Most memory at a time, bytes; page cache included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// How often memory was at its limit and had to be freed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_full: Option<u64>,
    /// Most processes and threads at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_peak: Option<u64>,
    /// Bytes read from disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_read_bytes: Option<u64>,
    /// Bytes written to disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_written_bytes: Option<u64>,
    /// Bytes of IP packets that left to allowed destinations.
    pub network_out_bytes: u64,
    /// Bytes of IP packets that came back.
    pub network_in_bytes: u64,
    /// What is not known, and why, each in a sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}
