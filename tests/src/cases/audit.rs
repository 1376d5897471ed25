//! Audit mode: everything passes, what would have been denied is marked, and a profile can be
//! learned from it.

use std::fs;

use anyhow::{Result, ensure};
use cordon::report::{NameVerdict, ReportMode};

use crate::client::step::Step;
use crate::harness::environment::Environment;
use crate::harness::network::{EVIL_V4, GOOD_V4, GOOD_V6, at};
use crate::harness::verdicts::{allowed, denial_of, name_asked};
use crate::harness::world::World;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new("audit::what_would_be_denied_passes_and_is_marked", passes),
        Story::new(
            "audit::a_suggested_profile_lets_the_same_job_pass",
            suggestion,
        ),
    ]
}

fn passes(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let profile = world.profile("empty", "")?;
    let steps = [
        Step::resolve("evil.test"),
        Step::tcp(at(EVIL_V4, 8080)),
        Step::udp(at(EVIL_V4, 8080)),
    ];
    let finished = world
        .enforced(&profile, &steps)?
        .audited()
        .run()?
        .expect_status(0)?;
    let [name, tcp, udp] = finished.steps()?;
    ensure!(name.addresses.contains(&EVIL_V4.into()), "{name:?}");
    allowed(&tcp)?;
    allowed(&udp)?;

    let text = finished.report_text()?;
    let mode = text.find("\"mode\"").zip(text.find("\"denials\""));
    ensure!(
        mode.is_some_and(|(mode, denials)| mode < denials),
        "the mode comes first"
    );
    let report = finished.report()?;
    ensure!(report.mode == ReportMode::Audit);
    for protocol in ["tcp", "udp"] {
        let denial = denial_of(&report, at(EVIL_V4, 8080), protocol)?;
        ensure!(
            denial.reason == "no-rule" && denial.attempts >= 1,
            "{denial:?}"
        );
        ensure!(denial.destination.names == ["evil.test"], "{denial:?}");
    }
    let asked = name_asked(&report, "evil.test")?;
    ensure!(asked.answer == NameVerdict::WouldDeny, "{asked:?}");
    world.nothing_left()?;
    world.something_leaked()
}

fn suggestion(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let empty = world.profile("empty", "")?;
    let steps = [
        Step::resolve("good.test"),
        Step::tcp(at(GOOD_V4, 8080)),
        // Not 443: there the suggested rule would ask for a name, and this is no TLS.
        Step::tcp(at(GOOD_V6, 8080)),
        Step::tcp(at(EVIL_V4, 443)),
        Step::udp(at(GOOD_V4, 8080)),
    ];
    let audited = world
        .enforced(&empty, &steps)?
        .audited()
        .run()?
        .expect_status(0)?;
    let words = ["profile", "suggest"].map(Into::into);
    let output = world.cordon(words.into_iter().chain([audited.evidence.into_os_string()]))?;
    ensure!(
        output.status.success(),
        "profile suggest: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let learned = world.path("learned.toml");
    fs::write(&learned, &output.stdout)?;

    let finished = world.enforced(&learned, &steps)?.run()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let finished = finished.expect_status(0)?;
    for outcome in finished.outcomes()? {
        ensure!(
            outcome.ok && outcome.error.is_none(),
            "{outcome:?} under\n{text}"
        );
    }
    ensure!(finished.report()?.summary.denied == 0, "under\n{text}");
    Ok(())
}
