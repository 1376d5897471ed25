//! Where allowed names are looked up.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Port of a DNS server for which none is written.
const DNS_PORT: u16 = 53;

/// A place that resolves names for the job's DNS listener.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Upstream {
    /// The resolver of the host.
    System,
    /// A DNS server.
    Server(SocketAddr),
}

impl Upstream {
    /// Reads `system`, an address, or an address with a port.
    ///
    /// # Errors
    /// The text is none of them.
    pub fn parse(text: &str) -> Result<Self, UpstreamError> {
        if text == "system" {
            return Ok(Self::System);
        }
        if text.starts_with("tls://") || text.starts_with("https://") {
            return Err(UpstreamError::NotYet);
        }
        let server = match text.parse::<IpAddr>() {
            Ok(address) => SocketAddr::new(address, DNS_PORT),
            Err(_) => text.parse().map_err(|_error| UpstreamError::Syntax)?,
        };
        if server.port() == 0 || server.ip().is_unspecified() || server.ip().is_multicast() {
            return Err(UpstreamError::NotServer);
        }
        Ok(Self::Server(server))
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.write_str("system"),
            Self::Server(server) => write!(f, "{server}"),
        }
    }
}

/// Why a text is not an upstream.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UpstreamError {
    /// Port 0, or an address that no single server has.
    #[error("no DNS server can have this address")]
    NotServer,
    /// DNS over TLS or HTTPS.
    #[error("not yet: DNS over TLS and HTTPS")]
    NotYet,
    /// Anything else.
    #[error("this is not a DNS upstream")]
    Syntax,
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
            ("[2001:db8::53]:54", "[2001:db8::53]:54"),
        ] {
            let upstream = Upstream::parse(text).unwrap();
            assert_eq!(upstream.to_string(), printed);
            assert_eq!(Upstream::parse(printed), Ok(upstream));
        }
    }

    #[test]
    fn what_is_no_upstream_is_refused() {
        for (text, error) in [
            ("tls://192.0.2.1#resolver.example", UpstreamError::NotYet),
            ("https://192.0.2.1/dns-query", UpstreamError::NotYet),
            ("dns.example.com", UpstreamError::Syntax),
            ("System", UpstreamError::Syntax),
            ("", UpstreamError::Syntax),
            ("192.0.2.53:0", UpstreamError::NotServer),
            ("0.0.0.0", UpstreamError::NotServer),
            ("224.0.0.251", UpstreamError::NotServer),
        ] {
            assert_eq!(Upstream::parse(text), Err(error), "{text}");
        }
    }
}
