//! Programs are replaced under traffic, also by an upgrade that is killed on its way.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::{
    Chance, cordon, ends_whole, good_profile, hammer_arrives, hammering, in_pins, nothing_left,
};
use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::network::{EVIL_V4, at};
use crate::harness::world::World;

/// The program ids `host status` shows, in its order.
fn programs(world: &World) -> Result<Vec<String>> {
    let status = cordon(world, &["host", "status"])?.expect_status(0)?;
    let ids = status
        .stdout
        .lines()
        // LSM programs are not there on every kernel.
        .filter(|line| line.starts_with("program ") && !line.ends_with("not attached"));
    let ids = ids.filter_map(|line| Some(line.rsplit_once("program ")?.1.to_owned()));
    Ok(ids.collect())
}

pub(super) fn upgraded(environment: &Environment) -> Result<()> {
    hammer_arrives(environment)?;
    let world = World::new(environment)?;
    let until = world.path("until");
    let running = hammering(&world, &until)?;
    let mut before = programs(&world)?;
    ensure!(before.len() >= 13, "{before:?}");
    let times = if environment.slowness > 1 { 2 } else { 5 };
    for _ in 0..times {
        cordon(&world, &["host", "upgrade", "--force"])?.expect_status(0)?;
        let after = programs(&world)?;
        ensure!(after.len() == before.len(), "{after:?}");
        let kept = before.iter().filter(|id| after.contains(id)).count();
        ensure!(
            kept == 0,
            "{kept} programs were not replaced: {before:?} {after:?}"
        );
        before = after;
    }
    world.nothing_leaked()?;
    let same = cordon(&world, &["host", "upgrade"])?.expect_status(0)?;
    ensure!(same.stdout.contains("already"), "{}", same.stdout);
    ensure!(programs(&world)? == before, "replaced without need");

    // The programs of another object, by their marker: the next start brings its own.
    rename_marker(&world, "object_", &format!("object_{}", "ab".repeat(32)))?;
    let status = cordon(&world, &["host", "status"])?.expect_status(0)?;
    ensure!(status.stdout.contains("abababab"), "{}", status.stdout);
    let other = world.enforced(&good_profile(&world)?, &[Step::udp(at(EVIL_V4, 8080))])?;
    let [evil] = other.run()?.expect_status(0)?.steps()?;
    world.refused(&evil)?;
    let after = programs(&world)?;
    ensure!(
        before.iter().all(|id| !after.contains(id)),
        "{before:?} {after:?}"
    );

    ends_whole(&world, running, &until)?;
    nothing_left(&world)
}

/// Renames the one entry of the pins that begins like this.
fn rename_marker(world: &World, from: &'static str, to: &str) -> Result<()> {
    let to = to.to_owned();
    in_pins(world, move |directory| {
        let name = fs::read_dir(directory)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(from))
            })
            .with_context(|| format!("no pin begins with {from}"))?;
        Ok(fs::rename(name, directory.join(to))?)
    })
}

pub(super) fn upgrade_killed(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let until = world.path("until");
    let running = hammering(&world, &until)?;
    let begun = Instant::now();
    cordon(&world, &["host", "upgrade", "--force"])?.expect_status(0)?;
    let takes = u64::try_from(begun.elapsed().as_millis())?;
    let mut chance = Chance::new();
    let kills = if environment.slowness > 1 { 3 } else { 15 };
    let mut cut_short = 0;
    for _ in 0..kills {
        let upgrade = world
            .job()
            .subcommand(&["host", "upgrade", "--force"])
            .start()?;
        // Most of it is the verifier's time; links are replaced at the end.
        sleep(Duration::from_millis(takes / 2) + chance.milliseconds(takes / 2));
        upgrade.signal(Signal::SIGKILL)?;
        drop(upgrade.wait()?);
        let status = cordon(&world, &["host", "status"])?.expect_status(0)?;
        cut_short += u32::from(status.stdout.contains("cut short"));
    }
    world.nothing_leaked()?;
    println!("{kills} kills in {takes} ms, {cut_short} between the first link and the last");

    // One that surely was cut short.
    rename_marker(&world, "object_", &format!("upgrade_{}", "cd".repeat(32)))
        .or_else(|_cut_short_already| Ok::<_, anyhow::Error>(()))?;
    let before = programs(&world)?;
    let other = world.enforced(&good_profile(&world)?, &[Step::udp(at(EVIL_V4, 8080))])?;
    let [evil] = other.run()?.expect_status(0)?.steps()?;
    world.refused(&evil)?;
    let status = cordon(&world, &["host", "status"])?.expect_status(0)?;
    ensure!(
        status.stdout.contains("that of this cordon"),
        "{}",
        status.stdout
    );
    let after = programs(&world)?;
    ensure!(
        before.iter().all(|id| !after.contains(id)),
        "{before:?} {after:?}"
    );
    ends_whole(&world, running, &until)?;
    nothing_left(&world)
}
