//! The last step of a job: what it comes to is written, signed and sealed.

use crate::config::Config;
use crate::report::Report;
use crate::report::chain::Chain;
use crate::report::signer::SigningKey;
use crate::report::sink::{EvidenceDir, Sealing, SinkError, Written};
use crate::report::statement::Subject;
use crate::report::sweep::SweepReport;

/// Writes the evidence of a job and seals it; `artefacts` are what it made.
///
/// # Errors
/// See [`EvidenceDir::seal`].
pub(super) fn seal(
    evidence: &EvidenceDir,
    (config, key): (&Config, &SigningKey),
    (report, sweep): (&mut Report, Option<&mut SweepReport>),
    artefacts: &[Subject],
) -> Result<Written, SinkError> {
    // Only now is it certain which key signs.
    let protection = key.protection().to_string();
    report.platform.key_protection.clone_from(&protection);
    let sweep = sweep.map(|sweep| {
        sweep.platform.key_protection = protection;
        &*sweep
    });
    let chain = Chain::new(&config.host.state_dir, key.public());
    let sealing = Sealing {
        key,
        chain: &chain,
        host: &host_name(),
        artefacts,
    };
    evidence.seal(report, sweep, sealing)
}

/// What the host calls itself; empty where it does not say.
fn host_name() -> String {
    let system = nix::sys::utsname::uname();
    system.map_or_else(
        |_| String::new(),
        |system| system.nodename().to_string_lossy().into_owned(),
    )
}
