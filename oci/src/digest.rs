//! SHA-256, as registries write it.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A digest that was checked to be one: `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Digest(String);

/// Text that is no such digest.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no `sha256:` with 64 lower-case hexadecimal digits")]
pub(crate) struct NoDigest(String);

impl Digest {
    /// That of these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// From 64 hexadecimal digits of any case.
    pub(crate) fn from_hex(hex: &str) -> Option<Self> {
        let good = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        good.then(|| Self(format!("sha256:{}", hex.to_ascii_lowercase())))
    }

    /// The digits alone: a safe file name.
    pub(crate) fn hex(&self) -> &str {
        self.0.strip_prefix("sha256:").unwrap_or(&self.0)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl TryFrom<String> for Digest {
    type Error = NoDigest;

    fn try_from(text: String) -> Result<Self, NoDigest> {
        let hex = text.strip_prefix("sha256:");
        let lower = hex.is_some_and(|hex| !hex.bytes().any(|byte| byte.is_ascii_uppercase()));
        match hex.filter(|_| lower).and_then(Self::from_hex) {
            Some(digest) => Ok(digest),
            None => Err(NoDigest(text)),
        }
    }
}

/// Hashes bytes as they come.
#[derive(Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        let mut text = String::from("sha256:");
        let nibbles = self.0.finalize().into_iter();
        let nibbles = nibbles.flat_map(|byte| [byte >> 4, byte & 0xf]);
        text.extend(nibbles.filter_map(|digit| char::from_digit(digit.into(), 16)));
        Digest(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_one_form() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").hex(), empty);
        assert_eq!(
            Digest::from_hex(&empty.to_uppercase()),
            Some(Digest::of(b""))
        );
        for bad in [
            String::new(),
            empty.to_owned(),
            format!("sha256:{}", empty.to_uppercase()),
            format!("sha512:{empty}"),
            format!("sha256:{empty}0"),
            "sha256:../../etc/passwd".to_owned(),
        ] {
            Digest::try_from(bad).unwrap_err();
        }
    }
}
