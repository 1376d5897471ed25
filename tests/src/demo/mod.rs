//! The main job for a newcomer: real clients, real servers, an attacker, and the signed report.
//!
//! The same job runs twice in a world of its own: first without cordon, to show that the attacker
//! does receive, then under cordon. Every expectation is checked; one that does not come true makes
//! the exit status non-zero.

mod servers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::harness::environment::Environment;
use crate::harness::job::Job;
use crate::harness::world::World;

/// Arguments of `demo`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where the signed evidence is kept; default: `demo/evidence` in the target directory, emptied
    /// first
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
}

/// What the job is: a shell script.
const SCRIPT: &str = include_str!("job.sh");

const PROFILE: &str = include_str!("profile.toml");

/// How many things the script does at the allowed host, and tries at the attacker.
const GOOD: usize = 3;
const EVIL: usize = 4;

/// Shows the main job.
pub fn run(args: &Args) -> Result<ExitCode> {
    let started = Instant::now();
    let say = |text: &str| println!("[{:5.1} s] {text}", started.elapsed().as_secs_f32());
    let environment = Environment::detect(false)?;
    environment.cordon()?;
    servers::check_tools()?;
    let evidence = prepare_evidence(args, &environment)?;

    say("making a world: job, good.test, evil.test and a resolver, each in its own namespace");
    let world = World::without_servers(&environment)?;
    say("starting HTTPS and git on good.test, with certificates of a throw-away CA");
    let site = servers::start(&world)?;
    let script = world.path("job.sh");
    fs::write(&script, SCRIPT)?;
    let job = |world| Script {
        world,
        file: &script,
        ca: &site.ca,
    };

    say("the job without cordon:");
    let free = job(&world).run(Job::shown)?;
    let leaked = world.leaked()?.len();
    say(&format!(
        "without cordon the attacker received {leaked} frames\n"
    ));

    say("the same job under cordon; its profile allows *.good.test on port 443:");
    let profile = world.path("demo.toml");
    fs::write(&profile, PROFILE)?;
    let enforced = job(&world).run(|job| job.profile(&profile).evidence(&evidence).shown())?;
    let frames = world.leaked()?;
    say(&format!(
        "under cordon the attacker received {} frames\n",
        frames.len()
    ));

    say("the egress report:");
    show(&world, &evidence)?;
    let public = keep_public_key(&world, &evidence)?;
    let verified = verify(&world, &evidence, &public)?;
    let report = enforced
        .report
        .context("the job under cordon has no report")?;

    let mut checks = Checks::default();
    checks.that(
        "without cordon, the job reached good.test",
        free.good == GOOD,
    );
    checks.that("without cordon, the attacker received", leaked > 0);
    checks.that(
        "under cordon, the job reached good.test",
        enforced.good == GOOD,
    );
    checks.that(
        "under cordon, every attempt at evil failed",
        enforced.evil_failed == EVIL,
    );
    checks.that(
        "under cordon, the attacker received nothing",
        frames.is_empty(),
    );
    checks.that("the report has the denials", report.summary.denied >= 2);
    checks.that(
        "the report has the denied names",
        report.summary.names_denied >= 2,
    );
    checks.that("the signature verifies", verified);
    site.stop()?;
    let left = world.nothing_left();
    checks.that("cordon left nothing behind", left.is_ok());
    drop(world);

    say(&format!("signed evidence: {}", evidence.display()));
    println!(
        "          verify it: cordon report verify {} --key {}",
        evidence.display(),
        public.display()
    );
    Ok(checks.conclude())
}

/// Runs the script.
struct Script<'a> {
    world: &'a World,
    file: &'a Path,
    ca: &'a Path,
}

/// What the script says it reached.
struct Reached {
    good: usize,
    evil_failed: usize,
    report: Option<cordon::report::Report>,
}

impl<'a> Script<'a> {
    fn run(&self, change: impl FnOnce(Job<'a>) -> Job<'a>) -> Result<Reached> {
        let work = self.world.path("work");
        fs::create_dir(&work)?;
        let words = [Path::new("sh"), self.file, &work, self.ca];
        let finished = change(self.world.job().command(words)).run()?;
        if finished.status >= 120 {
            bail!("the job was not run: status {}", finished.status);
        }
        let results = fs::read_to_string(work.join("results")).unwrap_or_default();
        let count = |line: &str| results.lines().filter(|&result| result == line).count();
        Ok(Reached {
            good: count("good reached"),
            evil_failed: count("evil failed"),
            report: finished.report().ok(),
        })
    }
}

fn prepare_evidence(args: &Args, environment: &Environment) -> Result<PathBuf> {
    if let Some(directory) = &args.evidence {
        return std::path::absolute(directory).context("the evidence directory");
    }
    // target/debug/cordon-tests -> target/demo/evidence
    let target = environment
        .own
        .ancestors()
        .nth(2)
        .context("no target directory")?;
    let directory = target.join("demo").join("evidence");
    if directory.exists() {
        fs::remove_dir_all(&directory).context("empty the evidence directory")?;
    }
    fs::create_dir_all(target.join("demo"))?;
    Ok(directory)
}

fn show(world: &World, evidence: &Path) -> Result<()> {
    let output = world.cordon([Path::new("report"), Path::new("show"), evidence])?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    ensure!(
        output.status.success(),
        "cordon report show: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// The key itself ends with the world; what verifies stays with the evidence.
fn keep_public_key(world: &World, evidence: &Path) -> Result<PathBuf> {
    let kept = evidence.join("report.pub");
    fs::copy(world.public_key()?, &kept).context("keep the public key")?;
    Ok(kept)
}

fn verify(world: &World, evidence: &Path, key: &Path) -> Result<bool> {
    let words = [
        Path::new("report"),
        Path::new("verify"),
        evidence,
        Path::new("--key"),
        key,
    ];
    let output = world.cordon(words)?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    Ok(output.status.success())
}

/// Expectations, and how many did not come true.
#[derive(Default)]
struct Checks {
    failed: usize,
}

impl Checks {
    fn that(&mut self, expectation: &str, is: bool) {
        println!("  {} {expectation}", if is { "ok    " } else { "FAILED" });
        self.failed += usize::from(!is);
    }

    fn conclude(self) -> ExitCode {
        if self.failed == 0 {
            return ExitCode::SUCCESS;
        }
        eprintln!("{} expectations did not come true", self.failed);
        ExitCode::FAILURE
    }
}
