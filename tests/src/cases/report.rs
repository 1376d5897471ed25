//! The egress report says what happened, to a person and to a verifier.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cordon::report::{ReportMode, SCHEMA};

use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::job::Finished;
use crate::harness::network::{EVIL_V4, EVIL_V6, GOOD_V4, at};
use crate::harness::rules::host;
use crate::harness::verdicts::denial_of;
use crate::harness::world::World;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "report::every_denial_says_why_who_and_what_would_allow_it",
            denials,
        ),
        Story::new(
            "report::an_allowed_flow_names_its_rule_its_bytes_and_its_process",
            flows,
        ),
        Story::new("report::it_begins_with_mode_coverage_and_losses", order),
        Story::new(
            "report::its_signature_verifies_and_a_changed_byte_does_not",
            signature,
        ),
        Story::new("report::denials_are_told_as_they_happen", live),
    ]
}

fn mixed(world: &World) -> Result<Finished> {
    let profile = world.profile("mixed", &host("good.test", "8080"))?;
    let steps = [
        Step::resolve("good.test"),
        Step::tcp(at(GOOD_V4, 8080)),
        Step::tcp(at(EVIL_V4, 443)),
        Step::tcp(at(EVIL_V4, 443)),
        Step::udp(at(EVIL_V6, 8080)),
        Step::resolve("evil.test"),
    ];
    world.enforced(&profile, &steps)?.run()?.expect_status(0)
}

fn denials(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let report = mixed(&world)?.report()?;
    ensure!(denial_of(&report, at(EVIL_V4, 443), "tcp")?.attempts == 2);
    ensure!(denial_of(&report, at(EVIL_V6, 8080), "udp")?.attempts == 1);
    let own = environment.own.to_string_lossy();
    for denial in &report.denials {
        ensure!(
            !denial.reason.is_empty() && !denial.explanation.is_empty(),
            "{denial:?}"
        );
        let remedy = denial.remedy.as_deref().unwrap_or_default();
        ensure!(remedy.contains("[[allow]]"), "{denial:?}");
        let chain = denial.processes.first().context("no process chain")?;
        ensure!(chain.pid > 0, "{denial:?}");
        ensure!(
            chain.executables.first().is_some_and(|first| *first == own),
            "{denial:?}"
        );
        ensure!(denial.first_seen <= denial.last_seen, "{denial:?}");
    }
    Ok(())
}

fn flows(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let report = mixed(&world)?.report()?;
    let found = report
        .flows
        .iter()
        .find(|flow| flow.destination.address == GOOD_V4 && flow.destination.protocol == "tcp");
    let flow = found.with_context(|| format!("no flow to good: {:#?}", report.flows))?;
    ensure!(flow.reason == "lease" && flow.rule == Some(0), "{flow:?}");
    ensure!(flow.destination.names == ["good.test"], "{flow:?}");
    ensure!(flow.attempts == 1, "{flow:?}");
    // Handshake, four bytes, and their headers, both ways.
    ensure!(flow.bytes_out > 100 && flow.bytes_in > 100, "{flow:?}");
    ensure!(!flow.processes.is_empty(), "{flow:?}");
    ensure!(
        report.policy.rules.first().is_some_and(|rule| rule.used),
        "{:?}",
        report.policy
    );
    Ok(())
}

fn order(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let finished = mixed(&world)?;
    let text = finished.report_text()?;
    let place = |key: &str| {
        // Of the report itself: two spaces deep.
        let found = text.find(&format!("\n  \"{key}\":"));
        found.with_context(|| format!("no {key} in the report"))
    };
    let keys = ["schema", "mode", "coverage", "losses", "denials", "flows"];
    let places = keys.into_iter().map(place).collect::<Result<Vec<_>>>()?;
    ensure!(places.is_sorted(), "{places:?}");
    let report = finished.report()?;
    ensure!(report.schema == SCHEMA && report.mode == ReportMode::Enforce);
    ensure!(report.losses.none(), "{:?}", report.losses);
    ensure!(!report.coverage.layers.is_empty() && !report.coverage.proof.is_empty());
    ensure!(
        !report.coverage.blind_spots.is_empty(),
        "a report without blind spots claims too much"
    );
    Ok(())
}

fn verify(world: &World, evidence: &Path) -> Result<i32> {
    let public = world.public_key()?;
    let words: [OsString; 5] = [
        "report".into(),
        "verify".into(),
        evidence.into(),
        "--key".into(),
        public.into(),
    ];
    world.cordon(words)?.status.code().context("killed")
}

fn signature(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let finished = mixed(&world)?;
    let status = verify(&world, &finished.evidence)?;
    ensure!(status == 0, "verify ended with {status}");
    let path = finished.evidence.join("egress-report.json");
    let text = finished.report_text()?.replacen("enforce", "audit", 1);
    std::fs::remove_file(&path)?;
    std::fs::write(&path, text)?;
    let status = verify(&world, &finished.evidence)?;
    ensure!(status != 0, "a changed report verifies");
    Ok(())
}

fn live(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    let tried = world.path("tried");
    let end = world.path("end");
    let steps = [
        Step::tcp(at(EVIL_V4, 443)),
        Step::Mark {
            path: tried.clone(),
        },
        Step::Await { path: end.clone() },
    ];
    let mut running = world.enforced(&profile, &steps)?.start()?;
    running.until(&tried)?;
    let told = running.until_stderr("cordon: denied ");
    std::fs::File::create(&end)?;
    told?;
    let stderr = running.wait()?.expect_status(0)?.stderr;
    ensure!(stderr.contains(&EVIL_V4.to_string()), "{stderr}");
    Ok(())
}
