//! A parcel: what goes between this program and `cordon-oci`, which alone speaks to registries.
//!
//! It is a list and files that are named by their SHA-256. Names inside of it that come from a
//! registry are only ever compared, never used as paths. `cordon-oci`'s half is `oci/src/parcel.rs`.
//!
//! **Invariants**: what a file holds is hashed before it is believed to be what it is called; a set
//! that is not accepted takes no other with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::policy::is_relative;
use super::source::{MAX_DEPTH, MAX_FILE, MAX_FILES, ReadError, Source};
use crate::report::binding::{self, BindingPredicate};
use crate::report::envelope::{self, Bundle, EnvelopeError};
use crate::report::image::ImageDigest;
use crate::report::json;
use crate::report::seal::{self, SealError};
use crate::report::statement::{Statement, Subject, sha256_hex};

/// Value of [`Parcel::schema`].
const SCHEMA: &str = "cordon/parcel/v1";

/// The list's name.
pub const LIST: &str = "parcel.json";

/// 4 MiB: a list of some thousand files.
pub const MAX_LIST: u64 = 4 << 20;

/// What is in a parcel.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Parcel {
    schema: String,
    sets: Vec<Set>,
    #[serde(default)]
    statements: Vec<Lone>,
}

/// The evidence of one job.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Set {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    files: Vec<Piece>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    absent: Option<Absent>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Piece {
    name: String,
    media_type: String,
    digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    predicate_type: Option<String>,
}

/// A signed statement on its own.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Lone {
    origin: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    absent: Option<Absent>,
}

/// Why something of a registry is not here.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Absent {
    kind: Kind,
    reason: String,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// The registry has it no more.
    Missing,
    /// It is not what it should be, or too large.
    Refused,
    /// It could not be had, and may be another time.
    Failed,
}

/// Evidence that is not published.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A piece is missing, or could not be read.
    #[error("`{name}`: {error}")]
    Read {
        /// The piece.
        name: String,
        /// Why.
        error: ReadError,
    },
    /// A bundle is none.
    #[error("`{name}` is no bundle")]
    Bundle {
        /// The piece.
        name: String,
        /// Why.
        #[source]
        source: EnvelopeError,
    },
    /// The seal is none.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A statement is none.
    #[error("`{name}` holds no such statement")]
    Statement {
        /// The piece.
        name: String,
    },
    /// A file is not the one that was sealed.
    #[error("`{name}` is not the file that was sealed, so it is no evidence")]
    NotSealed {
        /// The piece.
        name: String,
    },
    /// It is about another image.
    #[error(
        "the evidence is not about {image}: it names {named}; `cordon bind` says which image a job \
         made, where it names none"
    )]
    OtherImage {
        /// Where it was to go.
        image: ImageDigest,
        /// What it names.
        named: String,
    },
    /// The list has no JSON form.
    #[error("the list of pieces cannot be written")]
    Encode(#[from] serde_json::Error),
}

impl PackError {
    /// Exit status, as the gate has them.
    #[must_use]
    pub const fn status(&self) -> u8 {
        match self {
            Self::Read { error, .. } => match error {
                ReadError::Missing => 3,
                ReadError::Refused(_) => 7,
                ReadError::Failed(_) => 8,
            },
            Self::Bundle { .. } | Self::Seal(_) | Self::Statement { .. } => 7,
            Self::NotSealed { .. } => 4,
            Self::OtherImage { .. } => 5,
            Self::Encode(_) => 8,
        }
    }
}

/// What is to be published.
#[derive(Clone, Debug)]
pub struct Packed {
    /// What goes along, by its name.
    pub contents: BTreeMap<String, Vec<u8>>,
    /// Names of what does not.
    pub left: Vec<String>,
}

/// The same, as `cordon-oci` is given it.
#[derive(Clone, Debug)]
pub struct Wrapped {
    /// The list, as it is written.
    pub list: String,
    /// Contents by their SHA-256 (hex).
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Packs the evidence of a job, for its image if one is given: what is sealed, the seal, its binding, all envelopes,
/// and `more`. No signature is looked at: whoever fetches it has the gate do that.
///
/// # Errors
/// See [`PackError`].
pub fn pack(
    source: &dyn Source,
    image: Option<ImageDigest>,
    more: &[String],
) -> Result<Packed, PackError> {
    let read = |name: &str| {
        let bytes = source.read(name, MAX_FILE);
        bytes.map_err(|error| PackError::Read {
            name: name.to_owned(),
            error,
        })
    };
    let there = source.names();
    let bundle = read(seal::BUNDLE_NAME)?;
    let statement = seal::parse(&claimed(seal::BUNDLE_NAME, &bundle)?)?;
    let mut named = statement.artefacts().to_vec();
    let mut contents = BTreeMap::new();
    for reference in &statement.predicate.references {
        let bytes = read(&reference.name)?;
        if sha256_hex(&bytes) != reference.digest.sha256 {
            let name = reference.name.clone();
            return Err(PackError::NotSealed { name });
        }
        contents.insert(reference.name.clone(), bytes);
    }
    contents.insert(seal::BUNDLE_NAME.to_owned(), bundle);
    if there.iter().any(|name| name == binding::BUNDLE_NAME) {
        let bundle = read(binding::BUNDLE_NAME)?;
        named.extend(bound(&claimed(binding::BUNDLE_NAME, &bundle)?)?);
        contents.insert(binding::BUNDLE_NAME.to_owned(), bundle);
    }
    let names = |image| {
        let mut digests = named.iter().map(|subject| &subject.digest.sha256);
        digests.any(|sha256| ImageDigest::from_hex(sha256) == Some(image))
    };
    if let Some(image) = image.filter(|image| !names(*image)) {
        let mut named: Vec<_> = named
            .into_iter()
            .map(|subject| subject.digest.sha256)
            .collect();
        if named.is_empty() {
            named.push("none".to_owned());
        }
        let named = named.join(", ");
        return Err(PackError::OtherImage { image, named });
    }
    if there.iter().any(|name| name == seal::ENVELOPES_NAME) {
        contents.insert(seal::ENVELOPES_NAME.to_owned(), read(seal::ENVELOPES_NAME)?);
    }
    for name in more {
        contents.insert(name.clone(), read(name)?);
    }
    let left = there
        .into_iter()
        .filter(|name| !contents.contains_key(name))
        .collect();
    Ok(Packed { contents, left })
}

impl Packed {
    /// Wraps it for `cordon-oci`.
    ///
    /// # Errors
    /// The list has no JSON form.
    pub fn wrap(self) -> Result<Wrapped, PackError> {
        let mut files = BTreeMap::new();
        let mut set = Set::default();
        for (name, bytes) in self.contents {
            let sha256 = sha256_hex(&bytes);
            let predicate_type = name
                .ends_with(".sigstore.json")
                .then(|| predicate_type(&bytes))
                .flatten();
            set.files.push(Piece {
                media_type: media_type(&name, predicate_type.is_some()).to_owned(),
                digest: format!("sha256:{sha256}"),
                predicate_type,
                name,
            });
            files.insert(sha256, bytes);
        }
        let list = serde_json::to_string(&Parcel {
            schema: SCHEMA.to_owned(),
            sets: vec![set],
            statements: Vec::new(),
        })?;
        Ok(Wrapped { list, files })
    }
}

/// What a bundle holds, whoever signed it.
fn claimed(name: &str, bundle: &[u8]) -> Result<Vec<u8>, PackError> {
    let bundle = Bundle::parse(bundle).and_then(|bundle| bundle.unverified_payload());
    bundle.map_err(|source| PackError::Bundle {
        name: name.to_owned(),
        source,
    })
}

fn bound(payload: &[u8]) -> Result<Vec<Subject>, PackError> {
    let statement = Statement::<BindingPredicate>::parse(payload);
    let statement = statement.map_err(|_not_it| PackError::Statement {
        name: binding::BUNDLE_NAME.to_owned(),
    })?;
    Ok(statement.artefacts().to_vec())
}

/// What a signed statement says of its type; none if it is none of that form.
fn predicate_type(bundle: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        predicate_type: String,
    }
    let payload = Bundle::parse(bundle).ok()?.unverified_payload().ok()?;
    let head: Head = json::parse(&payload).ok()?;
    Some(head.predicate_type)
}

fn media_type(name: &str, is_bundle: bool) -> &'static str {
    match name.rsplit_once('.').map(|(_, suffix)| suffix) {
        _ if is_bundle => envelope::MEDIA_TYPE,
        _ if name.ends_with(".intoto.jsonl") => "application/vnd.in-toto.bundle",
        Some("json") => "application/json",
        Some("jsonl") => "application/x-ndjson",
        Some("sarif") => "application/sarif+json",
        Some("html") => "text/html",
        Some("md") => "text/markdown",
        _ => "application/octet-stream",
    }
}

/// Gives the content of the parcel's files.
pub trait Store {
    /// The file of this name, a SHA-256 in hex, if it has at most `limit` bytes.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn read(&self, sha256: &str, limit: u64) -> Result<Vec<u8>, ReadError>;
}

/// One set of evidence, as the gate reads it.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// Where it is from, for people.
    pub origin: String,
    files: Result<BTreeMap<String, Entry>, ReadError>,
}

#[derive(Clone, Debug)]
enum Entry {
    /// SHA-256, hex.
    Content(String),
    /// It could not be had.
    Failed(String),
}

/// A set and where its files are.
#[derive(Clone, Copy)]
pub struct Opened<'p> {
    /// The set.
    pub set: &'p Unpacked,
    /// Where its files are.
    pub store: &'p dyn Store,
}

impl Parcel {
    /// Reads the list that `cordon-oci` wrote.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        use serde::de::Error as _;

        let parcel: Self = json::parse(bytes)?;
        if parcel.schema != SCHEMA {
            let text = format!("its schema is `{}`, not `{SCHEMA}`", parcel.schema);
            return Err(serde_json::Error::custom(text));
        }
        Ok(parcel)
    }

    /// All sets; where there is none, one that holds the statements alone. Statements on their own go
    /// with each: others may have signed them about the image.
    #[must_use]
    pub fn unpack(self) -> Vec<Unpacked> {
        let Self {
            mut sets,
            statements,
            ..
        } = self;
        if sets.is_empty() {
            sets.push(Set::default());
        }
        let unpacked = sets.into_iter().map(|set| set.unpack(&statements));
        unpacked.collect()
    }

    /// What was found beside the evidence and cannot be taken into account, in words.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let statements = self.statements.iter();
        let refused = statements.filter_map(|statement| {
            let absent = statement.absent.as_ref();
            let absent = absent.filter(|absent| absent.kind != Kind::Failed)?;
            Some(format!(
                "the statement {} is not taken into account: {}",
                statement.origin, absent.reason
            ))
        });
        refused.collect()
    }
}

impl Set {
    fn unpack(self, statements: &[Lone]) -> Unpacked {
        let origin = self.origin.clone().unwrap_or_default();
        Unpacked {
            files: self.files(statements),
            origin,
        }
    }

    fn files(self, statements: &[Lone]) -> Result<BTreeMap<String, Entry>, ReadError> {
        if let Some(Absent { kind, reason }) = self.absent {
            return Err(match kind {
                Kind::Missing => ReadError::Missing,
                Kind::Refused => ReadError::Refused(reason),
                Kind::Failed => ReadError::Failed(reason),
            });
        }
        let mut files = BTreeMap::new();
        let refused = |text: String| Err(ReadError::Refused(text));
        for piece in self.files {
            let Some(sha256) = hex(&piece.digest) else {
                return refused("a digest in it is none".to_owned());
            };
            let deep = piece.name.split('/').count() > MAX_DEPTH;
            if deep || !is_relative(&piece.name) {
                return refused(format!("`{}` is no name of a file in it", piece.name));
            }
            let entry = Entry::Content(sha256.to_owned());
            if files.insert(piece.name.clone(), entry).is_some() {
                return refused(format!("`{}` is in it twice", piece.name));
            }
        }
        for statement in statements {
            let digest = statement.digest.as_deref().and_then(hex);
            let entry = match (digest, &statement.absent) {
                (Some(sha256), _) => Entry::Content(sha256.to_owned()),
                // It could say something that counts.
                (
                    None,
                    Some(Absent {
                        kind: Kind::Failed,
                        reason,
                    }),
                ) => Entry::Failed(reason.clone()),
                (None, _) => continue,
            };
            let is_here = |other: &Entry| match (other, &entry) {
                (Entry::Content(other), Entry::Content(sha256)) => other == sha256,
                _ => false,
            };
            if files.values().any(is_here) {
                continue;
            }
            let origin = statement.origin.replace(':', "-");
            files.insert(format!("referrers/{origin}.sigstore.json"), entry);
        }
        if files.len() > MAX_FILES {
            return refused(format!("it has more than {MAX_FILES} files"));
        }
        Ok(files)
    }
}

fn hex(digest: &str) -> Option<&str> {
    let hex = digest.strip_prefix("sha256:")?;
    let good = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (hex.len() == 64 && hex.bytes().all(good)).then_some(hex)
}

impl Source for Opened<'_> {
    fn names(&self) -> Vec<String> {
        let files = self.set.files.as_ref();
        files.map_or_else(|_| Vec::new(), |files| files.keys().cloned().collect())
    }

    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, ReadError> {
        let files = self.set.files.as_ref().map_err(Clone::clone)?;
        match files.get(name).ok_or(ReadError::Missing)? {
            Entry::Failed(reason) => Err(ReadError::Failed(reason.clone())),
            Entry::Content(sha256) => {
                let bytes = self.store.read(sha256, limit)?;
                if sha256_hex(&bytes) != *sha256 {
                    let text = "its content is not what it was fetched as".to_owned();
                    return Err(ReadError::Refused(text));
                }
                Ok(bytes)
            }
        }
    }
}

impl std::fmt::Debug for Opened<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Opened").field(&self.set.origin).finish()
    }
}
