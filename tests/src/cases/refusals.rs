//! When cordon cannot enforce, the command does not start, and the status and the words say why.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::client::step::Step;
use crate::harness::cgroup::MemoryLimit;
use crate::harness::environment::Environment;
use crate::harness::job::{Finished, Job};
use crate::harness::leftovers;
use crate::harness::world::World;
use crate::runner::{Lack, Story, Told};

/// Documented statuses of cordon itself.
const NOT_ENFORCED: i32 = 120;
const USAGE: i32 = 121;
const NO_PERMISSION: i32 = 123;
const KILLED: i32 = 137;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "refusals::a_wrong_profile_is_shown_and_the_command_is_not_started",
            profiles,
        ),
        Story::new(
            "refusals::wrong_settings_are_shown_and_the_command_is_not_started",
            settings,
        ),
        Story::new("refusals::no_command_is_a_usage_error", no_words),
        Story::new("refusals::a_root_that_is_no_cgroup_is_refused", no_cgroup),
        Story::new("refusals::a_slice_that_cannot_be_made_is_refused", no_slice),
        Story::new("refusals::without_bpf_nothing_starts", no_bpf),
        Story::new(
            "refusals::an_evidence_directory_in_use_is_refused",
            used_evidence,
        ),
        Story::conditional(
            "refusals::without_memory_for_maps_nothing_starts",
            no_memory,
        ),
    ]
}

/// Runs a client that only makes a file; returns how cordon ended and whether the file is there.
fn attempt(world: &World, change: impl FnOnce(Job<'_>) -> Job<'_>) -> Result<(Finished, bool)> {
    let started = world.path("started");
    let job = world.job().steps(&[Step::Mark {
        path: started.clone(),
    }])?;
    let finished = change(job).run()?;
    Ok((finished, started.exists()))
}

/// cordon ended with this status, said these words, and did not start the command.
fn not_started(attempt: (Finished, bool), status: i32, words: &[&str]) -> Result<()> {
    let (finished, started) = attempt;
    ensure!(!started, "the command was started");
    let finished = finished.expect_status(status)?;
    for word in words {
        ensure!(
            finished.stderr.contains(word),
            "does not say `{word}`:\n{}",
            finished.stderr
        );
    }
    Ok(())
}

fn profiles(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let wrong = "\n[[allow]]\nhots = \"good.test\"\nports = [70000]\n";
    let profile = world.profile("wrong", wrong)?;
    // All mistakes at once, with the file they are in.
    let words = ["hots", "70000", "wrong.toml"];
    not_started(attempt(&world, |job| job.profile(&profile))?, USAGE, &words)?;
    let missing = attempt(&world, |job| job.profile("no-such-profile"))?;
    not_started(missing, USAGE, &["no-such-profile"])?;
    world.nothing_left()
}

fn settings(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let run = attempt(&world, |job| {
        job.under_cordon(&[]).host_setting("colour", "blue")
    })?;
    not_started(run, USAGE, &["colour"])
}

fn no_words(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let finished = world.job().under_cordon(&[]).run()?;
    finished.expect_status(USAGE)?;
    Ok(())
}

fn no_cgroup(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let directory = world.path("no-cgroup");
    std::fs::create_dir(&directory)?;
    for root in [directory.as_path(), Path::new("/nonexistent/cgroup")] {
        let root = root.display().to_string();
        let (finished, started) = attempt(&world, |job| {
            job.under_cordon(&[]).host_setting("cgroup_root", &root)
        })?;
        ensure!(!started, "the command was started");
        // Both "wrong settings" and "not enforced" are true.
        ensure!(
            [NOT_ENFORCED, USAGE].contains(&finished.status),
            "{finished:?}"
        );
        ensure!(finished.stderr.contains(&root), "{}", finished.stderr);
    }
    Ok(())
}

fn no_slice(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    // The kernel refuses more directories than this.
    let limit = world.cgroup().root().join("cgroup.max.descendants");
    std::fs::write(limit, "1").context("limit the number of cgroups")?;
    let run = attempt(&world, |job| job.under_cordon(&[]))?;
    not_started(run, NOT_ENFORCED, &["cgroup"])?;
    world.nothing_left()
}

fn no_bpf(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let run = attempt(&world, |job| job.under_cordon(&[]).without_bpf())?;
    not_started(run, NO_PERMISSION, &["CAP_"])?;
    world.nothing_left()
}

fn used_evidence(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let (first, started) = attempt(&world, |job| job.under_cordon(&[]))?;
    ensure!(started, "{first:?}");
    let evidence = first.expect_status(0)?.evidence;
    let before = std::fs::read(evidence.join("egress-report.json"))?;
    let (second, started) = attempt(&world, |job| job.under_cordon(&[]).evidence(&evidence))?;
    ensure!(
        !started && second.status != 0,
        "another job's evidence was taken: {second:?}"
    );
    let after = std::fs::read(evidence.join("egress-report.json"))?;
    ensure!(before == after, "another job's evidence was overwritten");
    Ok(())
}

/// From hardly enough to start a process up to more than enough: wherever it ends, either all is
/// enforced or nothing starts.
fn no_memory(environment: &Environment) -> Result<Told> {
    let Some(hierarchy) = &environment.memory else {
        return Ok(Told::NotHere(
            Lack::MemoryLimit,
            "no cgroup hierarchy here limits memory".to_owned(),
        ));
    };
    let world = World::new(environment)?;
    let mut statuses = Vec::new();
    for (number, mebibytes) in [6, 8, 10, 12, 16, 24, 32, 256].into_iter().enumerate() {
        let name = format!("{}-memory-{number}", leftovers::name(0));
        let limit = MemoryLimit::new(hierarchy, &name, mebibytes << 20)?;
        let (finished, started) = attempt(&world, |job| {
            job.under_cordon(&[]).in_cgroup(limit.directory())
        })?;
        ensure!(
            started == (finished.status == 0),
            "with {mebibytes} MiB the command was {}started: {finished:?}",
            if started { "" } else { "not " },
        );
        statuses.push(finished.status);
        drop(limit);
    }
    let refused = statuses
        .iter()
        .filter(|&&status| status == NOT_ENFORCED)
        .count();
    let killed = statuses.iter().filter(|&&status| status == KILLED).count();
    ensure!(refused + killed > 0, "no limit was too small: {statuses:?}");
    ensure!(
        statuses.last() == Some(&0),
        "256 MiB are not enough: {statuses:?}"
    );
    // What a killed one left, the last one has cleared up.
    world.nothing_left()?;
    Ok(Told::Whole)
}
