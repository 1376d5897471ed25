//! `cordon key`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use jiff::{SignedDuration, Timestamp};

use super::{output, verify};
use crate::config::Config;
use crate::gate::policy::{MAX_POLICY, Role, TrustPolicy};
use crate::gate::revocations::{Reason, RevocationsError};
use crate::policy::Mistakes;
use crate::report::envelope::Bundle;
use crate::report::escape::escape;
use crate::report::key_place::{KeyPlace, Protection};
use crate::report::rotation::RotationError;
use crate::report::rotation::steps::StepError;
use crate::report::signer::{KeyError, SigningKey, VerifyingKey};
use crate::report::statement::Statement;
use crate::sys::dir::Directory;
use crate::sys::fs::{self, FileError};

mod revoke;
mod rotate;

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
        /// Private key to write (PEM); the configured `signing_key` if not given
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Have the TPM make it, and keep it: the file is of no use anywhere else
        #[arg(long)]
        tpm: bool,
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
    /// Make a new key, and have the old one vouch for it
    ///
    /// The new key takes the place of the old one in its file, at once and whole; killed at any moment,
    /// there is one of them, and rotating again finishes. The old one is kept beside it for evidence
    /// that is bound later. The chain of seals goes on. Prints what the trust policy needs.
    Rotate {
        /// Private key to replace (PEM); the configured `signing_key` if not given
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Put the new key into the TPM. It is there in any case if the old one is
        #[arg(long)]
        tpm: bool,
        /// How long evidence of the old key is to count: `30s`, `10m`, `12h` or `7d`
        #[arg(long, value_name = "TIME", default_value = "30d", value_parser = rotate::overlap)]
        overlap: SignedDuration,
    },
    /// Remove old private keys whose overlap is over
    Prune {
        /// The key in force (PEM); the configured `signing_key` if not given
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// Print the `[[key]]` tables of a public key, or of a rotation, for a trust policy
    Table {
        /// Public key (PEM); with `--known`, the statement of a rotation
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The old public key (PEM), which is trusted: both signatures of the rotation are checked
        #[arg(long, value_name = "PUB")]
        known: Option<PathBuf>,
        /// What the key may sign: report, gate, policy or other
        #[arg(long, value_name = "ROLE", default_value = "report", value_parser = rotate::role,
              conflicts_with = "known")]
        role: Role,
    },
    /// Put keys on the signed list of revoked keys
    ///
    /// Makes the list, or the next one: its number grows, no entry is ever removed. Without a key the
    /// list is issued anew, for gates whose policy says how old it may be. Gates read it with
    /// `cordon verify --revocations FILE`.
    Revoke {
        /// Keys to revoke: fingerprints (`SHA256:…`), or files of public keys (PEM)
        #[arg(value_name = "KEY")]
        keys: Vec<String>,
        /// The list: a bundle, which is replaced
        #[arg(long, value_name = "FILE")]
        list: PathBuf,
        /// Private key of the role `policy` (PEM), which signs the list
        #[arg(long, value_name = "KEY")]
        key: PathBuf,
        /// Public key (PEM) that signed the list so far, if another one did
        #[arg(long, value_name = "PUB")]
        signed_by: Option<PathBuf>,
        /// Why
        #[arg(long, value_name = "WHY", default_value = "compromised")]
        reason: Reason,
        /// The same in words
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
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
    #[error("another cordon works in `{}`; wait until it has ended", path.display())]
    Busy { path: PathBuf },
    #[error(
        "the signing key is the credential `{place}`, which is no file that can be written: name a file \
         (`--out FILE`, on a file system in memory), and encrypt it with `systemd-creds encrypt`"
    )]
    Credential { place: KeyPlace },
    #[error(
        "`{text}` is no fingerprint: `SHA256:` and 43 characters, as `cordon key show` prints it"
    )]
    NoFingerprint { text: String },
    #[error("a key of the rotation is not the one of its fingerprint")]
    NoTable,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the list of revoked keys cannot be gone on with")]
    Revocations(#[from] RevocationsError),
    #[error(
        "key {id} is to sign the list and to be on it, which no gate would believe: sign it with the \
         key that takes its place (`--signed-by` names this one), and revoke this one there"
    )]
    RevokesItself { id: String },
    #[error(transparent)]
    Rotation(#[from] RotationError),
    #[error(transparent)]
    Step(#[from] StepError),
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
            Command::Generate { out, tpm } => generate(out, tpm, config),
            Command::SignPolicy { policy, key } => sign_policy(&policy, (&key, config)),
            Command::Show { file } => show(&file, config),
            Command::Rotate { key, tpm, overlap } => rotate::rotate(key, tpm, overlap, config),
            Command::Prune { key } => rotate::prune(key, config),
            Command::Table { file, known, role } => rotate::table(&file, known.as_deref(), role),
            Command::Revoke {
                keys,
                list,
                key,
                signed_by,
                reason,
                note,
            } => {
                let keys = &keys;
                let entries = revoke::Entries { keys, reason, note };
                revoke::revoke(&list, (&key, config), signed_by.as_deref(), &entries)
            }
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

fn generate(out: Option<PathBuf>, tpm: bool, config: Option<&Path>) -> Result<(), Failure> {
    // What the settings say of the key is of one that is where they say.
    let tpm = tpm || (out.is_none() && is_for_tpm(config)?);
    let path = out.map_or_else(|| default_path(config), Ok)?;
    let key = if tpm {
        SigningKey::generate_in(&Config::load(config)?.host.tpm)?
    } else {
        SigningKey::generate()?
    };
    let public = key.save(&path)?;
    output::data(&description(
        key.public(),
        &words(key.protection()),
        Some(&public),
    ))?;
    Ok(())
}

fn is_for_tpm(config: Option<&Path>) -> Result<bool, Failure> {
    let place = Config::load(config)?.host.signing_key();
    Ok(matches!(place, KeyPlace::Tpm(_)))
}

fn words(protection: Protection) -> String {
    format!("{protection}: {}", protection.words())
}

/// Reads a private key. If it is in a TPM, that is the one of the settings; the one that Linux has where
/// there are none.
pub(super) fn load(path: &Path, config: Option<&Path>) -> Result<SigningKey, KeyError> {
    let settings = Config::load(config).unwrap_or_default();
    SigningKey::load_on(path, &settings.host.tpm)
}

/// Where the key is when the command line does not say: the host settings' `signing_key`.
fn default_path(config: Option<&Path>) -> Result<PathBuf, Failure> {
    match Config::load(config)?.host.signing_key() {
        KeyPlace::File(path) | KeyPlace::Tpm(path) => Ok(path),
        place @ KeyPlace::Credential { .. } => Err(Failure::Credential { place }),
    }
}

fn sign_policy(path: &Path, (key, config): (&Path, Option<&Path>)) -> Result<(), Failure> {
    let bytes = fs::read(path, MAX_POLICY)?;
    let policy = TrustPolicy::parse(&path.display().to_string(), &bytes)?;
    let key = load(key, config)?;
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

fn show(path: &Path, config: Option<&Path>) -> Result<(), Failure> {
    // A public key is nothing to protect; what is not one is taken for a private one, whose errors
    // are the more useful.
    let shown = match VerifyingKey::load(path) {
        Ok(public) => description(public, "none needed: this is the public half", None),
        Err(KeyError::File(error)) => return Err(KeyError::File(error).into()),
        Err(_) => {
            let key = load(path, config)?;
            description(key.public(), &words(key.protection()), None)
        }
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
