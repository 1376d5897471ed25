//! `cordon key`.

use std::path::Path;
use std::process::ExitCode;

/// Arguments of `cordon key`.
#[derive(clap::Args, Debug)]
pub struct Args {}

impl Args {
    /// Runs it.
    #[must_use]
    pub fn run(self, _config: Option<&Path>) -> ExitCode {
        ExitCode::FAILURE
    }
}
