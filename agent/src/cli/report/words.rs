//! `cordon report explain`, `diff`, `summary` and `sarif`: renderings for people and for other tools.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::ColorChoice;

use super::evidence::Evidence;
use super::page::deliver;
use super::{Failure, Kind, output, terminal_width, wants_color};
use crate::report::diff::{Diff, text as diff_text};
use crate::report::inquiry::{self, Inquiry};
use crate::report::summary::{self, commands};
use crate::report::{csv, json, sarif, sweep};
use crate::sys::fs::FileError;

/// Bytes that GitHub takes of one step's summary; above that it refuses all of it.
const STEP_LIMIT: u64 = 1 << 20;

/// How a text is laid out.
#[derive(clap::Args, Debug)]
pub struct Look {
    /// Print it as JSON
    #[arg(long, conflicts_with_all = ["width", "color"])]
    json: bool,
    /// Columns; those of the terminal by default
    #[arg(long, value_name = "N")]
    width: Option<usize>,
    /// When to use colour, which never carries meaning alone
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

/// What to explain.
#[derive(clap::Args, Debug)]
pub struct ExplainArgs {
    /// Evidence directory, or report file
    #[arg(value_name = "DIR|FILE")]
    evidence: PathBuf,
    /// Number of a denial as the report lists them, from 1; or a name, an address, a port after a
    /// colon, or a part of a name
    #[arg(value_name = "WHAT")]
    what: String,
    #[command(flatten)]
    look: Look,
}

/// What to compare.
#[derive(clap::Args, Debug)]
pub struct DiffArgs {
    /// Evidence of the run before: directory, or report file
    #[arg(value_name = "BEFORE")]
    before: PathBuf,
    /// Evidence of the run that is looked at
    #[arg(value_name = "AFTER")]
    after: PathBuf,
    #[command(flatten)]
    look: Look,
}

/// What to sum up, and where to.
#[derive(clap::Args, Debug)]
pub struct SummaryArgs {
    /// Evidence directory, or report file
    #[arg(value_name = "DIR|FILE")]
    evidence: PathBuf,
    /// Public key of the host (PEM): everything must be signed with it, and the summary says so
    #[arg(long, value_name = "PUB.pem")]
    key: Option<PathBuf>,
    /// Append it to the file that `$GITHUB_STEP_SUMMARY` names
    #[arg(long)]
    github: bool,
    /// Print a workflow command for each denial and finding, at most ten of each kind; the Markdown is
    /// printed only without this, or appended with --github
    #[arg(long)]
    annotations: bool,
}

/// What to print.
#[derive(clap::Args, Debug)]
pub struct SarifArgs {
    /// Evidence directory, or report file
    #[arg(value_name = "DIR|FILE")]
    evidence: PathBuf,
    /// Only this report; without it, one log with a run for each
    #[arg(long, value_name = "KIND")]
    only: Option<Kind>,
    /// Write it here instead of to standard output; a file that is there is replaced
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What to print.
#[derive(clap::Args, Debug)]
pub struct CsvArgs {
    /// Evidence directory, or egress report file
    #[arg(value_name = "DIR|FILE")]
    evidence: PathBuf,
    /// Write it here instead of to standard output; a file that is there is replaced
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Look {
    fn width(&self) -> usize {
        self.width.unwrap_or_else(terminal_width)
    }
}

pub(super) fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    let evidence = Evidence::read(&args.evidence, None)?;
    let report = evidence.egress()?;
    let found = Inquiry::new(report, &args.what);
    if found.is_empty() {
        return Err(Failure::NotAbout {
            what: args.what.clone(),
            denials: report.denials.len(),
        });
    }
    let text = if args.look.json {
        json::pretty(&found)?
    } else {
        let colour = wants_color(args.look.color);
        inquiry::render(&found, report, args.look.width(), colour)
    };
    Ok(output::data(&text)?)
}

pub(super) fn diff(args: &DiffArgs) -> Result<(), Failure> {
    let before = Evidence::read(&args.before, None)?;
    let after = Evidence::read(&args.after, None)?;
    let diff = Diff::new(
        (before.egress()?, before.swept()),
        (after.egress()?, after.swept()),
    );
    let text = if args.look.json {
        json::pretty(&diff)?
    } else {
        let colour = wants_color(args.look.color);
        diff_text::render(&diff, args.look.width(), colour)
    };
    Ok(output::data(&text)?)
}

pub(super) fn summary(args: &SummaryArgs) -> Result<(), Failure> {
    let evidence = Evidence::read(&args.evidence, args.key.as_deref())?;
    let documents = evidence.documents();
    if args.github {
        let file = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|file| !file.is_empty());
        let file = PathBuf::from(file.ok_or(Failure::NoStep)?);
        append(&file, |limit| summary::render(&documents, limit))?;
    }
    let mut text = String::new();
    if args.annotations {
        text.push_str(&commands::render(&documents));
    } else if !args.github {
        text.push_str(&summary::render(&documents, summary::MAX));
    }
    Ok(output::data(&text)?)
}

/// Appends what fits into the room that is left: what others wrote before may leave little.
fn append(file: &Path, text: impl FnOnce(usize) -> String) -> Result<(), Failure> {
    let mut open = OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .map_err(FileError::on("open for appending", file))?;
    let there = open
        .metadata()
        .map_err(FileError::on("look at", file))?
        .len();
    let room = usize::try_from(STEP_LIMIT.saturating_sub(there)).unwrap_or(usize::MAX);
    let written = open.write_all(text(room).as_bytes());
    Ok(written.map_err(FileError::on("append to", file))?)
}

pub(super) fn csv(args: &CsvArgs) -> Result<(), Failure> {
    let evidence = Evidence::read(&args.evidence, None)?;
    let table = csv::render(evidence.egress()?);
    deliver(&table, args.output.as_deref())
}

pub(super) fn sarif(args: &SarifArgs) -> Result<(), Failure> {
    let evidence = Evidence::read(&args.evidence, None)?;
    let wanted = |kind| args.only.is_none_or(|only| only == kind);
    let mut runs = Vec::new();
    if wanted(Kind::Egress) && (args.only.is_some() || evidence.egress.is_some()) {
        runs.push(sarif::egress::run(evidence.egress()?)?);
    }
    if wanted(Kind::Sweep)
        && let Some(report) = evidence.swept()
    {
        runs.push(sweep::sarif::run(report)?);
    }
    if runs.is_empty() {
        return Err(Failure::NoResults);
    }
    deliver(&sarif::log(&runs)?, args.output.as_deref())
}
