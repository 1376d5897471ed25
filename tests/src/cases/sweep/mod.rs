//! The secret sweep: no process of a job carries a secret unseen, and nothing that is written holds one.

mod acts;
mod finds;
mod leaks;
mod reads;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use cordon::report::sweep::{Finding, SweepReport};
use cordon_secrets::cases::{Case, cases};

use crate::harness::job::Finished;
use crate::harness::world::World;
use crate::runner::{Lack, Story, Told};

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new(
            "sweep::a_credential_in_a_process_that_lives_a_millisecond_is_found",
            finds::short_lived,
        ),
        Story::new(
            "sweep::a_clean_job_is_clean_and_all_of_it_was_read",
            finds::clean,
        ),
        Story::new(
            "sweep::a_thousand_programs_in_a_row_are_all_accounted_for",
            finds::many,
        ),
        Story::new(
            "sweep::a_process_with_a_static_credential_is_killed_before_it_sends_anything",
            |environment| acts::stopped(environment, ""),
        ),
        Story::new(
            "sweep::a_process_that_others_wake_before_its_verdict_sends_nothing",
            |environment| acts::stopped(environment, acts::WAKER),
        ),
        Story::new(
            "sweep::a_frozen_job_stands_still_and_is_ended_in_time",
            acts::frozen,
        ),
        Story::new(
            "sweep::what_waits_for_a_dead_cordon_sends_nothing_until_another_has_judged_it",
            acts::taken_over,
        ),
        Story::new(
            "sweep::a_job_that_is_ended_for_its_dead_cordon_is_swept_first",
            acts::ended_for_another,
        ),
        Story::conditional(
            "sweep::large_changed_hidden_and_foreign_environments_are_read_or_counted",
            |environment| {
                if environment.slowness > 1 && !Path::new("/usr/bin/python3").exists() {
                    let why = "the guest has no python3 to make such environments with";
                    return Ok(Told::NotHere(Lack::Python, why.to_owned()));
                }
                reads::odd_environments(environment).map(|()| Told::Whole)
            },
        ),
        Story::new(
            "sweep::what_proc_hides_from_others_is_read_on_request",
            reads::hidden,
        ),
        Story::new(
            "sweep::nothing_that_cordon_writes_or_keeps_holds_a_secret",
            leaks::nothing_leaks,
        ),
        Story::new(
            "sweep::a_cordon_that_crashes_leaves_no_core_file_and_swaps_nothing",
            leaks::crash,
        ),
    ]
}

/// A text of each rule that is found, by the rule.
fn planted(rule: &str) -> Result<Case> {
    cases()
        .into_iter()
        .find(|case| case.expected == Some(rule))
        .with_context(|| format!("no case of {rule}"))
}

/// A script in a file, so that what it plants is in no command line.
fn script(world: &World, text: &str) -> Result<PathBuf> {
    let path = world.path("script.sh");
    fs::write(&path, text)?;
    Ok(path)
}

fn run(world: &World, profile: &Path, text: &str) -> Result<Finished> {
    let script = script(world, text)?;
    world
        .job()
        .profile(profile)
        .command(["sh".into(), script.into_os_string()])
        .run()
}

fn sweep_report(finished: &Finished) -> Result<SweepReport> {
    sweep_report_in(&finished.evidence).with_context(|| {
        let Finished { status, stderr, .. } = finished;
        format!("cordon ended with {status}:\n{stderr}")
    })
}

fn sweep_report_in(evidence: &Path) -> Result<SweepReport> {
    let path = evidence.join("secret-sweep.json");
    let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

fn of_rule<'r>(report: &'r SweepReport, rule: &str) -> Result<&'r Finding> {
    let mut findings = report.findings.iter();
    findings
        .find(|finding| finding.rule == rule)
        .with_context(|| format!("no finding of {rule} in {report:#?}"))
}
