//! `cordon doctor`: what it says of a machine that can enforce.

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MsFlags, mount};

use crate::harness::environment::Environment;
use crate::harness::namespace::Namespace;
use crate::harness::world::World;
use crate::runner::Story;

/// Programs of the object; each is loaded and counted.
const PROGRAMS: usize = 18;

pub fn stories() -> Vec<Story> {
    vec![
        Story::new("doctor::every_program_passes_the_verifier", every_program),
        Story::new(
            "doctor::what_is_missing_has_a_meaning_and_a_remedy",
            missing,
        ),
    ]
}

fn every_program(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let finished = world.job().subcommand(&["doctor"]).run()?;
    let text = &finished.stdout;
    // Shown: the figures differ from kernel to kernel.
    println!("\n{text}");
    let verified = text
        .lines()
        .filter(|line| line.starts_with("  works ") && line.ends_with(" instructions verified"));
    ensure!(verified.count() >= PROGRAMS, "{text}");
    ensure!(text.contains("Jobs can be enforced here"), "{text}");
    ensure!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    finished.expect_status(0)?;
    world.nothing_left()
}

fn missing(environment: &Environment) -> Result<()> {
    let world = World::new(environment)?;
    let doctor = || world.job().subcommand(&["doctor", "--json"]);
    // Without capabilities a refusal says nothing of the kernel.
    let finished = doctor().without_bpf().run()?.expect_status(1)?;
    let findings: serde_json::Value = serde_json::from_str(&finished.stdout)?;
    ensure!(
        findings.get("canEnforce") == Some(&false.into()),
        "{findings}"
    );
    ensure!(
        answer(&findings, "capabilities")? == "does-not-work",
        "{findings}"
    );
    ensure!(
        answer(&findings, "mount namespace")? == "could-not-tell",
        "{findings}"
    );
    ensure!(
        answer(&findings, "BPF LSM")? == "could-not-tell",
        "{findings}"
    );
    // A machine whose loopback is down.
    let bare = Namespace::network()?;
    let finished = doctor().on(&bare).run()?.expect_status(1)?;
    let findings: serde_json::Value = serde_json::from_str(&finished.stdout)?;
    ensure!(
        answer(&findings, "loopback")? == "does-not-work",
        "{findings}"
    );
    ensure!(answer(&findings, "egress")? == "works", "{findings}");
    // A kernel that does not tell its types.
    world.mounts().run(|| {
        let none: Option<&str> = None;
        mount(
            Some("none"),
            "/sys/kernel/btf",
            Some("tmpfs"),
            MsFlags::empty(),
            none,
        )
        .context("hide the kernel's BTF")
    })?;
    let finished = world
        .job()
        .subcommand(&["doctor"])
        .run()?
        .expect_status(1)?;
    for words in [
        "No job starts here",
        "means:",
        "remedy:",
        "CONFIG_DEBUG_INFO_BTF",
    ] {
        ensure!(finished.stdout.contains(words), "{}", finished.stdout);
    }
    world.nothing_left()
}

pub(super) fn answer(findings: &serde_json::Value, feature: &str) -> Result<String> {
    let list = findings.get("findings").and_then(|list| list.as_array());
    let list = list.context("no list")?;
    let found = list
        .iter()
        .find(|finding| finding.get("name").is_some_and(|name| name == feature));
    let found = found.with_context(|| format!("no {feature} in {findings}"))?;
    for word in ["without", "remedy", "detail"] {
        ensure!(!text(found, word).is_empty(), "{feature} has no {word}");
    }
    Ok(text(found, "answer"))
}

fn text(finding: &serde_json::Value, key: &str) -> String {
    let text = finding.get(key).and_then(|value| value.as_str());
    text.unwrap_or_default().to_owned()
}
