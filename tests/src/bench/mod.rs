//! What cordon costs, by subject.
//!
//! Bounded, in namespaces of its own. Rounds alternate between the sides that are compared, so that a
//! machine that changes speed changes all of them, and medians are reported; no result is a failure.

mod calls;
mod dns;
pub mod evidence;
mod figures;
mod jobs;
pub mod load;
mod memory;
mod names;
mod processor;
mod sweep;
mod sweep_engine;

use std::ffi::OsString;
use std::fs;
use std::process::ExitCode;

use anyhow::Result;

use crate::bench::load::{Load, Measured};
use crate::bench::processor::{Processors, on};
use crate::harness::environment::Environment;
use crate::harness::job::Job;
use crate::harness::world::World;

/// Seconds a job may take: a busy machine makes figures poor, not failures.
const PATIENCE: u32 = 300;

/// What is measured.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Eq, PartialEq)]
enum Subject {
    /// Connects, datagrams and a whole run
    Calls,
    /// The job's resolver against others, and how soon an answer is a lease
    Dns,
    /// Verification of names, and rulesets with many of them
    Names,
    /// The secret sweep
    Sweep,
    /// Evidence of 10, 10,000 and 1,000,000 flows: sealing and verifying it
    Evidence,
    /// Jobs of the daemon: start, end, memory, and what it takes when nothing happens
    Job,
}

/// Arguments of `bench`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What to measure
    #[arg(value_enum, default_value_t = Subject::Calls)]
    subject: Subject,
    /// How often each side is measured; default: 9 for calls, 5 for others
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: Option<u16>,
}

/// Measures and prints tables.
pub fn run(args: &Args) -> Result<ExitCode> {
    let environment = Environment::detect(false)?;
    environment.cordon()?;
    match args.subject {
        Subject::Calls => calls::run(&environment, args.rounds.unwrap_or(9))?,
        Subject::Dns => dns::run(&environment, args.rounds.unwrap_or(5))?,
        Subject::Sweep => sweep::run(&environment, args.rounds.unwrap_or(5))?,
        Subject::Evidence => evidence::run(&environment, args.rounds.unwrap_or(5))?,
        Subject::Job => jobs::run(&environment, args.rounds.unwrap_or(5))?,
        Subject::Names => names::run(&environment, args.rounds.unwrap_or(5))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a load as this job, pinned: cordon on one processor, the load on the other.
fn measure(
    world: &World,
    (what, job): (&str, Job<'_>),
    processors: Processors,
    load: &Load,
) -> Result<Measured> {
    let plan = world.path("plan");
    fs::write(&plan, serde_json::to_string(load)?)?;
    let words: [OsString; 5] = [
        world.environment.own.clone().into(),
        "bench-load".into(),
        "--processor".into(),
        processors.load.to_string().into(),
        plan.into(),
    ];
    let job = job.command(words).patience(PATIENCE);
    // A load of fresh names below a wildcard is what these limits are there to stop.
    let job = job
        .dns_setting("wildcard_names = 100000")
        .dns_setting("wildcard_names_per_minute = 100000");
    let running = on(processors.server, processors.load, || job.start())?;
    let finished = running.wait()?.expect_status(0)?;
    let measured: Measured = serde_json::from_str(&finished.stdout)?;
    let Measured { failed, again, .. } = measured;
    if failed + again > 0 {
        println!("of {what}: {failed} answers of no use, {again} questions sent again");
    }
    Ok(measured)
}
