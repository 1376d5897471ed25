//! The life of a job: its status is passed on, signals reach it, and nothing of it outlives `run`.

use std::fs::File;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use cordon::report::Outcome as JobOutcome;
use nix::sys::signal::Signal;

use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::network::{EVIL_V4, GOOD_V4, at};
use crate::harness::rules::cidr;
use crate::harness::verdicts::allowed;
use crate::harness::world::World;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new("life::the_status_of_the_command_is_passed_on", statuses),
        Story::new(
            "life::a_command_that_does_not_exist_is_127_and_no_file_to_run_126",
            no_command,
        ),
        Story::new(
            "life::standard_input_output_and_error_are_the_commands_own",
            streams,
        ),
        Story::new(
            "life::a_process_that_outlives_its_parent_is_gone_when_run_returns",
            survivor,
        ),
        Story::new(
            "life::an_interrupt_ends_the_job_and_is_in_the_evidence",
            |environment| interrupted(environment, Signal::SIGINT, 130),
        ),
        Story::new(
            "life::a_termination_ends_the_job_and_is_in_the_evidence",
            |environment| interrupted(environment, Signal::SIGTERM, 143),
        ),
        Story::new("life::a_job_whose_cordon_was_killed_stays_denied", orphaned),
        Story::new(
            "life::a_host_whose_filter_hides_clone3_enforces_all_the_same",
            filtered,
        ),
    ]
}

const MINUTE: Step = Step::Sleep { ms: 60_000 };

/// The service of the daemon is such a host: systemd cannot forbid namespaces without hiding it.
fn filtered(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("good", &cidr("203.0.113.10/32", "8080", "tcp"))?;
    let steps = [Step::tcp(at(GOOD_V4, 8080)), Step::tcp(at(EVIL_V4, 8080))];
    let finished = world.enforced(&profile, &steps)?.without_clone3().run()?;
    let [good, evil] = finished.expect_status(0)?.steps()?;
    allowed(&good)?;
    ensure!(!evil.ok, "passed: {evil:?}");
    world.nothing_leaked()?;
    world.nothing_left()
}

fn statuses(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    for (step, status, expected) in [
        (Step::Exit { code: 0 }, 0, JobOutcome::Exited { code: 0 }),
        (Step::Exit { code: 3 }, 3, JobOutcome::Exited { code: 3 }),
        (
            Step::Raise { signal: 9 },
            137,
            JobOutcome::Signalled { signal: 9 },
        ),
        (
            Step::Raise { signal: 15 },
            143,
            JobOutcome::Signalled { signal: 15 },
        ),
    ] {
        let finished = world
            .enforced(&profile, &[step])?
            .run()?
            .expect_status(status)?;
        let outcome = finished.report()?.job.outcome;
        ensure!(outcome == expected, "{outcome:?} instead of {expected:?}");
    }
    world.nothing_left()
}

fn no_command(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    let run = |command: &str| world.job().profile(&profile).command([command]).run();
    let missing = run("/nonexistent/command")?.expect_status(127)?;
    ensure!(
        missing.stderr.contains("/nonexistent/command"),
        "{}",
        missing.stderr
    );
    let file = world.path("no-program");
    std::fs::write(&file, "no program")?;
    run(&file.to_string_lossy())?.expect_status(126)?;
    world.nothing_left()
}

fn streams(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    let script = "cat; echo to-stdout; echo to-stderr >&2";
    let finished = world
        .job()
        .profile(profile)
        .command(["sh", "-c", script])
        .run()?;
    let finished = finished.expect_status(0)?;
    ensure!(finished.stdout == "to-stdout\n", "{}", finished.stdout);
    ensure!(finished.stderr.contains("to-stderr"), "{}", finished.stderr);
    Ok(())
}

fn survivor(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    let ready = world.path("ready");
    let steps = [
        Step::Background {
            steps: vec![
                Step::Mark {
                    path: ready.clone(),
                },
                MINUTE,
            ],
        },
        Step::Await { path: ready },
    ];
    let finished = world.enforced(&profile, &steps)?.run()?.expect_status(0)?;
    ensure!(
        finished.elapsed < environment.seconds(20),
        "took {:?}",
        finished.elapsed
    );
    ensure!(world.cgroup().processes().is_empty(), "it lives");
    let report = finished.report()?;
    ensure!(
        report.job.survivors >= 1,
        "{} survivors in the report",
        report.job.survivors
    );
    world.nothing_left()
}

fn interrupted(environment: &Environment, signal: Signal, status: i32) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    let ready = world.path("ready");
    let steps = [
        Step::tcp(at(EVIL_V4, 8080)),
        Step::Mark {
            path: ready.clone(),
        },
        MINUTE,
    ];
    let mut running = world.enforced(&profile, &steps)?.start()?;
    running.until(&ready)?;
    running.signal(signal)?;
    let finished = running.wait()?.expect_status(status)?;
    let report = finished.report()?;
    ensure!(report.summary.denied >= 1, "{:?}", report.summary);
    ensure!(
        finished.evidence.join("egress.sigstore.json").exists(),
        "the evidence is not signed"
    );
    world.nothing_left()
}

fn orphaned(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("good", &cidr("203.0.113.10/32", "8080", "tcp"))?;
    let [ready, go, tried] = ["ready", "go", "tried"].map(|name| world.path(name));
    let steps = [
        Step::tcp(at(GOOD_V4, 8080)),
        Step::Mark {
            path: ready.clone(),
        },
        Step::Await { path: go.clone() },
        Step::tcp(at(EVIL_V4, 8080)),
        Step::udp(at(EVIL_V4, 53)),
        Step::Mark {
            path: tried.clone(),
        },
        MINUTE,
    ];
    let mut running = world.enforced(&profile, &steps)?.start()?;
    running.until(&ready)?;
    running.signal(Signal::SIGKILL)?;
    let finished = {
        // The job may have ended with cordon, or go on without it.
        File::create(&go)?;
        wait_for_either(&world, &tried);
        running.wait()?.expect_status(137)?
    };
    let outcomes = finished.outcomes()?;
    for outcome in outcomes.iter().skip(3).take(2) {
        ensure!(!outcome.ok, "passed without its cordon: {outcome:?}");
    }
    world.nothing_leaked()?;

    // The next run clears up after the dead one, and works.
    let finished = world
        .enforced(&profile, &[Step::tcp(at(GOOD_V4, 8080))])?
        .run()?;
    let [tcp] = finished.expect_status(0)?.steps()?;
    allowed(&tcp)?;
    world.nothing_left()
}

fn wait_for_either(world: &World, tried: &Path) {
    let deadline = Instant::now() + world.environment.seconds(10);
    while !tried.exists() && !world.cgroup().processes().is_empty() && Instant::now() < deadline {
        sleep(Duration::from_millis(10));
    }
}
