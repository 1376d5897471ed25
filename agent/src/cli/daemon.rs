//! `cordon daemon` and `cordon reload`.

use std::path::Path;
use std::process::ExitCode;

use super::output::{self, complaint, deliver};
use super::{job, run};
use crate::daemon::api::types::Done;
use crate::daemon::settings::{Settings, SettingsError};
use crate::daemon::{self, DaemonError};
use crate::enforce::EnforceError;
use crate::enforce::kernel::KernelError;

const ABOUT: &str = "\
The daemon enforces the units in `cordon.slice` (runners: `[[runner]]` of the host settings) and the jobs that they \
ask for on its socket, `cordon.sock` in the run directory. A unit that no `[[runner]]` is for is denied everything. \
Restarting, replacing or killing it leaves every job enforced; the next daemon goes on with them. SIGHUP reads \
settings and profiles again, all or none; SIGTERM stops it. It says READY=1, WATCHDOG=1 and STOPPING=1 to a service \
manager (`Type=notify`).
Exit status:
    0  it was told to stop
  120  this host cannot be enforced, or another daemon runs
  121  the settings or a profile are wrong
  122  the kernel or this build lacks what enforcement needs
  123  it lacks a permission";

/// Arguments of `cordon daemon`.
#[derive(clap::Args, Debug)]
#[command(after_help = ABOUT)]
pub struct Args;

impl Args {
    /// Runs the daemon.
    #[must_use]
    pub fn run(self, config: Option<&Path>) -> ExitCode {
        let Self = self;
        let settings = match Settings::load(config) {
            Ok(settings) => settings,
            Err(SettingsError::Mistakes(mistakes)) => {
                output::mistakes(&mistakes);
                return ExitCode::from(run::USAGE);
            }
            Err(error) => {
                complaint(&error);
                return ExitCode::from(run::USAGE);
            }
        };
        let key = match run::signing_key(&settings.config.host) {
            Ok(key) => key,
            Err(failure) => return failure.exit(),
        };
        match daemon::run(config, settings, key) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complaint(&error);
                ExitCode::from(status_of(&error))
            }
        }
    }
}

fn status_of(error: &DaemonError) -> u8 {
    match error {
        DaemonError::Privilege(_) => run::PERMISSION,
        DaemonError::Settings(
            SettingsError::Mistakes(_)
            | SettingsError::Compile { .. }
            | SettingsError::Sandbox { .. },
        )
        | DaemonError::Chain(_) => run::USAGE,
        DaemonError::Enforce(EnforceError::Kernel(
            KernelError::NoObject
            | KernelError::NoBtf(_)
            | KernelError::NoOffset { .. }
            | KernelError::Load { .. },
        )) => run::UNSUPPORTED,
        _ => run::NOT_ENFORCED,
    }
}

/// Arguments of `cordon reload`.
#[derive(clap::Args, Debug)]
pub struct ReloadArgs;

impl ReloadArgs {
    /// Has the daemon read its settings again.
    #[must_use]
    pub fn run(self, config: Option<&Path>) -> ExitCode {
        let Self = self;
        job::ask(config, async |client| {
            let Done { done } = client.post("/v1/reload", &()).await?;
            Ok(deliver(&format!("{done}\n"), ExitCode::SUCCESS))
        })
    }
}
