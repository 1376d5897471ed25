//! The hidden `clients-job` command: one job that tries clients one after another.
//!
//! Their times are measured here, inside: what cordon needs to start a job is not the client's.

use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::client::step::{Outcome, Step};
use crate::harness::network::at;

/// One start of a client.
#[derive(Debug, Deserialize, Serialize)]
pub struct Attempt {
    /// What a shell runs.
    pub script: String,
    /// Its whole environment.
    pub environment: Vec<(String, String)>,
    /// Its working directory and home, made if need be; its output is kept there.
    pub directory: PathBuf,
    /// Afterwards, connect to this port of the first address it printed.
    pub reach: Option<u16>,
    /// Seconds until it is killed.
    pub limit: u64,
}

/// What came of it.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Seen {
    /// As a shell shows it; `None`: it was killed because it took too long.
    pub status: Option<i32>,
    /// From start to end.
    pub ms: u64,
    /// The addresses it printed.
    pub addresses: Vec<IpAddr>,
    /// What became of the connection, if one was wanted and there was an address.
    pub reached: Option<Outcome>,
}

impl Attempt {
    /// Where its standard output is.
    pub fn stdout(&self) -> PathBuf {
        self.directory.join("stdout")
    }

    /// Where its standard error is.
    pub fn stderr(&self) -> PathBuf {
        self.directory.join("stderr")
    }
}

/// Arguments of `clients-job`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A JSON list of attempts
    plan: PathBuf,
    /// Where the JSON list of what was seen goes
    results: PathBuf,
}

/// Makes all attempts; one that fails does not stop the next one.
pub fn run(args: &Args) -> Result<ExitCode> {
    let plan: Vec<Attempt> = serde_json::from_str(&fs::read_to_string(&args.plan)?)?;
    let seen: Vec<Seen> = plan.iter().map(make).collect::<Result<_>>()?;
    fs::write(&args.results, serde_json::to_string(&seen)?)?;
    Ok(ExitCode::SUCCESS)
}

fn make(attempt: &Attempt) -> Result<Seen> {
    fs::create_dir_all(&attempt.directory)?;
    let started = Instant::now();
    let mut child = Command::new("/bin/sh")
        .args(["-c", &attempt.script])
        .env_clear()
        .envs(attempt.environment.iter().cloned())
        .current_dir(&attempt.directory)
        .stdin(Stdio::null())
        .stdout(File::create(attempt.stdout())?)
        .stderr(File::create(attempt.stderr())?)
        .process_group(0)
        .spawn()
        .context("start a shell")?;
    let status = wait(&mut child, Duration::from_secs(attempt.limit))?;
    let elapsed = started.elapsed();
    let addresses = printed(&attempt.stdout())?;
    let first = attempt.reach.zip(addresses.first());
    Ok(Seen {
        status: status.map(code),
        ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        reached: first
            .map(|(port, address)| crate::client::attempt(&Step::tcp(at(*address, port)))),
        addresses,
    })
}

/// Waits for the end, or brings it about; whatever it started ends too.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let group = Pid::from_raw(i32::try_from(child.id())?);
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() > deadline {
            break None;
        }
        sleep(Duration::from_millis(1));
    };
    // None of the group may be left, which is an error of no interest.
    let left = killpg(group, Signal::SIGKILL);
    if status.is_none() {
        left.context("end a client")?;
        child.wait()?;
    }
    Ok(status)
}

fn code(status: ExitStatus) -> i32 {
    let signal = || status.signal().map(|signal| 128 + signal);
    status.code().or_else(signal).unwrap_or(-1)
}

/// Words of the output that are addresses.
fn printed(file: &Path) -> Result<Vec<IpAddr>> {
    let text = fs::read(file)?;
    let text = String::from_utf8_lossy(&text);
    let words = text.split_whitespace();
    Ok(words.filter_map(|word| word.parse().ok()).collect())
}
