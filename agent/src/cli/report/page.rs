//! `cordon report html`.

use std::path::{Path, PathBuf};

use super::evidence::Evidence;
use super::{Failure, output};
use crate::report::html::{Baseline, Documents, render};
use crate::sys::fs;

/// What to make a page from, and where to put it.
#[derive(clap::Args, Debug)]
pub struct HtmlArgs {
    /// Evidence directory, or report file
    #[arg(value_name = "DIR|FILE")]
    evidence: PathBuf,
    /// Public key of the host (PEM): everything must be signed with it, and the page says so
    #[arg(long, value_name = "PUB.pem")]
    key: Option<PathBuf>,
    /// Evidence of another run, to show what changed since; its signatures are not checked
    #[arg(long, value_name = "DIR|FILE")]
    baseline: Option<PathBuf>,
    /// Write the page here instead of to standard output; a file that is there is replaced
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Makes the page.
pub(super) fn html(args: &HtmlArgs) -> Result<(), Failure> {
    let evidence = Evidence::read(&args.evidence, args.key.as_deref())?;
    let before = args.baseline.as_deref();
    let before = before.map(|path| Evidence::read(path, None)).transpose()?;
    let baseline = before.as_ref().map(|before| {
        Ok::<_, Failure>(Baseline {
            egress: before.egress()?,
            sweep: before.swept(),
        })
    });
    let documents = Documents {
        baseline: baseline.transpose()?,
        ..evidence.documents()
    };
    if documents.baseline.is_some() {
        evidence.egress()?;
    }
    let page = render(&documents)?;
    deliver(&page, args.output.as_deref())
}

/// Writes a rendering to a file, whole or not at all, or to standard output.
pub(super) fn deliver(text: &str, file: Option<&Path>) -> Result<(), Failure> {
    match file {
        Some(file) => Ok(fs::write_atomic(file, text.as_bytes(), 0o644)?),
        None => Ok(output::data(text)?),
    }
}
