//! A job gives up a part of what it is allowed, and does not get it back.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cordon::report::Attendance;
use cordon::report::attendance::Kind;
use nix::sys::signal::Signal;

use super::{SETTINGS, UNIT, world};
use crate::client::step::{Outcome, Step};
use crate::harness::environment::Environment;
use crate::harness::network::{EVIL_V4, GOOD_V4, OTHER_V4, at};
use crate::harness::receiver::Received;
use crate::harness::rules::cidr;
use crate::harness::service::{Evidence, Service};
use crate::harness::verdicts::{allowed, denial_of};
use crate::harness::world::World;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "daemon::narrow::what_a_step_gives_up_is_denied_from_then_on",
            given_up,
        ),
        Story::new(
            "daemon::narrow::a_file_that_is_wider_is_refused_and_found",
            wider,
        ),
        Story::new(
            "daemon::narrow::open_connections_of_what_is_given_up_are_closed",
            open,
        ),
        Story::new("daemon::narrow::names_are_given_up_as_well", names),
        Story::new("daemon::narrow::the_next_daemon_keeps_to_it", next_daemon),
        Story::new("daemon::narrow::a_job_can_begin_with_less", begins),
        Story::new(
            "daemon::narrow::an_audited_job_can_have_itself_enforced",
            audit,
        ),
    ]
}

/// A file for the job, in the world's directory.
fn file(world: &World, name: &str, body: &str) -> Result<String> {
    let path = world.path(name);
    fs::write(&path, format!("name = \"own\"\n{body}"))?;
    Ok(path.display().to_string())
}

fn three() -> [Step; 3] {
    [
        Step::tcp(at(GOOD_V4, 8080)),
        Step::tcp(at(OTHER_V4, 8080)),
        Step::tcp(at(EVIL_V4, 8080)),
    ]
}

fn attendance(evidence: &Evidence) -> Result<&Attendance> {
    let attendance = evidence.report.job.attendance.as_ref();
    attendance.context("no attendance")
}

fn reached(world: &World) -> Received {
    world.good.at(at(GOOD_V4, 8080))
}

fn given_up(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    let own = file(&world, "own.toml", "")?;
    // By its own name, from where the step is.
    let script = format!(
        "cordon job start || exit 70\nsteps\nmkdir -p '{own}.d' && cp '{own}' '{own}.d/.cordon.toml'\n\
         (cd '{own}.d' && cordon job narrow) || exit 71\nsteps\ncordon job finish\n"
    );
    let finished = unit
        .runner("acme/app", &three(), &script)?
        .run()?
        .expect_status(0)?;
    let [good, plane, evil, good_now, plane_now, evil_now] = finished.steps()?;
    allowed(&good)?;
    allowed(&plane)?;
    world.refused(&evil)?;
    world.refused(&good_now)?;
    allowed(&plane_now)?;
    world.refused(&evil_now)?;
    ensure!(reached(&world).connections == 1, "{:?}", reached(&world));
    world.nothing_leaked()?;
    let evidence = service.evidence_of("acme/app")?;
    let report = &evidence.report;
    let narrowed = &attendance(&evidence)?.narrowed;
    let [one] = narrowed.as_slice() else {
        anyhow::bail!("{narrowed:?}");
    };
    ensure!(one.file == "job:.cordon.toml", "{one:?}");
    ensure!(
        one.ruleset_digest == report.policy.ruleset_digest,
        "{one:?}"
    );
    let withdrawn: Vec<_> = (report.policy.rules.iter())
        .map(|rule| rule.withdrawn)
        .collect();
    ensure!(withdrawn == [false, true], "{:?}", report.policy);
    let denial = denial_of(report, at(GOOD_V4, 8080), "tcp")?;
    ensure!(denial.reason == "no-rule", "{denial:?}");
    ensure!(attendance(&evidence)?.findings.is_empty(), "{evidence:?}");
    Ok(())
}

fn wider(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    let mut script = "cordon job start || exit 70\n".to_owned();
    let files = [
        cidr("203.0.113.0/24", "8080", "tcp"),
        cidr("203.0.113.10/32", "8081", "tcp"),
        cidr("203.0.113.10/32", "8080", "udp"),
        "[[allow]]\nhost = \"good.test\"\nports = [8080]\nverify = \"none\"".to_owned(),
        "mode = \"audit\"".to_owned(),
        "extends = [\"wide\"]".to_owned(),
        "[dns]\nupstream = [\"192.0.2.1\"]".to_owned(),
        "[limits]\npids = 9".to_owned(),
        "not a profile".to_owned(),
    ];
    for (number, body) in files.iter().enumerate() {
        let file = file(&world, &format!("{number}.toml"), body)?;
        script += &format!("cordon job narrow '{file}'; echo \"status $?\" >&2\n");
    }
    script += "cordon job narrow /none/such; echo \"status $?\" >&2\nsteps\ncordon job finish\n";
    let finished = unit
        .runner("acme/app", &three(), &script)?
        .run()?
        .expect_status(0)?;
    let refused = finished.stderr.matches("status 121").count();
    ensure!(refused == files.len() + 1, "{}", finished.stderr);
    ensure!(
        finished.stderr.contains("0.toml:2") && finished.stderr.contains("the job is allowed: "),
        "{}",
        finished.stderr
    );
    let [good, plane, evil] = finished.steps()?;
    allowed(&good)?;
    allowed(&plane)?;
    world.refused(&evil)?;
    let evidence = service.evidence_of("acme/app")?;
    let attendance = attendance(&evidence)?;
    let found = attendance.findings.iter();
    let found = found.filter(|finding| finding.kind == Kind::RefusedRequest);
    ensure!(found.count() == files.len(), "{attendance:?}");
    ensure!(attendance.narrowed.is_empty(), "{attendance:?}");
    ensure!(
        evidence
            .report
            .policy
            .rules
            .iter()
            .all(|rule| !rule.withdrawn),
        "{:?}",
        evidence.report.policy
    );
    Ok(())
}

/// One connection by a rule that is given up, one by a rule of the control plane, one older than the job.
fn open(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    let own = file(&world, "own.toml", &cidr("203.0.113.10/32", "8080", "tcp"))?;
    let go = world.path("go");
    let hold = |to| Step::Hold {
        to: at(to, 8080),
        until: go.clone(),
    };
    let outcomes = [world.path("given-up"), world.path("kept")];
    let background = |to, outcome: &Path| -> Result<String> {
        let steps = serde_json::to_string(&[hold(to)])?;
        let client = environment.own.display();
        Ok(format!(
            "'{client}' client '{steps}' > '{}' & ",
            outcome.display()
        ))
    };
    let script = format!(
        "cordon job start || exit 70\n{}{}sleep 1\ncordon job narrow '{own}' || exit 71\ntouch '{}'\nwait\nsteps\n\
         cordon job finish\n",
        background(GOOD_V4, &outcomes[0])?,
        background(OTHER_V4, &outcomes[1])?,
        go.display()
    );
    let finished = unit
        .runner("acme/app", &three(), &script)?
        .run()?
        .expect_status(0)?;
    let read = |outcome: &Path| -> Result<Outcome> {
        let text = fs::read_to_string(outcome)?;
        serde_json::from_str(text.trim()).with_context(|| text)
    };
    let (given_up, kept) = (read(&outcomes[0])?, read(&outcomes[1])?);
    ensure!(!given_up.ok, "{given_up:?}");
    ensure!(
        given_up
            .errno
            .as_deref()
            .is_some_and(|errno| errno.starts_with("ECONNABORTED")),
        "{given_up:?}"
    );
    ensure!(given_up.ms < 5000, "{given_up:?}");
    allowed(&kept)?;
    // What the new rules allow is reached by a new connection.
    let [good, plane, _] = finished.steps()?;
    allowed(&good)?;
    allowed(&plane)?;
    // Four bytes before, none after; four by the new one.
    let received = reached(&world);
    ensure!(
        (received.connections, received.bytes) == (2, 8),
        "{received:?}"
    );
    let report = service.evidence_of("acme/app")?.report;
    let denial = denial_of(&report, at(GOOD_V4, 8080), "tcp")?;
    ensure!(denial.reason == "rule-withdrawn", "{denial:?}");
    Ok(())
}

fn names(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    Service::profile(
        &world,
        "app",
        "[[allow]]\nhost = \"good.test\"\nports = [8080]\nverify = \"none\"\n\
         [[allow]]\nhost = \"*.good.test\"\nports = [8080]\nverify = \"none\"",
    )?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    let own = file(
        &world,
        "own.toml",
        "[[allow]]\nhost = \"www.good.test\"\nports = [8080]\nverify = \"none\"",
    )?;
    let steps = [
        Step::tcp(at(GOOD_V4, 8080)),
        Step::resolve("good.test"),
        Step::tcp(at(GOOD_V4, 8080)),
    ];
    let script = format!(
        "cordon job start || exit 70\nsteps\ncordon job narrow '{own}' || exit 71\nsteps\ncordon job finish\n"
    );
    let finished = unit
        .runner("acme/app", &steps, &script)?
        .run()?
        .expect_status(0)?;
    let [_, name, good, leased, name_now, good_now] = finished.steps()?;
    allowed(&name)?;
    allowed(&good)?;
    // The lease is gone with its rule, and the name has none.
    world.refused(&leased)?;
    ensure!(name_now.addresses.is_empty(), "{name_now:?}");
    world.refused(&good_now)?;
    ensure!(reached(&world).connections == 1, "{:?}", reached(&world));
    world.nothing_leaked()
}

fn next_daemon(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let mut service = Service::start(&world, SETTINGS)?;
    let own = file(&world, "own.toml", "")?;
    let [up, go] = ["up", "go"].map(|name| world.path(name));
    let script = format!(
        "cordon job start || exit 70\ncordon job narrow '{own}' || exit 71\ntouch '{}'\n\
         while [ ! -e '{}' ]; do sleep 0.05; done\nsteps\ncordon job finish\n",
        up.display(),
        go.display()
    );
    let job = service.unit(UNIT)?.runner("acme/app", &three(), &script)?;
    let mut runner = job.start()?;
    runner.until(&up)?;
    service.end(Signal::SIGKILL)?;
    service.restart()?;
    fs::write(&go, "")?;
    let [good, plane, evil] = runner.wait()?.expect_status(0)?.steps()?;
    world.refused(&good)?;
    allowed(&plane)?;
    world.refused(&evil)?;
    ensure!(
        reached(&world) == Received::default(),
        "{:?}",
        reached(&world)
    );
    let evidence = service.evidence_of("acme/app")?;
    let report = &evidence.report;
    let narrowed = &attendance(&evidence)?.narrowed;
    ensure!(narrowed.len() == 1, "{narrowed:?}");
    ensure!(report.interruptions.len() == 1, "{report:?}");
    ensure!(
        report.policy.rules.iter().any(|rule| rule.withdrawn),
        "{report:?}"
    );
    ensure!(
        narrowed
            .iter()
            .all(|one| one.ruleset_digest == report.policy.ruleset_digest),
        "{narrowed:?}"
    );
    Ok(())
}

fn begins(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    let own = file(&world, "own.toml", "")?;
    let more = file(
        &world,
        "more.toml",
        &cidr("198.51.100.66/32", "8080", "tcp"),
    )?;
    let script = format!(
        "cordon job start --narrow '{more}' && exit 70\ncordon job start --narrow '{own}' || exit 71\nsteps\n\
         cordon job finish\n"
    );
    let finished = unit
        .runner("acme/app", &three(), &script)?
        .run()?
        .expect_status(0)?;
    ensure!(
        finished.stderr.contains("more than the job may"),
        "{}",
        finished.stderr
    );
    let [good, plane, evil] = finished.steps()?;
    world.refused(&good)?;
    allowed(&plane)?;
    world.refused(&evil)?;
    ensure!(
        reached(&world) == Received::default(),
        "{:?}",
        reached(&world)
    );
    world.nothing_leaked()?;
    let evidence = service.evidence_of("acme/app")?;
    ensure!(attendance(&evidence)?.narrowed.len() == 1, "{evidence:?}");
    Ok(())
}

fn audit(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let audited = format!(
        "mode = \"audit\"\n{}",
        cidr("203.0.113.11/32", "8080", "tcp")
    );
    Service::profile(&world, "plane", &audited)?;
    Service::profile(&world, "app", "mode = \"audit\"")?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    let own = file(&world, "own.toml", "mode = \"enforce\"")?;
    let go = world.path("go");
    let held = world.path("held");
    let hold = serde_json::to_string(&[Step::Hold {
        to: at(GOOD_V4, 8080),
        until: go.clone(),
    }])?;
    let script = format!(
        "cordon job start || exit 70\n'{}' client '{hold}' > '{}' &\nsleep 1\n\
         cordon job narrow '{own}' || exit 71\ntouch '{}'\nwait\nsteps\ncordon job finish\n",
        environment.own.display(),
        held.display(),
        go.display()
    );
    let steps = [Step::resolve("good.test"), Step::tcp(at(GOOD_V4, 8080))];
    let finished = unit
        .runner("acme/app", &steps, &script)?
        .run()?
        .expect_status(0)?;
    let [name, good] = finished.steps()?;
    ensure!(name.addresses.is_empty(), "{name:?}");
    world.refused(&good)?;
    let held = fs::read_to_string(&held)?;
    ensure!(held.contains("\"ok\":false"), "{held}");
    let received = reached(&world);
    ensure!(
        (received.connections, received.bytes) == (1, 4),
        "{received:?}"
    );
    Ok(())
}
