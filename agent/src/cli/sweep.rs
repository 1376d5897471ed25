//! `cordon sweep`.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::{ColorChoice, ValueEnum};

use super::output;
use super::report::{terminal_width, wants_color};
use crate::cgroup::hierarchy::Hierarchy;
use crate::cgroup::{self, Cgroup, CgroupError};
use crate::config::{Config, HostConfig};
use crate::enforce::object;
use crate::job::run;
use crate::policy::{Library, Mistakes, Policy};
use crate::report::json;
use crate::report::sweep::{SweepReport, Verdict, sarif, text};
use crate::secrets::request::{self, RequestError, Targets};
use crate::sys::{privilege, sensitive};

/// Something that must be looked at was found.
const FINDINGS: u8 = 1;
/// Nothing was found, and not everything could be read.
const INCOMPLETE: u8 = 3;
/// The sweep could not be made.
const FAILED: u8 = 8;

/// Arguments of `cordon sweep`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Reads environments and arguments; nothing is stopped, changed or sent anywhere.

Exit status:
  0  nothing found, and everything was read
  1  findings
  3  nothing found, but not everything could be read: the first lines say what
  8  the sweep could not be made
  64 wrong usage or profile"
)]
pub struct Args {
    #[command(flatten)]
    targets: Wanted,
    /// Judge by this profile's `[secrets]`: a file, or the name of a profile; several are joined
    #[arg(long, short, value_name = "FILE|NAME")]
    profile: Vec<String>,
    /// How to print what was found
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    format: Format,
    /// Columns; those of the terminal by default
    #[arg(long, value_name = "N")]
    width: Option<usize>,
    /// Colours
    #[arg(long, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    color: ColorChoice,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Wanted {
    /// Every process of the host
    #[arg(long)]
    all: bool,
    /// The processes of a running job
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// These processes; may be repeated
    #[arg(long, value_name = "PID")]
    pid: Vec<u32>,
}

/// How findings are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// The report, as jobs have it in their evidence
    Json,
    /// SARIF 2.1.0
    Sarif,
}

/// Why there is no sweep.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Privilege(#[from] privilege::PrivilegeError),
    #[error("there is no running job `{id}`: `cordon host status` lists them")]
    NoJob { id: String },
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Sweep(#[from] RequestError),
    #[error("memory cannot be kept out of core files and swap, or nothing be printed")]
    System(#[from] io::Error),
    #[error("the report cannot be made")]
    Report(#[source] Box<dyn std::error::Error>),
    #[error("the report cannot be printed")]
    Print(#[from] serde_json::Error),
}

impl Args {
    /// Runs the command.
    pub fn run(self, config: Option<&Path>) -> ExitCode {
        let config = match Config::load(config) {
            Ok(config) => config,
            Err(mistakes) => return output::mistakes(&mistakes),
        };
        let policy = match self.policy(&config.host) {
            Ok(policy) => policy,
            Err(mistakes) => return output::mistakes(&mistakes),
        };
        match self.sweep(&config, &policy) {
            Ok(code) => code,
            Err(failure) => {
                output::complaint(&failure);
                ExitCode::from(FAILED)
            }
        }
    }

    fn policy(&self, host: &HostConfig) -> Result<Policy, Mistakes> {
        if self.profile.is_empty() {
            return Ok(Policy::deny_all());
        }
        let library = Library {
            directory: Some(host.profiles_dir.clone()),
        };
        Policy::load(&self.profile, &library)
    }

    fn sweep(&self, config: &Config, policy: &Policy) -> Result<ExitCode, Failure> {
        privilege::require_for_reading()?;
        sensitive::shield()?;
        let targets = self.targets(&config.host)?;
        let platform = run::platform(object::sha256()).map_err(Failure::Report)?;
        let mut progress = Progress::new();
        let report = request::sweep(config, policy, &targets, platform, &mut |done, all| {
            progress.show(done, all);
        })?;
        progress.clear();
        self.print(&report)?;
        Ok(match report.verdict {
            Verdict::Clean => ExitCode::SUCCESS,
            Verdict::Findings => ExitCode::from(FINDINGS),
            Verdict::Incomplete => ExitCode::from(INCOMPLETE),
        })
    }

    fn targets(&self, host: &HostConfig) -> Result<Targets, Failure> {
        if let Some(id) = &self.targets.job {
            return Ok(Targets::Processes(processes_of(host, id)?));
        }
        if self.targets.all {
            return Ok(Targets::All);
        }
        Ok(Targets::Processes(self.targets.pid.clone()))
    }

    fn print(&self, report: &SweepReport) -> Result<(), Failure> {
        let shown = match self.format {
            Format::Text => {
                let width = self.width.unwrap_or_else(terminal_width);
                text::render(report, width, wants_color(self.color))
            }
            Format::Json => json::pretty(report)?,
            Format::Sarif => sarif::render(report)?,
        };
        Ok(output::data(&shown)?)
    }
}

fn processes_of(host: &HostConfig, id: &str) -> Result<Vec<u32>, Failure> {
    let no_job = || Failure::NoJob { id: id.to_owned() };
    // A name of one part, or it would lead elsewhere.
    if id.is_empty() || id.contains('/') {
        return Err(no_job());
    }
    let root = Hierarchy::find()?.root(host.cgroup_root.as_deref())?;
    let path = root
        .cgroup
        .path()
        .join(cgroup::SLICE)
        .join(format!("job-{id}"));
    if !path.is_dir() {
        return Err(no_job());
    }
    Ok(Cgroup::open(&path)?.processes()?)
}

/// How far it is, on a terminal.
struct Progress {
    on: bool,
    shown: Option<usize>,
}

impl Progress {
    fn new() -> Self {
        Self {
            on: io::stderr().is_terminal(),
            shown: None,
        }
    }

    fn show(&mut self, done: usize, all: usize) {
        let percent = done.saturating_mul(100).checked_div(all);
        if self.on && self.shown != percent {
            self.shown = percent;
            let line = format!("\rsweeping: {done} of {all} processes");
            // Nobody is left to tell that the terminal is gone.
            drop(io::stderr().lock().write_all(line.as_bytes()));
        }
    }

    fn clear(&self) {
        if self.on && self.shown.is_some() {
            drop(io::stderr().lock().write_all(b"\r\x1b[K"));
        }
    }
}
