//! Single events: what a job did is in its evidence line by line, chained, whatever happens to cordon meanwhile.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cordon::report::Report;
use cordon::report::ocsf::{self, chain};
use cordon::report::run::RunReport;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::outlive::{nothing_left, only_job};
use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::network::{EVIL_V4, GOOD_V4, at};
use crate::harness::rules::host;
use crate::harness::world::World;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new("events::what_a_job_does_is_a_line_of_its_chain", whole),
        Story::new(
            "events::what_was_written_before_cordon_is_killed_is_in_the_evidence",
            killed,
        ),
        Story::new(
            "events::a_root_job_that_changes_them_is_found_out",
            tampered,
        ),
        Story::new(
            "events::what_the_host_does_not_keep_is_counted_and_said",
            bounded,
        ),
    ]
}

/// Lines of a job's evidence, whose chain is whole and ends where its run report says.
fn lines(evidence: &Path) -> Result<Vec<Value>> {
    let text = fs::read(evidence.join(ocsf::NAME)).context("there are no events")?;
    let head = chain::check(&mut text.as_slice(), &mut |_| {})?;
    let facts = run_report(evidence)?.events.context("not in run.json")?;
    ensure!(
        facts.lines == head.lines && facts.head == head.hex(),
        "{facts:?}, {head:?}"
    );
    let lines = text.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    Ok(lines
        .map(serde_json::from_slice)
        .collect::<Result<_, _>>()?)
}

fn run_report(evidence: &Path) -> Result<RunReport> {
    Ok(serde_json::from_slice(&fs::read(
        evidence.join("run.json"),
    )?)?)
}

/// Whether there is a line of a class in which these fields have these values.
fn has(lines: &[Value], class: u64, fields: &[(&str, &str)]) -> bool {
    lines.iter().any(|line| {
        line["class_uid"] == class
            && fields.iter().all(|(pointer, value)| {
                line.pointer(pointer).is_some_and(|found| match found {
                    Value::String(text) => text == value,
                    other => value.parse() == Ok(other.as_u64().unwrap_or(u64::MAX)),
                })
            })
    })
}

/// The line of a refused connection.
fn denied<'a>(address: &'a str, port: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("/dst_endpoint/ip", address),
        ("/dst_endpoint/port", port),
        ("/action_id", "2"),
        ("/disposition_id", "2"),
        ("/unmapped/reason", "no-rule"),
    ]
}

fn whole(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("mixed", &host("good.test", "8080"))?;
    let steps = [
        Step::resolve("good.test"),
        Step::tcp(at(GOOD_V4, 8080)),
        Step::tcp(at(EVIL_V4, 443)),
        Step::resolve("evil.test"),
    ];
    let finished = world.enforced(&profile, &steps)?.run()?.expect_status(0)?;
    let lines = lines(&finished.evidence)?;
    let own = environment.own.to_string_lossy();
    for (class, fields) in [
        (
            6002,
            [("/activity_id", "3"), ("/unmapped/mode", "enforce")].as_slice(),
        ),
        (1007, &[("/process/file/path", &own)]),
        (
            4003,
            &[
                ("/query/hostname", "good.test"),
                ("/action_id", "1"),
                ("/unmapped/rule", "0"),
            ],
        ),
        (
            4003,
            &[
                ("/query/hostname", "evil.test"),
                ("/action_id", "2"),
                ("/rcode_id", "5"),
            ],
        ),
        (
            4001,
            &[
                ("/dst_endpoint/ip", &GOOD_V4.to_string()),
                ("/action_id", "1"),
                ("/dst_endpoint/hostname", "good.test"),
            ],
        ),
        (4001, &denied(&EVIL_V4.to_string(), "443")),
        (
            6002,
            &[("/activity_id", "4"), ("/status_detail", "exited with 0")],
        ),
    ] {
        ensure!(
            has(&lines, class, fields),
            "{class} {fields:?} in {lines:#?}"
        );
    }
    let refused = lines.iter().find(|line| line["action_id"] == 2);
    let actor = refused.and_then(|line| line.pointer("/actor/process/file/path"));
    ensure!(actor.is_some_and(|path| *path == *own), "{refused:?}");
    let words = [
        "report".into(),
        "verify".into(),
        finished.evidence.into_os_string(),
        "--key".into(),
        world.public_key()?.into_os_string(),
    ];
    let verified = world.cordon(words)?;
    ensure!(verified.status.success(), "{verified:?}");
    nothing_left(&world)
}

fn killed(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("names", &host("good.test", "8080"))?;
    let [ready, go] = ["ready", "go"].map(|name| world.path(name));
    let steps = [
        Step::tcp(at(EVIL_V4, 443)),
        Step::Mark {
            path: ready.clone(),
        },
        Step::Await { path: go.clone() },
        Step::tcp(at(EVIL_V4, 444)),
    ];
    let mut running = world.enforced(&profile, &steps)?.start()?;
    running.until(&ready)?;
    let id = only_job(&world)?;
    running.signal(Signal::SIGKILL)?;
    let evidence = running.evidence().to_owned();
    let mut resume = world.job().subcommand(&["resume", &id]).start()?;
    resume.until_stderr("took over job")?;
    File::create(&go)?;
    resume.wait()?.expect_status(0)?;
    running.wait()?.expect_status(137)?;
    let lines = lines(&evidence)?;
    let steps = [
        ("it began", has(&lines, 6002, &[("/activity_id", "3")])),
        (
            "before",
            has(&lines, 4001, &denied(&EVIL_V4.to_string(), "443")),
        ),
        (
            "it was taken over",
            has(&lines, 6002, &[("/activity_id", "5")]),
        ),
        (
            "afterwards",
            has(&lines, 4001, &denied(&EVIL_V4.to_string(), "444")),
        ),
        ("it ended", has(&lines, 6002, &[("/activity_id", "4")])),
    ];
    for (what, there) in steps {
        ensure!(there, "{what}: not in {lines:#?}");
    }
    nothing_left(&world)
}

/// What a job's report says of its events.
fn said(evidence: &Path) -> Result<Vec<String>> {
    let report: Report = serde_json::from_slice(&fs::read(evidence.join("egress-report.json"))?)?;
    let spots = report.coverage.blind_spots.into_iter();
    Ok(spots
        .filter(|spot| spot.starts_with("Single events"))
        .collect())
}

fn tampered(environment: &Environment) -> Result<()> {
    let state = |world: &World| world.directory().join("state/jobs").display().to_string();
    for (how, change) in [
        ("changed", "sed -i s/mode/mood/ $f"),
        ("emptied", ": > $f"),
        ("cut", "head -n 1 $f > /tmp/first && cat /tmp/first > $f"),
        ("removed", "rm $f"),
    ] {
        let world = World::new(environment)?;
        let profile = world.profile("empty", "")?;
        let script = format!(
            "f=$(find {} -name '*.events'); test -s \"$f\" || exit 9; {change}",
            state(&world)
        );
        let finished = world
            .job()
            .under_cordon(&[])
            .profile(&profile)
            .command(["/bin/sh", "-c", &script])
            .run()?
            .expect_status(0)
            .context(how)?;
        let said = said(&finished.evidence)?;
        ensure!(
            matches!(said.as_slice(), [spot] if spot.contains("not listed")),
            "{how}: {said:?}"
        );
        ensure!(run_report(&finished.evidence)?.events.is_none(), "{how}");
        ensure!(!finished.evidence.join(ocsf::NAME).exists(), "{how}");
        nothing_left(&world)?;
    }
    Ok(())
}

fn bounded(environment: &Environment) -> Result<()> {
    let script = "i=0; while [ $i -lt 2500 ]; do /bin/true; i=$((i + 1)); done";
    let run = |mib: u32| -> Result<_> {
        let world = World::new(environment)?;
        let profile = world.profile("empty", "")?;
        let finished = world
            .job()
            .under_cordon(&[])
            .profile(&profile)
            .host_number("events_mib", mib)
            .command(["/bin/sh", "-c", script])
            .run()?
            .expect_status(0)?;
        nothing_left(&world)?;
        let evidence = &finished.evidence;
        let there = evidence.join(ocsf::NAME).exists();
        Ok((run_report(evidence)?.events, said(evidence)?, there, world))
    };
    let (events, spots, there, _world) = run(1)?;
    let events = events.context("none are kept")?;
    ensure!(
        there && events.lines > 100 && events.dropped > 100,
        "{events:?}"
    );
    ensure!(
        matches!(spots.as_slice(), [spot] if spot.contains(&events.dropped.to_string())),
        "{spots:?}"
    );
    let (events, spots, there, _world) = run(0)?;
    ensure!(
        events.is_none() && spots.is_empty() && !there,
        "{events:?} {spots:?}"
    );
    Ok(())
}
