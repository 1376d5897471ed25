//! `cargo xtask lint`: every check that needs no run of the program.
//!
//! **Invariant**: all checks run even when one fails, and one that cannot run here is named.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::exec::{cargo, run as execute, step};
use crate::toolchain::rustup_toolchains;
use crate::{setup, workspace};

mod tracked;

/// Check formatting, lints, documentation, licences and the tracked files.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Also install what is missing for it (minutes), and ask for known vulnerabilities (network)
    #[arg(long)]
    full: bool,
}

/// How a check ended, if not with a mistake.
#[derive(Debug)]
enum Outcome {
    Passed,
    /// It cannot run here, for this reason.
    NotRun(String),
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let checks: [(&str, &dyn Fn() -> Result<Outcome>); 6] = [
        ("formatting", &formatting),
        ("tracked files", &tracked::check),
        ("clippy, host", &clippy_host),
        ("clippy, BPF programs", &clippy_bpf),
        ("documentation", &documentation),
        ("licences and dependencies", &|| dependencies(options.full)),
    ];
    let mut failed = Vec::new();
    let mut not_run = Vec::new();
    for (name, check) in checks {
        match step(name, check) {
            Ok(Outcome::Passed) => {}
            Ok(Outcome::NotRun(reason)) => not_run.push(format!("{name}: {reason}")),
            Err(error) => {
                eprintln!("{error:#}");
                failed.push(name);
            }
        }
    }
    for reason in &not_run {
        eprintln!("NOT RUN: {reason}");
    }
    if !failed.is_empty() {
        bail!("these checks failed: {}", failed.join("; "));
    }
    eprintln!("lint: no mistake found, {} check(s) not run", not_run.len());
    Ok(())
}

/// Formats with a nightly rustfmt where there is one: only it knows how to order imports.
fn formatting() -> Result<Outcome> {
    let mut fmt = cargo()?;
    fmt.args(["fmt", "--all", "--check"]);
    if let Some(rustfmt) = nightly_rustfmt() {
        fmt.env("RUSTFMT", rustfmt);
    }
    execute(&mut fmt)?;
    Ok(Outcome::Passed)
}

fn nightly_rustfmt() -> Option<PathBuf> {
    rustup_toolchains()
        .into_iter()
        .filter(|toolchain| toolchain.to_string_lossy().contains("/nightly"))
        .map(|toolchain| toolchain.join("bin/rustfmt"))
        .find(|rustfmt| rustfmt.is_file())
}

/// The programs of `ebpf` do not build for the host; all else does.
const HOST: [&[&str]; 2] = [
    &["--workspace", "--exclude", "cordon-ebpf", "--all-targets"],
    &["--package", "cordon-ebpf", "--lib", "--tests"],
];

fn clippy_host() -> Result<Outcome> {
    for selection in HOST {
        let mut clippy = cargo()?;
        clippy.arg("clippy").args(selection);
        execute(clippy.args(["--", "--deny", "warnings"]))?;
    }
    Ok(Outcome::Passed)
}

/// Lints the programs with the clippy of their own compiler.
fn clippy_bpf() -> Result<Outcome> {
    let toolchain = match setup::bpf_toolchain() {
        Ok(toolchain) => toolchain,
        Err(missing) => return Ok(Outcome::NotRun(format!("{missing:#}"))),
    };
    let driver = toolchain.rustc.with_file_name("clippy-driver");
    if let (false, Err(missing)) = (driver.is_file(), setup::bpf_clippy(&toolchain)) {
        return Ok(Outcome::NotRun(format!("{missing:#}")));
    }
    let target = workspace::target()?.join("bpf-lint");
    let mut check = toolchain.cargo("check", workspace::root()?, &target);
    // What `cargo clippy` does, for a compiler that is not the one on PATH.
    check
        .env("RUSTC_WORKSPACE_WRAPPER", driver)
        .env("CLIPPY_CONF_DIR", workspace::root()?)
        .env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
    execute(&mut check)?;
    Ok(Outcome::Passed)
}

fn documentation() -> Result<Outcome> {
    for selection in [
        &["--workspace", "--exclude", "cordon-ebpf"][..],
        &["--package", "cordon-ebpf", "--lib"],
    ] {
        let mut doc = cargo()?;
        doc.args(["doc", "--no-deps"]).args(selection);
        execute(doc.env("RUSTDOCFLAGS", "--deny warnings"))?;
    }
    Ok(Outcome::Passed)
}

fn dependencies(full: bool) -> Result<Outcome> {
    if workspace::program("cargo-deny").is_none() {
        if !full {
            let reason = "no cargo-deny; `cargo xtask lint --full` builds it into target/tools";
            return Ok(Outcome::NotRun(reason.to_owned()));
        }
        setup::crate_program("cargo-deny")?;
    }
    let mut deny = Command::new("cargo-deny");
    deny.current_dir(workspace::root()?)
        .env("PATH", workspace::search_path()?)
        .args([
            "--all-features",
            "--workspace",
            "--locked",
            "--config",
            ".deny.toml",
        ])
        .args(["check", "bans", "licenses", "sources"]);
    if full {
        deny.arg("advisories");
    }
    execute(&mut deny)?;
    Ok(Outcome::Passed)
}
