//! `cordon publish`: evidence goes to the registry that has the image, or into one file.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use super::verify::place::Place;
use super::{key, output};
use crate::gate::lines;
use crate::gate::parcel::{PackError, pack};
use crate::report::escape::escape;
use crate::report::image::ImageError;
use crate::sys::fs::FileError;

pub(in crate::cli) mod carrier;

use carrier::{CarrierError, RegistryArgs, Remote};

const ABOUT: &str = "\
What is published: every file that the seal lists, the seal, its binding to the image, all envelopes, \
and the files named by `--with`. Each signed statement becomes a referrer of its own besides, where \
cosign and policy engines look for it. What is there already is not sent again. No key is used, and \
nothing is signed. DESTINATION may also be a new file of lines, `NAME.intoto.jsonl`: what in-toto calls a \
bundle, with the reports on lines of their own, so that `cordon verify` needs nothing else.
Exit status:
  0  published, or there already
  2  wrong usage
  3  a piece is missing, or the image is not in the registry
  4  a file is not the sealed one
  5  the evidence is about another image, or about none
  7  malformed, or over the limits
  8  the registry could not be reached, refuses access or failed";

/// Arguments of `cordon publish`.
#[derive(clap::Args, Debug)]
#[command(after_help = ABOUT)]
pub struct Args {
    /// The evidence: a directory, a tar archive of one, or a file of lines
    #[arg(value_name = "EVIDENCE")]
    evidence: PathBuf,
    /// The image, as `oci://HOST/NAME@sha256:HEX`, or a new file, as `NAME.intoto.jsonl`
    #[arg(value_name = "DESTINATION")]
    destination: Destination,
    /// Publish this file of the evidence too, which nobody sealed; may be repeated
    #[arg(long, value_name = "NAME")]
    with: Vec<String>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Where evidence goes.
#[derive(Clone, Debug)]
enum Destination {
    Registry(Remote),
    Lines(PathBuf),
}

impl FromStr for Destination {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        if text.ends_with(lines::SUFFIX) && !text.starts_with("oci://") {
            return Ok(Self::Lines(text.into()));
        }
        text.parse().map(Self::Registry)
    }
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Carrier(#[from] CarrierError),
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
    #[error("the lines cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Pack(#[from] PackError),
}

impl Failure {
    const fn status(&self) -> u8 {
        match self {
            Self::Carrier(error) => error.status(),
            Self::Encode(_) | Self::File(_) | Self::Output(_) => 8,
            Self::Pack(error) => error.status(),
        }
    }
}

impl Args {
    /// Runs it.
    #[must_use]
    pub fn run(self) -> ExitCode {
        match self.publish() {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                output::complaint(&failure);
                ExitCode::from(failure.status())
            }
        }
    }

    fn publish(&self) -> Result<(), Failure> {
        let place = Place::open(&self.evidence);
        let image = match &self.destination {
            Destination::Registry(remote) => Some(remote.image.digest),
            Destination::Lines(_) => None,
        };
        let packed = pack(&place, image, &self.with)?;
        if !packed.left.is_empty() {
            let names = packed.left.join("`, `");
            output::warning(&format!(
                "not sealed, so not published: `{names}`; `--with NAME` publishes it"
            ));
        }
        let remote = match &self.destination {
            Destination::Registry(remote) => remote,
            Destination::Lines(path) => {
                let text = lines::write(&packed.contents)?;
                return Ok(key::publish(path, text.as_bytes())?);
            }
        };
        let said = carrier::publish(&packed.wrap()?, remote, &self.registry)?;
        let mut text = format!("image      {}\n", escape(&remote.to_string()));
        for line in said.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            text.extend([&format!("{word:<10} "), &*escape(rest), "\n"]);
        }
        Ok(output::data(&text)?)
    }
}
