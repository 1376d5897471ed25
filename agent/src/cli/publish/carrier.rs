//! Starting `cordon-oci`, the program that speaks to registries.
//!
//! **Invariants**: this program opens no connection; what the other one writes is in a private
//! directory, is read as a parcel and nothing else, and is gone afterwards.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use nix::unistd::mkdtemp;

use crate::gate::parcel::{self, Parcel, Store, Unpacked, Wrapped};
use crate::gate::source::ReadError;
use crate::report::image::{Image, ImageError};
use crate::sys::dir::Directory;
use crate::sys::fs::FileError;

/// The program's name, beside this one or where packages put it.
const PROGRAM: &str = "cordon-oci";
const LIBRARY: &str = "/usr/lib/cordon";

/// How a registry is spoken to.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Registries")]
pub(in crate::cli) struct RegistryArgs {
    /// Speak HTTP without TLS; credentials are sent that way on this machine alone
    #[arg(long)]
    plain_http: bool,
    /// Trust the certificates (PEM) in this file too
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Logins, as in docker's `config.json`; else those of docker and podman are used
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
    /// Seconds that a registry may take altogether; 300 if not given
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: Option<u64>,
}

/// An image in a registry: `oci://HOST/NAME@sha256:HEX`.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Remote {
    /// The image.
    pub(in crate::cli) image: Image,
    text: String,
}

/// Why the other program did not do it.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum CarrierError {
    /// It is not installed.
    #[error(
        "`{PROGRAM}`, which speaks to registries, is neither at `{}` nor at `{LIBRARY}/{PROGRAM}`: \
         install the whole package, or build it with `cargo build -p cordon-oci`",
        beside.display()
    )]
    NoProgram {
        /// Where it was looked for first.
        beside: PathBuf,
    },
    /// It cannot be started.
    #[error("cannot start `{}`", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It said no.
    #[error("{said}")]
    Refused {
        /// Its exit status, of the gate's table.
        status: u8,
        /// Its words.
        said: String,
    },
    /// There is no place for the files.
    #[error("cannot make a private directory in `{}`", folder.display())]
    Folder {
        /// Where.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: nix::Error,
    },
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// What it left is no parcel.
    #[error("`{PROGRAM}` left something that is no parcel; are both of one version?")]
    Parcel(#[from] serde_json::Error),
}

impl CarrierError {
    /// Exit status, as the gate has them.
    pub(in crate::cli) const fn status(&self) -> u8 {
        match self {
            Self::Refused { status, .. } => *status,
            Self::NoProgram { .. }
            | Self::Start { .. }
            | Self::Folder { .. }
            | Self::File(_)
            | Self::Parcel(_) => 8,
        }
    }
}

impl RegistryArgs {
    /// Whether any was given.
    pub(in crate::cli) fn are_given(&self) -> bool {
        let Self {
            plain_http,
            ca,
            auth_file,
            timeout,
        } = self;
        *plain_http || ca.is_some() || auth_file.is_some() || timeout.is_some()
    }

    /// The same, for the other program.
    fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        if self.plain_http {
            words.push("--plain-http".into());
        }
        for (name, value) in [("--ca", &self.ca), ("--auth-file", &self.auth_file)] {
            if let Some(value) = value {
                words.extend([name.into(), value.into()]);
            }
        }
        if let Some(timeout) = self.timeout {
            words.extend(["--timeout".into(), timeout.to_string().into()]);
        }
        words
    }
}

impl FromStr for Remote {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let Some(image) = text.strip_prefix("oci://") else {
            return Err(ImageError::Tag { text: text.into() });
        };
        Ok(Self {
            image: image.parse()?,
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A private directory; removed with all that is in it.
struct Private {
    directory: Directory,
}

impl Private {
    fn new() -> Result<Self, CarrierError> {
        let folder = std::env::temp_dir();
        // `mkdtemp` makes it 0700.
        let path = mkdtemp(&folder.join("cordon-parcel.XXXXXX"));
        let path = path.map_err(|source| CarrierError::Folder { folder, source })?;
        Ok(Self {
            directory: Directory::open(&path)?,
        })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // What stays is for nobody else to read, and goes with the other temporary files.
        drop(std::fs::remove_dir_all(self.path()));
    }
}

/// Publishes; returns what the other program says of it.
pub(super) fn publish(
    wrapped: &Wrapped,
    remote: &Remote,
    registry: &RegistryArgs,
) -> Result<String, CarrierError> {
    let private = Private::new()?;
    for (sha256, bytes) in &wrapped.files {
        private.directory.publish(sha256, bytes, 0o600)?;
    }
    let list = wrapped.list.as_bytes();
    private.directory.publish(parcel::LIST, list, 0o600)?;
    run("publish", private.path(), remote, registry)
}

/// Evidence that was fetched, while this lives.
pub(in crate::cli) struct Fetched {
    /// One for each job.
    pub(in crate::cli) sets: Vec<Unpacked>,
    /// What is worth knowing, in words.
    pub(in crate::cli) remarks: Vec<String>,
    private: Private,
}

/// Fetches all evidence of an image.
pub(in crate::cli) fn fetch(
    remote: &Remote,
    registry: &RegistryArgs,
) -> Result<Fetched, CarrierError> {
    let private = Private::new()?;
    run("fetch", private.path(), remote, registry)?;
    let list = private.directory.read(parcel::LIST, parcel::MAX_LIST)?;
    let parcel = Parcel::parse(&list)?;
    Ok(Fetched {
        remarks: parcel.remarks(),
        sets: parcel.unpack(),
        private,
    })
}

impl Store for Fetched {
    fn read(&self, sha256: &str, limit: u64) -> Result<Vec<u8>, ReadError> {
        let read = self.private.directory.read(sha256, limit);
        read.map_err(|error| ReadError::Failed(error.source.to_string()))
    }
}

fn run(
    what: &str,
    parcel: &Path,
    remote: &Remote,
    registry: &RegistryArgs,
) -> Result<String, CarrierError> {
    let program = program()?;
    let output = Command::new(&program)
        .arg(what)
        .args(registry.words())
        .args([parcel.as_os_str(), remote.text.as_ref()])
        .stdin(Stdio::null())
        .output()
        .map_err(|source| CarrierError::Start { program, source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    let said = said.strip_prefix("cordon-oci: ").unwrap_or(said);
    // One that was ended by a signal has no status, and nothing is known then.
    let status = output
        .status
        .code()
        .and_then(|code| u8::try_from(code).ok());
    Err(CarrierError::Refused {
        status: status.filter(|code| matches!(code, 2 | 3 | 7)).unwrap_or(8),
        said: if said.is_empty() {
            format!("`{PROGRAM}` ended with {}", output.status)
        } else {
            said.to_owned()
        },
    })
}

fn program() -> Result<PathBuf, CarrierError> {
    // Where this program is cannot be found out: then only the other place is left.
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.with_file_name(PROGRAM);
    let library = Path::new(LIBRARY).join(PROGRAM);
    let found = [&beside, &library].into_iter().find(|path| path.is_file());
    found.cloned().ok_or(CarrierError::NoProgram { beside })
}
