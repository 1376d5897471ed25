//! What refers to an image: the Referrers API of OCI 1.1, and the list under a tag of the image's
//! digest for registries that lack it.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use ureq::http::Method;

use crate::digest::Digest;
use crate::error::OciError;
use crate::manifest::{Descriptor, INDEX, Index};
use crate::registry::{Registry, Request};

/// Most pages of the Referrers API.
const MAX_PAGES: usize = 64;

/// Most referrers that are looked at, evidence or not.
const MAX_LISTED: usize = 4096;

/// 4 MiB: what registries accept as a manifest, and so as the list under a tag.
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;

/// How often the list under a tag is written anew when others write it too.
const ATTEMPTS: u32 = 8;

/// Shortest time after which a list is read again to see whether it stayed. Others that read the old
/// one have written theirs by then, unless they are very slow.
const SETTLE: Duration = Duration::from_millis(150);

/// Referrers, and how they were found.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) manifests: Vec<Descriptor>,
    /// By the API, not under the tag.
    pub(crate) by_api: bool,
}

impl Registry {
    /// All that refers to the image.
    pub(crate) fn referrers(&self) -> Result<Listing, OciError> {
        let mut address = self.at("referrers", self.reference.digest.as_str());
        let mut manifests = Vec::new();
        for page in 0..MAX_PAGES {
            let request = Request {
                accept: Some(INDEX),
                ..Request::default()
            };
            let answer = self.ask(&Method::GET, &address, &request)?;
            let is_index = answer
                .header("content-type")
                .is_some_and(|kind| kind.split(';').next().map(str::trim) == Some(INDEX));
            match answer.status {
                200 if is_index => {}
                // It has no such API; some that lack it answer with something else altogether.
                200 | 400 | 404 | 405 | 501 if page == 0 => {
                    let (index, _) = self.tagged()?;
                    return Ok(Listing {
                        manifests: index.descriptors().collect(),
                        by_api: false,
                    });
                }
                _ => return Err(self.unexpected(answer, "the list of referrers")),
            }
            let next = answer.header("link").and_then(next_page).map(str::to_owned);
            let bytes = self
                .wire
                .read(answer, "the list of referrers", MAX_MANIFEST)?;
            manifests.extend(index(&bytes)?.descriptors());
            if manifests.len() > MAX_LISTED {
                break;
            }
            let Some(next) = next else {
                return Ok(Listing {
                    manifests,
                    by_api: true,
                });
            };
            let refused = |reason: &str| OciError::refused("the list of referrers", reason);
            let following = address.follow(&next).map_err(refused)?;
            if following.origin != address.origin {
                return Err(refused("its next page is on another server"));
            }
            address = following;
        }
        Err(OciError::refused(
            "the list of referrers",
            format!("it has more than {MAX_LISTED} entries or {MAX_PAGES} pages"),
        ))
    }

    /// The tag under which there is a list.
    fn tag(&self) -> String {
        format!("sha256-{}", self.reference.digest.hex())
    }

    /// The list under the tag, and the version it has.
    fn tagged(&self) -> Result<(Index, Option<String>), OciError> {
        let request = Request {
            accept: Some(INDEX),
            ..Request::default()
        };
        let answer = self.ask(&Method::GET, &self.at("manifests", &self.tag()), &request)?;
        match answer.status {
            404 => return Ok((Index::empty(), None)),
            200 => {}
            _ => return Err(self.unexpected(answer, "the list of referrers")),
        }
        let version = answer.header("etag").map(str::to_owned);
        let bytes = self
            .wire
            .read(answer, "the list of referrers", MAX_MANIFEST)?;
        let index = index(&bytes)?;
        if index.manifests.len() > MAX_LISTED {
            let reason = format!("it has more than {MAX_LISTED} entries");
            return Err(OciError::refused("the list of referrers", reason));
        }
        Ok((index, version))
    }

    /// Adds manifests to the list under the tag, and takes none away.
    ///
    /// The distribution specification knows no transaction. So the list is written on the condition
    /// that it is still the one that was read, where a registry heeds that, and read again after a
    /// while: whoever lost what he wrote to another writes once more.
    pub(crate) fn list(&self, added: &[Descriptor]) -> Result<(), OciError> {
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(settle(attempt));
            }
            let (mut index, version) = self.tagged()?;
            let descriptors = index.descriptors();
            let listed: BTreeSet<_> = descriptors.map(|manifest| manifest.digest).collect();
            let missing: Vec<_> = added
                .iter()
                .filter(|manifest| !listed.contains(&manifest.digest))
                .filter_map(|manifest| serde_json::to_value(manifest).ok())
                .collect();
            if missing.is_empty() {
                return Ok(());
            }
            index.manifests.extend(missing);
            self.write_list(&index, version)?;
        }
        Err(OciError::Raced { tag: self.tag() })
    }

    fn write_list(&self, index: &Index, version: Option<String>) -> Result<(), OciError> {
        let bytes = serde_json::to_vec(index)
            .map_err(|error| OciError::refused("the list of referrers", error.to_string()))?;
        let condition = match version {
            Some(version) => ("if-match", version),
            None => ("if-none-match", "*".to_owned()),
        };
        let request = Request {
            body: Some((INDEX, &bytes)),
            condition: Some(condition),
            ..Request::default()
        };
        let answer = self.ask(&Method::PUT, &self.at("manifests", &self.tag()), &request)?;
        match answer.status {
            // 412: another was first, and the list is read again.
            200..=204 | 412 => Ok(()),
            _ => Err(self.unexpected(answer, "writing the list of referrers")),
        }
    }
}

/// A time that differs between writers, so that they do not meet again and again.
fn settle(attempt: u32) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanoseconds = now.map_or(0, |now| u64::from(now.subsec_nanos()));
    let own = u64::from(std::process::id()).wrapping_add(nanoseconds);
    let spread = own.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57;
    SETTLE.saturating_add(Duration::from_millis(spread).saturating_mul(attempt))
}

fn index(bytes: &[u8]) -> Result<Index, OciError> {
    let index: Index = serde_json::from_slice(bytes).map_err(|error| {
        OciError::refused("the list of referrers", format!("it is no index: {error}"))
    })?;
    if index.schema_version != 2 {
        return Err(OciError::refused(
            "the list of referrers",
            "it is no index of schema version 2",
        ));
    }
    Ok(index)
}

/// `</v2/…>; rel="next"` (RFC 8288).
fn next_page(header: &str) -> Option<&str> {
    let (target, parameters) = header.trim().strip_prefix('<')?.split_once('>')?;
    let mut parameters = parameters.split(';').map(str::trim);
    parameters
        .any(|parameter| matches!(parameter, "rel=\"next\"" | "rel=next"))
        .then_some(target)
}

/// Whether a manifest is in a list.
pub(crate) fn lists(listing: &Listing, digest: &Digest) -> bool {
    let mut manifests = listing.manifests.iter();
    manifests.any(|manifest| manifest.digest == *digest)
}

#[cfg(test)]
mod tests {
    use super::next_page;

    #[test]
    fn the_next_page_is_the_one_that_says_so() {
        assert_eq!(next_page("</v2/a?n=2>; rel=\"next\""), Some("/v2/a?n=2"));
        assert_eq!(next_page("</v2/a>; x=y; rel=next"), Some("/v2/a"));
        for none in [
            "",
            "</v2/a>",
            "</v2/a>; rel=\"prev\"",
            "/v2/a; rel=next",
            "</v2/a; rel=next",
        ] {
            assert_eq!(next_page(none), None, "{none}");
        }
    }
}
