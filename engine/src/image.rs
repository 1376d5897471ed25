//! Names of images: which registry the engine would ask for one.

use crate::refusal::{Refusal, printable};

/// What a name without a registry means.
const HUB: &str = "docker.io";
/// Where that is.
const HUB_HOST: &str = "registry-1.docker.io";

/// A registry, as rules speak of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Registry {
    /// Its host.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
}

impl Registry {
    /// The registry of an image, as the engine reads the name.
    ///
    /// # Errors
    /// It is no name of an image.
    pub fn of_image(name: &str) -> Result<Self, Refusal> {
        let domain = match name.split_once('/') {
            Some((first, _)) if is_domain(first) => first,
            _ => HUB,
        };
        Self::of_domain(domain)
    }

    /// A registry by its address, as `docker login` sends it.
    ///
    /// # Errors
    /// It is none.
    pub fn of_address(address: &str) -> Result<Self, Refusal> {
        let address = address
            .trim_start_matches("https://")
            .trim_start_matches("http://");
        let domain = address.split('/').next().unwrap_or_default();
        Self::of_domain(if domain.is_empty() || domain == "index.docker.io" {
            HUB
        } else {
            domain
        })
    }

    fn of_domain(domain: &str) -> Result<Self, Refusal> {
        let unknown = || Refusal::unknown(format!("the registry `{}`", printable(domain)));
        let (host, port) = match domain.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_no_number| unknown())?),
            None => (domain, 443),
        };
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
        if host.is_empty() || !host.bytes().all(good) {
            return Err(unknown());
        }
        let host = if host == HUB { HUB_HOST } else { host };
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

/// As the engine tells a registry from the first part of a path.
fn is_domain(first: &str) -> bool {
    first.contains(['.', ':'])
        || first == "localhost"
        || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_the_one_the_engine_would_ask() {
        for (image, host, port) in [
            ("busybox", HUB_HOST, 443),
            ("library/busybox:1", HUB_HOST, 443),
            ("docker.io/library/busybox", HUB_HOST, 443),
            ("registry.test/a/b:1", "registry.test", 443),
            ("registry.test:5000/a", "registry.test", 5000),
            ("localhost/a", "localhost", 443),
            ("10.0.0.1/a@sha256:00", "10.0.0.1", 443),
            ("Upper/a", "upper", 443),
        ] {
            let registry = Registry::of_image(image).unwrap();
            assert_eq!(
                (registry.host.as_str(), registry.port),
                (host, port),
                "{image}"
            );
        }
        Registry::of_image("a.test:x/b").unwrap_err();
        Registry::of_image("a.te%st/b").unwrap_err();
    }

    #[test]
    fn a_login_names_its_registry() {
        let host = |address| Registry::of_address(address).unwrap().host;
        assert_eq!(host(""), HUB_HOST);
        assert_eq!(host("https://registry.test/v2/"), "registry.test");
    }
}
