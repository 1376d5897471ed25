//! `cordon key`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use jiff::Timestamp;

use super::{output, verify};
use crate::config::Config;
use crate::gate::policy::{MAX_POLICY, TrustPolicy};
use crate::policy::Mistakes;
use crate::report::envelope::Bundle;
use crate::report::escape::escape;
use crate::report::key_place::{KeyPlace, Protection};
use crate::report::signer::{KeyError, SigningKey, VerifyingKey};
use crate::report::statement::Statement;
use crate::sys::dir::Directory;
use crate::sys::fs::{self, FileError};

/// Arguments of `cordon key`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands. Each exits with 0, or with 1 when it failed.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key that signs reports (P-256)
    ///
    /// Writes the private key, readable by its owner alone, and beside it FILE.pub: the public key
    /// that verifiers need. Neither is ever written over.
    Generate {
        /// Private key to write (PKCS#8 PEM); the configured `signing_key` if not given
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Sign a trust policy for `cordon verify`
    ///
    /// Checks the policy and writes the signature beside it, as FILE.sigstore.json, which is never
    /// written over. Keep this key apart from those that sign evidence.
    SignPolicy {
        /// The policy (TOML)
        #[arg(value_name = "FILE")]
        policy: PathBuf,
        /// Private key (PEM)
        #[arg(long, value_name = "KEY")]
        key: PathBuf,
    },
    /// Show a key's fingerprint and how it is protected
    ///
    /// The fingerprint is the key id in signed evidence, and what
    /// `ssh-keygen -i -m PKCS8 -f FILE.pub | ssh-keygen -lf -` prints.
    Show {
        /// Private or public key (PEM)
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(
        "the signing key is the credential `{place}`, which is no file that can be written: name a file \
         (`--out FILE`, on a file system in memory), and encrypt it with `systemd-creds encrypt`"
    )]
    Credential { place: KeyPlace },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Config(#[from] Mistakes),
    #[error("the statement cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
}

impl Args {
    /// Runs it.
    #[must_use]
    pub fn run(self, config: Option<&Path>) -> ExitCode {
        let done = match self.command {
            Command::Generate { out } => generate(out, config),
            Command::SignPolicy { policy, key } => sign_policy(&policy, &key),
            Command::Show { file } => show(&file),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                output::complaint(&failure);
                ExitCode::FAILURE
            }
        }
    }
}

fn generate(out: Option<PathBuf>, config: Option<&Path>) -> Result<(), Failure> {
    let path = out.map_or_else(|| default_path(config), Ok)?;
    let key = SigningKey::generate()?;
    let public = key.save(&path)?;
    output::data(&description(
        key.public(),
        &format!("{}: {}", Protection::File, Protection::File.words()),
        Some(&public),
    ))?;
    Ok(())
}

/// Where the key is when the command line does not say: the host settings' `signing_key`.
fn default_path(config: Option<&Path>) -> Result<PathBuf, Failure> {
    match Config::load(config)?.host.signing_key() {
        KeyPlace::File(path) => Ok(path),
        place @ KeyPlace::Credential { .. } => Err(Failure::Credential { place }),
    }
}

fn sign_policy(path: &Path, key: &Path) -> Result<(), Failure> {
    let bytes = fs::read(path, MAX_POLICY)?;
    let policy = TrustPolicy::parse(&path.display().to_string(), &bytes)?;
    let key = SigningKey::load(key)?;
    let statement = Statement::trust(&policy, &bytes, Timestamp::now());
    let mut text = serde_json::to_string(&Bundle::sign(&statement.to_bytes()?, &key)?)?;
    text.push('\n');
    let bundle = verify::signature_of(path);
    publish(&bundle, text.as_bytes())?;
    Ok(output::data(&format!(
        "policy     {}\nsignature  {}\nsigned by  {}\n",
        escape(&policy.name),
        escape(&bundle.to_string_lossy()),
        key.public().id(),
    ))?)
}

/// Writes a new file, which is on disk when this returns.
pub(super) fn publish(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| {
        let nameless = io::Error::new(io::ErrorKind::InvalidInput, "this names no file");
        FileError::on("write", path)(nameless)
    })?;
    Directory::open(parent.unwrap_or_else(|| Path::new(".")))?.publish(name, bytes, 0o644)
}

fn show(path: &Path) -> Result<(), Failure> {
    // A public key is nothing to protect; what is not one is taken for a private one, whose errors
    // are the more useful.
    let shown = match VerifyingKey::load(path) {
        Ok(public) => description(public, "none needed: this is the public half", None),
        Err(KeyError::File(error)) => return Err(KeyError::File(error).into()),
        Err(_) => description(
            SigningKey::load(path)?.public(),
            &format!("{}: {}", Protection::File, Protection::File.words()),
            None,
        ),
    };
    output::data(&shown)?;
    Ok(())
}

fn description(key: VerifyingKey, protection: &str, public: Option<&Path>) -> String {
    let public = public.map_or_else(String::new, |path| {
        format!("public key   `{}`, for whoever verifies\n", path.display())
    });
    format!(
        "key          P-256 (ECDSA with SHA-256)\n\
         fingerprint  {}\n\
         protection   {protection}\n\
         {public}",
        key.id()
    )
}
