//! Fetching: all evidence that refers to an image, into a parcel.
//!
//! **Invariants**: a piece that is not what it should be spoils its set and no other, so that whoever
//! may write to the repository cannot take the evidence of others away by adding to it; what could not
//! be had is told apart from what is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;

use ureq::http::Method;

use crate::digest::Digest;
use crate::error::OciError;
use crate::manifest::{BUNDLE, Descriptor, EVIDENCE, INDEX, MANIFEST, Manifest};
use crate::parcel::{Absent, Folder, Parcel, Piece, Set, Statement, create};
use crate::publish::MAX_BLOB;
use crate::registry::{Registry, Request};

/// Most sets of evidence of one image: jobs that made it, or say so.
const MAX_SETS: usize = 64;

/// Most signed statements on their own.
const MAX_STATEMENTS: usize = 512;

/// Most files of a set.
const MAX_FILES: usize = 256;

/// 1 MiB: a manifest of that many files.
const MAX_MANIFEST: u64 = 1 << 20;

/// 23 MiB: the largest signed statement, as its bundle.
const MAX_BUNDLE: u64 = 23 << 20;

/// 1 GiB: all that is fetched, together.
const MAX_TOTAL: u64 = 1 << 30;

/// Most bytes of a file's name.
const MAX_NAME: usize = 512;

/// What was fetched so far.
struct Basket<'f> {
    registry: &'f Registry,
    folder: Folder<'f>,
    files: BTreeSet<Digest>,
    total: u64,
}

/// Fetches all evidence of the registry's image into a directory that is empty.
///
/// # Errors
/// See [`OciError`]: nothing could be listed. What is wrong with single pieces is said in the parcel.
pub fn fetch(registry: &Registry, parcel: &Path) -> Result<(), OciError> {
    let listing = registry.referrers()?;
    let mut wanted = BTreeMap::new();
    for manifest in listing.manifests {
        if is_candidate(&manifest) {
            wanted.insert(manifest.digest.clone(), manifest);
        }
    }
    let (sets, statements): (Vec<_>, Vec<_>) = wanted
        .into_values()
        .partition(|manifest| manifest.artifact_type.as_deref() != Some(BUNDLE));
    let too_many = |what: &str, limit: usize| {
        let reason = format!("there are more than {limit}: remove those that are not needed");
        OciError::refused(format!("the {what} of the image"), reason)
    };
    if sets.len() > MAX_SETS {
        return Err(too_many("evidence", MAX_SETS));
    }
    if statements.len() > MAX_STATEMENTS {
        return Err(too_many("signed statements", MAX_STATEMENTS));
    }
    let mut basket = Basket {
        registry,
        folder: Folder(parcel),
        files: BTreeSet::new(),
        total: 0,
    };
    let mut list = Parcel::default();
    for manifest in &sets {
        list.sets.extend(basket.set(manifest));
    }
    for manifest in &statements {
        list.statements.push(basket.statement(manifest));
    }
    basket.folder.close(list)
}

/// Whether a referrer can be evidence, as far as the list says.
fn is_candidate(manifest: &Descriptor) -> bool {
    if manifest.media_type == INDEX {
        return false;
    }
    // A list under a tag need not say the type; then the manifest is asked.
    matches!(
        manifest.artifact_type.as_deref(),
        None | Some(EVIDENCE | BUNDLE)
    )
}

impl Basket<'_> {
    /// The evidence in a manifest; none if the manifest is something else.
    fn set(&mut self, manifest: &Descriptor) -> Option<Set> {
        let origin = Some(manifest.digest.clone());
        let absent = match self.files_of(manifest) {
            Ok(Some(files)) => {
                return Some(Set {
                    origin,
                    files,
                    absent: None,
                });
            }
            Ok(None) => return None,
            Err(error) => Absent::because(&error),
        };
        Some(Set {
            origin,
            files: Vec::new(),
            absent: Some(absent),
        })
    }

    fn files_of(&mut self, descriptor: &Descriptor) -> Result<Option<Vec<Piece>>, OciError> {
        let manifest = self.manifest(descriptor)?;
        if manifest.kind() != EVIDENCE {
            return Ok(None);
        }
        let what = || format!("the evidence {}", descriptor.digest);
        let layers = &manifest.layers;
        if layers.len() > MAX_FILES {
            let reason = format!("it has more than {MAX_FILES} files");
            return Err(OciError::refused(what(), reason));
        }
        let mut files = Vec::new();
        for layer in layers {
            let name = layer.title().filter(|name| name.len() <= MAX_NAME);
            let name = name.ok_or_else(|| OciError::refused(what(), "a file in it has no name"))?;
            self.blob(layer, MAX_BLOB)?;
            files.push(Piece {
                name: name.to_owned(),
                media_type: layer.media_type.clone(),
                digest: layer.digest.clone(),
                predicate_type: None,
            });
        }
        Ok(Some(files))
    }

    fn statement(&mut self, descriptor: &Descriptor) -> Statement {
        let origin = descriptor.digest.clone();
        let fetched = self.manifest(descriptor).and_then(|manifest| {
            let [layer] = manifest.layers.as_slice() else {
                let what = format!("the statement {}", descriptor.digest);
                return Err(OciError::refused(what, "it is not one file"));
            };
            self.blob(layer, MAX_BUNDLE)?;
            Ok(layer.digest.clone())
        });
        let (digest, absent) = match fetched {
            Ok(digest) => (Some(digest), None),
            Err(error) => (None, Some(Absent::because(&error))),
        };
        Statement {
            origin,
            digest,
            absent,
        }
    }

    /// A manifest about the image.
    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest, OciError> {
        let digest = &descriptor.digest;
        let what = format!("the manifest {digest}");
        let request = Request {
            accept: Some(MANIFEST),
            ..Request::default()
        };
        let address = self.registry.at("manifests", digest.as_str());
        let answer = self.registry.ask(&Method::GET, &address, &request)?;
        if answer.status == 404 {
            return Err(OciError::Missing { what });
        }
        if answer.status != 200 {
            return Err(self.registry.unexpected(answer, &what));
        }
        let bytes = self.registry.wire.read(answer, &what, MAX_MANIFEST)?;
        if Digest::of(&bytes) != *digest {
            return Err(OciError::refused(what, "its digest is another one"));
        }
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|error| OciError::refused(&what, format!("it is no manifest: {error}")))?;
        let subject = manifest.subject.as_ref().map(|subject| &subject.digest);
        if subject != Some(&self.registry.reference.digest) {
            return Err(OciError::refused(what, "it does not refer to the image"));
        }
        Ok(manifest)
    }

    /// Fetches a blob into the parcel, unless it is there.
    fn blob(&mut self, layer: &Descriptor, limit: u64) -> Result<(), OciError> {
        let digest = &layer.digest;
        if self.files.contains(digest) {
            return Ok(());
        }
        let what = format!("the file {digest}");
        let left = MAX_TOTAL.saturating_sub(self.total);
        if layer.size > limit.min(left) {
            let reason = format!("{} bytes are more than it may have", layer.size);
            return Err(OciError::refused(what, reason));
        }
        let address = self.registry.at("blobs", digest.as_str());
        let answer = self
            .registry
            .ask(&Method::GET, &address, &Request::default())?;
        if answer.status == 404 {
            return Err(OciError::Missing { what });
        }
        if answer.status != 200 {
            return Err(self.registry.unexpected(answer, &what));
        }
        let path = self.folder.path(digest);
        let mut file = create(&path)?;
        // What was read counts even where it is thrown away, so that nobody can be made to read
        // without end.
        let mut read = 0_u64;
        let copied = self.registry.wire.copy(answer, &what, layer.size, |part| {
            read = read.saturating_add(part.len() as u64);
            file.write_all(part).map_err(OciError::file("write", &path))
        });
        self.total = self.total.saturating_add(read);
        let checked = copied.and_then(|(length, found)| {
            if found == *digest && length == layer.size {
                return Ok(());
            }
            let reason = format!("it is {length} bytes of {found}, not what its manifest names");
            Err(OciError::refused(&what, reason))
        });
        if checked.is_err() {
            // The first error matters; a file that stays is removed with the parcel.
            drop(std::fs::remove_file(&path));
        } else {
            self.files.insert(digest.clone());
        }
        checked
    }
}
