//! A job's limits: pinned before its first process, watched while it runs, proved at the end.
//!
//! Pure are [`setting`] (what is asked of the kernel), [`counters`] (what it counts), [`estimate`],
//! [`assemble`] and [`evidence`]; thin are [`pins`] (writes and reads back), [`meter`] and [`victims`].
//!
//! **Invariants**: a limit that was asked for is written and read back before a process of the job
//! exists, or the job does not start; what nobody asked for is not limited, and evidence says so.
//!
//! **Not here**: when all this happens, and what follows from a time that is over, is in
//! [`crate::job::limiting`].

pub mod assemble;
pub mod below;
pub mod counters;
pub mod estimate;
pub mod evidence;
pub mod meter;
pub mod pins;
pub mod setting;
pub mod victims;

use std::path::PathBuf;

use self::setting::SettingError;
use crate::cgroup::controllers::{EnableError, Lack};
use crate::policy::limits::Resource;
use crate::sys::fs::FileError;

/// A limit that cannot be pinned.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    /// The host has no such controller for jobs.
    #[error(
        "`{resource}` is limited and cannot be here; `cordon doctor` says what can, and without `{resource}` \
         in `[limits]` the job starts"
    )]
    Unavailable {
        /// What should be limited.
        resource: Resource,
        /// Why it cannot be.
        #[source]
        source: Lack,
    },
    /// The controller is there and does not reach jobs.
    #[error("`{resource}` is limited and its controller does not reach jobs")]
    Withheld {
        /// What should be limited.
        resource: Resource,
        /// Why it does not.
        #[source]
        source: EnableError,
    },
    /// It cannot be said in files.
    #[error("`{resource}` cannot be limited like this")]
    Setting {
        /// What should be limited.
        resource: Resource,
        /// Why it cannot be.
        #[source]
        source: SettingError,
    },
    /// The kernel refused it, or does not say what it holds.
    #[error("the limit of `{resource}` could not be written and read back")]
    Refused {
        /// What should be limited.
        resource: Resource,
        /// Why not.
        #[source]
        source: FileError,
    },
    /// The kernel holds something else.
    #[error(
        "the limit of `{resource}` is not what was written: `{}` has `{found}` and not `{expected}`",
        path.display()
    )]
    Differs {
        /// What should be limited.
        resource: Resource,
        /// In which file.
        path: PathBuf,
        /// What should be there.
        expected: String,
        /// What is.
        found: String,
    },
}
