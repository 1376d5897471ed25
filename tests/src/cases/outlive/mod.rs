//! Enforcement outlives cordon: killed at any moment, upgraded under traffic, taken over, and never
//! taken down by mistake.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use cordon::report::Report;
use nix::sys::signal::Signal;

use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::job::{Finished, Running};
use crate::harness::network::{EVIL_V4, GOOD_V4, at};
use crate::harness::rules::cidr;
use crate::harness::verdicts::allowed;
use crate::harness::world::World;
use crate::runner::Story;

mod pins;
mod takeover;
mod upgrade;

/// Documented statuses of cordon.
const NOT_ENFORCED: i32 = 120;
const USAGE: i32 = 121;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "outlive::killed_at_any_moment_nothing_leaks_and_nothing_stays",
            killed,
        ),
        Story::new(
            "outlive::programs_are_replaced_under_traffic_and_nothing_leaks",
            upgrade::upgraded,
        ),
        Story::new(
            "outlive::an_upgrade_killed_at_any_moment_is_finished_by_the_next_start",
            upgrade::upgrade_killed,
        ),
        Story::new(
            "outlive::a_job_is_taken_over_with_its_names_its_records_and_its_evidence",
            takeover::resumed,
        ),
        Story::new(
            "outlive::a_job_without_a_usable_record_is_ended_and_counted",
            takeover::unrecorded,
        ),
        Story::new(
            "outlive::damaged_pins_are_refused_while_a_job_lives",
            pins::damaged_while_alive,
        ),
        Story::new(
            "outlive::damaged_pins_are_made_anew_when_no_job_lives",
            pins::damaged_and_orphaned,
        ),
        Story::new(
            "outlive::pins_locks_records_and_cgroups_of_dead_jobs_are_collected",
            pins::collected,
        ),
    ]
}

const MINUTE: Step = Step::Sleep { ms: 60_000 };

/// Numbers by chance enough to hit any moment; the seed is shown, for the case that one fails.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = seed.map_or(1, |time| time.subsec_nanos().into());
        println!("seed {seed}");
        Self(seed | 1)
    }

    /// Up to but not including `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        // Knuth's MMIX generator; its high bits are the good ones.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }

    fn milliseconds(&mut self, limit: u64) -> Duration {
        Duration::from_micros(self.below(limit * 1000))
    }
}

fn good_profile(world: &World) -> Result<PathBuf> {
    world.profile("good", &cidr("203.0.113.10/32", "8080", "tcp"))
}

fn hammer(until: &Path) -> Step {
    Step::Hammer {
        good: at(GOOD_V4, 8080),
        evil: at(EVIL_V4, 8080),
        until: until.to_owned(),
    }
}

/// What is tried under cordon does arrive without it.
fn hammer_arrives(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let [ready, until] = ["ready", "until"].map(|name| world.path(name));
    let mark = Step::Mark {
        path: ready.clone(),
    };
    let mut running = world.free(&[mark, hammer(&until)])?.start()?;
    running.until(&ready)?;
    sleep(environment.seconds(1) / 10);
    File::create(&until)?;
    running.wait()?.expect_status(0)?;
    world.something_leaked()
}

fn cordon(world: &World, words: &[&str]) -> Result<Finished> {
    world.job().subcommand(words).run()
}

/// The job's id, by its cgroup.
pub(in crate::cases) fn only_job(world: &World) -> Result<String> {
    let slice = world.cgroup().root().join("cordon.slice");
    let mut ids = fs::read_dir(&slice)?
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix("job-")?.to_owned()));
    ids.next().context("there is no job")
}

/// Files that belong to running jobs: locks and records.
fn traces(world: &World) -> Vec<PathBuf> {
    let mut waiting = vec![
        world.directory().join("run"),
        world.directory().join("state/jobs"),
    ];
    let mut found = Vec::new();
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                waiting.push(path);
            } else if name.starts_with("job-") {
                found.push(path);
            }
        }
    }
    found
}

/// No trace of any job, files of running ones included.
pub(in crate::cases) fn nothing_left(world: &World) -> Result<()> {
    world.nothing_left()?;
    let traces = traces(world);
    ensure!(traces.is_empty(), "left behind: {traces:?}");
    Ok(())
}

/// Every report whose evidence is signed, of all jobs of this world.
fn reports(world: &World) -> Result<Vec<Report>> {
    let mut waiting = vec![world.directory().to_owned()];
    let mut found = Vec::new();
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory)?.flatten() {
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                waiting.push(path);
            } else if path.ends_with("egress.sigstore.json") {
                let text = fs::read_to_string(path.with_file_name("egress-report.json"))?;
                found.push(serde_json::from_str(&text)?);
            }
        }
    }
    Ok(found)
}

fn killed(environment: &Environment) -> Result<()> {
    hammer_arrives(environment)?;
    let world = World::new(environment)?;
    let profile = good_profile(&world)?;
    let kills: u32 = if environment.slowness > 1 { 6 } else { 45 };
    let mut chance = Chance::new();
    // How long a start takes here, to spread the kills over all of it.
    let mark = world.path("mark");
    let begun = Instant::now();
    let first = [Step::Mark { path: mark.clone() }];
    let mut running = world.enforced(&profile, &first)?.start()?;
    running.until(&mark)?;
    let start = u64::try_from(begun.elapsed().as_millis())?;
    running.wait()?.expect_status(0)?;

    let (mut before, mut while_running, mut while_ending) = (0, 0, 0);
    for number in 0..kills {
        let [ready, until] = ["ready", "until"].map(|name| world.path(name));
        let steps = [
            Step::Mark {
                path: ready.clone(),
            },
            hammer(&until),
        ];
        let mut running = world.enforced(&profile, &steps)?.start()?;
        match number % 3 {
            // Anywhere in the start, before or while it is armed.
            0 => sleep(chance.milliseconds(start)),
            1 => {
                running.until(&ready)?;
                sleep(chance.milliseconds(100));
            }
            // Anywhere in the end.
            _ => {
                running.until(&ready)?;
                sleep(chance.milliseconds(40));
                File::create(&until)?;
                sleep(chance.milliseconds(start / 4));
            }
        }
        running.signal(Signal::SIGKILL)?;
        match (ready.exists(), until.exists()) {
            (false, _) => before += 1,
            (true, false) => while_running += 1,
            (true, true) => while_ending += 1,
        }
        drop(running.wait()?);
        // The job goes on without its cordon.
        sleep(chance.milliseconds(60));
        if number % 5 == 4 {
            world.nothing_leaked()?;
        }
    }
    let reached = world.good.at(at(GOOD_V4, 8080)).connections;
    println!(
        "{kills} kills: {before} before the command ran, {while_running} while it ran, \
         {while_ending} while it ended; the allowed host was reached {reached} times"
    );
    world.nothing_leaked()?;
    ensure!(
        reached > u64::from(kills),
        "hardly any traffic: proves nothing"
    );

    let last = [Step::tcp(at(GOOD_V4, 8080)), Step::udp(at(EVIL_V4, 8080))];
    let [good, evil] = world
        .enforced(&profile, &last)?
        .run()?
        .expect_status(0)?
        .steps()?;
    allowed(&good)?;
    world.refused(&evil)?;
    world.nothing_leaked()?;
    nothing_left(&world)?;
    // Each job that ran has evidence; that of the interrupted ones says so.
    let reports = reports(&world)?;
    let interrupted = reports
        .iter()
        .filter(|report| !report.interruptions.is_empty())
        .count();
    println!(
        "{} jobs have evidence, {interrupted} say they were interrupted",
        reports.len()
    );
    ensure!(
        reports.len() >= while_running + while_ending,
        "{} reports of {while_running} + {while_ending} jobs that ran",
        reports.len()
    );
    ensure!(
        interrupted >= while_running,
        "{interrupted} of {while_running}"
    );
    Ok(())
}

fn hammering<'w>(world: &'w World, until: &Path) -> Result<Running<'w>> {
    let profile = good_profile(world)?;
    let ready = world.path("ready");
    let steps = [
        Step::Mark {
            path: ready.clone(),
        },
        hammer(until),
    ];
    let mut running = world.enforced(&profile, &steps)?.start()?;
    running.until(&ready)?;
    Ok(running)
}

/// The hammering job ends well, reached what it may, and its evidence is whole.
fn ends_whole(world: &World, running: Running<'_>, until: &Path) -> Result<Report> {
    File::create(until)?;
    let finished = running.wait()?.expect_status(0)?;
    let report = finished.report()?;
    let [_, hammered] = finished.steps()?;
    ensure!(hammered.bytes > 0, "the allowed host was not reached");
    let inactive: Vec<_> = report
        .coverage
        .layers
        .iter()
        .filter(|layer| !layer.active && layer.name != "lsm")
        .collect();
    ensure!(inactive.is_empty(), "{inactive:?}");
    ensure!(
        !report
            .coverage
            .blind_spots
            .iter()
            .any(|spot| spot.contains("GAP")),
        "{:?}",
        report.coverage.blind_spots
    );
    world.nothing_leaked()?;
    Ok(report)
}

/// Does something in the one directory of pins, which only the world's mounts show.
pub(super) fn in_pins<T: Send>(
    world: &World,
    act: impl FnOnce(&Path) -> Result<T> + Send,
) -> Result<T> {
    let all = world.bpffs().join("cordon");
    world.mounts().run(move || {
        let mut entries = fs::read_dir(&all)?.flatten();
        let directory = entries.next().context("nothing is pinned")?.path();
        ensure!(entries.next().is_none(), "more than one directory of pins");
        act(&directory)
    })
}

/// A job that tried something, and whose cordon was killed.
fn abandoned(world: &World) -> Result<(Running<'_>, String)> {
    let ready = world.path("ready");
    let steps = [
        Step::tcp(at(EVIL_V4, 8080)),
        Step::Mark {
            path: ready.clone(),
        },
        MINUTE,
    ];
    let mut running = world.enforced(&good_profile(world)?, &steps)?.start()?;
    running.until(&ready)?;
    let id = only_job(world)?;
    running.signal(Signal::SIGKILL)?;
    Ok((running, id))
}
