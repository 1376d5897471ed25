//! `cordon doctor`: whether this host can enforce, and what it lacks.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::output::{self, complaint, deliver};
use crate::config::Config;
use crate::doctor::{Finding, can_enforce, probes, render};

const ABOUT: &str = "\
Tries every feature as a run does, and attaches nothing. Three answers: works, does not work, could \
not tell (run it as root). Each that does not work is followed by what that means and what to do.
Exit status: 0 if jobs can be enforced here, 1 if not, 121 if the configuration is wrong.";

/// Columns where there is no terminal to ask.
const WIDTH: usize = 80;
/// Longer lines are hard to read.
const WIDEST: usize = 100;

/// Arguments of `cordon doctor`.
#[derive(clap::Args, Debug)]
#[command(after_help = ABOUT)]
pub struct Args {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// The findings for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Examination<'a> {
    schema: &'static str,
    system: &'a str,
    can_enforce: bool,
    findings: &'a [Finding],
}

impl Args {
    /// Examines the host.
    #[must_use]
    pub fn run(self, config: Option<&Path>) -> ExitCode {
        let config = match Config::load(config) {
            Ok(config) => config,
            Err(mistakes) => {
                output::mistakes(&mistakes);
                return ExitCode::from(super::run::USAGE);
            }
        };
        let findings = probes::examine(&config);
        let system = system();
        let good = can_enforce(&findings);
        let text = if self.json {
            let examination = Examination {
                schema: "cordon/doctor/v1",
                system: &system,
                can_enforce: good,
                findings: &findings,
            };
            match serde_json::to_string_pretty(&examination) {
                Ok(json) => format!("{json}\n"),
                Err(error) => {
                    complaint(&error);
                    return ExitCode::FAILURE;
                }
            }
        } else {
            render(&system, &findings, width())
        };
        let code = if good {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
        deliver(&text, code)
    }
}

fn width() -> usize {
    terminal_size::terminal_size().map_or(WIDTH, |(terminal_size::Width(columns), _)| {
        usize::from(columns).min(WIDEST)
    })
}

fn system() -> String {
    nix::sys::utsname::uname().map_or_else(
        |errno| format!("unknown kernel ({errno})"),
        |system| {
            format!(
                "{} {} on {}",
                system.sysname().to_string_lossy(),
                system.release().to_string_lossy(),
                system.machine().to_string_lossy()
            )
        },
    )
}
