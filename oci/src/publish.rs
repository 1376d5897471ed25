//! Publishing: the pieces of evidence become referrers of their image.
//!
//! Each job's evidence is one manifest whose layers are its files, and each signed statement of it
//! is a manifest of its own besides, in the form that cosign, policy engines and admission
//! controllers look for. Both share the blobs. What is there already is not sent again.

use std::collections::BTreeSet;
use std::path::Path;

use ureq::http::Method;

use crate::digest::Digest;
use crate::error::OciError;
use crate::manifest::{BUNDLE, Descriptor, EMPTY_BLOB, EVIDENCE, IMAGES, MANIFEST, Manifest};
use crate::parcel::{Folder, Piece, Set};
use crate::referrers::{MAX_MANIFEST, lists};
use crate::registry::{Registry, Request};

/// 256 MiB: the largest piece.
pub(crate) const MAX_BLOB: u64 = 256 << 20;

/// What was done.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Published {
    /// Digests of manifests that were sent, that of the evidence first.
    pub sent: Vec<String>,
    /// Of those that were there.
    pub present: Vec<String>,
    /// Blobs that were sent.
    pub blobs: usize,
    /// Whether the registry itself lists referrers; otherwise there is a list under a tag.
    pub by_api: bool,
}

/// A manifest as it is sent.
struct Prepared {
    bytes: Vec<u8>,
    descriptor: Descriptor,
    /// What must be there before.
    blobs: Vec<Digest>,
}

/// Publishes the parcel in a directory.
///
/// # Errors
/// See [`OciError`]. What was sent until then is there, and is not sent again the next time.
pub fn publish(registry: &Registry, parcel: &Path) -> Result<Published, OciError> {
    let folder = Folder(parcel);
    let sets = folder.open()?.sets;
    let image = registry.image()?;
    let listing = registry.referrers()?;
    let mut published = Published {
        by_api: listing.by_api,
        ..Published::default()
    };
    let mut there = BTreeSet::new();
    let mut unlisted = Vec::new();
    for set in &sets {
        for prepared in prepare(set, &image, &folder)? {
            let digest = prepared.descriptor.digest.clone();
            if lists(&listing, &digest) {
                published.present.push(digest.to_string());
                continue;
            }
            for blob in &prepared.blobs {
                if there.insert(blob.clone()) && registry.send_blob(&folder, blob)? {
                    published.blobs = published.blobs.saturating_add(1);
                }
            }
            if !registry.send_manifest(&prepared)? {
                unlisted.push(prepared.descriptor);
            }
            published.sent.push(digest.to_string());
        }
    }
    if !unlisted.is_empty() {
        // All at once: the fewer writes, the fewer collisions.
        registry.list(&unlisted)?;
    }
    Ok(published)
}

/// The manifests of a job's evidence: of all its files, and of each signed statement.
fn prepare(set: &Set, image: &Descriptor, folder: &Folder<'_>) -> Result<Vec<Prepared>, OciError> {
    let mut layers = Vec::new();
    for piece in &set.files {
        layers.push(layer(piece, folder)?);
    }
    let mut prepared = vec![finish(&Manifest::about(
        image,
        EVIDENCE,
        layers.clone(),
        [].into(),
    ))?];
    for (piece, layer) in set.files.iter().zip(layers) {
        if let Some(predicate_type) = &piece.predicate_type
            && piece.media_type == BUNDLE
        {
            let manifest = Manifest::statement(image, layer, predicate_type);
            prepared.push(finish(&manifest)?);
        }
    }
    Ok(prepared)
}

fn layer(piece: &Piece, folder: &Folder<'_>) -> Result<Descriptor, OciError> {
    let path = folder.path(&piece.digest);
    let size = std::fs::metadata(&path)
        .map_err(OciError::file("look at", path))?
        .len();
    let layer = Descriptor::new(&piece.media_type, piece.digest.clone(), size);
    Ok(layer.titled(&piece.name))
}

fn finish(manifest: &Manifest) -> Result<Prepared, OciError> {
    let bytes = serde_json::to_vec(manifest)
        .map_err(|error| OciError::refused("the manifest", error.to_string()))?;
    if bytes.len() as u64 > MAX_MANIFEST {
        let reason = format!("it has {} bytes: too many pieces", bytes.len());
        return Err(OciError::refused("the manifest", reason));
    }
    let mut descriptor = Descriptor::of(MANIFEST, &bytes);
    descriptor.artifact_type.clone_from(&manifest.artifact_type);
    descriptor.annotations.clone_from(&manifest.annotations);
    let mut blobs = vec![manifest.config.digest.clone()];
    blobs.extend(manifest.layers.iter().map(|layer| layer.digest.clone()));
    Ok(Prepared {
        bytes,
        descriptor,
        blobs,
    })
}

impl Registry {
    /// The image itself: type and size, which its referrers repeat.
    fn image(&self) -> Result<Descriptor, OciError> {
        let digest = &self.reference.digest;
        let request = Request {
            accept: Some(IMAGES),
            ..Request::default()
        };
        let address = self.at("manifests", digest.as_str());
        let answer = self.ask(&Method::GET, &address, &request)?;
        match answer.status {
            200 => {}
            404 => {
                return Err(OciError::NoImage {
                    image: self.reference.to_string(),
                });
            }
            _ => return Err(self.unexpected(answer, "the image's manifest")),
        }
        let what = "the image's manifest";
        let media_type = answer.header("content-type").unwrap_or_default().to_owned();
        let bytes = self.wire.read(answer, what, MAX_MANIFEST)?;
        if Digest::of(&bytes) != *digest {
            return Err(OciError::refused(what, "its digest is another one"));
        }
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        if !IMAGES.split(',').any(|known| known.trim() == media_type) {
            let reason = format!("`{media_type}` is no type of an image");
            return Err(OciError::refused(what, reason));
        }
        Ok(Descriptor::new(
            media_type,
            digest.clone(),
            bytes.len() as u64,
        ))
    }

    /// Sends a blob if it is not there; whether it had to be sent.
    fn send_blob(&self, folder: &Folder<'_>, digest: &Digest) -> Result<bool, OciError> {
        if self.has("blobs", digest, None)? {
            return Ok(false);
        }
        let bytes = if *digest == Digest::of(EMPTY_BLOB) {
            EMPTY_BLOB.to_vec()
        } else {
            folder.read(digest, MAX_BLOB)?
        };
        let begin = self.at("blobs", "uploads/");
        let answer = self.ask(&Method::POST, &begin, &Request::default())?;
        if answer.status != 202 {
            return Err(self.unexpected(answer, "the beginning of an upload"));
        }
        let location = answer.header("location").unwrap_or_default().to_owned();
        let address = begin
            .follow(&location)
            .map_err(|reason| OciError::Redirect {
                origin: begin.origin.to_string(),
                location,
                reason,
            })?;
        let address = address.with(&format!("digest={digest}"));
        let request = Request {
            body: Some(("application/octet-stream", &bytes)),
            ..Request::default()
        };
        // Once: whether an upload can be ended twice is not said anywhere.
        let answer = self.once(&Method::PUT, &address, &request)?;
        match answer.status {
            201 | 204 => Ok(true),
            _ => Err(self.unexpected(answer, "an upload")),
        }
    }

    /// Sends a manifest; whether the registry says that it lists it as a referrer.
    fn send_manifest(&self, prepared: &Prepared) -> Result<bool, OciError> {
        let address = self.at("manifests", prepared.descriptor.digest.as_str());
        let request = Request {
            body: Some((MANIFEST, &prepared.bytes)),
            ..Request::default()
        };
        let answer = self.ask(&Method::PUT, &address, &request)?;
        match answer.status {
            200..=204 => Ok(answer.header("oci-subject").is_some()),
            _ => Err(self.unexpected(answer, "a manifest")),
        }
    }
}
