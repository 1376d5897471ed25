//! What is sent over the control socket, as JSON.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::job::coverage::Surroundings;
use crate::job::record::StoredPolicy;
use crate::policy::Mode;
use crate::report::Outcome;
use crate::report::attendance::Identity;
use crate::sandbox::Limited;

/// `POST /v1/jobs`: asks for a job.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StartRequest {
    /// Names of profiles; none: what the grant has for those that ask for none.
    pub profiles: Vec<String>,
    /// What the CI system calls the job.
    pub identity: Identity,
    /// Which processes are to be the job.
    pub processes: Processes,
    /// Images the job makes, by their sha256.
    pub subjects: Vec<String>,
    /// A file that narrows what the job is allowed, from its start on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub narrow: Option<NarrowRequest>,
}

impl StartRequest {
    /// Reads one. A list is none, although its items could be taken for the keys in their order.
    ///
    /// # Errors
    /// It is not an object with these keys.
    pub fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        let keys: Map<String, Value> = serde_json::from_slice(bytes)?;
        Self::deserialize(Value::Object(keys))
    }
}

/// `POST /v1/commands`: asks for a job whose command the caller starts itself. It is between programs of one
/// version, and from root of the host alone: policy and surroundings are taken as they are.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommandRequest {
    /// Version of cordon that asks.
    pub version: String,
    /// What the job may do, as records have it.
    pub policy: StoredPolicy,
    /// BLAKE3 of the ruleset that the caller made of it, hex.
    pub ruleset_digest: String,
    /// First word of the command.
    pub command: String,
    /// How many arguments follow.
    pub arguments: usize,
    /// Whether it runs as root.
    pub as_root: bool,
    /// Images the job makes, by their sha256.
    pub subjects: Vec<String>,
    /// Whether the caller counts on the kernel's LSM programs.
    pub lsm: bool,
    /// What the caller puts around the command.
    pub around: Surroundings,
}

impl CommandRequest {
    /// Reads one; as [`StartRequest::parse`]. Another version is told before what it may write otherwise.
    ///
    /// # Errors
    /// It is not an object with these keys, or another version's.
    pub fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        let keys: Map<String, Value> = serde_json::from_slice(bytes)?;
        let version = keys.get("version").and_then(Value::as_str);
        let ours = env!("CARGO_PKG_VERSION");
        if version.is_some_and(|version| version != ours) {
            return Err(serde::de::Error::custom(format!(
                "the daemon is cordon {ours} and who asks is another version; restart it: `systemctl restart cordon`"
            )));
        }
        Self::deserialize(Value::Object(keys))
    }
}

/// Where a command starts that the caller starts itself: the job is enforced.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entrance {
    /// Name of the job.
    pub id: String,
    /// Where its evidence will be.
    pub evidence: PathBuf,
    /// Its cgroup, in which the first process must be from its start on.
    pub cgroup: PathBuf,
    /// What the first process must do about limits.
    pub limited: Limited,
}

/// `POST /v1/jobs/{id}/ended`: how the command of a job ended, by who waited for it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndedRequest {
    /// How.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<Outcome>,
    /// Why it never was in the job: there is no outcome then, and no evidence.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_entered: Option<String>,
}

impl EndedRequest {
    /// Reads one; as [`StartRequest::parse`].
    ///
    /// # Errors
    /// It is not an object with one of these keys, or an outcome that no command has.
    pub fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        let keys: Map<String, Value> = serde_json::from_slice(bytes)?;
        let request = Self::deserialize(Value::Object(keys))?;
        let of_a_command = |outcome| !matches!(outcome, Outcome::Unknown | Outcome::Finished);
        if request.outcome.is_some() == request.not_entered.is_some()
            || !request.outcome.is_none_or(of_a_command)
        {
            return Err(serde::de::Error::custom(
                "either `outcome`, of a command that ended, or `notEntered`",
            ));
        }
        Ok(request)
    }
}

/// `POST /v1/jobs/{id}/narrow`: takes from what a job is allowed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NarrowRequest {
    /// What the file is called: for reports, nobody opens it.
    pub file: String,
    /// What is in it: a profile.
    pub text: String,
}

/// Bytes of the name of a file that narrows a job.
const FILE_NAME_BYTES: usize = 255;

impl NarrowRequest {
    /// Reads one; as [`StartRequest::parse`].
    ///
    /// # Errors
    /// It is not an object with these keys, or the name of its file is none.
    pub fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        let keys: Map<String, Value> = serde_json::from_slice(bytes)?;
        let request = Self::deserialize(Value::Object(keys))?;
        request.check().map_err(serde::de::Error::custom)?;
        Ok(request)
    }

    /// What the file is called in reports: no path of the host, and not to be taken for one.
    ///
    /// # Errors
    /// Its name is none.
    pub fn check(&self) -> Result<String, &'static str> {
        let name = &self.file;
        if name.is_empty() || name.len() > FILE_NAME_BYTES || name.chars().any(char::is_control) {
            return Err("`file` must be 1 to 255 bytes without control characters");
        }
        Ok(format!("job:{name}"))
    }
}

/// Which processes are to be a job.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Processes {
    /// The worker of the runner that the caller descends from, as the host settings name it; without a name,
    /// the caller's parent. The job is over when that process ends.
    #[default]
    Worker,
    /// None yet: they are attached later, and the job is over when it is said to be.
    None,
}

/// A job, as it is now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobStatus {
    /// Its name.
    pub id: String,
    /// The unit of its runner.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unit: Option<String>,
    /// How far it is.
    pub state: State,
    /// When it was asked for.
    pub since: Timestamp,
    /// Its policy.
    pub policy: String,
    /// BLAKE3 of the ruleset, hex.
    pub ruleset_digest: String,
    /// Whether what no rule allows is refused.
    pub mode: Mode,
    /// What the CI system calls it.
    pub identity: Identity,
    /// Where the grant stands that allowed it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub grant: Option<String>,
    /// Processes that were moved into it at its start.
    pub moved: u64,
    /// Things that were told about it so far: denials, secrets, limits.
    pub told: u64,
    /// Where its evidence is, or will be.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evidence: Option<PathBuf>,
    /// Where it finds its container engine, as `DOCKER_HOST` has it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub engine: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Why its line of telemetry is missing; its evidence is there all the same.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub telemetry_error: Option<String>,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is being set up; nothing runs in it.
    Starting,
    /// It is enforced, and has processes or may have.
    Enforced,
    /// It is over, and its evidence is sealed.
    Sealed,
    /// It could not be started, or has no evidence.
    Failed,
}

/// `GET /v1/status`: the daemon.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DaemonStatus {
    /// Version of cordon.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since when it runs.
    pub since: Timestamp,
    /// When settings were last read.
    pub settings_read: Timestamp,
    /// SHA-256 of the object whose programs enforce, hex.
    pub object_sha256: String,
    /// Why the LSM programs are not there, if they are not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lsm_missing: Option<String>,
    /// Units of runners in the slice.
    pub runners: Vec<RunnerStatus>,
    /// Jobs that run.
    pub jobs: u64,
}

/// The unit of a runner.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunnerStatus {
    /// Its name.
    pub unit: String,
    /// How far it is; one that no `[[runner]]` is for is `failed`, and denied everything.
    pub state: State,
    /// Its control-plane policy.
    pub policy: String,
    /// Why it is denied everything.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// `GET /v1/self`: who is asking.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Own {
    /// In words.
    pub caller: String,
    /// Its job.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job: Option<JobStatus>,
    /// Its runner.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub runner: Option<RunnerStatus>,
}

/// What became of a request that has nothing else to say.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Done {
    /// In words.
    pub done: String,
}

/// Any answer that is no success.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Problem {
    /// What is wrong, and what to do.
    pub error: String,
}
