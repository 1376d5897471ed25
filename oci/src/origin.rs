//! Who an address leads to, and where a client may be sent from there. Pure.

use std::fmt;
use std::net::IpAddr;

use ureq::http::Uri;

/// Most bytes of an address: signed ones of object stores have some two thousand.
const MAX_ADDRESS: usize = 8 << 10;

/// Scheme, host and port: what two addresses share if they are the same server's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    host: String,
    port: u16,
}

/// How it is spoken to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scheme {
    /// Over TLS.
    Https,
    /// In the clear.
    Http,
}

/// An address: its origin, and what to ask for there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Address {
    pub(crate) origin: Origin,
    /// Path and query, beginning with `/`.
    pub(crate) path: String,
}

impl Origin {
    /// The registry of a reference; its host was checked.
    pub(crate) fn of_registry(host: &str, scheme: Scheme) -> Option<Self> {
        Address::parse(&format!("{scheme}://{host}/")).map(|address| address.origin)
    }

    /// Whether it is on this machine, so that nobody else reads what is sent.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost"
            || host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    /// Whether what is sent can be read by no other.
    pub(crate) fn is_private(&self) -> bool {
        self.scheme == Scheme::Https || self.is_loopback()
    }

    /// An address there.
    pub(crate) fn at(&self, path: &str) -> Address {
        Address {
            origin: self.clone(),
            path: path.to_owned(),
        }
    }
}

impl Address {
    /// Reads an absolute address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_ADDRESS {
            return None;
        }
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let scheme = match uri.scheme_str()? {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return None,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Some(Self {
            origin: Origin {
                scheme,
                host: uri
                    .host()
                    .filter(|host| !host.is_empty())?
                    .to_ascii_lowercase(),
                port: uri.port_u16().unwrap_or(match scheme {
                    Scheme::Https => 443,
                    Scheme::Http => 80,
                }),
            },
            path: path.to_owned(),
        })
    }

    /// Where a `Location` leads from here, or why nobody goes there.
    pub(crate) fn follow(&self, location: &str) -> Result<Self, &'static str> {
        let next = if location.starts_with('/') && !location.starts_with("//") {
            Self::parse(&format!("{}{location}", self.origin))
        } else {
            Self::parse(location)
        };
        let next = next.ok_or("it is no address of a web server")?;
        if self.origin.scheme == Scheme::Https && next.origin.scheme == Scheme::Http {
            return Err("it leads away from TLS");
        }
        if next.origin.scheme == Scheme::Http && next.origin != self.origin {
            return Err("it leads to another server without TLS");
        }
        Ok(next)
    }

    /// The same with one more parameter.
    pub(crate) fn with(mut self, parameter: &str) -> Self {
        let sign = if self.path.contains('?') { '&' } else { '?' };
        self.path.push(sign);
        self.path.push_str(parameter);
        self
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Https => "https",
            Self::Http => "http",
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(from: &str, location: &str) -> Result<String, &'static str> {
        let from = Address::parse(from).unwrap();
        from.follow(location).map(|next| next.to_string())
    }

    #[test]
    fn a_client_is_sent_on_but_never_away_from_tls() {
        let from = "https://registry.test/v2/app/blobs/x";
        assert_eq!(
            follow(from, "/v2/y?z=1"),
            Ok("https://registry.test:443/v2/y?z=1".into())
        );
        assert_eq!(
            follow(from, "https://store.test/y"),
            Ok("https://store.test:443/y".into())
        );
        for bad in [
            "http://registry.test/y",
            "http://127.0.0.1/y",
            "file:///etc/passwd",
            "//store.test/y",
            "y",
            "",
            "https://",
            "https://user:secret@store.test/y",
            "ftp://store.test/",
            "gopher:x",
        ] {
            assert!(follow(from, bad).is_err(), "{bad}");
        }
        let plain = "http://127.0.0.1:5000/v2/";
        assert_eq!(follow(plain, "/y"), Ok("http://127.0.0.1:5000/y".into()));
        assert_eq!(
            follow(plain, "http://127.0.0.1:5000/y"),
            Ok("http://127.0.0.1:5000/y".into())
        );
        // Another server of this machine is another server.
        follow(plain, "http://127.0.0.1:6000/y").unwrap_err();
        follow(plain, "http://registry.test/y").unwrap_err();
    }

    #[test]
    fn only_this_machine_is_private_without_tls() {
        let private = |text: &str| Address::parse(text).unwrap().origin.is_private();
        for good in [
            "https://registry.test/",
            "http://127.0.0.1:5000/",
            "http://[::1]/",
            "http://localhost/",
            "http://127.9.9.9/",
        ] {
            assert!(private(good), "{good}");
        }
        for bad in [
            "http://registry.test/",
            "http://localhost.registry.test/",
            "http://10.0.0.1/",
            "http://[::ffff:10.0.0.1]/",
        ] {
            assert!(!private(bad), "{bad}");
        }
    }
}
