//! `cordon run` beside a daemon: the job is the daemon's, the command the terminal's.

#![expect(
    clippy::indexing_slicing,
    reason = "what is not there is null, or fails the story"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cordon::report::Outcome as JobOutcome;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{SETTINGS, UNIT, world};
use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::job::Job;
use crate::harness::network::{EVIL_V4, GOOD_V4, at};
use crate::harness::rules::host;
use crate::harness::service::{Evidence, Service};
use crate::harness::verdicts::allowed;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "daemon::commands::one_is_the_daemons_job_and_its_status_is_passed_on",
            ordinary,
        ),
        Story::new(
            "daemon::commands::names_are_answered_where_the_command_runs",
            names,
        ),
        Story::new(
            "daemon::commands::what_cannot_be_executed_has_evidence",
            missing,
        ),
        Story::new(
            "daemon::commands::an_interrupt_reaches_the_command",
            interrupted,
        ),
        Story::new(
            "daemon::commands::when_its_time_is_over_it_is_asked_first",
            wall,
        ),
        Story::new(
            "daemon::commands::one_whose_command_line_is_killed_is_enforced_and_sealed",
            killed,
        ),
        Story::new(
            "daemon::commands::one_goes_on_over_a_killed_daemon_and_its_status_is_known",
            restarted,
        ),
        Story::new(
            "daemon::commands::who_is_in_a_job_or_runner_starts_none",
            nested,
        ),
        Story::new(
            "daemon::commands::what_one_asks_of_the_daemon_is_refused_and_found",
            asks,
        ),
        Story::new(
            "daemon::commands::its_profile_may_take_away_what_a_runners_may_not",
            confined,
        ),
        Story::new(
            "daemon::commands::a_program_that_is_not_roots_is_no_daemon",
            stranger,
        ),
        Story::new(
            "daemon::commands::a_directory_that_has_evidence_starts_nothing",
            occupied,
        ),
    ]
}

/// A client under a profile of the host.
fn command<'w>(service: &Service<'w>, profile: &str, steps: &[Step]) -> Result<Job<'w>> {
    service.command(profile)?.steps(steps)
}

fn jobs(service: &Service<'_>) -> Result<Vec<Value>> {
    let jobs = service.ask("/v1/jobs")?;
    Ok(jobs.as_array().cloned().unwrap_or_default())
}

/// The evidence of the only job there was.
fn sealed(service: &Service<'_>) -> Result<Evidence> {
    let is_sealed = || Ok(jobs(service)?.iter().all(|job| job["state"] == "sealed"));
    service.until("it is sealed", is_sealed)?;
    let jobs = jobs(service)?;
    ensure!(jobs.len() == 1, "{jobs:?}");
    let path = jobs[0]["evidence"].as_str().context("it has no evidence")?;
    Evidence::read(Path::new(path))
}

fn two() -> [Step; 2] {
    [Step::tcp(at(GOOD_V4, 8080)), Step::tcp(at(EVIL_V4, 8080))]
}

fn ordinary(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let [good, evil] = two();
    let steps = [good, evil, Step::Exit { code: 3 }];
    let finished = command(&service, "app", &steps)?.run()?.expect_status(3)?;
    let [good, evil] = finished.steps()?;
    allowed(&good)?;
    world.refused(&evil)?;
    world.nothing_leaked()?;
    ensure!(
        finished.stderr.contains("denied") && finished.stderr.contains("198.51.100.66"),
        "{}",
        finished.stderr
    );
    let own = sealed(&service)?;
    let state = world.directory().join("state/evidence");
    ensure!(
        own.directory.starts_with(&state),
        "{}",
        own.directory.display()
    );
    let report = finished.report()?;
    ensure!(
        report.job.outcome == JobOutcome::Exited { code: 3 },
        "{:?}",
        report.job
    );
    ensure!(report.job.attendance.is_none(), "{:?}", report.job);
    ensure!(report.summary.denied == 1, "{:?}", report.summary);
    // The sandbox of `cordon run` stands around it.
    let layers: Vec<_> = report
        .coverage
        .layers
        .iter()
        .map(|layer| &layer.name)
        .collect();
    for name in ["pid namespace", "seccomp"] {
        ensure!(
            layers.iter().any(|layer| *layer == name),
            "{name}: {layers:?}"
        );
    }
    // What was asked for is what the daemon has, file by file.
    let mut names = 0;
    for entry in fs::read_dir(&own.directory)? {
        let name = entry?.file_name();
        let [one, other] = [&own.directory, &finished.evidence].map(|at| fs::read(at.join(&name)));
        ensure!(one? == other?, "{}", name.display());
        names += 1;
    }
    ensure!(names >= 10, "{names} files");
    let key = world.directory().join("report.pem.pub");
    let verified = service.cordon(&[
        "report",
        "verify",
        &finished.evidence.display().to_string(),
        "--key",
        &key.display().to_string(),
    ])?;
    verified.expect_status(0).map(drop)
}

fn names(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    Service::profile(&world, "named", &host("good.test", "8080"))?;
    let service = Service::start(&world, SETTINGS)?;
    let steps = [
        Step::resolve("good.test"),
        Step::tcp(at(GOOD_V4, 8080)),
        Step::resolve("evil.test"),
    ];
    let finished = command(&service, "named", &steps)?
        .run()?
        .expect_status(0)?;
    let [good, connected, evil] = finished.steps()?;
    allowed(&good)?;
    allowed(&connected)?;
    ensure!(evil.addresses.is_empty(), "{evil:?}");
    world.nothing_leaked()
}

fn missing(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let job = service.command("app")?.command(["/nonexistent/command"]);
    let finished = job.run()?.expect_status(127)?;
    ensure!(
        finished.report()?.job.outcome == JobOutcome::NotStarted,
        "{:?}",
        finished.report()?.job
    );
    sealed(&service).map(drop)
}

fn interrupted(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let up = world.path("up");
    let mark = Step::Mark { path: up.clone() };
    let mut running = command(&service, "app", &[mark, Step::Sleep { ms: 60_000 }])?.start()?;
    running.until(&up)?;
    running.signal(Signal::SIGINT)?;
    let finished = running.wait()?.expect_status(130)?;
    let outcome = finished.report()?.job.outcome;
    ensure!(
        outcome == JobOutcome::Signalled { signal: 2 },
        "{outcome:?}"
    );
    Ok(())
}

/// It may end by itself, which a shell that waits does with a status of its own.
fn wall(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    Service::profile(&world, "short", "[limits]\nwall = \"2s\"")?;
    let service = Service::start(&world, SETTINGS)?;
    let asked = world.path("asked");
    let script = format!(
        "trap 'touch {}; exit 4' TERM; while :; do sleep 0.05; done",
        asked.display()
    );
    let job = service
        .command("short")?
        .command(["/bin/sh", "-c", &script]);
    let finished = job.run()?.expect_status(118)?;
    ensure!(asked.exists(), "it was not asked: {}", finished.stderr);
    let report = finished.report()?;
    ensure!(
        report.job.outcome == JobOutcome::Exited { code: 4 },
        "{:?}",
        report.job
    );
    let limits = report.limits.as_ref().context("no limits")?;
    ensure!(limits.timed_out(), "{limits:?}");
    Ok(())
}

fn waiting(service: &Service<'_>, go: &Path) -> (PathBuf, Vec<Step>) {
    let up = service.world().path("up");
    let [good, evil] = two();
    let steps = vec![
        good,
        Step::Mark { path: up.clone() },
        Step::Await {
            path: go.to_owned(),
        },
        evil,
    ];
    (up, steps)
}

fn killed(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let go = world.path("go");
    let (up, mut steps) = waiting(&service, &go);
    let tried = world.path("tried");
    steps.push(Step::Mark {
        path: tried.clone(),
    });
    let mut running = command(&service, "app", &steps)?.start()?;
    running.until(&up)?;
    running.signal(Signal::SIGKILL)?;
    fs::write(&go, "")?;
    let finished = running.wait()?.expect_status(137)?;
    let evidence = sealed(&service)?;
    // It went on without its command line, or ended with it; nothing passed that was not allowed.
    if let [_, _, _, evil, ..] = finished.outcomes()?.as_slice() {
        world.refused(evil)?;
    }
    world.nothing_leaked()?;
    let outcome = evidence.report.job.outcome;
    ensure!(outcome == JobOutcome::Unknown, "{outcome:?}");
    ensure!(
        evidence.report.summary.denied == u64::from(tried.exists()),
        "{:?}",
        evidence.report.summary
    );
    Ok(())
}

fn restarted(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let mut service = Service::start(&world, SETTINGS)?;
    let go = world.path("go");
    let (up, mut steps) = waiting(&service, &go);
    steps.push(Step::Exit { code: 5 });
    let mut running = command(&service, "app", &steps)?.start()?;
    running.until(&up)?;
    service.end(Signal::SIGKILL)?;
    // It ends while nobody is there to be told.
    fs::write(&go, "")?;
    sleep(environment.seconds(1));
    ensure!(running.ended()?.is_none(), "it did not wait for the daemon");
    service.restart()?;
    let finished = running.wait()?.expect_status(5)?;
    let [good, _, _, evil] = finished.steps()?;
    allowed(&good)?;
    world.refused(&evil)?;
    world.nothing_leaked()?;
    let report = finished.report()?;
    ensure!(
        report.job.outcome == JobOutcome::Exited { code: 5 },
        "{:?}",
        report.job
    );
    ensure!(
        report.interruptions.len() == 1,
        "{:?}",
        report.interruptions
    );
    let effects = report.interruptions[0].effects.join(" ");
    ensure!(!effects.contains("exit status"), "{effects}");
    ensure!(report.summary.denied == 1, "{:?}", report.summary);
    Ok(())
}

fn nested(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    let wide = world.profile(
        "anything",
        &crate::harness::rules::cidr("203.0.113.0/24", "8080", "tcp"),
    )?;
    let run = format!(
        "cordon run --profile '{}' --evidence '{}' -- true; echo \"status $?\" >&2\n\
         curl -s --unix-socket '{}' -d '{{}}' http://x/v1/commands >&2\n",
        wide.display(),
        world.path("nested").display(),
        service.socket().display()
    );
    let script = format!("{run}cordon job start || exit 70\n{run}cordon job finish\n");
    let finished = unit.runner("acme/app", &[], &script)?.run()?;
    for (words, times) in [
        ("inside of a job or a runner", 2),
        ("status 120", 2),
        ("may not start commands as jobs", 2),
    ] {
        let found = finished.stderr.matches(words).count();
        ensure!(found == times, "{words}: {}", finished.stderr);
    }
    let evidence = service.evidence_of("acme/app")?;
    let attendance = evidence.report.job.attendance.context("no attendance")?;
    let mut details = attendance.findings.iter().map(|finding| &finding.detail);
    ensure!(
        details.any(|detail| detail.contains("start commands as jobs")),
        "{attendance:?}"
    );
    ensure!(jobs(&service)?.len() == 1, "{:?}", jobs(&service)?);
    Ok(())
}

/// On a host that lets jobs talk to sockets.
fn asks(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let mut service = Service::start(&world, SETTINGS)?;
    service.end(Signal::SIGTERM)?;
    service.allow("unix_sockets = \"any\"")?;
    service.restart()?;
    let curl = format!(
        "curl -s --max-time 20 --unix-socket '{}' -X POST http://x/v1/reload",
        service.socket().display()
    );
    let job = service.command("app")?.command(["/bin/sh", "-c", &curl]);
    let finished = job.run()?.expect_status(0)?;
    ensure!(
        finished
            .stdout
            .contains("may not have the settings read again"),
        "{} {}",
        finished.stdout,
        finished.stderr
    );
    let attendance = finished
        .report()?
        .job
        .attendance
        .context("it is not told")?;
    ensure!(attendance.findings.len() == 1, "{attendance:?}");
    Ok(())
}

fn confined(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    Service::profile(&world, "confined", "[sandbox]\nprivate_tmp = true")?;
    let service = Service::start(&world, SETTINGS)?;
    let job = service
        .command("confined")?
        .command(["/bin/sh", "-c", "ls -A /tmp"]);
    let finished = job.run()?.expect_status(0)?;
    ensure!(finished.stdout.is_empty(), "{}", finished.stdout);
    sealed(&service).map(drop)
}

/// Somebody else's program where the daemon would be: it could say of anything that it is enforced.
fn stranger(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let run = world.directory().join("run");
    fs::create_dir_all(&run)?;
    fs::set_permissions(&run, fs::Permissions::from_mode(0o777))?;
    let socket = run.join("cordon.sock");
    let listen = format!(
        "import socket, time\ns = socket.socket(socket.AF_UNIX)\ns.bind('{}')\ns.listen()\ntime.sleep(60)",
        socket.display()
    );
    let listener = world
        .job()
        .user(1234)
        .command(["python3", "-c", &listen])
        .start()?;
    let ran = world.path("ran");
    let run_it = || {
        let profile = world.profile("empty", "")?;
        let job = world.job().profile(&profile);
        job.command([Path::new("/bin/touch"), &ran]).run()
    };
    let deadline = Instant::now() + environment.seconds(10);
    while UnixStream::connect(&socket).is_err() {
        ensure!(Instant::now() < deadline, "nobody listens");
        sleep(Duration::from_millis(20));
    }
    let finished = run_it()?.expect_status(120)?;
    listener.signal(Signal::SIGKILL)?;
    listener.wait()?;
    ensure!(finished.stderr.contains("user 1234"), "{}", finished.stderr);
    ensure!(!ran.exists(), "the command ran");
    // A socket that nobody listens on is no daemon: the command is its own.
    run_it()?.expect_status(0)?;
    ensure!(ran.exists(), "the command did not run");
    Ok(())
}

fn occupied(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let evidence = world.path("occupied");
    fs::create_dir(&evidence)?;
    fs::write(evidence.join("run.json"), "{}")?;
    let ran = world.path("ran");
    let job = service
        .command("app")?
        .evidence(&evidence)
        .command([Path::new("/bin/touch"), &ran]);
    let finished = job.run()?.expect_status(121)?;
    ensure!(finished.stderr.contains("run.json"), "{}", finished.stderr);
    ensure!(!ran.exists(), "the command ran");
    ensure!(jobs(&service)?.is_empty(), "{:?}", jobs(&service)?);
    Ok(())
}
