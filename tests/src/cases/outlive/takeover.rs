//! A job whose cordon was killed is taken over, or ended, with evidence that says so.

use std::fs::{self, File};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cordon::report::{NameVerdict, Outcome as JobOutcome, Report};
use nix::sys::signal::Signal;

use super::{USAGE, abandoned, cordon, nothing_left, only_job, reports, traces};
use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::network::{EVIL_V4, GOOD_V4, at};
use crate::harness::rules::host;
use crate::harness::verdicts::{allowed, denial_of, name_asked};
use crate::harness::world::World;

pub(super) fn resumed(environment: &Environment) -> Result<()> {
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

pub(super) fn unrecorded(environment: &Environment) -> Result<()> {
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
