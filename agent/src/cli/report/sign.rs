//! `cordon report sign`.

use std::path::{Path, PathBuf};

use super::check::same_job;
use super::{Failure, MAX_REPORT, output};
use crate::config::Config;
use crate::report::chain::Chain;
use crate::report::escape::escape;
use crate::report::signer::SigningKey;
use crate::report::sink::{EvidenceDir, Reports, Sealing, Written};
use crate::report::verify::AnyReport;
use crate::sys::fs;

/// What to make of reports.
#[derive(Clone, Copy, Debug)]
pub(super) enum How<'c> {
    /// Bundles alone.
    Signed,
    /// A seal too, whose number comes from the state directory of these settings.
    Sealed(Option<&'c Path>),
}

/// Signs reports again.
pub(super) fn sign(
    files: &[PathBuf],
    how: How<'_>,
    key: &SigningKey,
    evidence: &Path,
) -> Result<(), Failure> {
    let mut reports = Vec::new();
    for file in files {
        reports.push(AnyReport::parse(&fs::read(file, MAX_REPORT)?)?);
    }
    state_protection(&mut reports, key);
    let written = match how {
        How::Signed => {
            let together = together(&reports)?;
            EvidenceDir::prepare(evidence)?.write(&together, key)?
        }
        How::Sealed(settings) => {
            let settings = Config::load(settings)?;
            sign_and_seal(&reports, &settings, key, evidence)?
        }
    };
    Ok(output::data(&description(&written))?)
}

/// Has reports say how the key is kept that signs them now. A run report names the others by digest, so
/// where there is one they stay as they are.
fn state_protection(reports: &mut [AnyReport], key: &SigningKey) {
    let is_run = |report: &AnyReport| matches!(report, AnyReport::Run(_));
    if reports.iter().any(is_run) {
        return;
    }
    for report in reports {
        let platform = match report {
            AnyReport::Egress(report) => &mut report.platform,
            AnyReport::Sweep(report) => &mut report.platform,
            AnyReport::Run(report) => &mut report.platform,
        };
        platform.key_protection = key.protection().to_string();
    }
}

fn description(written: &Written) -> String {
    let reports = written.reports.iter().map(|paths| {
        format!(
            "report     {}\nbundle     {}\n",
            escape(&paths.report.to_string_lossy()),
            escape(&paths.bundle.to_string_lossy()),
        )
    });
    let seal = written.seal.iter().map(|seal| {
        format!(
            "seal       {}\n           sha256 {}, number {}\n",
            escape(&seal.bundle.to_string_lossy()),
            seal.sha256,
            seal.sequence,
        )
    });
    let key = format!("signed by  {}\n", written.key_id);
    reports.chain(seal).chain([key]).collect()
}

fn together(reports: &[AnyReport]) -> Result<Reports<'_>, Failure> {
    let mut all = Reports::default();
    for report in reports {
        let taken = match report {
            AnyReport::Egress(report) => all.add_egress(report),
            AnyReport::Sweep(report) => all.add_sweep(report),
            AnyReport::Run(report) => all.add_run(report),
        };
        if !taken {
            return Err(Failure::Twice);
        }
    }
    Ok(all)
}

fn sign_and_seal(
    reports: &[AnyReport],
    settings: &Config,
    key: &SigningKey,
    evidence: &Path,
) -> Result<Written, Failure> {
    let (egress, sweep) = match reports {
        [AnyReport::Egress(egress)] => (egress, None),
        [AnyReport::Egress(egress), AnyReport::Sweep(sweep)]
        | [AnyReport::Sweep(sweep), AnyReport::Egress(egress)] => (egress, Some(sweep)),
        _ => return Err(Failure::NotSealable),
    };
    let swept = sweep
        .and_then(|sweep| sweep.job.as_ref())
        .map(|job| job.id.as_str());
    same_job(
        egress,
        "secret sweep",
        sweep.map(|_| swept.unwrap_or_default()),
    )?;
    let sealing = Sealing {
        key,
        chain: &Chain::new(&settings.host.state_dir, key.public()),
        // Nobody says here that this host watched the job.
        host: "",
        artefacts: &[],
        events: None,
    };
    let evidence = EvidenceDir::prepare(evidence)?;
    Ok(evidence.seal(egress, sweep.map(AsRef::as_ref), sealing)?)
}
