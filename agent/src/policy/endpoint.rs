//! What a rule is about: names, or a range of addresses.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};

use super::pattern::DomainPattern;

/// Where a rule lets a job go.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Endpoint {
    /// The addresses that DNS gives for a name.
    Host(DomainPattern),
    /// A range of addresses, named or not.
    Net(IpNet),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(pattern) => write!(f, "host {pattern}"),
            Self::Net(net) => write!(f, "cidr {net}"),
        }
    }
}

/// Reads a range of addresses.
///
/// # Errors
/// The text is not a range, not written in its one canonical form, or too wide to be a rule.
pub fn parse_net(text: &str) -> Result<IpNet, NetError> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Err(NetError::NoLength(IpNet::from(address)));
    }
    let (address, length) = text.split_once('/').ok_or(NetError::Syntax)?;
    let address: IpAddr = address.parse().map_err(|_error| NetError::Syntax)?;
    let net = number(length)
        .and_then(|length| IpNet::new(address, length).ok())
        .ok_or_else(|| NetError::Length(IpNet::from(address).max_prefix_len()))?;
    if net.prefix_len() == 0 {
        return Err(NetError::Everything);
    }
    if let IpNet::V6(v6) = net {
        refuse_mapped(&v6)?;
    }
    if net.trunc() != net {
        return Err(NetError::HostBits(net.trunc()));
    }
    Ok(net)
}

/// Why a text is not a range of addresses.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NetError {
    /// All addresses there are.
    #[error("this range is every address there is")]
    Everything,
    /// Bits after the prefix are set.
    #[error("the address has bits set beyond its prefix")]
    HostBits(IpNet),
    /// The prefix length is not a number or too large.
    #[error("the prefix length of such an address is 0 to {0}")]
    Length(u8),
    /// IPv4 in IPv6 clothes.
    #[error("IPv4-mapped addresses are written as IPv4")]
    Mapped,
    /// An address without a prefix length.
    #[error("the prefix length is missing")]
    NoLength(IpNet),
    /// Anything else.
    #[error("this is not an address range")]
    Syntax,
}

/// Digits only: `parse` would take a sign and leading zeros.
fn number(digits: &str) -> Option<u8> {
    let canonical = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| canonical)
}

/// The kernel keeps IPv4 addresses as mapped ones, so a v6 range that holds them would silently be
/// a rule about IPv4 too.
fn refuse_mapped(net: &Ipv6Net) -> Result<(), NetError> {
    let mapped = std::net::Ipv4Addr::UNSPECIFIED.to_ipv6_mapped();
    if net.contains(&mapped) || net.addr().to_ipv4_mapped().is_some() {
        return Err(NetError::Mapped);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_ranges_are_read() {
        for text in [
            "10.20.0.0/16",
            "192.0.2.1/32",
            "128.0.0.0/1",
            "127.0.0.0/8",
            "2001:db8::/32",
            "::1/128",
        ] {
            assert_eq!(parse_net(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_ranges_are_refused_by_their_reason() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        for (text, error) in [
            ("10.20.3.0/16", NetError::HostBits(net("10.20.0.0/16"))),
            ("2001:db8::1/32", NetError::HostBits(net("2001:db8::/32"))),
            ("192.0.2.1", NetError::NoLength(net("192.0.2.1/32"))),
            ("2001:db8::1", NetError::NoLength(net("2001:db8::1/128"))),
            ("192.0.2.0/33", NetError::Length(32)),
            ("192.0.2.0/+8", NetError::Length(32)),
            ("192.0.2.0/08", NetError::Length(32)),
            ("192.0.2.0/", NetError::Length(32)),
            ("2001:db8::/129", NetError::Length(128)),
            ("0.0.0.0/0", NetError::Everything),
            ("::/0", NetError::Everything),
            ("1.2.3.4/0", NetError::Everything),
            ("::/1", NetError::Mapped),
            ("::/80", NetError::Mapped),
            ("::ffff:0:0/96", NetError::Mapped),
            ("::ffff:10.0.0.0/104", NetError::Mapped),
            ("10.0.0.0/255.0.0.0", NetError::Length(32)),
            ("010.0.0.0/8", NetError::Syntax),
            ("10.0.0/8", NetError::Syntax),
            ("example.com/8", NetError::Syntax),
            ("fe80::1%eth0/64", NetError::Syntax),
        ] {
            assert_eq!(parse_net(text), Err(error), "{text}");
        }
    }
}
