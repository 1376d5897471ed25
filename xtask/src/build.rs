//! `cargo xtask build`: the BPF programs, the agent and the stories.

use std::path::PathBuf;

use anyhow::Result;

use crate::exec::{cargo, run as execute, step};
use crate::{setup, workspace};

/// What the agent is built with here and in packages. Keys in a TPM bring no dependency along.
pub(crate) const FEATURES: &str = "cordon/tpm";

/// Build the agent with its BPF programs, and the stories.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Optimised, as it is shipped
    #[arg(long)]
    pub(crate) release: bool,
}

/// What a build leaves.
#[derive(Debug)]
pub(crate) struct Built {
    /// The agent.
    pub(crate) agent: PathBuf,
    /// The stories.
    pub(crate) stories: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let Built { agent, stories } = build(options)?;
    eprintln!(
        "agent:   {}\nstories: {}",
        agent.display(),
        stories.display()
    );
    Ok(())
}

/// Builds all, or says what is missing; never an agent without programs.
pub(crate) fn build(options: &Options) -> Result<Built> {
    setup::bpf_toolchain()?;
    step("build the BPF programs, the agent and the stories", || {
        execute(cargo_build(options)?.env("CORDON_REQUIRE_OBJECT", "1"))
    })?;
    built(options)
}

/// Builds all that builds here: without a BPF toolchain, an agent that runs no job.
pub(crate) fn build_what_can_be(options: &Options) -> Result<Built> {
    step("build the agent", || execute(&mut cargo_build(options)?))?;
    built(options)
}

/// Always the same packages: another choice would have other features, and build all anew.
fn cargo_build(options: &Options) -> Result<std::process::Command> {
    let mut build = cargo()?;
    build
        .arg("build")
        // The others are found beside the agent, when a job needs them.
        .args(
            ["cordon", "cordon-engine", "cordon-oci", "cordon-tests"]
                .map(|package| format!("--package={package}")),
        )
        .args(["--features", FEATURES])
        .args(options.release.then_some("--release"));
    Ok(build)
}

fn built(options: &Options) -> Result<Built> {
    let profile = if options.release { "release" } else { "debug" };
    let folder = workspace::target()?.join(profile);
    Ok(Built {
        agent: folder.join("cordon"),
        stories: folder.join("cordon-tests"),
    })
}

impl Built {
    /// The stories' program, told where the agent and the tools are.
    pub(crate) fn stories(&self) -> Result<std::process::Command> {
        let mut stories = std::process::Command::new(&self.stories);
        stories
            .current_dir(workspace::root()?)
            .env("CORDON_BIN", &self.agent)
            .env("PATH", workspace::search_path()?);
        Ok(stories)
    }
}
