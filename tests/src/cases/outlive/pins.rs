//! Damaged pins are refused or made anew, and what dead jobs left is collected.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::{
    NOT_ENFORCED, abandoned, cordon, ends_whole, good_profile, hammering, in_pins, nothing_left,
    reports, traces,
};
use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::network::{EVIL_V4, at};
use crate::harness::world::World;

/// The next run is refused with these words, and starts nothing.
fn next_is_refused(world: &World, words: &[&str]) -> Result<()> {
    let started = world.path("started");
    let step = Step::Mark {
        path: started.clone(),
    };
    let finished = world.enforced(&good_profile(world)?, &[step])?.run()?;
    ensure!(!started.exists(), "the command was started");
    let finished = finished.expect_status(NOT_ENFORCED)?;
    for word in words.iter().chain(&["jobs are running", "end them"]) {
        ensure!(
            finished.stderr.contains(word),
            "no `{word}`: {}",
            finished.stderr
        );
    }
    Ok(())
}

pub(super) fn damaged_while_alive(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let until = world.path("until");
    let running = hammering(&world, &until)?;
    let rename = |from: &'static str, to: &'static str| {
        in_pins(&world, move |pins| {
            Ok(fs::rename(pins.join(from), pins.join(to))?)
        })
    };
    // A map is missing.
    rename("map_JOBS", "aside")?;
    next_is_refused(&world, &["map JOBS is missing"])?;
    // A map of another size has its name.
    rename("map_LOSSES", "map_JOBS")?;
    next_is_refused(
        &world,
        &[
            "map JOBS has value size 56, not 32",
            "map LOSSES is missing",
        ],
    )?;
    let status = cordon(&world, &["host", "status"])?.expect_status(1)?;
    ensure!(status.stdout.contains("DAMAGED"), "{}", status.stdout);
    rename("map_JOBS", "map_LOSSES")?;
    rename("aside", "map_JOBS")?;
    // A link is missing; one is another hook's.
    rename("link_connect4", "aside")?;
    next_is_refused(&world, &["program connect4 is missing"])?;
    rename("link_connect6", "link_connect4")?;
    next_is_refused(&world, &["link of program connect4 is at another hook"])?;
    rename("link_connect4", "link_connect6")?;
    rename("aside", "link_connect4")?;
    // The marker of a whole load is missing.
    let marker = in_pins(&world, |pins| {
        let mut entries = fs::read_dir(pins)?.flatten().map(|entry| entry.path());
        let marker = entries
            .find(|path| path.display().to_string().contains("/object_"))
            .context("no marker")?;
        fs::remove_dir(&marker)?;
        Ok(marker)
    })?;
    next_is_refused(&world, &["half made"])?;
    in_pins(&world, move |_pins| Ok(fs::create_dir(marker)?))?;
    // Another layout.
    let name = in_pins(&world, |pins| {
        let other = format!("{}x", pins.display());
        fs::rename(pins, &other)?;
        Ok((pins.to_owned(), other))
    })?;
    next_is_refused(&world, &["another layout"])?;
    world
        .mounts()
        .run(move || Ok(fs::rename(&name.1, &name.0)?))?;

    // All of it, as if it had been removed.
    let (all, aside) = (world.bpffs().join("cordon"), world.bpffs().join("aside"));
    let move_all = |from: PathBuf, to: PathBuf| world.mounts().run(|| Ok(fs::rename(from, to)?));
    move_all(all.clone(), aside.clone())?;
    next_is_refused(&world, &["nothing is pinned", "cgroup.kill"])?;
    move_all(aside, all)?;

    // None of that was touched: the job goes on, and so does the next one.
    let next = world.enforced(&good_profile(&world)?, &[Step::udp(at(EVIL_V4, 8080))])?;
    let [evil] = next.run()?.expect_status(0)?.steps()?;
    world.refused(&evil)?;
    ends_whole(&world, running, &until)?;
    nothing_left(&world)
}

pub(super) fn damaged_and_orphaned(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let mut lost = 0;
    for damage in ["map_FLOWS", "link_egress", "object_", "all of it"] {
        let until = world.path("until");
        let running = hammering(&world, &until)?;
        running.signal(Signal::SIGKILL)?;
        in_pins(&world, |pins| {
            if damage == "all of it" {
                return Ok(fs::rename(pins, format!("{}x", pins.display()))?);
            }
            let mut entries = fs::read_dir(pins)?.flatten().map(|entry| entry.path());
            let victim = entries
                .find(|path| path.display().to_string().contains(&format!("/{damage}")))
                .context("nothing to damage")?;
            Ok(fs::rename(&victim, pins.join("aside"))?)
        })?;
        let next = world.enforced(&good_profile(&world)?, &[Step::udp(at(EVIL_V4, 8080))])?;
        let finished = next.run()?.expect_status(0)?;
        ensure!(
            finished.stderr.contains("cordon had been killed"),
            "{}",
            finished.stderr
        );
        let [evil] = finished.steps()?;
        world.refused(&evil)?;
        drop(running.wait()?);
        world.nothing_leaked()?;
        nothing_left(&world)?;
        lost += 1;
        let effects: Vec<String> = reports(&world)?
            .into_iter()
            .flat_map(|report| report.interruptions)
            .flat_map(|interruption| interruption.effects)
            .filter(|effect| effect.contains("tables are lost"))
            .collect();
        ensure!(effects.len() == lost, "{damage}: {effects:?}");
    }
    Ok(())
}

pub(super) fn collected(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let (running, id) = abandoned(&world)?;
    // What a cordon leaves that is killed between two steps of a start or an end.
    let lock = traces(&world)
        .into_iter()
        .find(|path| path.extension().is_some_and(|end| end == "lock"))
        .context("no lock")?;
    fs::write(lock.with_file_name("job-00000000000a.lock"), "")?;
    fs::create_dir(world.cgroup().root().join("cordon.slice/job-00000000000b"))?;
    // And a job of before a restart, of which only the record is left.
    let record = traces(&world)
        .into_iter()
        .find(|path| path.extension().is_some_and(|end| end == "json"))
        .context("no record")?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let text = fs::read_to_string(&record)?
        .replace(&id, "00000000000c")
        .replace(boot.trim(), "another-boot");
    fs::write(record.with_file_name("job-00000000000c.json"), text)?;
    fs::write(record.with_extension("json.new-1"), "half")?;
    in_pins(&world, |pins| {
        let name = pins
            .file_name()
            .context("pins")?
            .to_string_lossy()
            .into_owned();
        let root = name.split('-').next().context("root")?.to_owned();
        Ok(fs::create_dir(
            pins.with_file_name(format!("{root}-1-0123456789abcdef")),
        )?)
    })?;
    let next = world.enforced(&good_profile(&world)?, &[Step::udp(at(EVIL_V4, 8080))])?;
    let [evil] = next.run()?.expect_status(0)?.steps()?;
    world.refused(&evil)?;
    drop(running.wait()?);
    world.nothing_leaked()?;
    let reports = reports(&world)?;
    let before = reports
        .iter()
        .find(|report| report.job.id == "00000000000c");
    let said = format!("{:?}", before.context("no evidence")?.interruptions);
    ensure!(said.contains("restarted"), "{said}");
    nothing_left(&world)
}
