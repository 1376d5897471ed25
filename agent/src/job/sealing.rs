//! The last step of a job: what it comes to is written, signed and sealed.

use std::path::Path;

use crate::config::Config;
use crate::enforce::chain;
use crate::events::journal::Kept;
use crate::report::Report;
use crate::report::chain::Chain;
use crate::report::signer::SigningKey;
use crate::report::sink::{EvidenceDir, Sealing, SinkError, Written};
use crate::report::statement::Subject;
use crate::report::sweep::SweepReport;
use crate::telemetry;
use crate::telemetry::file::TelemetryError;

/// The evidence of a job, on disk.
#[derive(Debug)]
pub struct Sealed {
    /// The egress report.
    pub report: Report,
    /// The report of its sweep.
    pub sweep: Option<SweepReport>,
    /// Where they are.
    pub written: Written,
    /// Whether its line of telemetry was written; absent where none is wanted.
    pub telemetry: Option<Result<(), String>>,
}

/// Writes the evidence of a job and seals it; `artefacts` are what it made. Then tells of it in the file of telemetry:
/// a line that cannot be written takes nothing from the evidence.
///
/// # Errors
/// See [`EvidenceDir::seal`].
pub(super) fn seal(
    evidence: &EvidenceDir,
    (config, key): (&Config, &SigningKey),
    (mut report, mut sweep): (Report, Option<SweepReport>),
    artefacts: &[Subject],
    events: Option<&Kept>,
) -> Result<Sealed, SinkError> {
    // Only now is it certain which key signs.
    let protection = key.protection().to_string();
    if let Some(sweep) = &mut sweep {
        sweep.platform.key_protection.clone_from(&protection);
    }
    report.platform.key_protection = protection;
    let host = host_name();
    let links = Chain::new(&config.host.state_dir, key.public());
    let sealing = Sealing {
        key,
        chain: &links,
        host: &host,
        artefacts,
        events,
    };
    let written = evidence.seal(&report, sweep.as_ref(), sealing)?;
    let telemetry = config.telemetry.as_deref().map(|file| {
        let line = telemetry::line(&host, &report, sweep.as_ref(), &written);
        tell(file, &line).map_err(|error| {
            let error = chain(&error);
            tracing::error!(
                job = report.job.id,
                error,
                "no line of telemetry was written"
            );
            error
        })
    });
    Ok(Sealed {
        report,
        sweep,
        written,
        telemetry,
    })
}

fn tell(file: &Path, line: &telemetry::Line) -> Result<(), TelemetryError> {
    telemetry::file::append(file, &line.to_text()?)
}

/// What the host calls itself; empty where it does not say.
pub(super) fn host_name() -> String {
    let system = nix::sys::utsname::uname();
    system.map_or_else(
        |_| String::new(),
        |system| system.nodename().to_string_lossy().into_owned(),
    )
}
