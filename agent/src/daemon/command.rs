//! `cordon run` where a daemon is: that enforces, watches and seals; this process starts the command, in its own
//! terminal, directory and environment, passes signals on, and says how the command ended.
//!
//! When this process is killed, the job stays enforced and watched, and is sealed when no process of it is left.
//! When the daemon is restarted, the next one goes on with the job, and is told the end.

#![expect(clippy::future_not_send, reason = "one job, one thread")]

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use super::SOCKET;
use super::api::types::{
    CommandRequest, DaemonStatus, Done, EndedRequest, Entrance, JobStatus, State,
};
use super::client::{Client, ClientError};
use super::feed::Line;
use crate::cgroup::Cgroup;
use crate::config::Config;
use crate::job::coverage::Surroundings;
use crate::job::run::{self, Ended, RunError, Start};
use crate::job::watch::{forward, outcome};
use crate::policy::{Engine, Policy, Ruleset};
use crate::report::Outcome;
use crate::report::sink::EvidenceDir;
use crate::report::statement::REPORT_NAME;
use crate::report::sweep::REPORT_NAME as SWEEP_NAME;
use crate::sandbox;
use crate::sandbox::Plan;
use crate::sys::signals::Signals;
use crate::sys::terminal::Foreground;
use crate::sys::{fs, privilege};

/// How long a daemon that is restarted may take to be there again, and a job to be sealed.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);
/// Largest report that is read.
const REPORT_LIMIT: u64 = 256 << 20;

/// What to run, under what.
#[derive(Debug)]
pub struct Request<'a> {
    /// Program, arguments, and who runs it.
    pub start: Start<'a>,
    /// What it is allowed.
    pub policy: &'a Policy,
    /// The same, compiled.
    pub ruleset: &'a Ruleset,
    /// Images it makes, by their sha256.
    pub subjects: Vec<String>,
    /// Where a copy of its evidence goes.
    pub evidence: Option<EvidenceDir>,
}

/// A daemon that takes jobs.
#[derive(Debug)]
pub struct There {
    client: Client,
    lsm: bool,
}

/// The daemon of these settings. `None`: nobody listens there.
///
/// # Errors
/// Somebody does, and is no daemon of this version, or does not answer.
pub fn find(config: &Config) -> Result<Option<There>, RunError> {
    let client = Client::new(&config.host.run_dir.join(SOCKET));
    let status = run::runtime()?.block_on(client.get::<DaemonStatus>("/v1/status"));
    match status {
        Ok(status) => Ok(Some(There {
            client,
            lsm: status.lsm_missing.is_none(),
        })),
        Err(ClientError::NoDaemon { source, .. })
            if matches!(
                source.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(None)
        }
        Err(ClientError::Refused { error, .. }) => Err(RunError::Daemon(
            format!("a command inside of a job or a runner is no job of its own: {error}").into(),
        )),
        Err(error) => Err(RunError::Daemon(Box::new(error))),
    }
}

/// Whether a daemon can have jobs of this policy.
#[must_use]
pub fn suits(policy: &Policy) -> bool {
    // A mediator is its job's own, and a child of whoever starts the command.
    policy.engine == Engine::Deny
}

/// Runs a job. Returns when its evidence is sealed. `say` hears what happens in it.
///
/// # Errors
/// See [`RunError`]; the command ran only for those that say so.
pub fn run(
    there: &There,
    request: &Request<'_>,
    say: &mut dyn FnMut(&str),
) -> Result<Ended, RunError> {
    privilege::require()?;
    sandbox::withhold_inherited()?;
    run::runtime()?.block_on(run_job(there, request, say))
}

async fn run_job(
    there: &There,
    request: &Request<'_>,
    say: &mut dyn FnMut(&str),
) -> Result<Ended, RunError> {
    let There { client, lsm } = there;
    // Blocked before anything exists that a signal could leave behind.
    let mut signals = Signals::block().map_err(run::no_signals)?;
    let mut plan = run::plan(&request.start, Path::new("/"), *lsm)?;
    let asked = request.asks(&plan, *lsm);
    let entrance: Entrance = client
        .post("/v1/commands", &asked)
        .await
        .map_err(|error| RunError::Daemon(Box::new(error)))?;
    let job = Job {
        client,
        id: &entrance.id,
    };
    plan.cgroup.clone_from(&entrance.cgroup);
    plan.limited = entrance.limited.clone();
    let mut follower = pin!(job.follow(say));
    let mut over = false;
    let command = released(request.start.command, &plan, &entrance, &mut signals);
    let ran = {
        let mut command = pin!(command);
        loop {
            tokio::select! {
                ran = &mut command => break ran,
                () = &mut follower, if !over => over = true,
            }
        }
    };
    let (outcome, not_started) = match ran {
        Ok(ran) => ran,
        Err(error) => {
            let why = crate::enforce::chain(&error);
            job.ended(None, Some(why)).await?;
            return Err(error);
        }
    };
    job.ended(Some(outcome), None).await?;
    if !over && timeout(PATIENCE, follower).await.is_err() {
        return Err(job.unsealed());
    }
    let sealed = job.sealed(&entrance.evidence).await?;
    let evidence = match &request.evidence {
        Some(own) => {
            own.copy_of(&sealed)?;
            own.path().to_owned()
        }
        None => sealed.clone(),
    };
    Ok(Ended {
        outcome,
        not_started,
        report: read(&sealed, REPORT_NAME)?.ok_or_else(|| job.unsealed())?,
        sweep: read(&sealed, SWEEP_NAME)?,
        evidence,
        leftovers: None,
    })
}

impl Request<'_> {
    fn asks(&self, plan: &Plan, lsm: bool) -> CommandRequest {
        let program = self.start.command.first();
        let as_root = self.start.as_root();
        CommandRequest {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            policy: self.policy.into(),
            ruleset_digest: self.ruleset.digest.to_string(),
            command: program.map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            arguments: self.start.command.len().saturating_sub(1),
            as_root,
            subjects: self.subjects.clone(),
            lsm,
            around: Surroundings::of(plan, as_root),
        }
    }
}

/// Starts the command, and waits until it is gone.
async fn released(
    command: &[OsString],
    plan: &Plan,
    entrance: &Entrance,
    signals: &mut Signals,
) -> Result<(Outcome, Option<io::Error>), RunError> {
    let cgroup =
        Cgroup::open(&entrance.cgroup).map_err(|error| RunError::Enter(io::Error::other(error)))?;
    let _foreground = Foreground::note();
    let mut init = run::start_init(plan, command)?;
    if let Some(error) = run::first_message(&mut init).await? {
        return Ok((Outcome::NotStarted, Some(error)));
    }
    let mut asked_to_end = false;
    loop {
        tokio::select! {
            status = init.ended() => {
                return Ok((outcome(status.map_err(RunError::Watch)?), None));
            }
            received = signals.next() => {
                let forwarded = received.and_then(|received| {
                    forward(received, &init, &cgroup, &mut asked_to_end)
                });
                forwarded.map_err(RunError::Watch)?;
            }
        }
    }
}

/// A job of the daemon's, as its command line sees it.
struct Job<'a> {
    client: &'a Client,
    id: &'a str,
}

impl Job<'_> {
    async fn status(&self) -> Result<JobStatus, ClientError> {
        self.client.get(&format!("/v1/jobs/{}", self.id)).await
    }

    /// Says what happens in it, until it is over. A daemon that is restarted meanwhile is waited for.
    async fn follow(&self, say: &mut dyn FnMut(&str)) {
        let path = format!("/v1/jobs/{}/events", self.id);
        loop {
            let followed = self.client.lines(&path, |line| {
                // A line of another form says how many were missed; all of them are in the report.
                if let Ok(Line {
                    text, over: false, ..
                }) = serde_json::from_str(line)
                {
                    say(&text);
                }
            });
            if let Err(error) = followed.await {
                tracing::debug!(%error, "nothing is heard of the job");
            }
            match self.status().await {
                Ok(status) if !is_alive(status.state) => return,
                Err(ClientError::Refused { .. }) => return,
                Ok(_) | Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Tells the daemon how the command ended.
    async fn ended(
        &self,
        outcome: Option<Outcome>,
        not_entered: Option<String>,
    ) -> Result<(), RunError> {
        let path = format!("/v1/jobs/{}/ended", self.id);
        let request = EndedRequest {
            outcome,
            not_entered,
        };
        let begun = Instant::now();
        loop {
            match self.client.post::<Done>(&path, &request).await {
                // Refused: somebody else ended it before.
                Ok(_) | Err(ClientError::Refused { .. }) => return Ok(()),
                Err(error) if begun.elapsed() > PATIENCE => {
                    return Err(RunError::Report(Box::new(error)));
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Where its evidence is.
    async fn sealed(&self, meant: &Path) -> Result<PathBuf, RunError> {
        match self.status().await {
            Ok(JobStatus {
                state: State::Sealed,
                evidence,
                ..
            }) => Ok(evidence.unwrap_or_else(|| meant.to_owned())),
            Ok(JobStatus {
                error: Some(error), ..
            }) => Err(RunError::Report(error.into())),
            // A daemon that was restarted after the seal knows nothing of the job any more.
            Err(ClientError::Refused { status: 404, .. }) if meant.exists() => Ok(meant.to_owned()),
            Ok(_) => Err(self.unsealed()),
            Err(error) => Err(RunError::Report(Box::new(error))),
        }
    }

    fn unsealed(&self) -> RunError {
        let id = self.id;
        let why = format!(
            "the daemon has not sealed job {id}; it, or the next one, will: `cordon job status {id}` says when"
        );
        RunError::Report(why.into())
    }
}

const fn is_alive(state: State) -> bool {
    matches!(state, State::Starting | State::Enforced)
}

/// A report of sealed evidence. `None`: there is none.
fn read<T: DeserializeOwned>(evidence: &Path, name: &str) -> Result<Option<T>, RunError> {
    let bytes = match fs::read(&evidence.join(name), REPORT_LIMIT) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let report = serde_json::from_slice(&bytes);
    report.map_err(|error| RunError::Report(Box::new(error)))
}
