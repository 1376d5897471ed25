//! The command line of `cordon-oci`. Only this module prints.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use caps::CapSet;
use clap::{Parser, Subcommand};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};

use crate::error::OciError;
use crate::fetch::fetch;
use crate::publish::publish;
use crate::reference::Reference;
use crate::registry::{Options, Registry};

/// Carries cordon's evidence to and from OCI registries, for `cordon publish` and `cordon verify`.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish what is in a parcel as referrers of an image
    Publish(Args),
    /// Fetch what refers to an image into an empty directory
    Fetch(Args),
}

#[derive(Debug, clap::Args)]
struct Args {
    /// The parcel: a directory
    #[arg(value_name = "PARCEL")]
    parcel: PathBuf,
    /// The image: `oci://HOST/NAME@sha256:HEX`
    #[arg(value_name = "IMAGE")]
    image: Reference,
    /// Speak HTTP without TLS
    #[arg(long)]
    plain_http: bool,
    /// Trust the certificates (PEM) in this file too
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Logins, as in docker's `config.json`
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
    /// Seconds that all of it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

/// Parses the command line and runs it.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match unprivileged().and_then(|()| cli.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(error.status())
        }
    }
}

/// Gives up what this program never needs: capabilities, the way to new ones, and being looked into
/// while it holds credentials.
fn unprivileged() -> Result<(), OciError> {
    for set in [
        CapSet::Ambient,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ] {
        caps::clear(None, set).map_err(|error| OciError::Privileges(error.to_string()))?;
    }
    let refused = |errno: nix::Error| OciError::Privileges(errno.to_string());
    prctl::set_no_new_privs().map_err(refused)?;
    prctl::set_dumpable(false).map_err(refused)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(refused)
}

impl Cli {
    fn run(self) -> Result<(), OciError> {
        match self.command {
            Command::Publish(args) => {
                let registry = args.registry(true)?;
                let published = publish(&registry, &args.parcel)?;
                let line = |word: &str, digest: &String| format!("{word} {digest}\n");
                let sent = published.sent.iter().map(|digest| line("sent", digest));
                let present = published
                    .present
                    .iter()
                    .map(|digest| line("present", digest));
                let mut text: String = sent.chain(present).collect();
                text.push_str(if published.by_api {
                    "listed by the registry\n"
                } else {
                    "listed under a tag\n"
                });
                print(&text)
            }
            Command::Fetch(args) => fetch(&args.registry(false)?, &args.parcel),
        }
    }
}

impl Args {
    fn registry(&self, pushes: bool) -> Result<Registry, OciError> {
        let options = Options {
            plain_http: self.plain_http,
            authority: self.ca.clone(),
            auth_file: self.auth_file.clone(),
            timeout: Duration::from_secs(self.timeout),
        };
        Registry::new(self.image.clone(), &options, pushes)
    }
}

fn print(text: &str) -> Result<(), OciError> {
    io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(OciError::file("write to", "standard output"))
}

/// Prints an error and its causes on one line. Nothing in it steers a terminal.
fn complain(error: &OciError) {
    let mut line = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    let safe: String = line
        .chars()
        .map(|c| {
            if c.is_ascii_graphic() || c == ' ' {
                c
            } else {
                '?'
            }
        })
        .take(4096)
        .collect();
    // Nobody is left to tell that standard error is gone.
    drop(writeln!(io::stderr().lock(), "cordon-oci: {safe}"));
}
