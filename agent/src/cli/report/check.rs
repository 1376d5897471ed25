//! `cordon report verify`.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{Failure, Kind, MAX_REPORT, open_evidence, output, present};
use crate::report::attested::{Attestation as _, Attested};
use crate::report::binding::{self, BindingPredicate};
use crate::report::envelope::{Bundle, MAX_BUNDLE};
use crate::report::escape::escape;
use crate::report::run::{RunReport, text as run_text};
use crate::report::seal::{self, SealPredicate};
use crate::report::signer::VerifyingKey;
use crate::report::statement::{Statement, Subject, finished_hex, sha256_hex};
use crate::report::sweep::{SweepReport, text as sweep_text};
use crate::report::verify::{Verified, VerifyError, verify};
use crate::report::{JobFacts, Report, text};
use crate::sys::dir::Directory;

/// Checks that a key signed what is in an evidence directory, or one report of it.
pub(super) fn check(path: &Path, key: &Path, only: Option<Kind>) -> Result<(), Failure> {
    let key = VerifyingKey::load(key)?;
    let dir = open_evidence(path)?;
    let present = present(&dir, only)?;
    let egress = present
        .has(Kind::Egress)
        .then(|| genuine::<Report>(&dir, key));
    let egress = egress.transpose()?;
    let sweep = present
        .has(Kind::Sweep)
        .then(|| genuine::<SweepReport>(&dir, key));
    let sweep = sweep.transpose()?;
    let run = present
        .has(Kind::Run)
        .then(|| genuine::<RunReport>(&dir, key));
    let run = run.transpose()?;
    if let Some(egress) = &egress {
        let swept = sweep.as_ref().map(|sweep| &sweep.report);
        let swept = swept.map(|sweep| sweep.job.as_ref().map_or("", |job| job.id.as_str()));
        let ran = run.as_ref().map(|run| run.report.job.id.as_str());
        same_job(&egress.report, "secret sweep", swept)?;
        same_job(&egress.report, "run", ran)?;
    }
    let id = key.id();
    let mut parts = Vec::new();
    parts.extend(egress.map(|verified| confirmation(&verified, &id)));
    parts.extend(sweep.map(|verified| sweep_confirmation(&verified, &id)));
    parts.extend(run.map(|verified| run_confirmation(&verified, &id)));
    if present.seal {
        parts.push(check_seal(&dir, key)?);
    }
    output::data(&parts.join("\n"))?;
    Ok(())
}

fn genuine<R: Attested>(dir: &Directory, key: VerifyingKey) -> Result<Verified<R>, Failure> {
    let report = dir.read(R::REPORT_NAME, MAX_REPORT)?;
    let bundle = dir.read(R::BUNDLE_NAME, MAX_BUNDLE as u64)?;
    Ok(verify(&report, &bundle, key)?)
}

/// Evidence put together from two jobs is evidence of neither.
pub(super) fn same_job(
    egress: &Report,
    other: &'static str,
    id: Option<&str>,
) -> Result<(), Failure> {
    match id {
        Some(id) if id != egress.job.id => Err(Failure::DifferentJobs {
            egress: egress.job.id.clone(),
            other,
            id: id.to_owned(),
        }),
        _ => Ok(()),
    }
}

fn confirmation(verified: &Verified<Report>, key_id: &str) -> String {
    let Verified {
        report, statement, ..
    } = verified;
    format!(
        "genuine    signed with {key_id}\n\
         report     sha256 {}\n\
         job        {}\n\
         mode       {}\n\
         coverage   {}\n\
         losses     {}\n",
        statement.predicate.report_sha256(),
        job(&report.job),
        text::mode(report.mode),
        text::coverage(&report.coverage),
        text::losses(&report.losses),
    )
}

fn sweep_confirmation(verified: &Verified<SweepReport>, key_id: &str) -> String {
    let Verified {
        report, statement, ..
    } = verified;
    format!(
        "genuine    secret sweep, signed with {key_id}\n\
         report     sha256 {}\n\
         job        {}\n\
         coverage   {}\n\
         verdict    {}\n",
        statement.predicate.report_sha256(),
        report.job.as_ref().map_or_else(|| "none".into(), job),
        sweep_text::looked_into(report),
        sweep_text::verdict(report),
    )
}

fn run_confirmation(verified: &Verified<RunReport>, key_id: &str) -> String {
    let Verified {
        report, statement, ..
    } = verified;
    format!(
        "genuine    run, signed with {key_id}\n\
         report     sha256 {}\n\
         job        {}\n\
         gaps       {}\n\
         verdict    {}\n",
        statement.predicate.report_sha256(),
        job(&report.job),
        run_text::gaps(report),
        report.verdict.name(),
    )
}

fn job(job: &JobFacts) -> String {
    format!("{}, {} to {}", escape(&job.id), job.started, job.finished)
}

/// Checks that `key` sealed the directory, and that every file is the one it sealed.
fn check_seal(dir: &Directory, key: VerifyingKey) -> Result<String, Failure> {
    let (statement, sha256) = sealed(dir, key)?;
    let bound = dir.contains(binding::BUNDLE_NAME)?;
    let bound = bound.then(|| bound_to(dir, key, &sha256)).transpose()?;
    let named = bound.iter().flatten().chain(statement.artefacts());
    let images: Vec<_> = named
        .map(|subject| format!("image      sha256 {}\n", escape(&subject.digest.sha256)))
        .collect();
    Ok(format!(
        "genuine    seal, signed with {}\n\
         seal       sha256 {sha256}, number {} of its key\n\
         files      {}, all there and as they were sealed\n{}",
        key.id(),
        statement.predicate.cordon_sequence,
        statement.predicate.references.len(),
        images.concat(),
    ))
}

/// The seal of a directory, whose files are all as they were sealed, and its SHA-256.
pub(in crate::cli) fn sealed(
    dir: &Directory,
    key: VerifyingKey,
) -> Result<(Statement<SealPredicate>, String), Failure> {
    let bundle = dir.read(seal::BUNDLE_NAME, MAX_BUNDLE as u64)?;
    let statement = seal::open(&bundle, key)?;
    for reference in &statement.predicate.references {
        let mut sha256 = Sha256::new();
        let mut take = |bytes: &[u8]| sha256.update(bytes);
        dir.stream_below(&reference.name, MAX_REPORT, &mut take)?;
        if finished_hex(sha256) != reference.digest.sha256 {
            let name = reference.name.clone();
            return Err(Failure::Piece { name });
        }
    }
    Ok((statement, sha256_hex(&bundle)))
}

/// What a seal was bound to later.
pub(in crate::cli) fn bound_to(
    dir: &Directory,
    key: VerifyingKey,
    seal_sha256: &str,
) -> Result<Vec<Subject>, Failure> {
    let bundle = dir.read(binding::BUNDLE_NAME, MAX_BUNDLE as u64)?;
    let payload = Bundle::parse(&bundle)
        .and_then(|bundle| bundle.verify(key))
        .map_err(VerifyError::from)?;
    let statement = Statement::<BindingPredicate>::parse(&payload).map_err(VerifyError::from)?;
    if !statement.is_about(seal_sha256) {
        return Err(Failure::from(VerifyError::OtherReport {
            found: seal_sha256.to_owned(),
            signed: statement.predicate.report_sha256().to_owned(),
        }));
    }
    Ok(statement.artefacts().to_vec())
}
