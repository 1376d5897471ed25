//! The command line: arguments that do nothing, then typed commands. Only this module prints.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::sandbox::init;

pub mod bind;
pub mod daemon;
pub mod doctor;
pub mod host;
pub mod job;
pub mod key;
mod output;
pub mod profile;
pub mod publish;
pub mod report;
pub mod resume;
pub mod run;
pub mod secrets;
pub mod sweep;
pub mod verify;

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
    /// Go on with a job whose cordon was killed
    Resume(resume::Args),
    /// Enforce the runners of this host and the jobs they ask for
    Daemon(daemon::Args),
    /// Have the daemon read its settings and profiles again
    Reload(daemon::ReloadArgs),
    /// Start, show and end jobs of the daemon
    Job(job::Args),
    /// Check, explain and suggest profiles
    Profile(profile::Args),
    /// Look for secrets in the environments and arguments of running processes
    Sweep(sweep::Args),
    /// Show the evidence of a job
    Report(report::Args),
    /// Decide whether a release may be promoted on its evidence
    Verify(verify::Args),
    /// Publish evidence beside its image, in a registry
    Publish(publish::Args),
    /// Say which image a job made, after its evidence was sealed
    Bind(bind::Args),
    /// Make and show signing keys
    Key(key::Args),
    /// Register values that must not be in a job, and fingerprint those that may
    Secrets(secrets::Args),
    /// Say whether this host can enforce, and what it lacks
    Doctor(doctor::Args),
    /// Show what of cordon is in the kernel, and replace it under way
    Host(host::Args),
}

/// Parses the command line and runs it.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = init::requested() {
        return code;
    }
    match Cli::try_parse() {
        Ok(cli) => cli.run(),
        Err(error) => refuse(&error),
    }
}

/// Says what is wrong with the command line (or gives the help that was asked for).
fn refuse(error: &clap::Error) -> ExitCode {
    // `run` has codes of its own, so that they are not taken for the command's; `secrets` does not
    // repeat what it does not understand.
    let command = std::env::args_os()
        .skip(1)
        .find(|word| word == "run" || word == "profile" || word == "secrets");
    let is = |name: &str| command.as_ref().is_some_and(|word| word == name);
    if is("secrets") && quotes_arguments(error.kind()) {
        output::complaint(&NotQuoted);
        return ExitCode::from(USAGE);
    }
    // Nobody is left to tell that the terminal is gone.
    drop(error.print());
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    ExitCode::from(if is("run") { run::USAGE } else { USAGE })
}

/// An argument of `cordon secrets` that could be a value.
#[derive(Debug, thiserror::Error)]
#[error(
    "an argument of `cordon secrets` is not known or not valid; `cordon secrets --help` has those that \
     are. If it was a secret, change that: arguments are visible to every process of the host"
)]
struct NotQuoted;

/// Whether the words for an error hold arguments that were given.
fn quotes_arguments(kind: ErrorKind) -> bool {
    !matches!(
        kind,
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::DisplayVersion
            | ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
    )
}

/// The command line is wrong.
const USAGE: u8 = 2;

impl Cli {
    /// Runs the command. The exit status is documented with each of them.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let Self { config, command } = self;
        match command {
            Command::Run(args) => args.run(config.as_deref()),
            Command::Resume(args) => args.run(config.as_deref()),
            Command::Daemon(args) => args.run(config.as_deref()),
            Command::Reload(args) => args.run(config.as_deref()),
            Command::Job(args) => args.run(config.as_deref()),
            Command::Profile(args) => args.run(config.as_deref()),
            Command::Sweep(args) => args.run(config.as_deref()),
            Command::Report(args) => args.run(config.as_deref()),
            Command::Verify(args) => args.run(),
            Command::Publish(args) => args.run(),
            Command::Bind(args) => args.run(config.as_deref()),
            Command::Key(args) => args.run(config.as_deref()),
            Command::Secrets(args) => args.run(config.as_deref()),
            Command::Doctor(args) => args.run(config.as_deref()),
            Command::Host(args) => args.run(config.as_deref()),
        }
    }
}
