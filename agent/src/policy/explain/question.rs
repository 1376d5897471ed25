//! The question: a destination, as people write one.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::policy::Protocol;
use crate::policy::name::{DomainName, NameError};

/// A destination somebody asks about: `HOST:PORT`, `IP:PORT` or `[IPV6]:PORT`, and `/udp` if it is
/// not TCP.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// Where to.
    pub peer: Peer,
    /// Port, never 0.
    pub port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
}

/// How a destination is named.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Peer {
    /// By an address, without a lookup.
    Address(IpAddr),
    /// By a name that is looked up first.
    Name(DomainName),
}

/// Why a text is not a destination.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum QuestionError {
    /// The part before the port is neither an address nor a name.
    #[error("`{0}` is neither a host name nor an address")]
    Host(String, #[source] NameError),
    /// An IPv6 address without brackets.
    #[error("write an IPv6 address in brackets: `[2001:db8::1]:443`")]
    Brackets,
    /// The port is missing or not one.
    #[error("a port is missing: write HOST:PORT, for example `api.example.com:443`")]
    Port,
    /// Something after the slash that is not a protocol.
    #[error("`{0}` is not a protocol: write `/tcp`, `/udp` or nothing, which is TCP")]
    Protocol(String),
}

impl FromStr for Question {
    type Err = QuestionError;

    fn from_str(text: &str) -> Result<Self, QuestionError> {
        let (place, protocol) = match text.rsplit_once('/') {
            Some((place, word)) => {
                let protocol = Protocol::parse(word);
                let unknown = || QuestionError::Protocol(word.to_owned());
                (place, protocol.ok_or_else(unknown)?)
            }
            None => (text, Protocol::Tcp),
        };
        if place
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_ipv6())
        {
            return Err(QuestionError::Brackets);
        }
        let (host, port) = place.rsplit_once(':').ok_or(QuestionError::Port)?;
        let port = port.parse().ok().filter(|port| *port > 0);
        Ok(Self {
            peer: host.parse()?,
            port: port.ok_or(QuestionError::Port)?,
            protocol,
        })
    }
}

impl FromStr for Peer {
    type Err = QuestionError;

    fn from_str(host: &str) -> Result<Self, QuestionError> {
        let inside = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        if let Some(address) = inside.unwrap_or(host).parse::<IpAddr>().ok()
            && address.is_ipv6() == inside.is_some()
        {
            return Ok(Self::Address(address.to_canonical()));
        }
        if host.contains(':') {
            return Err(QuestionError::Brackets);
        }
        match DomainName::parse(host) {
            Ok(name) => Ok(Self::Name(name)),
            Err(error) => Err(QuestionError::Host(host.to_owned(), error)),
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.peer {
            Peer::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port)?,
            Peer::Address(address) => write!(f, "{address}:{}", self.port)?,
            Peer::Name(name) => write!(f, "{name}:{}", self.port)?,
        }
        write!(f, "/{}", self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_and_bad_ones_say_what_to_write() {
        for (text, printed) in [
            ("a.example:443", "a.example:443/tcp"),
            ("192.0.2.1:1/udp", "192.0.2.1:1/udp"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443/tcp"),
            ("[::ffff:192.0.2.1]:443", "192.0.2.1:443/tcp"),
        ] {
            assert_eq!(text.parse::<Question>().unwrap().to_string(), printed);
        }
        for (text, error) in [
            ("a.example", QuestionError::Port),
            ("a.example:0", QuestionError::Port),
            ("a.example:https", QuestionError::Port),
            ("a.example:443/sctp", QuestionError::Protocol("sctp".into())),
            ("2001:db8::1", QuestionError::Brackets),
            ("2001:db8::1:443", QuestionError::Brackets),
            (
                "[a.example]:443",
                QuestionError::Host("[a.example]".into(), NameError::Character('[')),
            ),
            (
                "a b:443",
                QuestionError::Host("a b".into(), NameError::Character(' ')),
            ),
        ] {
            assert_eq!(text.parse::<Question>(), Err(error), "{text}");
        }
    }
}
