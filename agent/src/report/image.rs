//! What a release is: the digest of an image, and never its tag.
//!
//! **Invariants**: a digest has one form, and two are compared as bytes; whatever could name another
//! content tomorrow, or today with some effort, is refused.

use std::fmt;
use std::str::FromStr;

use super::statement::Subject;

/// Most bytes of a name: what registries allow.
const MAX_NAME: usize = 255;

/// A digest that is not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ImageError {
    /// Another algorithm than SHA-256.
    #[error("`{algorithm}` is not accepted as a digest: give the image's sha256")]
    Algorithm {
        /// What was given.
        algorithm: String,
    },
    /// Not 64 hexadecimal digits.
    #[error("a sha256 has 64 hexadecimal digits, and `{hex}` is not that")]
    Hex {
        /// What was given.
        hex: String,
    },
    /// A name that no image has.
    #[error("`{name}` is not the name of an image")]
    Name {
        /// What was given.
        name: String,
    },
    /// A name without a digest.
    #[error(
        "`{text}` is a name or a tag, which can be another image tomorrow: give its digest, as \
         `sha256:HEX` or `NAME@sha256:HEX`"
    )]
    Tag {
        /// What was given.
        text: String,
    },
}

/// SHA-256 of an image's manifest or index.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ImageDigest([u8; 32]);

/// An image: its digest, and a name for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Image {
    /// What it is.
    pub digest: ImageDigest,
    /// What it was called, for people.
    pub name: Option<String>,
}

impl ImageDigest {
    /// Reads 64 hexadecimal digits of any case.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = pair else {
                return None;
            };
            *byte = (nibble(*high)? << 4) | nibble(*low)?;
        }
        Some(Self(bytes))
    }

    /// The digits, in lower case: as in-toto writes them.
    #[must_use]
    pub fn hex(self) -> String {
        let nibbles = self.0.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        nibbles
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect()
    }
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

impl fmt::Display for ImageDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl FromStr for Image {
    type Err = ImageError;

    /// Reads `sha256:HEX`, `HEX` or `NAME@sha256:HEX`, in any case.
    fn from_str(text: &str) -> Result<Self, ImageError> {
        let (name, digest) = match text.rsplit_once('@') {
            Some((name, digest)) => (Some(name), digest),
            None => (None, text),
        };
        if let Some(name) = name.filter(|name| !is_name(name)) {
            return Err(ImageError::Name { name: name.into() });
        }
        let hex = match digest.split_once(':') {
            Some((algorithm, hex)) if algorithm.eq_ignore_ascii_case("sha256") => hex,
            Some((algorithm, _)) if name.is_some() || is_digest_of(algorithm) => {
                let algorithm = algorithm.into();
                return Err(ImageError::Algorithm { algorithm });
            }
            None if name.is_some() || is_hex(digest) => digest,
            _ => return Err(ImageError::Tag { text: text.into() }),
        };
        let digest = ImageDigest::from_hex(hex).ok_or_else(|| weak(hex))?;
        Ok(Self {
            digest,
            name: name.map(str::to_owned),
        })
    }
}

/// Digits alone are told by their number what they are, so that the error can say it.
fn weak(hex: &str) -> ImageError {
    let algorithm = match hex.len() {
        32 => "md5",
        40 => "sha1",
        _ => return ImageError::Hex { hex: hex.into() },
    };
    if !is_hex(hex) {
        return ImageError::Hex { hex: hex.into() };
    }
    ImageError::Algorithm {
        algorithm: algorithm.into(),
    }
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Names of algorithms, for which an image named so would be a strange one.
fn is_digest_of(algorithm: &str) -> bool {
    let known = ["md5", "sha1", "sha224", "sha384", "sha512", "blake3"];
    known
        .iter()
        .any(|name| algorithm.eq_ignore_ascii_case(name))
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:[]".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed)
}

impl From<&Image> for Subject {
    fn from(image: &Image) -> Self {
        let name = image.name.as_deref().unwrap_or("image");
        Self::new(name, &image.digest.hex())
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name}@{}", self.digest),
            None => self.digest.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn refused(text: &str) -> ImageError {
        Image::from_str(text).unwrap_err()
    }

    #[test]
    fn every_form_of_one_digest_is_one_digest() {
        let forms = [
            HEX.to_owned(),
            HEX.to_uppercase(),
            format!("sha256:{HEX}"),
            format!("SHA256:{}", HEX.to_uppercase()),
            format!("registry.test/team/app@sha256:{HEX}"),
            format!("registry.test:5000/app:1.2@sha256:{HEX}"),
            format!("app@{HEX}"),
        ];
        for form in forms {
            let image: Image = form.parse().unwrap();
            assert_eq!(image.digest.to_string(), format!("sha256:{HEX}"), "{form}");
            assert_eq!(Subject::from(&image).digest.sha256, HEX);
        }
    }

    #[test]
    fn tags_and_names_are_refused_and_told_what_to_give() {
        for text in [
            "app",
            "app:1.2",
            "registry.test:5000/app:latest",
            "",
            "latest",
            "sha256",
        ] {
            let error = refused(text);
            assert!(matches!(error, ImageError::Tag { .. }), "{text}: {error}");
            assert!(error.to_string().contains("sha256:HEX"), "{error}");
        }
    }

    #[test]
    fn other_algorithms_are_refused_by_name() {
        let sha1 = "a9993e364706816aba3e25717850c26c9cd0d89d";
        let md5 = "900150983cd24fb0d6963f7d28e17f72";
        for (text, name) in [
            (format!("sha1:{sha1}"), "sha1"),
            (format!("MD5:{md5}"), "MD5"),
            (format!("sha512:{HEX}{HEX}"), "sha512"),
            (format!("app@sha1:{sha1}"), "sha1"),
            (format!("app@crc32:{sha1}"), "crc32"),
            (sha1.to_owned(), "sha1"),
            (md5.to_owned(), "md5"),
        ] {
            let algorithm = name.to_owned();
            assert_eq!(
                refused(&text),
                ImageError::Algorithm { algorithm },
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let short = HEX.trim_end_matches('d');
        for text in [
            format!("sha256:{short}"),
            format!("sha256:{HEX}0"),
            format!("sha256: {HEX}"),
            format!("sha256:{}", HEX.replacen('b', "g", 1)),
            short.to_owned(),
            format!("app@{HEX}00"),
        ] {
            assert!(matches!(refused(&text), ImageError::Hex { .. }), "{text}");
        }
        for name in ["", "a b", "a\n", "a@b", "ü", &"x".repeat(256)] {
            let error = refused(&format!("{name}@sha256:{HEX}"));
            assert!(matches!(error, ImageError::Name { .. }), "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_the_same(bytes in any::<[u8; 32]>(), upper in any::<bool>()) {
            let digest = ImageDigest(bytes);
            let text = if upper { digest.hex().to_uppercase() } else { digest.hex() };
            prop_assert_eq!(ImageDigest::from_hex(&text), Some(digest));
            let image: Image = format!("name@{digest}").parse().unwrap();
            prop_assert_eq!(image.digest, digest);
            prop_assert_eq!(image.to_string().parse(), Ok(image));
        }

        #[test]
        fn two_digests_are_equal_only_if_their_bytes_are(one in any::<[u8; 32]>(), at in 0_usize..256) {
            let mut other = one;
            other[at / 8] ^= 1 << (at % 8);
            let parse = |bytes| ImageDigest(bytes).to_string().parse::<Image>().unwrap().digest;
            prop_assert_ne!(parse(one), parse(other));
        }

        #[test]
        fn reading_is_total(text in any::<String>()) {
            if let Ok(image) = text.parse::<Image>() {
                prop_assert!(text.to_lowercase().ends_with(&image.digest.hex()));
            }
        }
    }
}
