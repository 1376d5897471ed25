//! Inside the job: runs the hostile programs one after the other, each as a process of its own.
//!
//! A case's process is started under a path that ends in the case's id, so that the report names the
//! case in the chain of processes of every denial.

use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::{User, setgid, setgroups, setuid};
use serde::{Deserialize, Serialize};

use super::case::{Refused, Targets};
use super::cases;

/// How long a hostile program may take, on a machine of today.
const PATIENCE: Duration = Duration::from_secs(8);

/// Arguments of the hidden command that runs cases in the job.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Become this user first, as `cordon run --user` would
    #[arg(long)]
    user: Option<String>,
    /// Directory with a link to this program for each case
    #[arg(long)]
    directory: PathBuf,
    /// How much longer things take than on a machine of today
    #[arg(long)]
    slowness: u32,
    /// Ids of cases
    ids: Vec<String>,
}

/// Arguments of the hidden command that is one case.
#[derive(clap::Args, Debug)]
pub struct One {
    /// See [`Args::directory`]
    #[arg(long)]
    directory: PathBuf,
    /// Id of the case
    id: String,
}

/// What became of one hostile program.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Attempt {
    /// Id of the case.
    pub id: String,
    /// When it began, ns of the real-time clock.
    pub start: u64,
    /// When it had ended.
    pub end: u64,
    /// The system call that failed.
    pub call: Option<String>,
    /// With what.
    pub errno: Option<String>,
    /// How the process ended, where it did not end by itself.
    pub ended: Option<String>,
}

impl Attempt {
    /// Whether the program did all it wanted to do.
    pub fn went_through(&self) -> bool {
        self.call.is_none() && self.ended.is_none()
    }

    /// The error the program saw, in a few characters.
    pub fn error(&self) -> String {
        match (&self.call, &self.errno, &self.ended) {
            (Some(call), Some(errno), _) => format!("{call}: {errno}"),
            (_, _, Some(ended)) => ended.clone(),
            _ => "none".to_owned(),
        }
    }
}

/// Where the link of a case is.
pub fn link(directory: &Path, id: &str) -> PathBuf {
    directory.join("cases").join(id)
}

fn now() -> Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(u64::try_from(since.as_nanos())?)
}

/// Runs the cases and prints one line for each.
pub fn run(args: &Args) -> Result<ExitCode> {
    if let Some(name) = &args.user {
        let user = User::from_name(name)?.with_context(|| format!("no user `{name}`"))?;
        setgroups(&[]).context("setgroups")?;
        setgid(user.gid).context("setgid")?;
        setuid(user.uid).context("setuid")?;
    }
    for id in &args.ids {
        let attempt = attempt(args, id)?;
        println!("{}", serde_json::to_string(&attempt)?);
        // Packets arrive before the next case begins, so that time tells them apart.
        sleep(settle(args.slowness));
    }
    Ok(ExitCode::SUCCESS)
}

/// How long a packet may be on its way between two namespaces.
pub fn settle(slowness: u32) -> Duration {
    Duration::from_millis(15) * slowness
}

fn attempt(args: &Args, id: &str) -> Result<Attempt> {
    let Args {
        directory,
        slowness,
        ..
    } = args;
    let program = link(directory, id);
    let start = now()?;
    let mut child = Command::new(&program)
        .arg("escape-case")
        .arg("--directory")
        .arg(directory)
        .arg(id)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    let deadline = Instant::now() + PATIENCE * *slowness;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            break None;
        }
        sleep(Duration::from_millis(1));
    };
    let end = now()?;
    // A child of the case may hold the pipe open: only what is there already is read.
    let mut text = [0; 4096];
    let mut said = String::new();
    if let (Some(status), Some(mut stdout)) = (status, child.stdout.take())
        && status.success()
    {
        let length = stdout.read(&mut text)?;
        said = String::from_utf8_lossy(text.get(..length).unwrap_or_default()).into_owned();
    }
    let mut attempt: Attempt = match (status, said.lines().next()) {
        (_, Some(line)) => serde_json::from_str(line).context("what a case said")?,
        (Some(status), None) => Attempt {
            ended: Some(status.signal().map_or_else(
                || format!("exit {}", status.code().unwrap_or(-1)),
                |signal| format!("signal {signal}"),
            )),
            ..Attempt::default()
        },
        (None, None) => Attempt {
            ended: Some("took too long".to_owned()),
            ..Attempt::default()
        },
    };
    id.clone_into(&mut attempt.id);
    (attempt.start, attempt.end) = (start, end);
    Ok(attempt)
}

/// Does one case.
pub fn one(args: &One) -> Result<ExitCode> {
    let cases = cases::all();
    let found = (0_u16..).zip(&cases).find(|(_, case)| case.id == args.id);
    let (number, case) = found.with_context(|| format!("no case `{}`", args.id))?;
    ensure!(args.directory.is_dir(), "no directory for the cases");
    let targets = Targets {
        number,
        directory: args.directory.clone(),
    };
    let attempt = match (case.attack)(&targets) {
        Ok(()) => Attempt::default(),
        Err(Refused { call, errno }) => Attempt {
            call: Some(call.to_owned()),
            errno: Some(format!("{errno:?}")),
            ..Attempt::default()
        },
    };
    println!("{}", serde_json::to_string(&attempt)?);
    Ok(ExitCode::SUCCESS)
}
