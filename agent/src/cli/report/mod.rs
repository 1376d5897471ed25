//! `cordon report`.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ColorChoice, Subcommand, ValueEnum};
use nix::errno::Errno;

use super::{key, output};
use crate::policy::Mistakes;
use crate::report::attested::Attested;
use crate::report::envelope::EnvelopeError;
use crate::report::run::{RunReport, text as run_text};
use crate::report::seal::{self, SealError};
use crate::report::signer::KeyError;
use crate::report::sink::SinkError;
use crate::report::sweep::{SweepReport, text as sweep_text};
use crate::report::verify::{AnyReport, VerifyError, parse_report};
use crate::report::{Report, json, text};
use crate::sys::dir::Directory;
use crate::sys::fs;

pub(super) mod check;
mod evidence;
pub mod page;
mod sign;
pub mod words;

use check::check;
use page::{HtmlArgs, html};
use sign::{How, sign};
use words::{CsvArgs, DiffArgs, ExplainArgs, SarifArgs, SummaryArgs};

/// 256 MiB: far above what the ledger's bounds let a report become.
const MAX_REPORT: u64 = 256 << 20;

/// Columns of a report that goes to no terminal.
const DEFAULT_WIDTH: usize = 100;

/// Arguments of `cordon report`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Exit status:
  0  done, and for `verify`: genuine
  1  for `explain`: nothing in the report is about that
  2  wrong usage
  3  evidence missing or incomplete
  4  untrusted: not signed with that key
  5  the statement is about another report, the reports are about different jobs, or a file is not
     the sealed one
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
    /// Make one HTML page of the evidence, which loads nothing, for a reviewer
    ///
    /// The page says from which files it was made and whether their signatures were checked.
    Html(HtmlArgs),
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
    /// Say why something was denied, who tried, and what would allow it; signatures are not checked
    Explain(ExplainArgs),
    /// Say what is new, gone or changed from one run to another; signatures are not checked
    Diff(DiffArgs),
    /// Print Markdown for a step summary on GitHub, the most important first
    Summary(SummaryArgs),
    /// Print denials and findings in SARIF 2.1.0; who signed them is not checked
    Sarif(SarifArgs),
    /// Print the egress report as a table for spreadsheets (CSV); who signed it is not checked
    Csv(CsvArgs),
    /// Sign report files again, into an evidence directory of their own
    ///
    /// For changing to a new key, and for trying verifiers without running a job. The signature
    /// then says that the holder of KEY vouches for the files, not that this host watched the job.
    Sign {
        /// Reports to sign, of one job
        #[arg(value_name = "REPORT.json", required = true)]
        reports: Vec<PathBuf>,
        /// Write the run report as well and seal all of it, with the next number of KEY's chain in
        /// the state directory
        #[arg(long)]
        seal: bool,
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
    /// What both come to
    Run,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the evidence names another image already: {names}")]
    Bound { names: String },
    #[error("the reports are of different jobs: egress of `{egress}`, {other} of `{id}`")]
    DifferentJobs {
        egress: String,
        other: &'static str,
        id: String,
    },
    #[error("cannot write the report as JSON")]
    Encode(#[from] serde_json::Error),
    #[error(transparent)]
    File(#[from] fs::FileError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(
        "a report file alone has no signatures to check: give its evidence directory, or no key"
    )]
    KeyForFile,
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
    #[error("there is no egress report, and this is about one")]
    NoEgress,
    #[error("there is no report of that kind that has results")]
    NoResults,
    #[error("`GITHUB_STEP_SUMMARY` is not set: `--github` is for steps of GitHub Actions")]
    NoStep,
    #[error("nothing in the report is about `{what}`; it has {denials} denials, numbered from 1")]
    NotAbout { what: String, denials: usize },
    #[error("to be sealed, there must be one egress report, at most one sweep, and no run report")]
    NotSealable,
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
    #[error("cannot make the page")]
    Page(#[from] askama::Error),
    #[error("`{name}` is not the file that was sealed")]
    Piece { name: String },
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error("two of the reports are of one kind: give each an evidence directory of its own")]
    Twice,
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

impl Failure {
    /// The status that `after_help` documents.
    pub(super) fn status(&self) -> u8 {
        match self {
            Self::KeyForFile | Self::NoStep | Self::NotSealable | Self::Twice => 2,
            Self::NotAbout { .. } => 1,
            Self::NoEgress | Self::NoResults => 3,
            Self::Verify(VerifyError::Envelope(EnvelopeError::Untrusted { .. }))
            | Self::Seal(SealError::Envelope(EnvelopeError::Untrusted { .. })) => 4,
            Self::Bound { .. }
            | Self::DifferentJobs { .. }
            | Self::Piece { .. }
            | Self::Verify(VerifyError::OtherReport { .. }) => 5,
            Self::Verify(_) | Self::Seal(_) => 7,
            Self::File(error) => file_status(&error.source),
            Self::Encode(_)
            | Self::Key(_)
            | Self::Mistakes(_)
            | Self::Output(_)
            | Self::Page(_)
            | Self::Sink(_) => 8,
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
    pub fn run(self, config: Option<&Path>) -> ExitCode {
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
            Command::Html(args) => html(&args),
            Command::Verify { dir, key, only } => check(&dir, &key, only),
            Command::Explain(args) => words::explain(&args),
            Command::Diff(args) => words::diff(&args),
            Command::Summary(args) => words::summary(&args),
            Command::Sarif(args) => words::sarif(&args),
            Command::Csv(args) => words::csv(&args),
            Command::Sign {
                reports,
                seal,
                key,
                evidence,
            } => {
                let how = if seal {
                    How::Sealed(config)
                } else {
                    How::Signed
                };
                key::load(&key, config)
                    .map_err(Failure::Key)
                    .and_then(|key| sign(&reports, how, &key, &evidence))
            }
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
            AnyReport::Run(report) => run_text::render(report),
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
        Some(AnyReport::Run(report)) => json::pretty(report)?,
        None => return Ok(()),
    };
    Ok(output::data(&text)?)
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
                Some(Kind::Run) => AnyReport::Run(Box::new(parse_report(&bytes)?)),
            }]);
        }
        Err(error) => return Err(error.into()),
    };
    let present = present(&dir, only)?;
    let mut reports = Vec::new();
    if present.has(Kind::Egress) {
        reports.push(AnyReport::Egress(Box::new(read(&dir)?)));
    }
    if present.has(Kind::Sweep) {
        reports.push(AnyReport::Sweep(Box::new(read(&dir)?)));
    }
    // Of several reports, that of the run has nothing that the others do not show.
    if present.has(Kind::Run) && reports.is_empty() {
        reports.push(AnyReport::Run(Box::new(read(&dir)?)));
    }
    Ok(reports)
}

fn read<R: Attested>(dir: &Directory) -> Result<R, Failure> {
    Ok(parse_report(&dir.read(R::REPORT_NAME, MAX_REPORT)?)?)
}

/// Which reports of a directory to look at: those that are asked for, or else those of which there is
/// a trace. That of egress is looked for where there is none, since each job has one.
fn present(dir: &Directory, only: Option<Kind>) -> Result<Present, Failure> {
    if let Some(only) = only {
        return Ok(Present {
            kinds: vec![only],
            seal: false,
        });
    }
    let trace = |report, bundle| -> Result<bool, fs::FileError> {
        Ok(dir.contains(report)? || dir.contains(bundle)?)
    };
    let mut kinds = Vec::new();
    if trace(SweepReport::REPORT_NAME, SweepReport::BUNDLE_NAME)? {
        kinds.push(Kind::Sweep);
    }
    if trace(RunReport::REPORT_NAME, RunReport::BUNDLE_NAME)? {
        kinds.push(Kind::Run);
    }
    if kinds.is_empty() || trace(Report::REPORT_NAME, Report::BUNDLE_NAME)? {
        kinds.push(Kind::Egress);
    }
    let seal = trace(seal::BUNDLE_NAME, seal::ENVELOPES_NAME)?;
    Ok(Present { kinds, seal })
}

/// What of an evidence directory to look at.
#[derive(Clone, Debug)]
struct Present {
    kinds: Vec<Kind>,
    seal: bool,
}

impl Present {
    fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }
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

/// Opens the directory the path leads to: the caller chose the path, links in it included.
pub(super) fn open_evidence(path: &Path) -> Result<Directory, fs::FileError> {
    let real = std::fs::canonicalize(path).map_err(fs::FileError::on("find", path))?;
    Directory::open(&real)
}
