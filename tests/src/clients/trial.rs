//! The same attempts, once without cordon and once under it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use cordon::report::Report;

use crate::clients::Workshop;
use crate::clients::attempt::{Attempt, Seen};
use crate::harness::world::World;

/// Seconds until a client is killed: far more than any needs, and than all promptness demanded.
const LIMIT: u64 = 40;

/// Seconds a job of clients may take.
const PATIENCE: u32 = 150;

/// A script to be run, for one name.
#[derive(Clone, Copy, Debug)]
pub struct Script<'a> {
    /// What a shell runs.
    pub text: &'a str,
    /// Variables of its own besides the usual ones.
    pub variables: &'a [(&'a str, &'a str)],
    /// See [`Attempt::reach`].
    pub reach: Option<u16>,
}

/// An attempt that was made.
#[derive(Debug)]
pub struct Made {
    /// What was seen of it.
    pub seen: Seen,
    attempt: Attempt,
}

impl Made {
    /// Bytes of its standard output.
    pub fn stdout(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.attempt.stdout())?)
    }

    /// A file of its directory, if it made one.
    pub fn file(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.attempt.directory.join(name)).ok()
    }

    /// Whether it says that it failed: by its status, or in words, as a browser does.
    pub fn failed(&self) -> bool {
        self.seen.status != Some(0) || self.said().contains(BROWSERS_ERROR)
    }

    /// What it said about a failure, in a few words.
    pub fn said(&self) -> String {
        let Some(status) = self.seen.status else {
            return "no end; killed".to_owned();
        };
        let text = |file: PathBuf| {
            let bytes = fs::read(file).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (errors, output) = (text(self.attempt.stderr()), text(self.attempt.stdout()));
        let lines = || errors.lines().chain(output.lines().take(20));
        let trouble = lines()
            .find(|line| line.contains(BROWSERS_ERROR))
            .or_else(|| lines().find(|line| is_trouble(line)));
        let last = || lines().filter(|line| !line.trim().is_empty()).last();
        let line = trouble.or_else(last).unwrap_or_default().trim();
        // Where in its source a browser says it is of no interest.
        let line = line
            .find(BROWSERS_ERROR)
            .and_then(|at| line.get(at..))
            .unwrap_or(line);
        let short: String = line.chars().take(110).collect();
        format!("{short} (status {status})")
    }
}

/// In front of what a browser calls an error; its status is 0 all the same.
const BROWSERS_ERROR: &str = "net::ERR_";

/// Whether a line of output tells what went wrong.
fn is_trouble(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    [
        "error",
        "fail",
        "refused",
        "reset",
        "abort",
        "unknown",
        "not known",
        "could not",
        "no such",
        "misbehaving",
        "unable",
        "denied",
    ]
    .iter()
    .any(|word| line.contains(word))
}

/// All attempts of one job.
#[derive(Debug)]
pub struct Trial {
    /// In the order of the scripts.
    pub made: Vec<Made>,
    /// Of the job, if it was under cordon.
    pub report: Option<Report>,
}

/// How a job is run.
#[derive(Clone, Copy, Debug)]
pub enum Under<'a> {
    /// Without cordon.
    Nothing,
    /// Under this profile.
    Profile(&'a Path),
    /// The same, with Unix sockets of any kind.
    ProfileAndUnixSockets(&'a Path),
}

/// Runs all scripts in one job.
pub fn run(
    workshop: &Workshop,
    world: &World,
    under: Under<'_>,
    scripts: &[Script<'_>],
) -> Result<Trial> {
    let folder = world.path("attempts");
    fs::create_dir(&folder)?;
    let attempts: Vec<Attempt> = scripts
        .iter()
        .enumerate()
        .map(|(number, script)| prepared(workshop, script, folder.join(number.to_string())))
        .collect();
    let (plan, results) = (folder.join("plan"), folder.join("results"));
    fs::write(&plan, serde_json::to_string(&attempts)?)?;
    let own = &workshop.environment.own;
    let words = [own, Path::new("clients-job"), &plan, &results];
    let job = world.job().patience(PATIENCE).command(words);
    let job = match under {
        Under::Nothing => job,
        Under::Profile(profile) => job.profile(profile),
        Under::ProfileAndUnixSockets(profile) => {
            job.profile(profile).host_setting("unix_sockets", "any")
        }
    };
    let finished = job.run()?.expect_status(0)?;
    let seen: Vec<Seen> = serde_json::from_str(&fs::read_to_string(&results)?)?;
    let report = matches!(under, Under::Nothing)
        .then_some(())
        .map_or_else(|| finished.report().map(Some), |()| Ok(None))
        .context("the job's report")?;
    let made = seen.into_iter().zip(attempts);
    Ok(Trial {
        made: made.map(|(seen, attempt)| Made { seen, attempt }).collect(),
        report,
    })
}

fn prepared(workshop: &Workshop, script: &Script<'_>, directory: PathBuf) -> Attempt {
    let path = std::env::var("PATH").unwrap_or_default();
    let own = workshop.environment.own.display().to_string();
    let usual = [
        ("PATH", path.as_str()),
        ("HOME", &directory.display().to_string()),
        ("LANG", "C.UTF-8"),
        ("PROGRAMS", &workshop.programs.display().to_string()),
        ("NATIVE", &own),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let own = script.variables.iter();
    let own = own.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Attempt {
        script: script.text.to_owned(),
        environment: usual.into_iter().chain(own).collect(),
        directory,
        reach: script.reach,
        limit: LIMIT,
    }
}
