//! What the record ring cannot take is counted, and the counts of denials stay exact.

use std::fs::File;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::network::{EVIL_V4, at};
use crate::harness::verdicts::denial_of;
use crate::harness::world::World;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![Story::new(
        "losses::a_flood_nobody_reads_is_counted_exactly_and_losses_come_first",
        flood,
    )]
}

/// More records than a ring of 16 MiB holds.
const ATTEMPTS: usize = 300_000;

fn flood(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    let [ready, go, flooded] = ["ready", "go", "flooded"].map(|name| world.path(name));
    let evil = at(EVIL_V4, 8080);
    let steps = [
        Step::Mark {
            path: ready.clone(),
        },
        Step::Await { path: go.clone() },
        Step::Flood {
            to: evil,
            count: ATTEMPTS,
        },
        Step::Mark {
            path: flooded.clone(),
        },
    ];
    let mut running = world.enforced(&profile, &steps)?.start()?;
    running.until(&ready)?;
    // Nobody reads the ring while the job floods it.
    running.signal(Signal::SIGSTOP)?;
    File::create(&go)?;
    let flooding = running.until(&flooded);
    running.signal(Signal::SIGCONT)?;
    flooding?;
    let finished = running.wait()?.expect_status(0)?;

    let [_, _, refused, _] = finished.steps()?;
    ensure!(
        refused.bytes == ATTEMPTS,
        "{} of {ATTEMPTS} were refused",
        refused.bytes
    );
    world.nothing_leaked()?;
    let report = finished.report()?;
    let denial = denial_of(&report, evil, "udp")?;
    ensure!(
        denial.attempts == ATTEMPTS as u64,
        "counted {}",
        denial.attempts
    );
    ensure!(
        report.summary.denied == ATTEMPTS as u64,
        "{:?}",
        report.summary
    );
    let seen: u64 = denial.processes.iter().map(|process| process.events).sum();
    ensure!(
        seen < denial.attempts,
        "no record was lost: the flood is too small to prove anything"
    );
    ensure!(
        report.losses.records > 0,
        "{seen} records seen, none said to be lost"
    );
    let text = finished.report_text()?;
    let places = text.find("\"losses\"").zip(text.find("\"denials\""));
    let (losses, denials) = places.context("losses and denials in the report")?;
    ensure!(losses < denials, "losses come before denials");
    Ok(())
}
