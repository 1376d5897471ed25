//! `cordon report`.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ColorChoice, Subcommand};
use nix::errno::Errno;

use super::output;
use crate::report::envelope::{EnvelopeError, MAX_BUNDLE};
use crate::report::escape::escape;
use crate::report::signer::{KeyError, SigningKey, VerifyingKey};
use crate::report::sink::{BUNDLE_NAME, EvidenceDir, SinkError};
use crate::report::statement::REPORT_NAME;
use crate::report::verify::{Verified, VerifyError, parse_report, verify};
use crate::report::{json, text};
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
  5  the statement is about another report
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
    /// Show a report to a person; who signed it is not checked
    Show {
        /// Evidence directory, or report file
        #[arg(value_name = "DIR|FILE")]
        path: PathBuf,
        /// Print the report as JSON
        #[arg(long, conflicts_with_all = ["width", "color"])]
        json: bool,
        /// Columns; those of the terminal by default
        #[arg(long, value_name = "N")]
        width: Option<usize>,
        /// When to use colour, which never carries meaning alone
        #[arg(long, value_name = "WHEN", default_value = "auto")]
        color: ColorChoice,
    },
    /// Check, offline, that a key signed the report of an evidence directory
    Verify {
        /// Evidence directory
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Public key of the host (PEM), as `cordon key generate` wrote it to FILE.pub
        #[arg(long, value_name = "PUB.pem")]
        key: PathBuf,
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

#[derive(Debug, thiserror::Error)]
enum Failure {
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
            Self::Verify(VerifyError::OtherReport { .. }) => 5,
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
                json,
                width,
                color,
            } => show(&path, json, width, color),
            Command::Verify { dir, key } => check(&dir, &key),
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
    as_json: bool,
    width: Option<usize>,
    color: ColorChoice,
) -> Result<(), Failure> {
    let bytes = match open_evidence(path) {
        Ok(dir) => dir.read(REPORT_NAME, MAX_REPORT)?,
        Err(error) if error.source.kind() == io::ErrorKind::NotADirectory => {
            fs::read(path, MAX_REPORT)?
        }
        Err(error) => return Err(error.into()),
    };
    let report = parse_report(&bytes)?;
    if as_json {
        return Ok(output::data(&json::pretty(&report)?)?);
    }
    let width = width.unwrap_or_else(terminal_width);
    output::data(&text::render(&report, width, wants_color(color)))?;
    output::hint("who signed this is not checked here: `cordon report verify DIR --key PUB.pem`");
    Ok(())
}

fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0))
}

fn wants_color(choice: ColorChoice) -> bool {
    let no_color = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => io::stdout().is_terminal() && !no_color(),
    }
}

fn check(path: &Path, key: &Path) -> Result<(), Failure> {
    let key = VerifyingKey::load(key)?;
    let dir = open_evidence(path)?;
    let report = dir.read(REPORT_NAME, MAX_REPORT)?;
    let bundle = dir.read(BUNDLE_NAME, MAX_BUNDLE as u64)?;
    let verified = verify(&report, &bundle, key)?;
    output::data(&confirmation(&verified, &key.id()))?;
    Ok(())
}

fn confirmation(verified: &Verified, key_id: &str) -> String {
    let Verified {
        report, statement, ..
    } = verified;
    format!(
        "genuine    signed with {key_id}\n\
         report     sha256 {}\n\
         job        {}, {} to {}\n\
         mode       {}\n\
         coverage   {}\n\
         losses     {}\n",
        statement.predicate.cordon_report.sha256,
        escape(&report.job.id),
        report.job.started,
        report.job.finished,
        text::mode(report.mode),
        text::coverage(&report.coverage),
        text::losses(&report.losses),
    )
}

fn sign(report: &Path, key: &Path, evidence: &Path) -> Result<(), Failure> {
    let report = parse_report(&fs::read(report, MAX_REPORT)?)?;
    let key = SigningKey::load(key)?;
    let written = EvidenceDir::prepare(evidence)?.write(&report, &key)?;
    output::data(&format!(
        "report     {}\nbundle     {}\nsigned by  {}\n",
        escape(&written.report.to_string_lossy()),
        escape(&written.bundle.to_string_lossy()),
        written.key_id
    ))?;
    Ok(())
}

/// Opens the directory the path leads to: the caller chose the path, links in it included.
fn open_evidence(path: &Path) -> Result<Directory, fs::FileError> {
    let real = std::fs::canonicalize(path).map_err(fs::FileError::on("find", path))?;
    Directory::open(&real)
}
