//! A running job gives up a part of what it is allowed.
//!
//! What the file says is judged by [`policy::narrow`](crate::policy::narrow); here it is put in force. The record
//! is written first: should this cordon be killed between the two, the next one finishes what was begun, which
//! takes away and never gives.

use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use super::record::{Record, RecordError};
use super::run::Job;
use super::watch::Watch;
use crate::enforce::{EnforceError, Host, Place, chain};
use crate::policy::narrow::narrow;
use crate::policy::{CompileError, Mistakes, Mode, Palette, Policy, Ruleset, compile};
use crate::report::attendance::Narrowing;
use crate::sys::fs;

/// What a job is to give up.
#[derive(Debug)]
pub struct Narrow {
    /// What the file is called in reports.
    pub file: String,
    /// What is in it.
    pub text: String,
    /// Who asked.
    pub by: String,
    /// How that went.
    pub answer: oneshot::Sender<Result<Left, NarrowError>>,
}

/// What is left of a policy, in numbers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Left {
    /// Rules that are in force.
    pub in_force: usize,
    /// Rules that were given up.
    pub withdrawn: usize,
    /// What verdicts do.
    pub mode: Mode,
    /// BLAKE3 of the ruleset, hex.
    pub digest: String,
}

impl Left {
    fn of(policy: &Policy, ruleset: &Ruleset) -> Self {
        let rules = 0..policy.rules.len();
        let in_force = rules.filter(|rule| policy.is_in_force(*rule)).count();
        Self {
            in_force,
            withdrawn: policy.rules.len().saturating_sub(in_force),
            mode: policy.mode,
            digest: ruleset.digest.to_string(),
        }
    }

    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        let Self {
            in_force,
            withdrawn,
            mode,
            digest,
        } = self;
        format!(
            "{in_force} rules are in force, {withdrawn} were given up, {mode} mode; ruleset {digest}"
        )
    }
}

/// What a job is allowed now.
#[derive(Debug)]
pub struct Effective {
    pub(super) policy: Policy,
    pub(super) ruleset: Arc<Ruleset>,
}

impl Effective {
    /// A job under it.
    pub(super) fn of<'a>(&'a self, job: &Job<'a>) -> Job<'a> {
        Job {
            policy: &self.policy,
            ruleset: &self.ruleset,
            ..job.clone()
        }
    }
}

/// Why a job was not narrowed.
#[derive(Debug, thiserror::Error)]
pub enum NarrowError {
    /// The file says something that is not narrower, or is wrong.
    #[error("the policy of the job stays as it was:\n{}", .0.render(Palette::Plain))]
    Refused(#[source] Mistakes),
    /// It has a container engine.
    #[error(
        "the policy of the job stays as it was: a job with a container engine cannot give up rules while it runs, its \
         networks and what the engine fetches go by those it began with; start it with `cordon job start --narrow`"
    )]
    Engine,
    /// The rules that would be left are more than the kernel takes.
    #[error("the policy of the job stays as it was")]
    Compile(#[from] CompileError),
    /// The job's record.
    #[error("the policy of the job stays as it was: its record cannot be used")]
    Record(#[from] RecordError),
    /// The record cannot be written.
    #[error("the policy of the job stays as it was: its record cannot be written")]
    File(#[from] fs::FileError),
    /// The kernel.
    #[error(
        "the policy of the job may not be in force as its record has it; end the job to be sure of it"
    )]
    Enforce(#[from] EnforceError),
}

impl Watch {
    /// Narrows the running job, and says how that went.
    pub(super) fn narrow(
        &mut self,
        host: &mut Host,
        place: &Place,
        wish: Narrow,
    ) -> Option<Narrowing> {
        let Narrow {
            file,
            text,
            by,
            answer,
        } = wish;
        let narrowed = self.put_in_force(host, place, &file, &text, by);
        let (said, narrowing) = match narrowed {
            Ok((left, narrowing)) => (Ok(left), Some(narrowing)),
            Err(error) => {
                tracing::warn!(job = place.id, error = %chain(&error), "not narrowed");
                (Err(error), None)
            }
        };
        if answer.send(said).is_err() {
            tracing::debug!("who asked for a narrower policy did not wait");
        }
        narrowing
    }

    fn put_in_force(
        &mut self,
        host: &mut Host,
        place: &Place,
        file: &str,
        text: &str,
        by: String,
    ) -> Result<(Left, Narrowing), NarrowError> {
        let path = host.record_of(&place.id);
        let missing =
            || fs::FileError::on("find record", &path)(std::io::ErrorKind::NotFound.into());
        let mut record = Record::read(&path)?.ok_or_else(missing)?;
        if record.engine.is_some() {
            return Err(NarrowError::Engine);
        }
        let (policy, _) = record.policy()?;
        let policy = narrow(&policy, file, text.as_bytes()).map_err(NarrowError::Refused)?;
        let ruleset = Arc::new(compile(&policy)?);
        let narrowing = Narrowing {
            at: Timestamp::now(),
            file: file.to_owned(),
            sha256: hex(text),
            ruleset_digest: ruleset.digest.to_string(),
            by,
        };
        record.replace_policy(&policy, &ruleset);
        if let Some(attendance) = &mut record.attendance {
            attendance.narrowed.push(narrowing.clone());
        }
        record.write(&path)?;
        host.narrow(place, &self.leases, &ruleset)?;
        tracing::info!(job = place.id, ruleset = %ruleset.digest, "narrowed");
        let left = Left::of(&policy, &ruleset);
        self.narrowed = Some(Effective { policy, ruleset });
        Ok((left, narrowing))
    }
}

/// Finishes what a cordon had begun that was killed between record and kernel.
///
/// # Errors
/// The kernel does not take it.
pub(super) fn finish(
    host: &mut Host,
    place: &Place,
    policy: &Policy,
    ruleset: &Arc<Ruleset>,
) -> Result<(), EnforceError> {
    if policy.narrowed.is_none() || host.holds(place, ruleset).is_ok() {
        return Ok(());
    }
    let maps = host.kernel.maps.reopen(place.cgroup.id(), ruleset)?;
    host.narrow(place, &maps.leases, ruleset)
}

/// SHA-256 of a file, hex.
#[must_use]
pub fn hex(text: &str) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string does not fail.
        let _written = write!(hex, "{byte:02x}");
        hex
    })
}
