//! `cordon job`: what runners, their hooks and people ask the daemon.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use super::output::{self, complaint, data, deliver};
use super::run;
use crate::admission::identity::{self, Environment, Variables as _};
use crate::config::Config;
use crate::daemon::SOCKET;
use crate::daemon::api::types::{
    Done, JobStatus, NarrowRequest, Own, Processes, RunnerStatus, StartRequest, State,
};
use crate::daemon::client::{Client, ClientError};
use crate::daemon::feed::Line;
use crate::engine;
use crate::report::attendance::Identity;
use crate::report::escape::escape;
use crate::sys::fs::{self, FileError};

/// Largest file that narrows a job: with the rest of its request it must fit into 64 KiB.
const NARROWING: u64 = 56 << 10;
/// Largest event of a CI system that is read.
const PAYLOAD: u64 = 32 << 20;

const ABOUT: &str = "\
From inside a job there are `status`, `narrow`, which gives up what the job does not need any more, and `finish`, \
which only announces the end: the job stays enforced until its worker has ended. A runner's hook starts its job; root of the host may do everything.
Exit status:
    0  done
  120  the job is not enforced: the daemon is not there, or it could not
  121  refused: no grant is for it, or the request is wrong";

const NARROW: &str = "\
The file is a profile. Each of its rules must lie within one rule of the job; what it does not name is given up and \
does not come back. Connections of rules that are given up are closed, also those that the new rules would allow. \
What the runner needs to talk to its CI system stays.";

/// Arguments of `cordon job`.
#[derive(clap::Args, Debug)]
#[command(after_help = ABOUT)]
pub struct Args {
    #[command(subcommand)]
    command: Sub,
}

#[derive(clap::Subcommand, Debug)]
enum Sub {
    /// Make the worker that this is called from a job: for hooks of runners
    Start(StartArgs),
    /// Say that a job is over; from inside it, that it is about to be
    Finish(OneArgs),
    /// Show a job; without a name, the job or runner this is called from
    Status(StatusArgs),
    /// Show the jobs of the daemon
    List(ListArgs),
    /// Show what happens in a job, until it is over
    Watch(OneArgs),
    /// Move this process into a job, then execute a command
    Attach(AttachArgs),
    /// Give up what the job does not need any more: from inside it, for the rest of it
    Narrow(NarrowArgs),
    /// Kill all processes of a job
    End(EndArgs),
}

/// Arguments of `cordon job start`.
#[derive(clap::Args, Debug)]
struct StartArgs {
    /// A profile that a grant has for this job; `CORDON_PROFILE` in the environment does the same
    #[arg(long, short, value_name = "NAME")]
    profile: Vec<String>,
    /// Start a job without processes, which `cordon job attach` brings and `cordon job finish` ends
    #[arg(long)]
    open: bool,
    /// An image the job makes, by its sha256; may be repeated
    #[arg(long, value_name = "DIGEST")]
    subject: Vec<String>,
    /// A profile that narrows what the job may do, from its start on
    #[arg(long, value_name = "FILE")]
    narrow: Option<PathBuf>,
    /// `owner/name`, instead of what the CI system's variables say
    #[arg(long, value_name = "NAME")]
    repository: Option<String>,
    /// Append the variables of the job's container engine to a file, for example `"$GITHUB_ENV"`
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Print only the name of the job
    #[arg(long, short)]
    quiet: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
}

#[derive(clap::Args, Debug)]
struct OneArgs {
    /// The job; without one, the job this is called from
    #[arg(value_name = "JOB")]
    job: Option<String>,
}

#[derive(clap::Args, Debug)]
struct StatusArgs {
    /// The job
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// Wait until it is enforced, at most so many seconds: for `ExecStartPre=` of a runner
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u16>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
struct AttachArgs {
    /// The job
    #[arg(value_name = "JOB")]
    job: String,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Arguments of `cordon job narrow`.
#[derive(clap::Args, Debug)]
#[command(after_help = NARROW)]
struct NarrowArgs {
    /// A profile whose rules are all that the job may do from now on
    #[arg(value_name = "FILE", default_value = ".cordon.toml")]
    file: PathBuf,
    /// The job, for root of the host; without one, the job this is called from
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
}

#[derive(clap::Args, Debug)]
struct EndArgs {
    /// The job
    #[arg(value_name = "JOB")]
    job: String,
}

impl Args {
    /// Asks the daemon.
    #[must_use]
    pub fn run(self, config: Option<&Path>) -> ExitCode {
        match self.command {
            Sub::Start(args) => args.run(config),
            Sub::Finish(OneArgs { job }) => ask(config, async |client| {
                let id = own_unless(client, job).await?;
                let Done { done } = client.post(&format!("/v1/jobs/{id}/finish"), &()).await?;
                Ok(deliver(
                    &format!("cordon: job {id}: {done}\n"),
                    ExitCode::SUCCESS,
                ))
            }),
            Sub::Status(args) => args.run(config),
            Sub::List(ListArgs { json }) => ask(config, async |client| {
                let jobs: Vec<JobStatus> = client.get("/v1/jobs").await?;
                let text = if json { pretty(&jobs) } else { table(&jobs) };
                Ok(deliver(&text, ExitCode::SUCCESS))
            }),
            Sub::Watch(OneArgs { job }) => ask(config, async |client| {
                let id = own_unless(client, job).await?;
                let mut broken = None;
                let events = format!("/v1/jobs/{id}/events");
                client
                    .lines(&events, |line| {
                        if broken.is_none() {
                            broken = data(&shown(line)).err();
                        }
                    })
                    .await?;
                Ok(ExitCode::SUCCESS)
            }),
            Sub::Attach(AttachArgs { job, command }) => attach(config, &job, &command),
            Sub::Narrow(NarrowArgs { file, job }) => {
                let request = match narrowing(&file) {
                    Ok(request) => request,
                    Err(code) => return code,
                };
                ask(config, async |client| {
                    let id = own_unless(client, job).await?;
                    let path = format!("/v1/jobs/{id}/narrow");
                    let Done { done } = client.post(&path, &request).await?;
                    Ok(deliver(
                        &format!("cordon: job {id}: {done}\n"),
                        ExitCode::SUCCESS,
                    ))
                })
            }
            Sub::End(EndArgs { job }) => ask(config, async |client| {
                let Done { done } = client.post(&format!("/v1/jobs/{job}/end"), &()).await?;
                Ok(deliver(
                    &format!("cordon: job {job}: {done}\n"),
                    ExitCode::SUCCESS,
                ))
            }),
        }
    }
}

impl StartArgs {
    fn run(self, config: Option<&Path>) -> ExitCode {
        let Self {
            mut profile,
            open,
            subject,
            narrow,
            repository,
            env_file,
            quiet,
            json,
        } = self;
        // Before there is a job that could not be told.
        let mut env_file = match env_file.as_deref().map(EnvFile::open).transpose() {
            Ok(file) => file,
            Err(error) => {
                complaint(&error);
                return ExitCode::from(run::USAGE);
            }
        };
        let narrow = match narrow.as_deref().map(narrowing).transpose() {
            Ok(narrow) => narrow,
            Err(code) => return code,
        };
        if profile.is_empty() {
            profile.extend(Environment.get("CORDON_PROFILE"));
        }
        let mut identity = own_identity();
        if repository.is_some() {
            identity.repository = repository;
        }
        let request = StartRequest {
            profiles: profile,
            identity,
            processes: if open {
                Processes::None
            } else {
                Processes::Worker
            },
            subjects: subject,
            narrow,
        };
        ask(config, async |client| {
            let job: JobStatus = client.post("/v1/jobs", &request).await?;
            if let (Some(file), Some(endpoint)) = (&mut env_file, &job.engine)
                && let Err(error) = file.append(endpoint)
            {
                // The job is enforced; it lacks what it was to be told.
                complaint(&error);
                return Ok(ExitCode::from(run::INTERNAL));
            }
            let text = if json {
                pretty(&job)
            } else if quiet {
                format!("{}\n", job.id)
            } else {
                told(&job)
            };
            Ok(deliver(&text, ExitCode::SUCCESS))
        })
    }
}

/// A file of lines `NAME=value`, which a CI system or a shell reads.
struct EnvFile {
    file: File,
    path: PathBuf,
}

impl EnvFile {
    fn open(path: &Path) -> Result<Self, FileError> {
        let file = File::options()
            .append(true)
            .create(true)
            .open(path)
            .map_err(FileError::on("open", path))?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    fn append(&mut self, endpoint: &str) -> Result<(), FileError> {
        let lines =
            engine::variables(endpoint.to_owned()).map(|(key, value)| format!("{key}={value}\n"));
        self.file
            .write_all(lines.concat().as_bytes())
            .map_err(FileError::on("write", &self.path))
    }
}

impl StatusArgs {
    fn run(self, config: Option<&Path>) -> ExitCode {
        let Self { job, wait, json } = self;
        let until = wait
            .and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds.into())));
        let waits = || until.is_some_and(|until| Instant::now() < until);
        ask(config, async |client| {
            loop {
                let (text, state) = match &job {
                    Some(id) => {
                        let job: JobStatus = client.get(&format!("/v1/jobs/{id}")).await?;
                        (
                            if json { pretty(&job) } else { told(&job) },
                            Some(job.state),
                        )
                    }
                    None => match client.get::<Own>("/v1/self").await {
                        Ok(own) => {
                            let state = state_of(&own);
                            (if json { pretty(&own) } else { who(&own) }, state)
                        }
                        // A runner can be started before the daemon listens.
                        Err(ClientError::NoDaemon { .. }) if waits() => {
                            pause().await;
                            continue;
                        }
                        Err(error) => return Err(error),
                    },
                };
                let enforced = state == Some(State::Enforced);
                if !enforced && waits() {
                    pause().await;
                    continue;
                }
                let code = if enforced || wait.is_none() {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::from(run::NOT_ENFORCED)
                };
                return Ok(deliver(&text, code));
            }
        })
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Moves this process into a job and becomes the command.
fn attach(config: Option<&Path>, job: &str, command: &[OsString]) -> ExitCode {
    let mut moved = false;
    let asked = ask(config, async |client| {
        let _done: Done = client.post(&format!("/v1/jobs/{job}/attach"), &()).await?;
        moved = true;
        Ok(ExitCode::SUCCESS)
    });
    let Some((program, arguments)) = command.split_first().filter(|_| moved) else {
        return asked;
    };
    let error = Command::new(program).args(arguments).exec();
    let missing = error.kind() == std::io::ErrorKind::NotFound;
    complaint(&error);
    ExitCode::from(if missing {
        run::NOT_FOUND
    } else {
        run::NOT_EXECUTABLE
    })
}

/// Asks the daemon of this host.
pub(super) fn ask(
    config: Option<&Path>,
    act: impl AsyncFnOnce(&Client) -> Result<ExitCode, ClientError>,
) -> ExitCode {
    let settings = match Config::load(config) {
        Ok(settings) => settings,
        Err(mistakes) => {
            output::mistakes(&mistakes);
            return ExitCode::from(run::USAGE);
        }
    };
    let client = Client::new(&settings.host.run_dir.join(SOCKET));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let answer = match runtime {
        Ok(runtime) => runtime.block_on(act(&client)),
        Err(error) => {
            complaint(&error);
            return ExitCode::from(run::INTERNAL);
        }
    };
    answer.unwrap_or_else(|error| {
        match &error {
            ClientError::Refused { error, .. } => output::refusal(error),
            _ => complaint(&error),
        }
        let theirs = matches!(&error, ClientError::Refused { status, .. } if *status < 409 || *status == 422);
        ExitCode::from(if theirs { run::USAGE } else { run::NOT_ENFORCED })
    })
}

/// A file that narrows a job, as it is sent: the daemon opens no file for a job.
fn narrowing(file: &Path) -> Result<NarrowRequest, ExitCode> {
    let text = fs::read_to_string(file, NARROWING).map_err(|error| {
        complaint(&error);
        ExitCode::from(run::USAGE)
    })?;
    Ok(NarrowRequest {
        file: file.display().to_string(),
        text,
    })
}

/// The job that was named, or the one this is called from.
async fn own_unless(client: &Client, job: Option<String>) -> Result<String, ClientError> {
    if let Some(job) = job {
        return Ok(job);
    }
    let own: Own = client.get("/v1/self").await?;
    own.job
        .map(|job| job.id)
        .ok_or_else(|| ClientError::Refused {
            status: 400,
            error: format!(
                "{} is in no job; name one, `cordon job list` has them",
                own.caller
            ),
        })
}

/// What the CI system's variables and its event say.
fn own_identity() -> Identity {
    let payload = Environment.get("GITHUB_EVENT_PATH").and_then(|path| {
        let bytes = fs::read(Path::new(&path), PAYLOAD).ok()?;
        serde_json::from_slice(&bytes).ok()
    });
    identity::of(&Environment, payload.as_ref())
}

fn state_of(own: &Own) -> Option<State> {
    let job = own.job.as_ref().map(|job| job.state);
    job.or_else(|| own.runner.as_ref().map(|runner| runner.state))
}

fn pretty(value: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

const fn word(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Enforced => "enforced",
        State::Sealed => "sealed",
        State::Failed => "failed",
    }
}

/// A job in a few lines.
fn told(job: &JobStatus) -> String {
    let mut text = format!(
        "cordon: job {} is {}: policy {}, {:?} mode",
        job.id,
        word(job.state),
        escape(&job.policy),
        job.mode
    )
    .to_lowercase();
    let mut add = |line: String| {
        text.push_str("\ncordon: ");
        text.push_str(&line);
    };
    if let Some(repository) = &job.identity.repository {
        add(format!("repository {}", escape(repository)));
    }
    if let Some(grant) = &job.grant {
        add(format!("granted by {}", escape(grant)));
    }
    if let Some(engine) = &job.engine {
        add(format!("container engine at {}", escape(engine)));
    }
    if job.told > 0 {
        add(format!(
            "{} things were told of it; `cordon job watch` has them",
            job.told
        ));
    }
    if let Some(evidence) = &job.evidence {
        add(format!(
            "evidence: {}",
            escape(&evidence.display().to_string())
        ));
    }
    if let Some(error) = &job.error {
        add(format!("error: {}", escape(error)));
    }
    if let Some(error) = &job.telemetry_error {
        add(format!("no line of telemetry: {}", escape(error)));
    }
    text.push('\n');
    text
}

fn who(own: &Own) -> String {
    let mut text = format!("cordon: this is {}\n", escape(&own.caller));
    if let Some(job) = &own.job {
        text.push_str(&told(job));
    }
    if let Some(RunnerStatus {
        state,
        policy,
        error,
        ..
    }) = &own.runner
    {
        let error = error
            .as_ref()
            .map_or_else(String::new, |error| format!(": {}", escape(error)));
        let (state, policy) = (word(*state), escape(policy));
        let line = format!("cordon: its control plane is {state}, policy {policy}{error}\n");
        text.push_str(&line);
    }
    text
}

fn or_none(word: Option<&str>) -> Cow<'_, str> {
    escape(word.unwrap_or("-"))
}

fn row([id, state, repository, policy, unit]: [&str; 5]) -> String {
    format!("{id:<13} {state:<9} {repository:<24} {policy:<20} {unit}\n")
}

fn table(jobs: &[JobStatus]) -> String {
    if jobs.is_empty() {
        return "no jobs\n".to_owned();
    }
    let head = row(["JOB", "STATE", "REPOSITORY", "POLICY", "RUNNER"]);
    let rows = jobs.iter().map(|job| {
        row([
            &job.id,
            word(job.state),
            &or_none(job.identity.repository.as_deref()),
            &escape(&job.policy),
            &or_none(job.unit.as_deref()),
        ])
    });
    std::iter::once(head).chain(rows).collect()
}

/// One line of what happens.
fn shown(line: &str) -> String {
    match serde_json::from_str::<Line>(line) {
        // Its text is escaped where it is made.
        Ok(Line { at, text, .. }) => format!("{at} {text}\n"),
        Err(_) => format!("{}\n", escape(line)),
    }
}
