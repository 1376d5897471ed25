//! `cargo xtask fuzz`: runs the fuzz targets of `tests/fuzz`.
//!
//! The stable compiler instruments them for coverage by flags that it has anyway, and libFuzzer is
//! linked in, so neither a nightly nor another tool is asked for. The parsers hold no unsafe code;
//! what is looked for is a panic, an overflow, a hang, or memory without bound.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::exec::{capture, cargo, run as execute, run_quietly, step};
use crate::workspace;

/// Run the fuzz targets.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A few seconds each, the same inputs every time
    #[arg(long)]
    smoke: bool,
    /// How long each target runs
    #[arg(
        long,
        default_value_t = 60,
        value_name = "SECONDS",
        conflicts_with = "smoke"
    )]
    seconds: u64,
    /// Which targets; all without a name
    targets: Vec<String>,
}

/// The doors through which bytes of a job or of a stranger come in.
const TARGETS: [&str; 13] = [
    "dns_answer",
    "dns_message",
    "engine_build",
    "engine_request",
    "engine_spec",
    "envelope",
    "gate",
    "profile",
    "record",
    "request",
    "secrets_known",
    "secrets_scan",
    "shown",
];

/// As cargo-fuzz has them: counters for each edge, and the operands of comparisons.
const FLAGS: [&str; 8] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Cllvm-args=-sanitizer-coverage-stack-depth",
];

/// Inputs of a smoke run: seconds on a slow machine, and enough to pass every parser's first lines.
const SMOKE_RUNS: &str = "-runs=20000";
/// A smoke run that takes longer than this stops there.
const SMOKE_SECONDS: &str = "-max_total_time=20";

pub(crate) fn run(options: &Options) -> Result<()> {
    let targets = chosen(&options.targets)?;
    let folder = workspace::root()?.join("tests/fuzz");
    let programs = step("build the fuzz targets", || {
        build(&folder, &targets, options)
    })?;
    let mut failed = Vec::new();
    for target in targets {
        let program = programs.join(target);
        if let Err(error) = step(target, || fuzz(&program, &folder, target, options)) {
            eprintln!("{error:#}");
            failed.push(target);
        }
    }
    if !failed.is_empty() {
        bail!(
            "fuzz targets failed: {}; the inputs are in tests/fuzz/artifacts",
            failed.join(", ")
        );
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<&'static str>> {
    if let Some(unknown) = names.iter().find(|name| !TARGETS.contains(&name.as_str())) {
        bail!(
            "there is no fuzz target `{unknown}`; there are {}",
            TARGETS.join(", ")
        );
    }
    let is_chosen = |target: &&str| names.is_empty() || names.iter().any(|name| name == target);
    Ok(TARGETS.into_iter().filter(is_chosen).collect())
}

/// Builds the targets and returns the folder they are in.
fn build(folder: &Path, targets: &[&str], options: &Options) -> Result<PathBuf> {
    let lock = folder.join("Cargo.lock");
    fs::copy(workspace::root()?.join("Cargo.lock"), &lock)
        .with_context(|| format!("cannot write `{}`", lock.display()))?;
    let target_dir = workspace::target()?.join("fuzz");
    let host = host()?;
    let mut build = cargo()?;
    build
        .current_dir(folder)
        // With a target named, only it gets the flags, and build scripts do not.
        .args(["build", "--target", &host, "--target-dir"])
        .arg(&target_dir)
        .args((!options.smoke).then_some("--release"))
        .args(targets.iter().flat_map(|target| ["--bin", target]))
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        // The programs for the kernel have no part in it.
        .env("CORDON_BPF_TOOLCHAIN", "none")
        .env_remove("CORDON_REQUIRE_OBJECT");
    run_quietly(&mut build, "fuzz-build")?;
    let profile = if options.smoke { "debug" } else { "release" };
    Ok(target_dir.join(host).join(profile))
}

fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| std::ffi::OsString::from("rustc"));
    capture(Command::new(rustc).arg("-vV"))?
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("rustc does not tell its host")
}

fn fuzz(program: &Path, folder: &Path, target: &str, options: &Options) -> Result<()> {
    let artifacts = folder.join("artifacts").join(target);
    make(&artifacts)?;
    let mut fuzz = Command::new(program);
    fuzz.arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-timeout=10", "-rss_limit_mb=1024", "-max_len=16384"]);
    let seeds = folder.join("seeds").join(target);
    if options.smoke {
        // A copy, since the first folder grows, and a smoke run starts from the same inputs.
        let copy = workspace::target()?.join("xtask/seeds").join(target);
        crate::setup::remove(&copy)?;
        make(&copy)?;
        copy_files(&seeds, &copy)?;
        fuzz.args(["-seed=1", SMOKE_RUNS, SMOKE_SECONDS]).arg(copy);
        return run_quietly(&mut fuzz, &format!("fuzz-{target}"));
    }
    let corpus = folder.join("corpus").join(target);
    make(&corpus)?;
    fuzz.arg(format!("-max_total_time={}", options.seconds))
        .arg(corpus);
    execute(fuzz.args(seeds.is_dir().then_some(seeds)))
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))
}

/// Copies the files of a folder that may not be there.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(from).with_context(|| format!("cannot list `{}`", from.display()))? {
        let entry = entry.with_context(|| format!("cannot list `{}`", from.display()))?;
        let target = to.join(entry.file_name());
        fs::copy(entry.path(), &target)
            .with_context(|| format!("cannot write `{}`", target.display()))?;
    }
    Ok(())
}
