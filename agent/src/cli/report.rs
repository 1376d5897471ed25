//! `cordon report`.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ColorChoice, Subcommand, ValueEnum};
use nix::errno::Errno;

use super::output;
use crate::report::attested::{Attestation as _, Attested};
use crate::report::envelope::{EnvelopeError, MAX_BUNDLE};
use crate::report::escape::escape;
use crate::report::signer::{KeyError, SigningKey, VerifyingKey};
use crate::report::sink::{EvidenceDir, Reports, SinkError};
use crate::report::sweep::{SweepReport, sarif, text as sweep_text};
use crate::report::verify::{AnyReport, Verified, VerifyError, parse_report, verify};
use crate::report::{JobFacts, Report, json, text};
use crate::sys::dir::Directory;
use crate::sys::fs;

/// 256 MiB: far above what the ledger's bounds let a report become.
const MAX_REPORT: u64 = 256 << 20;

/// Columns of a report that goes to no terminal.
const DEFAULT_WIDTH: usize = 100;

/// Arguments of `cordon report`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Exit status:
  0  done, and for `verify`: genuine
  2  wrong usage
  3  evidence missing or incomplete
  4  untrusted: not signed with that key
  5  the statement is about another report, or the reports are about different jobs
  7  malformed, or over the limits
  8  could not decide: a file could not be read or written, or the key not used")]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show reports to a person; who signed them is not checked
    Show {
        /// Evidence directory, or report file
        #[arg(value_name = "DIR|FILE")]
        path: PathBuf,
        /// Only this report of a directory
        #[arg(long, value_name = "KIND")]
        only: Option<Kind>,
        /// Print the report as JSON: of a directory that of egress, if `--only` does not say otherwise
        #[arg(long, conflicts_with_all = ["width", "color"])]
        json: bool,
        /// Columns; those of the terminal by default
        #[arg(long, value_name = "N")]
        width: Option<usize>,
        /// When to use colour, which never carries meaning alone
        #[arg(long, value_name = "WHEN", default_value = "auto")]
        color: ColorChoice,
    },
    /// Check, offline, that a key signed the reports of an evidence directory
    Verify {
        /// Evidence directory
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Public key of the host (PEM), as `cordon key generate` wrote it to FILE.pub
        #[arg(long, value_name = "PUB.pem")]
        key: PathBuf,
        /// Only this report, which must be there; without it, all that are there
        #[arg(long, value_name = "KIND")]
        only: Option<Kind>,
    },
    /// Print the findings of a secret sweep in SARIF 2.1.0; who signed them is not checked
    Sarif {
        /// Evidence directory, or report file
        #[arg(value_name = "DIR|FILE")]
        path: PathBuf,
    },
    /// Sign a report file again, into an evidence directory of its own
    ///
    /// For changing to a new key, and for trying verifiers without running a job. The signature
    /// then says that the holder of KEY vouches for the file, not that this host watched the job.
    Sign {
        /// Report to sign
        #[arg(value_name = "REPORT.json")]
        report: PathBuf,
        /// Private key (PEM)
        #[arg(long, value_name = "KEY")]
        key: PathBuf,
        /// Directory to write to; made if missing, refused if it holds evidence
        #[arg(long, value_name = "DIR")]
        evidence: PathBuf,
    },
}

/// A kind of report.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Kind {
    /// What left the job, and what was refused
    Egress,
    /// Which secrets it held
    Sweep,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the reports are of different jobs: egress of `{egress}`, secret sweep of `{sweep}`")]
    DifferentJobs { egress: String, sweep: String },
    #[error("cannot write the report as JSON")]
    Encode(#[from] serde_json::Error),
    #[error(transparent)]
    File(#[from] fs::FileError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

impl Failure {
    /// The status that `after_help` documents.
    fn status(&self) -> u8 {
        match self {
            Self::Verify(VerifyError::Envelope(EnvelopeError::Untrusted { .. })) => 4,
            Self::DifferentJobs { .. } | Self::Verify(VerifyError::OtherReport { .. }) => 5,
            Self::Verify(_) => 7,
            Self::File(error) => file_status(&error.source),
            Self::Encode(_) | Self::Key(_) | Self::Output(_) | Self::Sink(_) => 8,
        }
    }
}

fn file_status(error: &io::Error) -> u8 {
    // What a link gives where none is followed; it has no stable `ErrorKind`.
    if error.raw_os_error() == Some(Errno::ELOOP as i32) {
        return 7;
    }
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => 3,
        // Too large; or a pipe or a device where a file should be.
        io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidInput => 7,
        _ => 8,
    }
}

impl Args {
    /// Runs it.
    #[must_use]
    pub fn run(self, _config: Option<&Path>) -> ExitCode {
        let done = match self.command {
            Command::Show {
                path,
                only,
                json: true,
                ..
            } => show_json(&path, only),
            Command::Show {
                path,
                only,
                json: false,
                width,
                color,
            } => show(&path, only, width, color),
            Command::Verify { dir, key, only } => check(&dir, &key, only),
            Command::Sarif { path } => print_sarif(&path),
            Command::Sign {
                report,
                key,
                evidence,
            } => sign(&report, &key, &evidence),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                output::complaint(&failure);
                ExitCode::from(failure.status())
            }
        }
    }
}

fn show(
    path: &Path,
    only: Option<Kind>,
    width: Option<usize>,
    color: ColorChoice,
) -> Result<(), Failure> {
    let width = width.unwrap_or_else(terminal_width);
    let colour = wants_color(color);
    let reports = find(path, only)?;
    let texts: Vec<_> = reports
        .iter()
        .map(|report| match report {
            AnyReport::Egress(report) => text::render(report, width, colour),
            AnyReport::Sweep(report) => sweep_text::render(report, width, colour),
        })
        .collect();
    output::data(&texts.join("\n\n"))?;
    output::hint("who signed this is not checked here: `cordon report verify DIR --key PUB.pem`");
    Ok(())
}

fn show_json(path: &Path, only: Option<Kind>) -> Result<(), Failure> {
    let reports = find(path, only)?;
    let text = match reports.first() {
        Some(AnyReport::Egress(report)) => json::pretty(report)?,
        Some(AnyReport::Sweep(report)) => json::pretty(report)?,
        None => return Ok(()),
    };
    Ok(output::data(&text)?)
}

fn print_sarif(path: &Path) -> Result<(), Failure> {
    for report in find(path, Some(Kind::Sweep))? {
        if let AnyReport::Sweep(report) = report {
            output::data(&sarif::render(&report)?)?;
        }
    }
    Ok(())
}

/// The reports of a directory, that of egress first, or the one of a file. At least one.
fn find(path: &Path, only: Option<Kind>) -> Result<Vec<AnyReport>, Failure> {
    let dir = match open_evidence(path) {
        Ok(dir) => dir,
        Err(error) if error.source.kind() == io::ErrorKind::NotADirectory => {
            let bytes = fs::read(path, MAX_REPORT)?;
            return Ok(vec![match only {
                None => AnyReport::parse(&bytes)?,
                Some(Kind::Egress) => AnyReport::Egress(Box::new(parse_report(&bytes)?)),
                Some(Kind::Sweep) => AnyReport::Sweep(Box::new(parse_report(&bytes)?)),
            }]);
        }
        Err(error) => return Err(error.into()),
    };
    let (egress, sweep) = present(&dir, only)?;
    let mut reports = Vec::new();
    if egress {
        reports.push(AnyReport::Egress(Box::new(read(&dir)?)));
    }
    if sweep {
        reports.push(AnyReport::Sweep(Box::new(read(&dir)?)));
    }
    Ok(reports)
}

fn read<R: Attested>(dir: &Directory) -> Result<R, Failure> {
    Ok(parse_report(&dir.read(R::REPORT_NAME, MAX_REPORT)?)?)
}

/// Which reports of a directory to look at: those that are asked for, or else those of which there is
/// a trace. That of egress is looked for where there is none, since each job has one.
fn present(dir: &Directory, only: Option<Kind>) -> Result<(bool, bool), Failure> {
    let trace = |report, bundle| -> Result<bool, fs::FileError> {
        Ok(dir.contains(report)? || dir.contains(bundle)?)
    };
    let egress = trace(Report::REPORT_NAME, Report::BUNDLE_NAME)?;
    let sweep = trace(SweepReport::REPORT_NAME, SweepReport::BUNDLE_NAME)?;
    Ok(match only {
        Some(Kind::Egress) => (true, false),
        Some(Kind::Sweep) => (false, true),
        None => (egress || !sweep, sweep),
    })
}

pub(super) fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0))
}

pub(super) fn wants_color(choice: ColorChoice) -> bool {
    let no_color = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => io::stdout().is_terminal() && !no_color(),
    }
}

fn check(path: &Path, key: &Path, only: Option<Kind>) -> Result<(), Failure> {
    let key = VerifyingKey::load(key)?;
    let dir = open_evidence(path)?;
    let (egress, sweep) = present(&dir, only)?;
    let egress = egress.then(|| genuine::<Report>(&dir, key)).transpose()?;
    let sweep = sweep
        .then(|| genuine::<SweepReport>(&dir, key))
        .transpose()?;
    if let (Some(egress), Some(sweep)) = (&egress, &sweep) {
        same_job(&egress.report, &sweep.report)?;
    }
    let mut text = String::new();
    if let Some(verified) = &egress {
        text.push_str(&confirmation(verified, &key.id()));
    }
    if let Some(verified) = &sweep {
        text.push_str(if text.is_empty() { "" } else { "\n" });
        text.push_str(&sweep_confirmation(verified, &key.id()));
    }
    output::data(&text)?;
    Ok(())
}

fn genuine<R: Attested>(dir: &Directory, key: VerifyingKey) -> Result<Verified<R>, Failure> {
    let report = dir.read(R::REPORT_NAME, MAX_REPORT)?;
    let bundle = dir.read(R::BUNDLE_NAME, MAX_BUNDLE as u64)?;
    Ok(verify(&report, &bundle, key)?)
}

/// Evidence put together from two jobs is evidence of neither.
fn same_job(egress: &Report, sweep: &SweepReport) -> Result<(), Failure> {
    let swept = sweep.job.as_ref().map_or("", |job| &job.id);
    if swept != egress.job.id {
        return Err(Failure::DifferentJobs {
            egress: egress.job.id.clone(),
            sweep: swept.to_owned(),
        });
    }
    Ok(())
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

fn job(job: &JobFacts) -> String {
    format!("{}, {} to {}", escape(&job.id), job.started, job.finished)
}

fn sign(report: &Path, key: &Path, evidence: &Path) -> Result<(), Failure> {
    let report = AnyReport::parse(&fs::read(report, MAX_REPORT)?)?;
    let key = SigningKey::load(key)?;
    let evidence = EvidenceDir::prepare(evidence)?;
    let reports = match &report {
        AnyReport::Egress(report) => Reports::from(report.as_ref()),
        AnyReport::Sweep(report) => Reports::from(report.as_ref()),
    };
    let written = evidence.write(&reports, &key)?;
    for paths in &written.reports {
        output::data(&format!(
            "report     {}\nbundle     {}\n",
            escape(&paths.report.to_string_lossy()),
            escape(&paths.bundle.to_string_lossy()),
        ))?;
    }
    output::data(&format!("signed by  {}\n", written.key_id))?;
    Ok(())
}

/// Opens the directory the path leads to: the caller chose the path, links in it included.
fn open_evidence(path: &Path) -> Result<Directory, fs::FileError> {
    let real = std::fs::canonicalize(path).map_err(fs::FileError::on("find", path))?;
    Directory::open(&real)
}
