//! Enforcement outlives cordon: killed at any moment, upgraded under traffic, taken over, and never
//! taken down by mistake.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use cordon::report::{NameVerdict, Outcome as JobOutcome, Report};
use nix::sys::signal::Signal;

use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::job::{Finished, Running};
use crate::harness::network::{EVIL_V4, GOOD_V4, at};
use crate::harness::rules::{cidr, host};
use crate::harness::verdicts::{allowed, denial_of, name_asked};
use crate::harness::world::World;
use crate::runner::Story;

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
            upgraded,
        ),
        Story::new(
            "outlive::an_upgrade_killed_at_any_moment_is_finished_by_the_next_start",
            upgrade_killed,
        ),
        Story::new(
            "outlive::a_job_is_taken_over_with_its_names_its_records_and_its_evidence",
            resumed,
        ),
        Story::new(
            "outlive::a_job_without_a_usable_record_is_ended_and_counted",
            unrecorded,
        ),
        Story::new(
            "outlive::damaged_pins_are_refused_while_a_job_lives",
            damaged_while_alive,
        ),
        Story::new(
            "outlive::damaged_pins_are_made_anew_when_no_job_lives",
            damaged_and_orphaned,
        ),
        Story::new(
            "outlive::pins_locks_records_and_cgroups_of_dead_jobs_are_collected",
            collected,
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
fn hammer_arrives(world: &World) -> Result<()> {
    let [ready, until] = ["ready", "until"].map(|name| world.path(name));
    let mark = Step::Mark {
        path: ready.clone(),
    };
    let mut running = world.free(&[mark, hammer(&until)])?.start()?;
    running.until(&ready)?;
    sleep(world.environment.seconds(1) / 10);
    File::create(&until)?;
    running.wait()?.expect_status(0)?;
    world.something_leaked()
}

fn cordon(world: &World, words: &[&str]) -> Result<Finished> {
    world.job().subcommand(words).run()
}

/// The job's id, by its cgroup.
fn only_job(world: &World) -> Result<String> {
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

fn nothing_left(world: &World) -> Result<()> {
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
    let world = World::new(environment)?;
    hammer_arrives(&world)?;
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

fn upgraded(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    hammer_arrives(&world)?;
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

/// Does something in the one directory of pins, which only the world's mounts show.
fn in_pins<T: Send>(world: &World, act: impl FnOnce(&Path) -> Result<T> + Send) -> Result<T> {
    let all = world.bpffs().join("cordon");
    world.mounts().run(move || {
        let mut entries = fs::read_dir(&all)?.flatten();
        let directory = entries.next().context("nothing is pinned")?.path();
        ensure!(entries.next().is_none(), "more than one directory of pins");
        act(&directory)
    })
}

fn upgrade_killed(environment: &Environment) -> Result<()> {
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

fn resumed(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("names", &host("**.good.test", "8080"))?;
    let [ready, go, tried, again] = ["ready", "go", "tried", "again"].map(|name| world.path(name));
    let (good, evil) = (at(GOOD_V4, 8080), at(EVIL_V4, 8080));
    let steps = [
        Step::resolve("api.good.test"),
        Step::tcp(good),
        Step::Mark {
            path: ready.clone(),
        },
        Step::Await { path: go.clone() },
        // Nobody watches.
        Step::tcp(good),
        Step::tcp(evil),
        Step::resolve("api.good.test"),
        Step::Mark {
            path: tried.clone(),
        },
        Step::Await {
            path: again.clone(),
        },
        // Somebody does again.
        Step::resolve("deep.api.good.test"),
        Step::tcp(good),
        Step::tcp(evil),
        Step::resolve("evil.test"),
    ];
    let mut running = world.enforced(&profile, &steps)?.start()?;
    running.until(&ready)?;
    let id = only_job(&world)?;
    running.signal(Signal::SIGKILL)?;
    let evidence = running.evidence().to_owned();
    File::create(&go)?;
    wait_for(&world, &tried)?;
    let list = cordon(&world, &["resume", "--list"])?.expect_status(0)?;
    ensure!(list.stdout.trim() == id, "{}", list.stdout);

    let mut resume = world.job().subcommand(&["resume", &id]).start()?;
    resume.until_stderr("took over job")?;
    // It has a cordon now.
    let second = cordon(&world, &["resume", &id])?.expect_status(USAGE)?;
    ensure!(
        second.stderr.contains("waits for a cordon"),
        "{}",
        second.stderr
    );
    File::create(&again)?;
    let resume = resume.wait()?.expect_status(0)?;
    ensure!(
        resume.stderr.contains("denied"),
        "tells nothing: {}",
        resume.stderr
    );

    let finished = running.wait()?.expect_status(137)?;
    let [
        resolved,
        first,
        _,
        _,
        leased,
        refused,
        unnamed,
        _,
        _,
        named,
        reached,
        refused_again,
        denied,
    ] = finished.steps()?;
    ensure!(!resolved.addresses.is_empty(), "{resolved:?}");
    allowed(&first).context("before the kill")?;
    allowed(&leased).context("while nobody watched")?;
    world.refused(&refused)?;
    ensure!(
        unnamed.addresses.is_empty(),
        "a name was answered without a cordon: {unnamed:?}"
    );
    ensure!(!named.addresses.is_empty(), "{named:?}");
    allowed(&reached).context("after it was taken over")?;
    world.refused(&refused_again)?;
    ensure!(denied.addresses.is_empty(), "{denied:?}");
    world.nothing_leaked()?;

    interruption_is_told(&world, &evidence)?;
    nothing_left(&world)
}

/// The evidence of a job that was taken over: what it says first, what it has all the same.
fn interruption_is_told(world: &World, evidence: &Path) -> Result<()> {
    let evil = at(EVIL_V4, 8080);
    let report: Report =
        serde_json::from_str(&fs::read_to_string(evidence.join("egress-report.json"))?)?;
    ensure!(
        report.job.outcome == JobOutcome::Unknown,
        "{:?}",
        report.job.outcome
    );
    let [interruption] = report.interruptions.as_slice() else {
        anyhow::bail!("{:?}", report.interruptions);
    };
    let from = interruption.from.context("nobody knows since when")?;
    ensure!(
        from >= report.job.started && from <= interruption.to,
        "{interruption:?}"
    );
    // The first attempt was recorded by the kernel while nobody read.
    let denial = denial_of(&report, evil, "tcp")?;
    ensure!(denial.attempts == 2, "{denial:?}");
    let seen: u64 = denial.processes.iter().map(|process| process.events).sum();
    ensure!(seen == 2, "{:?}", denial.processes);
    let deep = name_asked(&report, "deep.api.good.test")?;
    ensure!(deep.answer == NameVerdict::Allowed, "{deep:?}");
    name_asked(&report, "evil.test")?;
    let inactive: Vec<_> = report
        .coverage
        .layers
        .iter()
        .filter(|layer| !layer.active && layer.name != "lsm")
        .collect();
    ensure!(inactive.is_empty(), "{inactive:?}");
    let text = fs::read_to_string(evidence.join("egress-report.json"))?;
    let places = text
        .find("\"interruptions\"")
        .zip(text.find("\"coverage\""));
    let (interruptions, coverage) = places.context("interruptions and coverage")?;
    ensure!(
        interruptions < coverage,
        "the interruption is not said first"
    );
    let verified = world.cordon([
        "report".as_ref(),
        "verify".as_ref(),
        evidence.as_os_str(),
        "--key".as_ref(),
        world.public_key()?.as_os_str(),
    ])?;
    ensure!(verified.status.success(), "{verified:?}");
    Ok(())
}

fn wait_for(world: &World, path: &Path) -> Result<()> {
    let deadline = Instant::now() + world.environment.seconds(20);
    while !path.exists() {
        ensure!(
            Instant::now() < deadline,
            "{} did not appear",
            path.display()
        );
        sleep(Duration::from_millis(5));
    }
    Ok(())
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

fn unrecorded(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    for name in ["damaged", "changed", "missing"] {
        let (running, id) = abandoned(&world)?;
        let record = traces(&world)
            .into_iter()
            .find(|path| path.extension().is_some_and(|end| end == "json"))
            .context("no record")?;
        match name {
            "damaged" => fs::write(&record, b"{\"version\":1,")?,
            "changed" => {
                let text = fs::read_to_string(&record)?;
                fs::write(&record, text.replace("203.0.113.10/32", "128.0.0.0/1"))?;
            }
            _ => fs::remove_file(&record)?,
        }
        let resumed = cordon(&world, &["resume", &id])?.expect_status(0)?;
        drop(running.wait()?);
        ensure!(world.cgroup().processes().is_empty(), "{name}: it lives");
        let reports = reports(&world)?;
        let report = reports.iter().find(|report| report.job.id == id);
        let report = report.with_context(|| format!("{name}: no evidence: {}", resumed.stderr))?;
        let effects = report.interruptions.iter().flat_map(|one| &one.effects);
        let said = effects
            .filter(|effect| effect.contains("allowed is not known"))
            .count();
        ensure!(said == 1, "{name}: {:?}", report.interruptions);
        ensure!(report.summary.denied >= 1, "{name}: {:?}", report.summary);
        denial_of(report, at(EVIL_V4, 8080), "tcp")?;
        ensure!(
            report.policy.rules.is_empty(),
            "{name}: {:?}",
            report.policy
        );
        nothing_left(&world)?;
    }
    world.nothing_leaked()
}

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

fn damaged_while_alive(environment: &Environment) -> Result<()> {
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
            "map JOBS has value size 40, not 16",
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

fn damaged_and_orphaned(environment: &Environment) -> Result<()> {
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

fn collected(environment: &Environment) -> Result<()> {
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
