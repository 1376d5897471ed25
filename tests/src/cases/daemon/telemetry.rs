//! Telemetry of a real daemon: a whole line for each job, or none and a word about it.

#![expect(
    clippy::indexing_slicing,
    reason = "what is not there is null, or fails the story"
)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::metrics::{is, samples, settings, token, two};
use super::{UNIT, world};
use crate::harness::environment::Environment;
use crate::harness::network::EVIL_V4;
use crate::harness::service::Service;
use crate::runner::Story;

pub(super) fn stories() -> Vec<Story> {
    vec![
        Story::new("metrics::telemetry_is_a_line_for_each_job", telemetry),
        Story::new(
            "metrics::telemetry_that_cannot_be_written_takes_no_evidence",
            full,
        ),
    ]
}

/// The lines of a file of telemetry.
fn lines(file: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(file)?;
    ensure!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    text.lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

fn telemetry(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let file = world.directory().join("telemetry.ndjson");
    // What a crash left.
    fs::write(&file, "{\"schema\":\"cordon/tel")?;
    let table = format!("[telemetry]\nfile = \"{}\"\n", file.display());
    let mut service = Service::start(&world, &settings(&table))?;
    ensure!(fs::metadata(&file)?.len() == 0, "the torn line is there");
    let unit = service.unit(UNIT)?;
    let token = token()?;
    let script =
        format!("cordon job start || exit 70\nsteps\nTOKEN='{token}' sleep 1\ncordon job finish\n");
    unit.runner("acme/app", &two(), &script)?
        .run()?
        .expect_status(0)?;
    let evidence = service.evidence_of("acme/app")?;
    let all = lines(&file)?;
    ensure!(all.len() == 1, "{all:?}");
    let line = &all[0];
    let seal = fs::read(evidence.directory.join("seal.sigstore.json"))?;
    let seal = cordon::report::statement::sha256_hex(&seal);
    ensure!(line["evidence"]["sealSha256"] == seal.as_str(), "{line}");
    ensure!(line["schema"] == "cordon/telemetry/v1", "{line}");
    ensure!(
        line["job"]["identity"]["repository"] == "acme/app",
        "{line}"
    );
    ensure!(line["policy"]["name"] == "plane+app", "{line}");
    let egress = &line["egress"];
    ensure!(egress["denied"] == 1 && egress["allowed"] == 1, "{line}");
    ensure!(
        egress["denials"][0]["address"] == EVIL_V4.to_string(),
        "{line}"
    );
    let findings = line["secrets"]["findings"]
        .as_array()
        .context("no findings")?;
    ensure!(
        findings
            .iter()
            .any(|finding| finding["rule"] == "github-pat"),
        "{line}"
    );
    ensure!(line["usage"]["cpuMicroseconds"].is_u64(), "{line}");
    ensure!(line["estimate"]["method"].is_string(), "{line}");
    ensure!(
        !fs::read_to_string(&file)?.contains(&token),
        "the secret is in it"
    );
    // A command has one too, and a file that was rotated is made anew.
    let rotated = world.directory().join("telemetry.ndjson.1");
    fs::rename(&file, &rotated)?;
    service
        .cordon(&["run", "--profile", "offline", "--", "true"])?
        .expect_status(0)?;
    let all = lines(&file)?;
    ensure!(
        all.len() == 1 && all[0]["job"]["command"] == "true",
        "{all:?}"
    );
    let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
    ensure!(mode & 0o137 == 0, "{mode:o}");
    ensure!(lines(&rotated)?.len() == 1);
    // The runner's own, when its unit is gone.
    unit.remove()?;
    service.until("its line is there", || Ok(lines(&file)?.len() == 2))?;
    let id = lines(&file)?[1]["job"]["id"].clone();
    ensure!(id == format!("unit-{UNIT}"), "{id}");
    let written = "cordon_telemetry_lines_total{result=\"written\"}";
    is(&samples(&world)?, written, 3.0)?;
    // Without the daemon as well.
    service.end(Signal::SIGTERM)?;
    service
        .cordon(&["run", "--profile", "offline", "--", "true"])?
        .expect_status(0)?;
    ensure!(lines(&file)?.len() == 3, "{:?}", lines(&file)?);
    Ok(())
}

/// The file is on a file system of its own, which is full.
fn full(environment: &Environment) -> Result<()> {
    let world = world(environment)?;
    let place = world.directory().join("small");
    fs::create_dir(&place)?;
    let at = place.clone();
    world.mounts().run(move || {
        let size = Some("size=64k");
        mount(Some("none"), &at, Some("tmpfs"), MsFlags::empty(), size).context("mount")
    })?;
    let (file, filler) = (place.join("telemetry.ndjson"), place.join("filler"));
    let table = format!("[telemetry]\nfile = \"{}\"\n", file.display());
    let service = Service::start(&world, &settings(&table))?;
    let unit = service.unit(UNIT)?;
    let script = "cordon job start || exit 70\nsteps\ncordon job finish\n";
    let (all, own) = (filler.clone(), file.clone());
    world.mounts().run(move || {
        fs::write(&own, "{}\n")?;
        let written = fs::write(&all, vec![1; 1 << 20]);
        ensure!(written.is_err(), "there is room for more");
        // The rest of the page that the file has.
        let mut own = fs::OpenOptions::new().append(true).open(&own)?;
        own.write_all(format!("\"{}\"\n", "x".repeat(4000)).as_bytes())?;
        Ok(())
    })?;
    let length = || {
        let file = file.clone();
        world.mounts().run(move || Ok(fs::metadata(&file)?.len()))
    };
    let before = length()?;
    unit.runner("acme/app", &two(), script)?
        .run()?
        .expect_status(0)?;
    let evidence = service.evidence_of("acme/app")?;
    ensure!(evidence.directory.join("seal.sigstore.json").exists());
    ensure!(length()? == before, "a part of a line is there");
    let jobs = service.ask("/v1/jobs")?;
    let job = jobs
        .as_array()
        .and_then(|jobs| jobs.first())
        .context("no job")?;
    ensure!(job["state"] == "sealed", "{job}");
    let error = job["telemetryError"].as_str().context("nothing is said")?;
    ensure!(error.contains("No space left"), "{error}");
    let failed = "cordon_telemetry_lines_total{result=\"failed\"}";
    is(&samples(&world)?, failed, 1.0)?;
    // With room there is a line again.
    world.mounts().run(move || Ok(fs::remove_file(&filler)?))?;
    unit.runner("acme/open", &two(), script)?
        .run()?
        .expect_status(0)?;
    service.evidence_of("acme/open")?;
    let line = world.mounts().run(move || Ok(fs::read_to_string(&file)?))?;
    let last = line.lines().last().context("no line")?;
    let last: Value = serde_json::from_str(last)?;
    ensure!(
        last["job"]["identity"]["repository"] == "acme/open",
        "{last}"
    );
    is(&samples(&world)?, failed, 1.0)
}
