//! In what a connection must show the name it was allowed by.

use std::fmt;

use cordon_ebpf::shown;

use super::Protocol;
use super::endpoint::Endpoint;
use super::ports::PortSet;

/// Port of TLS: names of host rules are checked there unless the rule says otherwise.
const HTTPS: u16 = 443;
/// The same, of HTTP.
const HTTP: u16 = 80;

/// What a rule's connections must show their name in.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Verify {
    /// The `Host` of every request.
    Http,
    /// Nothing: the address is enough.
    None,
    /// The server name of the TLS hello.
    Tls,
}

impl Verify {
    /// Every value, as profiles spell it.
    pub const WORDS: [&str; 3] = ["tls", "http", "none"];

    /// Reads `tls`, `http` or `none`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "http" => Some(Self::Http),
            "none" => Some(Self::None),
            "tls" => Some(Self::Tls),
            _ => None,
        }
    }
}

impl fmt::Display for Verify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::None => "none",
            Self::Tls => "tls",
        })
    }
}

impl From<Verify> for shown::Verify {
    fn from(verify: Verify) -> Self {
        match verify {
            Verify::Http => Self::HTTP,
            Verify::None => Self::NONE,
            Verify::Tls => Self::TLS,
        }
    }
}

/// What applies at each of a rule's ports, as ranges in order: what is written, else TLS on 443 and
/// HTTP on 80 for names over TCP, and nothing anywhere else.
pub(crate) fn by_port(
    endpoint: &Endpoint,
    ports: &PortSet,
    protocol: Protocol,
    written: Option<Verify>,
) -> Vec<(u16, u16, Verify)> {
    let default =
        written.is_none() && protocol == Protocol::Tcp && matches!(endpoint, Endpoint::Host(_));
    let mut parts = Vec::new();
    for (first, last) in ports.ranges() {
        if !default {
            parts.push((first, last, written.unwrap_or(Verify::None)));
            continue;
        }
        // Up to each well-known port, and that port itself.
        let mut from = Some(first);
        for (port, verify) in [(HTTP, Verify::Http), (HTTPS, Verify::Tls)] {
            let Some(begin) = from.filter(|begin| *begin <= port && port <= last) else {
                continue;
            };
            if begin < port {
                parts.push((begin, port.saturating_sub(1), Verify::None));
            }
            parts.push((port, port, verify));
            from = port.checked_add(1).filter(|next| *next <= last);
        }
        if let Some(begin) = from {
            parts.push((begin, last, Verify::None));
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::DomainPattern;
    use crate::policy::ports::PortRange;

    fn parts(ranges: &[(i64, i64)], protocol: Protocol, written: Option<Verify>) -> String {
        let endpoint = Endpoint::Host(DomainPattern::parse("a.example").unwrap());
        let ranges = ranges
            .iter()
            .map(|(first, last)| PortRange::new(*first, *last).unwrap());
        let ports = PortSet::new(ranges).unwrap();
        let list: Vec<_> = by_port(&endpoint, &ports, protocol, written)
            .iter()
            .map(|(first, last, verify)| format!("{first}-{last} {verify}"))
            .collect();
        list.join(", ")
    }

    #[test]
    fn the_well_known_ports_are_checked_unless_the_rule_says_otherwise() {
        let tcp = |ranges: &[(i64, i64)]| parts(ranges, Protocol::Tcp, None);
        assert_eq!(tcp(&[(443, 443)]), "443-443 tls");
        assert_eq!(tcp(&[(80, 80), (443, 443)]), "80-80 http, 443-443 tls");
        assert_eq!(tcp(&[(8443, 8443)]), "8443-8443 none");
        assert_eq!(
            tcp(&[(1, 65_535)]),
            "1-79 none, 80-80 http, 81-442 none, 443-443 tls, 444-65535 none"
        );
        assert_eq!(
            tcp(&[(79, 80), (443, 444)]),
            "79-79 none, 80-80 http, 443-443 tls, 444-444 none"
        );
        assert_eq!(parts(&[(443, 443)], Protocol::Udp, None), "443-443 none");
        assert_eq!(
            parts(&[(443, 443)], Protocol::Tcp, Some(Verify::None)),
            "443-443 none"
        );
        assert_eq!(
            parts(&[(1, 9)], Protocol::Tcp, Some(Verify::Tls)),
            "1-9 tls"
        );
    }

    #[test]
    fn every_port_of_the_rule_is_in_one_part() {
        let endpoint = Endpoint::Host(DomainPattern::parse("a.example").unwrap());
        for (first, last) in [
            (1, 65_535),
            (80, 443),
            (81, 442),
            (443, 65_535),
            (1, 80),
            (1, 79),
        ] {
            let ports = PortSet::new(PortRange::new(first, last)).unwrap();
            let parts = by_port(&endpoint, &ports, Protocol::Tcp, None);
            let count: u32 = parts.iter().map(|(a, b, _)| u32::from(b - a) + 1).sum();
            assert_eq!(i64::from(count), last - first + 1);
            assert!(parts.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0));
        }
    }
}
