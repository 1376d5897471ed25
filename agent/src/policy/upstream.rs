//! Where allowed names are looked up.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::name::DomainName;

/// Port of a DNS server for which none is written.
const DNS_PORT: u16 = 53;

/// The same, for DNS over TLS (RFC 7858).
const TLS_PORT: u16 = 853;

/// The same, for DNS over HTTPS (RFC 8484).
const HTTPS_PORT: u16 = 443;

/// Where DNS over HTTPS is asked if nothing else is written.
const QUERY_PATH: &str = "/dns-query";

/// Longest path of a URL that is taken.
const PATH_MAX: usize = 255;

/// A place that resolves names for the job's DNS listener.
///
/// Servers are written with their address: a name would have to be looked up first, by whom?
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Upstream {
    /// The resolver of the host.
    System,
    /// A DNS server.
    Server(SocketAddr),
    /// A DNS server that is asked over TLS.
    Tls {
        /// Its address.
        server: SocketAddr,
        /// The name its certificate must have.
        name: DomainName,
    },
    /// A DNS server that is asked over HTTPS.
    Https {
        /// Its address.
        server: SocketAddr,
        /// The name its certificate must have.
        name: DomainName,
        /// The path of its URL.
        path: String,
    },
}

impl Upstream {
    /// Reads `system`, `ADDRESS[:PORT]`, `tls://ADDRESS[:PORT]#NAME` or
    /// `https://ADDRESS[:PORT][/PATH]#NAME`.
    ///
    /// # Errors
    /// The text is none of them.
    pub fn parse(text: &str) -> Result<Self, UpstreamError> {
        if text == "system" {
            return Ok(Self::System);
        }
        if let Some(rest) = text.strip_prefix("tls://") {
            let (address, name) = certified(rest)?;
            let server = socket(address, TLS_PORT)?;
            return Ok(Self::Tls { server, name });
        }
        if let Some(rest) = text.strip_prefix("https://") {
            let (place, name) = certified(rest)?;
            let (address, path) = match place.find('/') {
                Some(at) => place.split_at(at),
                None => (place, QUERY_PATH),
            };
            let server = socket(address, HTTPS_PORT)?;
            let path = url_path(path)?;
            return Ok(Self::Https { server, name, path });
        }
        Ok(Self::Server(socket(text, DNS_PORT)?))
    }

    /// Whether it proves who it is with a certificate.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        match self {
            Self::System | Self::Server(_) => false,
            Self::Tls { .. } | Self::Https { .. } => true,
        }
    }
}

/// A place, and the name of its certificate behind `#`.
fn certified(text: &str) -> Result<(&str, DomainName), UpstreamError> {
    let (place, name) = text.split_once('#').ok_or(UpstreamError::NoName)?;
    let name = DomainName::parse(name).map_err(|_error| UpstreamError::NoName)?;
    Ok((place, name))
}

fn socket(text: &str, port: u16) -> Result<SocketAddr, UpstreamError> {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let server = match bracketed.unwrap_or(text).parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, port),
        Err(_) => text.parse().map_err(|_error| UpstreamError::Syntax)?,
    };
    if server.port() == 0 || server.ip().is_unspecified() || server.ip().is_multicast() {
        return Err(UpstreamError::NotServer);
    }
    Ok(server)
}

fn url_path(path: &str) -> Result<String, UpstreamError> {
    let ordinary = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%".contains(&byte);
    if path.len() > PATH_MAX || !path.bytes().all(ordinary) {
        return Err(UpstreamError::Path);
    }
    Ok(path.to_owned())
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Server(server) => write!(f, "{server}"),
            Self::Tls { server, name } => write!(f, "tls://{server}#{name}"),
            Self::Https { server, name, path } => write!(f, "https://{server}{path}#{name}"),
        }
    }
}

/// Why a text is not an upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UpstreamError {
    /// Port 0, or an address that no single server has.
    #[error("no DNS server can have this address")]
    NotServer,
    /// An encrypted server whose certificate could not be judged.
    #[error("this does not say which name the server's certificate must have")]
    NoName,
    /// Characters that a path does not have, or too many.
    #[error("this is not the path of a DNS server's URL")]
    Path,
    /// Anything else.
    #[error("this is not a DNS upstream")]
    Syntax,
}

impl UpstreamError {
    /// What to write instead.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::NoName => {
                "write the name behind `#`: \"tls://192.0.2.53#resolver.example\" or \
                 \"https://192.0.2.53/dns-query#resolver.example\""
            }
            Self::Path => {
                "write letters, digits, `/`, `-`, `.`, `_`, `~` and `%`, and nothing behind the \
                 path but `#` and the server's name"
            }
            Self::NotServer | Self::Syntax => {
                "write \"system\", \"192.0.2.53\", \"192.0.2.53:5353\", \"[2001:db8::53]:53\", \
                 \"tls://192.0.2.53#resolver.example\" or \
                 \"https://192.0.2.53/dns-query#resolver.example\""
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_are_read_and_printed_alike() {
        for (text, printed) in [
            ("system", "system"),
            ("192.0.2.53", "192.0.2.53:53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]", "[2001:db8::53]:53"),
            ("[2001:db8::53]:54", "[2001:db8::53]:54"),
            (
                "tls://192.0.2.53#dns.example",
                "tls://192.0.2.53:853#dns.example",
            ),
            (
                "tls://192.0.2.53:8853#DNS.example.",
                "tls://192.0.2.53:8853#dns.example",
            ),
            (
                "tls://2001:db8::53#dns.example",
                "tls://[2001:db8::53]:853#dns.example",
            ),
            (
                "tls://[2001:db8::53]#dns.example",
                "tls://[2001:db8::53]:853#dns.example",
            ),
            (
                "https://192.0.2.53#dns.example",
                "https://192.0.2.53:443/dns-query#dns.example",
            ),
            (
                "https://[2001:db8::53]:8443/a/b-c#dns.example",
                "https://[2001:db8::53]:8443/a/b-c#dns.example",
            ),
            (
                "https://192.0.2.53/#dns.example",
                "https://192.0.2.53:443/#dns.example",
            ),
        ] {
            let upstream = Upstream::parse(text).unwrap();
            assert_eq!(upstream.to_string(), printed);
            assert_eq!(Upstream::parse(printed), Ok(upstream));
        }
    }

    #[test]
    fn what_is_no_upstream_is_refused() {
        for (text, error) in [
            ("tls://192.0.2.1", UpstreamError::NoName),
            ("tls://192.0.2.1#", UpstreamError::NoName),
            ("tls://192.0.2.1#no name", UpstreamError::NoName),
            ("tls://dns.example#dns.example", UpstreamError::Syntax),
            ("tls://192.0.2.1:0#dns.example", UpstreamError::NotServer),
            (
                "tls://192.0.2.1/dns-query#dns.example",
                UpstreamError::Syntax,
            ),
            ("https://192.0.2.1/dns-query", UpstreamError::NoName),
            (
                "https://dns.example/dns-query#dns.example",
                UpstreamError::Syntax,
            ),
            (
                "https://192.0.2.1/dns?query#dns.example",
                UpstreamError::Path,
            ),
            (
                "https://192.0.2.1/dns query#dns.example",
                UpstreamError::Path,
            ),
            ("https://user@192.0.2.1/#dns.example", UpstreamError::Syntax),
            (
                "http://192.0.2.1/dns-query#dns.example",
                UpstreamError::Syntax,
            ),
            ("dns.example.com", UpstreamError::Syntax),
            ("System", UpstreamError::Syntax),
            ("", UpstreamError::Syntax),
            ("192.0.2.53:0", UpstreamError::NotServer),
            ("0.0.0.0", UpstreamError::NotServer),
            ("224.0.0.251", UpstreamError::NotServer),
            ("tls://224.0.0.251#dns.example", UpstreamError::NotServer),
        ] {
            assert_eq!(Upstream::parse(text), Err(error), "{text}");
        }
    }
}
