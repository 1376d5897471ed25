//! What the runtime knows of a job: written by cordon before the job starts, gone when it has ended.
//!
//! Only root writes there. A container whose job has no passport does not start.

use serde::{Deserialize, Serialize};

/// Directory of the passports, below cordon's `run_dir`.
pub const DIRECTORY: &str = "containers";

/// Where cordon's `run_dir` is unless the runtime is told otherwise.
pub const RUN_DIR: &str = "/run/cordon";

/// A job, as its containers are bound to it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Passport {
    /// The job's id, which is the name of its cgroup.
    pub job: String,
    /// Its cgroup, as a path from the root of every hierarchy.
    pub cgroup: String,
    /// Directories of the host that its containers may mount.
    pub workspace: Vec<Workspace>,
    /// Where the engine keeps what it mounts itself: volumes, and files such as `/etc/hosts`.
    pub engine_root: String,
    /// BPF LSM judges its processes, a container's first one included: they mount no cgroup file system.
    pub lsm: bool,
}

/// A directory, as it was when the job began: its path can lead elsewhere by now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workspace {
    /// Absolute, without links.
    pub path: String,
    /// Device it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

impl Passport {
    /// Name of its file; `None` for what is no id of a job.
    #[must_use]
    pub fn file_of(job: &str) -> Option<String> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_id = (1..=64).contains(&job.len()) && job.bytes().all(good);
        is_id.then(|| format!("{job}.json"))
    }

    /// Name of the socket beside it, on which cordon waits for the job's containers: the runtime writes the
    /// number of the first process, and closes its side; the answer is `ok`, or why not.
    #[must_use]
    pub fn door_of(job: &str) -> Option<String> {
        Self::file_of(job).map(|file| file.replace(".json", ".sock"))
    }
}
