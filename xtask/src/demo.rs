//! `cargo xtask demo`: the main job on real clients, in namespaces of its own.

use std::ffi::OsString;

use anyhow::{Result, bail};

use crate::exec::become_program;
use crate::{build, privilege, setup};

/// Show the main job: one good host, one attacker, and the evidence (as root).
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Optimised, as it is shipped
    #[arg(long)]
    release: bool,
    /// What is passed on to the demo
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let toolchain = setup::bpf_toolchain();
    let programs = setup::stories();
    if !privilege::is_root() {
        for missing in [toolchain.err(), programs.err()].into_iter().flatten() {
            eprintln!("{missing:#}");
        }
        bail!(
            "the demo makes namespaces, cgroups and BPF programs: run `cargo xtask demo` as root \
             (it leaves nothing behind)"
        );
    }
    toolchain?;
    programs?;
    let built = build::build(&build::Options {
        release: options.release,
    })?;
    // The demo tears its world down on Ctrl-C, so it must be what the terminal signals.
    become_program(built.stories()?.arg("demo").args(&options.arguments))
}
