//! `cargo xtask accuracy`: what the secret engine finds of labelled samples, and what it misses.

use std::path::PathBuf;

use anyhow::Result;

use crate::exec::{become_program, cargo};

/// Print precision and recall of the secret engine on labelled samples.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A folder of labelled samples (docs/secret-formats.md); default: the project's own cases
    samples: Option<PathBuf>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let samples = options.samples.as_ref().map(std::path::absolute);
    let samples = samples.transpose()?;
    become_program(
        cargo()?
            .args(["run", "--quiet", "--release", "--package", "cordon-secrets"])
            .args(["--features", "cases", "--example", "accuracy", "--"])
            .args(samples),
    )
}
