//! Manifests and indexes of OCI, as far as evidence needs them. Pure.
//!
//! **Invariants**: the manifest of a piece depends on nothing but its content and the image, so that
//! publishing twice makes the same one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;

/// An image's manifest, and that of evidence.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A list of manifests.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What images are, in the words of OCI and of docker.
pub(crate) const IMAGES: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// The evidence of one job: every piece a layer.
pub(crate) const EVIDENCE: &str = "application/vnd.cordon.evidence.v1";

/// One signed statement: what cosign and its relatives look for.
pub(crate) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// What stands where there is no configuration.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Its content.
pub(crate) const EMPTY_BLOB: &[u8] = b"{}";

/// The annotation that names a file.
const TITLE: &str = "org.opencontainers.image.title";

/// What something is, and how large.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
    /// What others put there, kept as it is.
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, Value>,
}

/// A manifest. What else is in one of others is not looked at.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u64,
    #[serde(default)]
    pub(crate) media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) artifact_type: Option<String>,
    pub(crate) config: Descriptor,
    #[serde(default)]
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default)]
    pub(crate) subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// A list of manifests.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u64,
    #[serde(default)]
    pub(crate) media_type: Option<String>,
    /// Descriptors, kept as they are: some may be of others, with digests that are none here.
    #[serde(default)]
    pub(crate) manifests: Vec<Value>,
    /// What others put there, kept as it is.
    #[serde(flatten)]
    pub(crate) rest: BTreeMap<String, Value>,
}

impl Descriptor {
    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            artifact_type: None,
            annotations: BTreeMap::new(),
            rest: BTreeMap::new(),
        }
    }

    /// That of these bytes.
    pub(crate) fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    pub(crate) fn titled(mut self, title: &str) -> Self {
        self.annotations.insert(TITLE.to_owned(), title.to_owned());
        self
    }

    /// The name of a file, as somebody wrote it.
    pub(crate) fn title(&self) -> Option<&str> {
        self.annotations.get(TITLE).map(String::as_str)
    }
}

impl Manifest {
    /// A manifest about an image.
    pub(crate) fn about(
        image: &Descriptor,
        artifact_type: &str,
        layers: Vec<Descriptor>,
        annotations: BTreeMap<String, String>,
    ) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MANIFEST.to_owned()),
            artifact_type: Some(artifact_type.to_owned()),
            config: Descriptor::of(EMPTY, EMPTY_BLOB),
            layers,
            subject: Some(image.clone()),
            annotations,
        }
    }

    /// The same for one signed statement, as cosign makes it.
    pub(crate) fn statement(image: &Descriptor, bundle: Descriptor, predicate_type: &str) -> Self {
        let annotations = [
            ("dev.sigstore.bundle.content", "dsse-envelope"),
            ("dev.sigstore.bundle.predicateType", predicate_type),
        ];
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self::about(image, BUNDLE, vec![bundle], annotations.into())
    }

    /// What it is, as registries see it.
    pub(crate) fn kind(&self) -> &str {
        self.artifact_type
            .as_deref()
            .unwrap_or(&self.config.media_type)
    }
}

impl Index {
    /// One without anything in it.
    pub(crate) fn empty() -> Self {
        Self {
            schema_version: 2,
            media_type: Some(INDEX.to_owned()),
            manifests: Vec::new(),
            rest: BTreeMap::new(),
        }
    }

    /// Those of its entries that are known by their SHA-256.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = Descriptor> {
        let entries = self.manifests.iter().cloned();
        entries.filter_map(|entry| serde_json::from_value(entry).ok())
    }
}
