//! Runners and their jobs, when all goes as it should, and when nothing was set up.

#![expect(
    clippy::indexing_slicing,
    reason = "what is not there is null, or fails the story"
)]

use anyhow::{Context as _, Result, ensure};
use cordon::report::Outcome as JobOutcome;
use cordon::report::attendance::Kind;

use super::{SETTINGS, UNIT, world};
use crate::client::step::{Step, Touch};
use crate::harness::environment::Environment;
use crate::harness::network::{EVIL_V4, GOOD_V4, OTHER_V4, at};
use crate::harness::service::Service;
use crate::harness::verdicts::allowed;
use crate::harness::world::World;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "daemon::a_unit_that_nobody_set_up_is_denied_everything",
            nobodys,
        ),
        Story::new(
            "daemon::a_job_reaches_what_was_granted_and_its_evidence_says_whose_it_is",
            granted,
        ),
        Story::new("daemon::two_runners_have_each_their_own_job", two),
        Story::new("daemon::names_of_a_job_are_answered_and_leased", names),
        Story::new(
            "daemon::a_job_is_opened_filled_and_finished_by_its_runner",
            open,
        ),
        Story::new(
            "daemon::a_worker_goes_on_with_what_it_has_and_its_runner_may_signal_it",
            kin,
        ),
        Story::new("daemon::what_a_job_leaves_behind_ends_with_it", survivors),
        Story::new(
            "daemon::a_job_whose_runner_is_gone_is_ended_and_found",
            runner_gone,
        ),
    ]
}

/// Three destinations: the control plane, what the job may reach, the attacker.
fn three() -> [Step; 3] {
    [
        Step::tcp(at(OTHER_V4, 8080)),
        Step::tcp(at(GOOD_V4, 8080)),
        Step::tcp(at(EVIL_V4, 8080)),
    ]
}

fn nobodys(environment: &Environment) -> Result<()> {
    let control = World::new(environment)?;
    let [plane, good, evil] = control.free(&three())?.run()?.steps()?;
    for step in [plane, good, evil] {
        allowed(&step)?;
    }
    control.something_leaked()?;

    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit("other.service")?;
    let [plane, good, evil] = unit.client(&three())?.run()?.steps()?;
    for step in [plane, good, evil] {
        world.refused(&step)?;
    }
    let status = service.ask("/v1/status")?;
    let error = status["runners"][0]["error"].as_str().unwrap_or_default();
    ensure!(error.contains("no `[[runner]]`"), "{status}");
    world.nothing_leaked()
}

fn granted(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    // Before it is a job, and as one.
    let script = "steps\ncordon job start || exit 70\nsteps\ncordon job finish\n";
    let finished = unit
        .runner("acme/app", &three(), script)?
        .run()?
        .expect_status(0)?;
    let [plane, good, evil, job_plane, job_good, job_evil] = finished.steps()?;
    allowed(&plane)?;
    world.refused(&good)?;
    world.refused(&evil)?;
    allowed(&job_plane)?;
    allowed(&job_good)?;
    world.refused(&job_evil)?;
    world.nothing_leaked()?;

    let evidence = service.evidence_of("acme/app")?;
    let report = &evidence.report;
    ensure!(
        report.job.outcome == JobOutcome::Finished,
        "{:?}",
        report.job
    );
    ensure!(report.policy.name == "plane+app", "{:?}", report.policy);
    ensure!(report.denials.len() == 1, "{:?}", report.denials);
    let attendance = report.job.attendance.as_ref().context("no attendance")?;
    ensure!(attendance.runner.as_deref() == Some(UNIT), "{attendance:?}");
    ensure!(
        attendance.identity.repository.as_deref() == Some("acme/app"),
        "{attendance:?}"
    );
    ensure!(
        attendance.identity.event.as_deref() == Some("push"),
        "{attendance:?}"
    );
    ensure!(
        attendance.grant.is_some() && attendance.moved >= 2,
        "{attendance:?}"
    );
    ensure!(attendance.findings.is_empty(), "{attendance:?}");
    let asked = &attendance.asked_by.executables;
    ensure!(
        asked.iter().any(|path| path.ends_with("Runner.Worker")),
        "{asked:?}"
    );
    let key = world.public_key()?;
    let words = [
        "report".as_ref(),
        "verify".as_ref(),
        evidence.directory.as_os_str(),
        "--key".as_ref(),
        key.as_os_str(),
    ];
    let verified = world.cordon(words)?;
    ensure!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );

    let runner = unit.remove()?;
    let attendance = runner
        .report
        .job
        .attendance
        .as_ref()
        .context("no attendance")?;
    ensure!(attendance.findings.is_empty(), "{attendance:?}");
    ensure!(
        runner.report.denials.len() == 2,
        "{:?}",
        runner.report.denials
    );
    Ok(())
}

fn two(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let units = [UNIT, "actions.runner.acme-2.service"];
    let [one, other] = [service.unit(units[0])?, service.unit(units[1])?];
    let [first_up, go] = ["first-up", "go"].map(|name| world.path(name));
    let tried = [Step::tcp(at(GOOD_V4, 8080)), Step::tcp(at(GOOD_V4, 8081))];
    let waits = format!(
        "cordon job start || exit 70\ntouch '{}'\nwhile [ ! -e '{}' ]; do sleep 0.05; done\nsteps\ncordon job finish\n",
        first_up.display(),
        go.display()
    );
    let mut first = one.runner("acme/app", &tried, &waits)?.start()?;
    first.until(&first_up)?;
    let script = "cordon job start --profile wide || exit 70\nsteps\ncordon job finish\n";
    let second = other
        .runner("acme/app", &tried, script)?
        .run()?
        .expect_status(0)?;
    let [app, wide] = second.steps()?;
    world.refused(&app)?;
    allowed(&wide)?;
    std::fs::write(&go, "")?;
    let [app, wide] = first.wait()?.expect_status(0)?.steps()?;
    allowed(&app)?;
    world.refused(&wide)
}

fn names(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    Service::profile(
        &world,
        "app",
        "[[allow]]\nhost = \"good.test\"\nports = [8080]\nverify = \"none\"",
    )?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    let steps = [
        Step::resolve("good.test"),
        Step::tcp(at(GOOD_V4, 8080)),
        Step::resolve("evil.test"),
    ];
    let script = "cordon job start || exit 70\nsteps\ncordon job finish\n";
    let finished = unit
        .runner("acme/app", &steps, script)?
        .run()?
        .expect_status(0)?;
    let [good, connected, evil] = finished.steps()?;
    allowed(&good)?;
    allowed(&connected)?;
    ensure!(evil.addresses.is_empty(), "{evil:?}");
    world.nothing_leaked()?;
    let evidence = service.evidence_of("acme/app")?;
    let asked: Vec<_> = evidence
        .report
        .dns
        .iter()
        .map(|name| name.name.as_str())
        .collect();
    ensure!(
        asked.contains(&"good.test") && asked.contains(&"evil.test"),
        "{asked:?}"
    );
    Ok(())
}

/// As for executors that have a program for each stage.
fn open(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    let own = environment.own.display().to_string();
    let steps = serde_json::to_string(&three())?;
    let script = format!(
        "id=$(\"$CORDON\" job start --open --quiet) || exit 70\n\
         \"$CORDON\" job attach $id -- '{own}' client '{steps}' || exit 71\n\
         '{own}' client '{steps}'\n\
         cordon job finish $id\n"
    );
    let script = format!("CORDON='{}'\n{script}", environment.cordon()?.display());
    let finished = unit
        .runner("acme/app", &[], &script)?
        .run()?
        .expect_status(0)?;
    let [plane, good, evil, _, outside, _] = finished.steps()?;
    allowed(&plane)?;
    allowed(&good)?;
    world.refused(&evil)?;
    // The runner itself is no job.
    world.refused(&outside)?;
    world.nothing_leaked()?;
    let evidence = service.evidence_of("acme/app")?;
    ensure!(
        evidence.report.job.outcome == JobOutcome::Finished,
        "{:?}",
        evidence.report.job
    );
    Ok(())
}

fn survivors(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    // In a session of its own and with another parent, as what wants to survive a runner's own cleaning.
    let script = "cordon job start || exit 70\n\
                  (setsid sleep 600 </dev/null >/dev/null 2>&1 &)\n\
                  cordon job finish\n";
    unit.runner("acme/app", &[], script)?
        .run()?
        .expect_status(0)?;
    let evidence = service.evidence_of("acme/app")?;
    ensure!(
        evidence.report.job.survivors == 1,
        "{:?}",
        evidence.report.job
    );
    let left = world.cgroup().processes();
    let daemon = service.running()?.id();
    ensure!(left == [i32::try_from(daemon)?], "{left:?}");
    Ok(())
}

/// The listener is killed, and its worker is not: nobody would clean up after it.
fn runner_gone(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    let up = world.path("up");
    let script = format!(
        "cordon job start || exit 70\ntouch '{}'\nsleep 600\n",
        up.display()
    );
    let mut runner = unit.runner("acme/app", &[], &script)?.start()?;
    runner.until(&up)?;
    // Longer than a unit may be without processes.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let jobs = service.ask("/v1/jobs")?;
    ensure!(jobs[0]["state"] == "enforced", "{jobs}");
    runner.signal(nix::sys::signal::Signal::SIGKILL)?;
    let evidence = service.evidence_of("acme/app")?;
    runner.wait()?;
    let attendance = evidence.report.job.attendance.as_ref();
    let findings = &attendance.context("no attendance")?.findings;
    ensure!(
        findings
            .iter()
            .any(|finding| finding.kind == Kind::RunnerGone),
        "{findings:?}"
    );
    // It was ended with the job, not left behind by it.
    let left = world.cgroup().processes();
    let daemon = service.running()?.id();
    ensure!(left == [i32::try_from(daemon)?], "{left:?}");
    Ok(())
}

/// A connection to the control plane that is older than the job, and the signal of a cancelled run.
fn kin(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    let [go, pid, end] = ["go", "pid", "end"].map(|name| world.path(name));
    let hold = [Step::Hold {
        to: at(OTHER_V4, 8080),
        until: go.clone(),
    }];
    let script = format!(
        "steps & sleep 0.3\ncordon job start || exit 70\ntouch '{}'\nwait\necho $$ > '{}.new'; mv '{}.new' '{}'\n\
         while [ ! -e '{}' ]; do sleep 0.05; done\ncordon job finish\n",
        go.display(),
        pid.display(),
        pid.display(),
        pid.display(),
        end.display()
    );
    let mut runner = unit.runner("acme/app", &hold, &script)?.start()?;
    runner.until(&pid)?;
    let worker: i32 = std::fs::read_to_string(&pid)?.trim().parse()?;
    let signal = [Step::Touch {
        process: worker,
        how: Touch::Signal,
    }];
    let [signalled] = unit.client(&signal)?.run()?.steps()?;
    allowed(&signalled)?;
    std::fs::write(&end, "")?;
    let [held] = runner.wait()?.expect_status(0)?.steps()?;
    allowed(&held)?;
    let evidence = service.evidence_of("acme/app")?;
    ensure!(
        evidence.report.denials.is_empty(),
        "{:?}",
        evidence.report.denials
    );
    ensure!(
        evidence.report.incidents.is_empty(),
        "{:?}",
        evidence.report.incidents
    );
    Ok(())
}
