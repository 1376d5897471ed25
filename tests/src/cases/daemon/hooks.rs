//! Hooks: what is refused stays enforced, and a hook that is skipped, hijacked or called too early is found.

#![expect(
    clippy::indexing_slicing,
    reason = "what is not there is null, or fails the story"
)]

use anyhow::{Context as _, Result, ensure};
use cordon::report::Attendance;
use cordon::report::attendance::Kind;

use super::{SETTINGS, UNIT, world};
use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::network::{EVIL_V4, GOOD_V4, at};
use crate::harness::service::{Evidence, Service};
use crate::harness::verdicts::allowed;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "daemon::a_job_without_a_grant_is_refused_and_its_steps_stay_denied",
            refused,
        ),
        Story::new(
            "daemon::commits_of_strangers_get_their_own_profile_or_none",
            strangers,
        ),
        Story::new(
            "daemon::a_worker_that_skips_its_hook_is_enforced_and_found",
            skipped,
        ),
        Story::new(
            "daemon::an_end_that_is_said_too_early_ends_nothing_and_is_found",
            early,
        ),
        Story::new("daemon::an_end_that_nobody_says_is_found", unsaid),
        Story::new(
            "daemon::a_job_that_asks_for_more_is_refused_and_found",
            greedy,
        ),
    ]
}

fn two() -> [Step; 2] {
    [Step::tcp(at(GOOD_V4, 8080)), Step::tcp(at(EVIL_V4, 8080))]
}

fn attendance(evidence: &Evidence) -> Result<&Attendance> {
    evidence
        .report
        .job
        .attendance
        .as_ref()
        .context("no attendance")
}

fn found(evidence: &Evidence, kind: Kind) -> Result<String> {
    let attendance = attendance(evidence)?;
    let one = attendance
        .findings
        .iter()
        .find(|finding| finding.kind == kind);
    let one = one.with_context(|| format!("{kind:?} was not found: {attendance:?}"))?;
    Ok(one.detail.clone())
}

/// Steps with `always()` run although the hook failed.
fn refused(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    let script = "cordon job start; echo \"status $?\" >&2\nsteps\n";
    let finished = unit
        .runner("evil/app", &two(), script)?
        .run()?
        .expect_status(0)?;
    let [good, evil] = finished.steps()?;
    world.refused(&good)?;
    world.refused(&evil)?;
    ensure!(
        finished.stderr.contains("status 121"),
        "{}",
        finished.stderr
    );
    ensure!(
        finished.stderr.contains("no grant is for"),
        "{}",
        finished.stderr
    );
    world.nothing_leaked()?;
    // A profile that the grant does not have.
    let script = "cordon job start --profile plane; echo \"status $?\" >&2\nsteps\n";
    let finished = unit
        .runner("acme/app", &two(), script)?
        .run()?
        .expect_status(0)?;
    ensure!(
        finished.stderr.contains("does not grant"),
        "{}",
        finished.stderr
    );
    let [good, _] = finished.steps()?;
    world.refused(&good)?;
    found(&unit.remove()?, Kind::NoStart).map(drop)
}

fn strangers(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    let event = |from: &str, to: &str| -> Result<String> {
        let path = world.path("event.json");
        let repo = |name: &str| serde_json::json!({"repo": {"full_name": name}});
        let payload = serde_json::json!({"pull_request": {"head": repo(from), "base": repo(to)}});
        std::fs::write(&path, payload.to_string())?;
        Ok(format!(
            "export GITHUB_EVENT_NAME=pull_request GITHUB_EVENT_PATH='{}'\n",
            path.display()
        ))
    };
    let start = "cordon job start; echo \"status $?\" >&2\nsteps\ncordon job finish\n";
    // A grant that has no profile for them.
    let script = event("evil/app", "acme/app")? + start;
    let finished = unit.runner("acme/app", &two(), &script)?.run()?;
    ensure!(
        finished.stderr.contains("status 121") && finished.stderr.contains("fork_profile"),
        "{}",
        finished.stderr
    );
    let [good, evil] = finished.steps()?;
    world.refused(&good)?;
    world.refused(&evil)?;
    // One that has.
    let script = event("evil/open", "acme/open")? + start;
    let finished = unit
        .runner("acme/open", &two(), &script)?
        .run()?
        .expect_status(0)?;
    ensure!(
        finished.stderr.contains("policy plane"),
        "{}",
        finished.stderr
    );
    let [good, _] = finished.steps()?;
    world.refused(&good)?;
    let evidence = service.evidence_of("acme/open")?;
    ensure!(
        attendance(&evidence)?.identity.fork == Some(true),
        "{:?}",
        attendance(&evidence)?
    );
    // A pull request of the repository's own.
    let script = event("acme/app", "acme/app")? + start;
    let finished = unit
        .runner("acme/app", &two(), &script)?
        .run()?
        .expect_status(0)?;
    let [good, evil] = finished.steps()?;
    allowed(&good)?;
    world.refused(&evil)?;
    // One that runs a stranger's input with the repository's rights.
    let script = format!("export GITHUB_EVENT_NAME=pull_request_target\n{start}");
    let finished = unit.runner("acme/app", &two(), &script)?.run()?;
    ensure!(
        finished.stderr.contains("pull_request_target_profile"),
        "{}",
        finished.stderr
    );
    let [good, _] = finished.steps()?;
    world.refused(&good)?;
    world.nothing_leaked()
}

fn skipped(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    let finished = unit
        .runner("acme/app", &two(), "steps\n")?
        .run()?
        .expect_status(0)?;
    let [good, evil] = finished.steps()?;
    world.refused(&good)?;
    world.refused(&evil)?;
    world.nothing_leaked()?;
    let detail = found(&unit.remove()?, Kind::NoStart)?;
    ensure!(detail.contains("never a job"), "{detail}");
    Ok(())
}

fn early(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    let script = "cordon job start || exit 70\ncordon job finish\nsteps\n";
    let finished = unit
        .runner("acme/app", &two(), script)?
        .run()?
        .expect_status(0)?;
    let [good, evil] = finished.steps()?;
    allowed(&good)?;
    world.refused(&evil)?;
    world.nothing_leaked()?;
    let evidence = service.evidence_of("acme/app")?;
    let detail = found(&evidence, Kind::EarlyFinish)?;
    ensure!(detail.contains("1 programs were started"), "{detail}");
    ensure!(
        evidence.report.denials.len() == 1,
        "{:?}",
        evidence.report.denials
    );
    Ok(())
}

fn unsaid(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    unit.runner("acme/app", &[], "cordon job start || exit 70\n")?
        .run()?
        .expect_status(0)?;
    found(&service.evidence_of("acme/app")?, Kind::NoFinish).map(drop)
}

fn greedy(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let service = Service::start(&world, SETTINGS)?;
    let unit = service.unit(UNIT)?;
    let script = "cordon job start || exit 70\n\
                  for words in 'job start --profile wide' 'job list' 'reload' 'job end 0123456789ab' \
                  'job start --open' 'job finish 0123456789ab' 'job watch 0123456789ab'; do\n\
                  cordon $words && exit 71\n\
                  done\n\
                  steps\ncordon job status || exit 72\ncordon job finish\n";
    let finished = unit
        .runner("acme/app", &two(), script)?
        .run()?
        .expect_status(0)?;
    let [good, evil] = finished.steps()?;
    allowed(&good)?;
    world.refused(&evil)?;
    let evidence = service.evidence_of("acme/app")?;
    let refused = attendance(&evidence)?
        .findings
        .iter()
        .filter(|finding| finding.kind == Kind::RefusedRequest);
    let details: Vec<_> = refused.map(|finding| finding.detail.as_str()).collect();
    ensure!(details.len() == 7, "{details:#?}");
    ensure!(details[0].contains("may not start jobs"), "{details:#?}");
    Ok(())
}
