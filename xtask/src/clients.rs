//! `cargo xtask clients`: real clients as Debian ships them, proved against cordon.

use anyhow::{Result, bail};

use crate::exec::become_program;
use crate::{build, foreign, privilege, setup, workspace};

#[path = "../../tests/src/clients/needs.rs"]
mod needs;

/// Prove real clients of DNS, TLS and HTTP against cordon (as root).
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only clients whose name holds this (`dns`, `web`, `curl`)
    filter: Option<String>,
    /// Content although a client could not be run
    #[arg(long)]
    allow_missing: bool,
    /// Leave out the clients that need this; may be repeated
    #[arg(long, value_parser = words())]
    skip: Vec<String>,
    /// Install nothing: use what is there
    #[arg(long)]
    no_install: bool,
    /// Optimised, as it is shipped
    #[arg(long)]
    release: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if !privilege::is_root() {
        bail!(
            "the clients run in namespaces, cgroups and under BPF programs: run `cargo xtask \
             clients` as root"
        );
    }
    setup::bpf_toolchain()?;
    setup::stories()?;
    if !options.no_install {
        install(options);
    }
    let built = build::build(&build::Options {
        release: options.release,
    })?;
    let mut clients = built.stories()?;
    clients.arg("clients").args(&options.filter);
    if options.allow_missing {
        clients.arg("--allow-missing");
    }
    for word in &options.skip {
        clients.args(["--skip", word]);
    }
    become_program(&mut clients)
}

/// Words of what can be left out.
fn words() -> Vec<&'static str> {
    needs::TOOLS.iter().filter_map(|tool| tool.big).collect()
}

/// Installs what is missing. What cannot be had is told, and its clients are then reported as not run.
fn install(options: &Options) {
    let is_left_out = |word: &str| options.skip.iter().any(|skipped| skipped == word);
    let is_there = |tool: &needs::Tool| tool.is_there() || workspace::program(tool.file).is_some();
    let missing = needs::TOOLS
        .iter()
        .filter(|tool| !is_there(tool) && !tool.big.is_some_and(is_left_out));
    for tool in missing {
        let package = tool.package();
        eprintln!("`{}` is missing: package {package}", tool.name);
        let installed = match tool.release {
            Some(_) => foreign::install(tool.file),
            None => setup::install(&[tool.package]),
        };
        if let Err(error) = installed {
            eprintln!("cannot install {package}: {error:#}");
        }
    }
}
