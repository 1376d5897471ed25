//! `cordon bind`: says which image a job made, when its evidence is sealed already.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::Timestamp;

use super::report::check::{bound_to, sealed};
use super::report::{Failure, open_evidence};
use super::{key, output};
use crate::report::binding;
use crate::report::envelope::Bundle;
use crate::report::escape::escape;
use crate::report::image::Image;
use crate::report::sink::SinkError;
use crate::report::statement::{Statement, Subject};

const EXIT_STATUS: &str = "\
The statement names the seal and the image, is signed with the key that sealed, and is written beside \
the seal as `binding.sigstore.json`. Evidence is bound once: another image is refused.
Exit status:
  0  bound, or bound to these images before
  2  wrong usage
  3  evidence missing or incomplete
  4  not sealed with that key
  5  the evidence names another image already, or a file is not the sealed one
  7  malformed, or over the limits
  8  could not decide: a file could not be read or written, or the key not used";

/// Arguments of `cordon bind`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXIT_STATUS)]
pub struct Args {
    /// Evidence directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The image, by its sha256; may be repeated
    #[arg(long, value_name = "DIGEST", required = true)]
    subject: Vec<Image>,
    /// The private key that sealed the evidence (PEM)
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
}

impl Args {
    /// Runs it.
    #[must_use]
    pub fn run(self, config: Option<&Path>) -> ExitCode {
        match bind(&self.dir, &self.subject, (&self.key, config)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                output::complaint(&failure);
                ExitCode::from(failure.status())
            }
        }
    }
}

fn bind(
    path: &Path,
    images: &[Image],
    (key, config): (&Path, Option<&Path>),
) -> Result<(), Failure> {
    let key = key::load(key, config)?;
    let dir = open_evidence(path)?;
    if !dir.try_lock()? {
        return Err(Failure::Sink(SinkError::Busy { path: path.into() }));
    }
    let (seal, seal_sha256) = sealed(&dir, key.public())?;
    let images: Vec<_> = images.iter().map(Subject::from).collect();
    let mut named = seal.artefacts().to_vec();
    if dir.contains(binding::BUNDLE_NAME)? {
        named.extend(bound_to(&dir, key.public(), &seal_sha256)?);
    }
    if !named.is_empty() {
        if digests(&named) != digests(&images) {
            let names: Vec<_> = digests(&named).into_iter().map(escape).collect();
            let names = names.join(", ");
            return Err(Failure::Bound { names });
        }
        return Ok(output::data("bound to these images already\n")?);
    }
    let statement = Statement::bind(&seal.predicate, &seal_sha256, &images, Timestamp::now());
    let payload = statement.to_bytes()?;
    let mut text = serde_json::to_string(&Bundle::sign(&payload, &key)?)?;
    text.push('\n');
    dir.publish(binding::BUNDLE_NAME, text.as_bytes(), 0o644)?;
    let images: Vec<_> = images
        .iter()
        .map(|image| (escape(&image.name), &image.digest.sha256))
        .map(|(name, sha256)| format!("image      {name}, sha256 {sha256}\n"))
        .collect();
    let images = images.concat();
    Ok(output::data(&format!(
        "seal       sha256 {seal_sha256}\n{images}binding    {}\n",
        escape(&dir.path().join(binding::BUNDLE_NAME).to_string_lossy()),
    ))?)
}

/// What subjects are: their names are for people.
fn digests(subjects: &[Subject]) -> BTreeSet<&str> {
    let digests = subjects
        .iter()
        .map(|subject| subject.digest.sha256.as_str());
    digests.collect()
}
