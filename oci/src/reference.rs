//! `oci://HOST[:PORT]/NAME@sha256:HEX`: an image in a registry, and never a tag.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// Most bytes of a repository's name: what registries allow.
const MAX_NAME: usize = 255;

/// A reference that is not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReferenceError {
    /// It does not begin with `oci://`.
    #[error("`{0}` does not begin with `oci://`")]
    Scheme(String),
    /// It has no digest.
    #[error(
        "`{0}` has no digest: a tag can be another image tomorrow, so give \
         `oci://HOST/NAME@sha256:HEX`"
    )]
    Tag(String),
    /// The digest is none, or of another algorithm.
    #[error("`{0}` is no `sha256:` with 64 hexadecimal digits")]
    Digest(String),
    /// The registry is not named.
    #[error("`{0}` names no registry: give its host, as in `oci://registry.test/app@sha256:HEX`")]
    Host(String),
    /// The name is none that registries know.
    #[error("`{0}` is no name of a repository: lower-case letters, digits, `.`, `_`, `-` and `/`")]
    Name(String),
}

/// An image in a registry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reference {
    /// Host and port, as written.
    pub(crate) host: String,
    /// The repository.
    pub(crate) name: String,
    /// The image.
    pub(crate) digest: Digest,
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let rest = text.strip_prefix("oci://");
        let rest = rest.ok_or_else(|| ReferenceError::Scheme(text.into()))?;
        let (place, digest) = rest
            .rsplit_once('@')
            .ok_or_else(|| ReferenceError::Tag(text.into()))?;
        let hex = digest.strip_prefix("sha256:");
        let digest = hex
            .and_then(Digest::from_hex)
            .ok_or_else(|| ReferenceError::Digest(digest.into()))?;
        let (host, name) = place
            .split_once('/')
            .filter(|(host, _)| is_host(host))
            .ok_or_else(|| ReferenceError::Host(text.into()))?;
        // `NAME:TAG@DIGEST` is common; the tag says nothing beside the digest.
        let name = match name.rsplit_once(':') {
            Some((name, tag)) if is_tag(tag) => name,
            _ => name,
        };
        if name.len() > MAX_NAME || !name.split('/').all(is_component) {
            return Err(ReferenceError::Name(name.into()));
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            name: name.to_owned(),
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.host, self.name, self.digest)
    }
}

/// A name with a dot, a name with a port, `localhost`, or an IPv6 address in brackets: what cannot be
/// the first part of a repository's name.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, rest)) if address.parse::<std::net::Ipv6Addr>().is_ok() => {
                (text, rest.strip_prefix(':').filter(|_| !rest.is_empty()))
            }
            _ => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return false;
    }
    let named = |host: &str| {
        !host.is_empty()
            && host.len() <= 253
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
    };
    if host.starts_with('[') {
        // An address was read above; nothing but a port may follow it.
        return host.ends_with(']') || port.is_some();
    }
    named(host) && (host.contains('.') || port.is_some() || host == "localhost")
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, as the distribution specification has it.
fn is_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let edges = text.bytes().next().is_some_and(alphanumeric)
        && text.bytes().next_back().is_some_and(alphanumeric);
    let known = text
        .bytes()
        .all(|byte| alphanumeric(byte) || matches!(byte, b'.' | b'_' | b'-'));
    let mut separators = text.split(|c: char| c.is_ascii_alphanumeric());
    let single = separators
        .all(|part| matches!(part, "" | "." | "_" | "__") || part.bytes().all(|byte| byte == b'-'));
    edges && known && single
}

fn is_tag(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    !text.is_empty() && text.len() <= 128 && text.bytes().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn read(text: &str) -> Result<Reference, ReferenceError> {
        text.replace("HEX", HEX).parse()
    }

    #[test]
    fn an_image_is_named_by_host_name_and_digest() {
        for (text, host, name) in [
            ("oci://registry.test/app@sha256:HEX", "registry.test", "app"),
            (
                "oci://Registry.test:5000/a/b-c/d__e.f@sha256:HEX",
                "registry.test:5000",
                "a/b-c/d__e.f",
            ),
            ("oci://localhost/app:v1@sha256:HEX", "localhost", "app"),
            ("oci://[::1]:5000/app@sha256:HEX", "[::1]:5000", "app"),
            ("oci://[::1]/app@sha256:HEX", "[::1]", "app"),
        ] {
            let reference = read(text).unwrap();
            assert_eq!(
                (reference.host.as_str(), reference.name.as_str()),
                (host, name)
            );
            assert_eq!(reference.digest.hex(), HEX);
        }
        let upper = format!("oci://registry.test/app@sha256:{}", HEX.to_uppercase());
        assert_eq!(upper.parse::<Reference>().unwrap().digest.hex(), HEX);
    }

    #[test]
    fn whatever_else_is_refused_with_its_reason() {
        assert!(matches!(
            read("registry.test/app@sha256:HEX"),
            Err(ReferenceError::Scheme(_))
        ));
        assert!(matches!(
            read("oci://registry.test/app:v1"),
            Err(ReferenceError::Tag(_))
        ));
        for digest in [
            "sha512:HEX",
            "HEX",
            "sha256:",
            "sha256:HEX0",
            "sha256:../..",
        ] {
            let read = read(&format!("oci://registry.test/app@{digest}"));
            assert!(matches!(read, Err(ReferenceError::Digest(_))), "{digest}");
        }
        for host in [
            "app",
            "",
            "user:secret@registry.test",
            "registry.test:0x50",
            "[::1",
            "[x]",
            "[::1]x",
            "a_b.test",
            ":1",
        ] {
            let read = read(&format!("oci://{host}/app@sha256:HEX"));
            assert!(
                matches!(read, Err(ReferenceError::Host(_))),
                "{host}: {read:?}"
            );
        }
        for name in [
            "", "App", "a//b", "a/../b", ".a", "a-", "a..b", "a___b", "a?b", "a b", "a%2f", "a/",
        ] {
            let read = read(&format!("oci://registry.test/{name}@sha256:HEX"));
            assert!(
                matches!(read, Err(ReferenceError::Name(_))),
                "{name}: {read:?}"
            );
        }
    }
}
