//! The daemon's own life: killed, stopped, started again, told to read its settings.

#![expect(
    clippy::indexing_slicing,
    reason = "what is not there is null, or fails the story"
)]

use std::fs;

use anyhow::{Context as _, Result, ensure};
use cordon::report::Outcome as JobOutcome;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;

use super::{SETTINGS, UNIT, world};
use crate::cases::outlive::in_pins;
use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::network::{EVIL_V4, GOOD_V4, at};
use crate::harness::service::Service;
use crate::harness::verdicts::allowed;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "daemon::a_job_is_enforced_without_the_daemon_and_goes_on_with_the_next",
            killed,
        ),
        Story::new(
            "daemon::a_restart_leaves_jobs_and_runners_to_the_next",
            restarted,
        ),
        Story::new(
            "daemon::another_cordon_does_not_end_jobs_that_wait_for_the_daemon",
            waits,
        ),
        Story::new("daemon::settings_are_read_whole_or_not_at_all", reload),
        Story::new(
            "daemon::the_next_one_brings_its_programs_while_a_job_runs",
            upgraded,
        ),
        Story::new(
            "daemon::without_room_for_its_state_jobs_are_refused_and_others_stay_enforced",
            full,
        ),
        Story::new(
            "daemon::a_start_that_fails_leaves_no_evidence",
            failed_start,
        ),
        Story::new(
            "daemon::it_keeps_the_capabilities_it_needs_and_no_more",
            capabilities,
        ),
        Story::new("daemon::there_is_one", one),
    ]
}

fn two() -> [Step; 2] {
    [Step::tcp(at(GOOD_V4, 8080)), Step::tcp(at(EVIL_V4, 8080))]
}

fn ended(
    environment: &Environment,
    how: Signal,
    between: impl Fn(&Service<'_>) -> Result<()>,
) -> Result<()> {
    let world = world(environment)?;
    let mut service = Service::start(&world, SETTINGS)?;
    let [up, without, go] = ["up", "without", "go"].map(|name| world.path(name));
    let path = {
        let unit = service.unit(UNIT)?;
        let script = format!(
            "cordon job start || exit 70\nsteps\ntouch '{}'\nwhile [ ! -e '{}' ]; do sleep 0.05; done\nsteps\n\
             touch '{}.done'\nwhile [ ! -e '{}' ]; do sleep 0.05; done\nsteps\ncordon job finish\n",
            up.display(),
            without.display(),
            without.display(),
            go.display()
        );
        unit.runner("acme/app", &two(), &script)?
    };
    let mut runner = path.start()?;
    runner.until(&up)?;
    service.end(how)?;
    fs::write(&without, "")?;
    let mut done = without.into_os_string();
    done.push(".done");
    runner.until(done.as_ref())?;
    between(&service)?;
    service.restart()?;
    fs::write(&go, "")?;
    let steps: [_; 6] = runner.wait()?.expect_status(0)?.steps()?;
    for pair in steps.chunks(2) {
        allowed(&pair[0])?;
        world.refused(&pair[1])?;
    }
    world.nothing_leaked()?;
    let evidence = service.evidence_of("acme/app")?;
    let report = &evidence.report;
    ensure!(
        report.interruptions.len() == 1,
        "{:?}",
        report.interruptions
    );
    ensure!(
        report.job.outcome == JobOutcome::Finished,
        "{:?}",
        report.job
    );
    let attendance = report.job.attendance.as_ref().context("no attendance")?;
    ensure!(
        attendance.identity.repository.as_deref() == Some("acme/app"),
        "{attendance:?}"
    );
    ensure!(attendance.findings.is_empty(), "{attendance:?}");
    // Counted by the kernel, also while nobody watched.
    ensure!(report.summary.denied == 3, "{:?}", report.summary);
    Ok(())
}

fn killed(environment: &Environment) -> Result<()> {
    ended(environment, Signal::SIGKILL, |_| Ok(()))
}

fn restarted(environment: &Environment) -> Result<()> {
    ended(environment, Signal::SIGTERM, |_| Ok(()))
}

fn waits(environment: &Environment) -> Result<()> {
    ended(environment, Signal::SIGKILL, |service| {
        let other = service.cordon(&["run", "--", "true"])?.expect_status(0)?;
        ensure!(!other.stderr.contains("ended job"), "{}", other.stderr);
        Ok(())
    })
}

/// The programs in the kernel are those of another build, which the daemon that comes next replaces.
fn upgraded(environment: &Environment) -> Result<()> {
    ended(environment, Signal::SIGTERM, |service| {
        let before = service.cordon(&["host", "status"])?.expect_status(0)?;
        let other = "ab".repeat(32);
        let marker = format!("object_{other}");
        in_pins(service.world(), move |pins| {
            let mut names = fs::read_dir(pins)?.flatten().map(|entry| entry.path());
            let is = |path: &std::path::PathBuf| {
                let name = path.file_name().unwrap_or_default();
                name.to_string_lossy().starts_with("object_")
            };
            let name = names.find(is).context("no object is named")?;
            Ok(fs::rename(name, pins.join(marker))?)
        })?;
        let after = service.cordon(&["host", "status"])?.expect_status(0)?;
        ensure!(
            after.stdout.contains("object    abababab"),
            "{}",
            after.stdout
        );
        ensure!(!before.stdout.contains("abababab"), "{}", before.stdout);
        Ok(())
    })
}

/// A small file system for state, which fills up while a job runs.
fn full(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let state = world.directory().join("state");
    fs::create_dir_all(&state)?;
    let place = state.clone();
    world.mounts().run(move || {
        let size = Some("size=1m");
        mount(Some("none"), &place, Some("tmpfs"), MsFlags::empty(), size).context("mount")
    })?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    let other = service.unit("actions.runner.acme-2.service")?;
    let [up, go, filler] = [world.path("up"), world.path("go"), state.join("filler")];
    let script = format!(
        "cordon job start || exit 70\ntouch '{}'\nwhile [ ! -e '{}' ]; do sleep 0.05; done\nsteps\n\
         cordon job finish\n",
        up.display(),
        go.display()
    );
    let mut runner = unit.runner("acme/app", &two(), &script)?.start()?;
    runner.until(&up)?;
    let place = filler.clone();
    world.mounts().run(move || {
        // As much as there is room for, to the last byte.
        let written = fs::write(&place, vec![1; 2 << 20]);
        ensure!(written.is_err(), "there is room for more");
        Ok(())
    })?;
    let script = "cordon job start; echo \"status $?\" >&2\nsteps\n";
    let finished = other.runner("acme/app", &two(), script)?.run()?;
    ensure!(
        finished.stderr.contains("No space left"),
        "{}",
        finished.stderr
    );
    ensure!(!finished.stderr.contains("status 0"), "{}", finished.stderr);
    let [good, evil] = finished.steps()?;
    world.refused(&good)?;
    world.refused(&evil)?;
    fs::write(&go, "")?;
    let [good, evil] = runner.wait()?.expect_status(0)?.steps()?;
    allowed(&good)?;
    world.refused(&evil)?;
    world.nothing_leaked()?;
    // It goes on as soon as there is room.
    world.mounts().run(move || Ok(fs::remove_file(&filler)?))?;
    service.ask("/v1/status")?;
    let script = "cordon job start || exit 70\nsteps\ncordon job finish\n";
    let finished = other.runner("acme/open", &two(), script)?.run()?;
    let [good, evil] = finished.expect_status(0)?.steps()?;
    allowed(&good)?;
    world.refused(&evil)
}

/// Whoever asks for a job that cannot be set up.
fn failed_start(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    let evidence = world.directory().join("state/evidence");
    let jobs = || -> Result<usize> {
        let names = fs::read_dir(&evidence)?
            .flatten()
            .map(|entry| entry.file_name());
        let of_job = |name: &std::ffi::OsString| !name.to_string_lossy().contains("-unit-");
        Ok(names.filter(of_job).count())
    };
    ensure!(jobs()? == 0, "{}", jobs()?);
    // There is no place for records.
    let records = world.directory().join("state/jobs");
    let aside = world.path("jobs");
    fs::rename(&records, &aside)?;
    fs::write(&records, "")?;
    let script = "cordon job start; echo \"status $?\" >&2\nsteps\n";
    let finished = unit.runner("acme/app", &two(), script)?.run()?;
    fs::remove_file(&records)?;
    fs::rename(&aside, &records)?;
    ensure!(
        finished.stderr.contains("status 120") && finished.stderr.contains("state/jobs"),
        "{}",
        finished.stderr
    );
    let [good, evil] = finished.steps()?;
    world.refused(&good)?;
    world.refused(&evil)?;
    ensure!(jobs()? == 0, "{} are left", jobs()?);
    Ok(())
}

fn reload(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    service.set("[[grant]]\nrepository = \"**\"\nprofiles = [\"none-such\"]\n")?;
    let failed = service.cordon(&["reload"])?.expect_status(121)?;
    ensure!(failed.stderr.contains("none-such"), "{}", failed.stderr);
    // An engine that its jobs could not be told of.
    Service::profile(&world, "mediated", "[containers]\nengine = \"mediate\"\n")?;
    service.set("[[grant]]\nrepository = \"**\"\nprofiles = [\"mediated\"]\n")?;
    let failed = service.cordon(&["reload"])?.expect_status(121)?;
    ensure!(
        failed.stderr.contains("`engine = \"mediate\"`"),
        "{}",
        failed.stderr
    );
    // What held, holds.
    let script = "cordon job start; echo \"status $?\" >&2\ncordon job finish\n";
    {
        let unit = service.unit(UNIT)?;
        let finished = unit.runner("acme/app", &[], script)?.run()?;
        ensure!(finished.stderr.contains("status 0"), "{}", finished.stderr);
    }
    let less = SETTINGS.replace("acme/app", "acme/renamed");
    service.set(&less)?;
    service.cordon(&["reload"])?.expect_status(0)?;
    let two = service.unit("actions.runner.acme-2.service")?;
    let finished = two.runner("acme/app", &[], script)?.run()?;
    ensure!(
        finished.stderr.contains("status 121"),
        "{}",
        finished.stderr
    );
    let finished = two.runner("acme/renamed", &[], script)?.run()?;
    ensure!(finished.stderr.contains("status 0"), "{}", finished.stderr);
    Ok(())
}

fn capabilities(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let process = service.running()?.id();
    // DAC_OVERRIDE, KILL, NET_ADMIN, IPC_LOCK, SYS_PTRACE, SYS_ADMIN, SYS_RESOURCE, SYSLOG, PERFMON, BPF.
    let held = caps_of(std::process::id())?;
    let expected = held
        & [1u32, 5, 12, 14, 19, 21, 24, 34, 38, 39]
            .iter()
            .fold(0u64, |bits, bit| bits | 1 << bit);
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(set)?.strip_prefix(":\t"));
            let bits = u64::from_str_radix(line.context("no such line")?, 16)?;
            ensure!(bits == expected, "{set}: {bits:x} instead of {expected:x}");
        }
        for set in ["CapInh", "CapAmb"] {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(set)?.strip_prefix(":\t"));
            ensure!(line == Some("0000000000000000"), "{set}: {line:?}");
        }
    }
    Ok(())
}

/// Capabilities this machine gives to its root.
fn caps_of(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapPrm:\t"));
    Ok(u64::from_str_radix(line.context("no such line")?, 16)?)
}

fn one(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    service.cordon(&["daemon"])?.expect_status(120)?;
    // The first one is still there.
    service.ask("/v1/status").map(drop)
}
