//! The command line: arguments that do nothing, then typed commands. Only this module prints.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod key;
pub mod profile;
pub mod report;
pub mod run;
mod terminal;

/// A kernel edge for CI jobs: default-deny egress, proved by signed evidence.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// Host settings; `/etc/cordon/config.toml` if that exists, else the defaults
    #[arg(long, value_name = "FILE", env = "CORDON_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command as a job: its egress enforced, its evidence signed
    Run(run::Args),
    /// Check, explain and suggest profiles
    Profile(profile::Args),
    /// Show the evidence of a job
    Report(report::Args),
    /// Make and show signing keys
    Key(key::Args),
}

impl Cli {
    /// Runs the command. The exit status is documented with each of them.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let Self { config, command } = self;
        match command {
            Command::Run(args) => args.run(config.as_deref()),
            Command::Profile(args) => args.run(config.as_deref()),
            Command::Report(args) => args.run(config.as_deref()),
            Command::Key(args) => args.run(config.as_deref()),
        }
    }
}
