//! A parcel: what goes between cordon and this program, a private directory.
//!
//! `parcel.json` says what is in it; every file has the SHA-256 of its content as its name, in hex.
//! Nothing in it is named by anybody else. cordon's half is `agent/src/gate/parcel.rs`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::OciError;
use crate::wire::read_file;

/// Value of [`Parcel::schema`].
const SCHEMA: &str = "cordon/parcel/v1";

/// The list's name.
const LIST: &str = "parcel.json";

/// 4 MiB: a list of some thousand files.
const MAX_LIST: u64 = 4 << 20;

/// What is in a parcel.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Parcel {
    pub(crate) schema: String,
    /// Evidence of jobs.
    pub(crate) sets: Vec<Set>,
    /// Signed statements on their own.
    #[serde(default)]
    pub(crate) statements: Vec<Statement>,
}

/// The evidence of one job.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Set {
    /// The manifest it was in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Digest>,
    pub(crate) files: Vec<Piece>,
    /// Why it is not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) absent: Option<Absent>,
}

/// A file of a set.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Piece {
    /// What it is called; as somebody wrote it, if it comes from a registry.
    pub(crate) name: String,
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    /// For a signed statement: what it says of its type. Nobody has checked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) predicate_type: Option<String>,
}

/// A signed statement on its own.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Statement {
    /// The manifest it was in.
    pub(crate) origin: Digest,
    /// The file; none if it is not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<Digest>,
    /// Why it is not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) absent: Option<Absent>,
}

/// Why something of a registry is not in the parcel.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Absent {
    /// Which kind of reason.
    pub(crate) kind: Kind,
    /// In words.
    pub(crate) reason: String,
}

/// Kinds of reasons.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// The registry has it no more.
    Missing,
    /// It is not what it should be, or too large.
    Refused,
    /// It could not be had, and may be another time.
    Failed,
}

impl Absent {
    pub(crate) fn because(error: &OciError) -> Self {
        Self {
            kind: match error {
                OciError::Missing { .. } => Kind::Missing,
                OciError::Refused { .. } => Kind::Refused,
                _ => Kind::Failed,
            },
            reason: error.to_string(),
        }
    }
}

/// Where a parcel is.
pub(crate) struct Folder<'p>(pub(crate) &'p Path);

impl Folder<'_> {
    /// Reads the list.
    pub(crate) fn open(&self) -> Result<Parcel, OciError> {
        let path = self.0.join(LIST);
        let bytes = read_file(&path, MAX_LIST)?;
        let wrong = |reason: String| OciError::Parcel {
            path: path.clone(),
            reason,
        };
        let parcel: Parcel =
            serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if parcel.schema != SCHEMA {
            return Err(wrong(format!("it is `{}`, not `{SCHEMA}`", parcel.schema)));
        }
        Ok(parcel)
    }

    /// Writes the list.
    pub(crate) fn close(&self, mut parcel: Parcel) -> Result<(), OciError> {
        SCHEMA.clone_into(&mut parcel.schema);
        let path = self.0.join(LIST);
        let wrong = |error: serde_json::Error| OciError::Parcel {
            path: path.clone(),
            reason: error.to_string(),
        };
        let text = serde_json::to_vec(&parcel).map_err(wrong)?;
        let mut file = create(&path)?;
        file.write_all(&text).map_err(OciError::file("write", path))
    }

    /// The content of a file.
    pub(crate) fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, OciError> {
        let path = self.path(digest);
        let bytes = read_file(&path, limit)?;
        if Digest::of(&bytes) != *digest {
            let reason = "its content is not what its name says".to_owned();
            return Err(OciError::Parcel { path, reason });
        }
        Ok(bytes)
    }

    /// Where a file is, or is to be.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.0.join(digest.hex())
    }
}

/// Makes a file that was not there.
pub(crate) fn create(path: &Path) -> Result<std::fs::File, OciError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path).map_err(OciError::file("create", path))
}
