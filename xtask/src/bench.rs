//! `cargo xtask bench`: what a job pays.

use std::ffi::OsString;

use anyhow::{Result, bail};

use crate::exec::become_program;
use crate::{build, foreign, privilege, setup, workspace};

/// Measure what enforcement costs, with the optimised agent (as root).
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What to measure: `calls`, `dns`, `names`, `sweep`, `evidence` or `job`
    #[arg(default_value = "calls", value_parser = ["calls", "dns", "names", "sweep", "evidence", "job"])]
    subject: String,
    /// What is passed on to the benchmark
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if !privilege::is_root() {
        bail!("the benchmark makes cgroups and BPF programs: run `cargo xtask bench` as root");
    }
    setup::stories()?;
    let others = match options.subject.as_str() {
        "dns" => setup::resolvers(),
        "sweep" if workspace::program("gitleaks").is_none() => foreign::install("gitleaks"),
        _ => Ok(()),
    };
    if let Err(error) = others {
        eprintln!("what cannot be had is not measured: {error:#}");
    }
    let built = build::build(&build::Options { release: true })?;
    become_program(
        built
            .stories()?
            .args(["bench", &options.subject])
            .args(&options.arguments),
    )
}
