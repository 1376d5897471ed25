//! What must be known to go on with a job whose cordon was killed: written before the command is
//! released, on disk when it is.
//!
//! **Invariants**: arguments and environment of the command are not in it; what is read back is
//! compiled anew and compared with the digest of what was in force, so that a changed file cannot
//! give a job another policy.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::limits::StoredLimits;
use self::secrets::StoredSecrets;
use super::coverage::Surroundings;
use super::life::Life;
use super::limiting::Kept;
use crate::config::DnsConfig;
use crate::dns::WildcardLimits;
use crate::engine::Seat;
use crate::policy::endpoint::parse_net;
use crate::policy::ports::PortRange;
use crate::policy::{
    DnsPolicy, DomainPattern, Endpoint, Engine, Mode, Narrowed, Origin, Policy, PortSet,
    ProfileSource, Protocol, Rule, Ruleset, SandboxPolicy, Upstream, Verify, compile,
};
use crate::report::statement::Subject;
use crate::report::{Attendance, Interruption, Layer};
use crate::sys::fs;

mod limits;
mod secrets;

/// Version of the form; another one is not read.
const VERSION: u32 = 1;
/// A policy of as many rules as a ruleset can have is smaller.
const LIMIT: u64 = 64 << 20;

/// How far a start had come.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The job has a place; the command was not released.
    Placed,
    /// Enforcement was proved, and the command may have started.
    Released,
}

/// The record of one job.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    version: u32,
    /// The job.
    pub id: String,
    /// How far it came.
    pub stage: Stage,
    /// Which boot of the host: cgroup ids mean nothing in another.
    pub boot: String,
    /// Its cgroup.
    pub cgroup: u64,
    /// Process that watches it.
    pub cordon: u32,
    /// Cookie of the network namespace it was started in.
    pub netns: u64,
    /// Where its evidence goes.
    pub evidence: PathBuf,
    /// What it makes, as far as that was said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<Subject>,
    /// First word of the command.
    pub command: String,
    /// How many arguments it had.
    pub arguments: usize,
    /// Whether it runs as root.
    pub as_root: bool,
    /// When it was released.
    pub started: Timestamp,
    /// How names are looked up on the host.
    pub dns: StoredDns,
    /// What it may reach.
    pub policy: StoredPolicy,
    /// BLAKE3 of the compiled ruleset, hex.
    pub ruleset_digest: String,
    /// Every layer, as it was proved.
    pub layers: Vec<Layer>,
    /// What was proved.
    pub proof: Vec<String>,
    /// What stood around its processes.
    pub around: Surroundings,
    /// Earlier interruptions.
    pub interruptions: Vec<Interruption>,
    /// Its limits, once they are pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Kept>,
    /// Who asked for it, where that was not a command line of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attendance: Option<Attendance>,
    /// Where its container engine is, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Seat>,
    /// Who goes on with it.
    #[serde(default)]
    pub keeper: Keeper,
    /// What it lives as long as, if it is not one command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<Worker>,
    /// Who waits for its command, if that is not who watches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Worker>,
}

/// Who goes on with a job whose cordon was killed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Keeper {
    /// Whoever comes next.
    #[default]
    Anyone,
    /// The daemon, as soon as it is there again: nobody else ends the job.
    Daemon,
}

/// The process a job lives as long as.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Worker {
    /// Its number.
    pub pid: u32,
    /// When it was started, in ticks since boot: no other process of that number has it.
    pub started: u64,
}

/// [`DnsConfig`] as text.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoredDns {
    upstream: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
    ttl_floor: u32,
    timeout_ms: u32,
    #[serde(default)]
    wildcard: WildcardLimits,
}

/// [`Policy`] as text.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoredPolicy {
    name: String,
    mode: Mode,
    upstream: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca: Option<PathBuf>,
    rules: Vec<StoredRule>,
    #[serde(default)]
    secrets: StoredSecrets,
    #[serde(default, skip_serializing_if = "StoredLimits::is_empty")]
    limits: StoredLimits,
    #[serde(default, skip_serializing_if = "Engine::is_default")]
    engine: Engine,
    #[serde(default, skip_serializing_if = "SandboxPolicy::is_empty")]
    sandbox: SandboxPolicy,
    profiles: Vec<StoredProfile>,
    #[serde(default, skip_serializing_if = "is_none")]
    standing: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    narrowed: Option<Narrowed>,
}

/// Not worth a field.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_none(count: &usize) -> bool {
    *count == 0
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredRule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cidr: Option<String>,
    ports: Vec<(u16, u16)>,
    protocol: String,
    private: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verify: Option<String>,
    reason: Option<String>,
    source: String,
    line: usize,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredProfile {
    name: String,
    source: String,
    sha256: String,
}

/// A record that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file.
    #[error(transparent)]
    File(#[from] fs::FileError),
    /// Not the form this version writes.
    #[error("the record is damaged")]
    Damaged(#[source] serde_json::Error),
    /// Another version's.
    #[error("the record has form {found}, this cordon reads form {VERSION}")]
    Version {
        /// What is written in it.
        found: u32,
    },
    /// The policy in it does not give the ruleset that was in force.
    #[error("the policy in the record is not the one that was in force")]
    OtherPolicy,
}

/// What a new record is made of.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The job.
    pub id: &'a str,
    /// Its cgroup.
    pub cgroup: u64,
    /// Cookie of its network namespace.
    pub netns: u64,
    /// Where its evidence goes.
    pub evidence: &'a Path,
    /// What it makes.
    pub subjects: &'a [Subject],
    /// First word of the command.
    pub command: &'a str,
    /// How many arguments follow.
    pub arguments: usize,
    /// Whether it runs as root.
    pub as_root: bool,
    /// How names are looked up.
    pub dns: &'a DnsConfig,
    /// What it may reach.
    pub policy: &'a Policy,
    /// The same, compiled.
    pub ruleset: &'a Ruleset,
}

impl Record {
    /// A job that has a place and nothing else.
    ///
    /// # Errors
    /// The kernel does not say which boot this is.
    pub fn new(start: Start<'_>) -> Result<Self, fs::FileError> {
        let Start {
            id,
            cgroup,
            netns,
            evidence,
            subjects,
            command,
            arguments,
            as_root,
            dns,
            policy,
            ruleset,
        } = start;
        let evidence = std::path::absolute(evidence)
            .map_err(fs::FileError::on("find the absolute path of", evidence))?;
        Ok(Self {
            version: VERSION,
            id: id.to_owned(),
            stage: Stage::Placed,
            boot: boot()?,
            cgroup,
            cordon: std::process::id(),
            netns,
            evidence,
            subjects: subjects.to_vec(),
            command: command.to_owned(),
            arguments,
            as_root,
            started: Timestamp::now(),
            dns: dns.into(),
            policy: policy.into(),
            ruleset_digest: ruleset.digest.to_string(),
            layers: Vec::new(),
            proof: Vec::new(),
            around: Surroundings::unknown(),
            interruptions: Vec::new(),
            limits: None,
            attendance: None,
            engine: None,
            keeper: Keeper::Anyone,
            worker: None,
            waits: None,
        })
    }

    /// Writes it whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), fs::FileError> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let bytes = serde_json::to_vec(self)
            .map_err(std::io::Error::other)
            .map_err(fs::FileError::on("write", path))?;
        fs::write_atomic(path, &bytes, 0o600)
    }

    /// Reads one; `None` if there is none.
    ///
    /// # Errors
    /// There is one, and it is of no use.
    pub fn read(path: &Path) -> Result<Option<Self>, RecordError> {
        match fs::read(path, LIMIT) {
            Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            bytes => Self::parse(&bytes?).map(Some),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let Head { version } = serde_json::from_slice(bytes).map_err(RecordError::Damaged)?;
        if version != VERSION {
            return Err(RecordError::Version { found: version });
        }
        serde_json::from_slice(bytes).map_err(RecordError::Damaged)
    }

    /// Notes that the job has another policy now.
    pub fn replace_policy(&mut self, policy: &Policy, ruleset: &Ruleset) {
        self.policy = policy.into();
        self.ruleset_digest = ruleset.digest.to_string();
    }

    /// The policy, and its ruleset, which is the one that was in force.
    ///
    /// # Errors
    /// It is not.
    pub fn policy(&self) -> Result<(Policy, Ruleset), RecordError> {
        let policy = self.policy.load().ok_or(RecordError::OtherPolicy)?;
        match compile(&policy) {
            Ok(ruleset) if ruleset.digest.to_string() == self.ruleset_digest => {
                Ok((policy, ruleset))
            }
            Ok(_) | Err(_) => Err(RecordError::OtherPolicy),
        }
    }

    /// How names were looked up.
    #[must_use]
    pub fn dns(&self) -> DnsConfig {
        let StoredDns {
            upstream,
            ca,
            ttl_floor,
            timeout_ms,
            wildcard,
        } = &self.dns;
        DnsConfig {
            upstream: upstream.as_ref().map(|list| upstreams(list)),
            ca: ca.clone(),
            ttl_floor: *ttl_floor,
            timeout_ms: *timeout_ms,
            wildcard: *wildcard,
        }
    }

    /// What it lives as long as.
    #[must_use]
    pub fn life(&self) -> Life {
        if self.keeper == Keeper::Anyone {
            return Life::Processes;
        }
        if self.is_unit() {
            return Life::Unit;
        }
        match (self.worker, self.waits) {
            // A worker that is gone: what it left behind is what there is.
            (Some(worker), _) => worker.hold().map_or(Life::Processes, Life::Worker),
            (None, Some(waits)) => Life::Command(waits.hold()),
            (None, None) => Life::Open,
        }
    }

    /// The name of its policy.
    #[must_use]
    pub fn policy_name(&self) -> &str {
        &self.policy.name
    }

    /// The mode of its policy.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.policy.mode
    }

    /// Whether its cgroup is a unit's.
    #[must_use]
    pub fn is_unit(&self) -> bool {
        crate::enforce::unit_of(&self.id).is_some()
    }

    /// Whether it is of this boot of the host.
    #[must_use]
    pub fn is_of_this_boot(&self) -> bool {
        boot().is_ok_and(|boot| boot == self.boot)
    }
}

fn boot() -> Result<String, fs::FileError> {
    let text = fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id"), 64)?;
    Ok(text.trim().to_owned())
}

/// What cannot be read names nobody to ask: the name stays unresolved.
fn upstreams(list: &[String]) -> Vec<Upstream> {
    let read = list.iter().filter_map(|text| Upstream::parse(text).ok());
    read.collect()
}

impl From<&DnsConfig> for StoredDns {
    fn from(config: &DnsConfig) -> Self {
        let DnsConfig {
            upstream,
            ca,
            ttl_floor,
            timeout_ms,
            wildcard,
        } = config;
        let words = |list: &Vec<Upstream>| list.iter().map(ToString::to_string).collect();
        Self {
            upstream: upstream.as_ref().map(words),
            ca: ca.clone(),
            ttl_floor: *ttl_floor,
            timeout_ms: *timeout_ms,
            wildcard: *wildcard,
        }
    }
}

impl From<&Policy> for StoredPolicy {
    fn from(policy: &Policy) -> Self {
        let Policy {
            name,
            mode,
            rules,
            dns: DnsPolicy { upstream, ca },
            secrets,
            limits,
            engine,
            sandbox,
            profiles,
            standing,
            narrowed,
        } = policy;
        Self {
            name: name.clone(),
            mode: *mode,
            upstream: upstream.iter().map(ToString::to_string).collect(),
            ca: ca.clone(),
            rules: rules.iter().map(StoredRule::from).collect(),
            secrets: secrets.into(),
            limits: limits.into(),
            engine: *engine,
            sandbox: sandbox.clone(),
            profiles: profiles.iter().map(StoredProfile::from).collect(),
            standing: *standing,
            narrowed: narrowed.clone(),
        }
    }
}

impl StoredPolicy {
    /// The policy. `None`: this is none.
    #[must_use]
    pub fn load(&self) -> Option<Policy> {
        let Self {
            name,
            mode,
            upstream,
            ca,
            rules,
            secrets,
            limits,
            engine,
            sandbox,
            profiles,
            standing,
            narrowed,
        } = self;
        let rules: Option<Vec<Rule>> = rules.iter().map(StoredRule::load).collect();
        Some(Policy {
            name: name.clone(),
            mode: *mode,
            rules: rules?,
            dns: DnsPolicy {
                upstream: upstreams(upstream),
                ca: ca.clone(),
            },
            secrets: secrets.load()?,
            limits: limits.load(),
            engine: *engine,
            sandbox: sandbox.clone(),
            profiles: profiles.iter().map(StoredProfile::load).collect(),
            standing: *standing,
            narrowed: narrowed.clone(),
        })
    }
}

impl From<&Rule> for StoredRule {
    fn from(rule: &Rule) -> Self {
        let Rule {
            endpoint,
            ports,
            protocol,
            private,
            verify,
            reason,
            origin: Origin { source, line },
        } = rule;
        let (host, cidr) = match endpoint {
            Endpoint::Host(pattern) => (Some(pattern.to_string()), None),
            Endpoint::Net(net) => (None, Some(net.to_string())),
        };
        Self {
            host,
            cidr,
            ports: ports.ranges().collect(),
            protocol: protocol.to_string(),
            private: *private,
            verify: verify.map(|verify| verify.to_string()),
            reason: reason.clone(),
            source: source.clone(),
            line: *line,
        }
    }
}

impl StoredRule {
    fn load(&self) -> Option<Rule> {
        let Self {
            host,
            cidr,
            ports,
            protocol,
            private,
            verify,
            reason,
            source,
            line,
        } = self;
        let endpoint = match (host, cidr) {
            (Some(host), None) => Endpoint::Host(DomainPattern::parse(host).ok()?),
            (None, Some(cidr)) => Endpoint::Net(parse_net(cidr).ok()?),
            (Some(_), Some(_)) | (None, None) => return None,
        };
        let verify = match verify {
            Some(word) => Some(Verify::parse(word)?),
            None => None,
        };
        let ranges: Option<Vec<PortRange>> = ports
            .iter()
            .map(|(first, last)| PortRange::new((*first).into(), (*last).into()).ok())
            .collect();
        Some(Rule {
            endpoint,
            ports: PortSet::new(ranges?)?,
            protocol: Protocol::parse(protocol)?,
            private: *private,
            verify,
            reason: reason.clone(),
            origin: Origin {
                source: source.clone(),
                line: *line,
            },
        })
    }
}

impl From<&ProfileSource> for StoredProfile {
    fn from(profile: &ProfileSource) -> Self {
        let ProfileSource {
            name,
            source,
            sha256,
        } = profile.clone();
        Self {
            name,
            source,
            sha256,
        }
    }
}

impl StoredProfile {
    fn load(&self) -> ProfileSource {
        let Self {
            name,
            source,
            sha256,
        } = self.clone();
        ProfileSource {
            name,
            source,
            sha256,
        }
    }
}

#[cfg(test)]
mod tests;
