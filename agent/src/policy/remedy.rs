//! Rules as TOML: what to write so that a destination is allowed.

use std::net::IpAddr;

use ipnet::IpNet;

use super::endpoint::{Endpoint, parse_net};
use super::name::DomainName;
use super::pattern::{Depth, DomainPattern};
use super::ports::PortSet;
use super::verify::Verify;
use super::{Origin, Protocol, Rule};

/// Goes to the job's own listener, whatever a rule says.
const DNS: u16 = 53;

/// The rule that would allow a destination, by the first of its names that a rule can have, else by
/// its address. `None` if no rule can allow it: jobs get TCP and UDP only, and DNS only through
/// their own listener.
#[must_use]
pub fn remedy(
    names: &[String],
    address: Option<IpAddr>,
    port: u16,
    protocol: u8,
) -> Option<String> {
    remedy_with(names, address, port, protocol, None)
}

/// The same, where a rule about a name must say what connections show it in.
#[must_use]
pub fn remedy_with(
    names: &[String],
    address: Option<IpAddr>,
    port: u16,
    protocol: u8,
    verify: Option<Verify>,
) -> Option<String> {
    let protocol = Protocol::from_number(protocol)?;
    let ports = PortSet::single(port).filter(|_| port != DNS)?;
    let address = address.map(|address| address.to_canonical());
    let host = names.iter().find_map(|name| exact(name));
    let private = host.is_some() && address.is_some_and(is_private);
    let verify = verify.filter(|_| host.is_some());
    let rule = Rule {
        endpoint: host.or_else(|| address.and_then(alone))?,
        ports,
        protocol,
        private,
        verify,
        reason: None,
        origin: Origin {
            source: String::new(),
            line: 0,
        },
    };
    Some(rule_to_toml(&rule))
}

/// A rule as a `[[allow]]` table, without a final line break.
pub(crate) fn rule_to_toml(rule: &Rule) -> String {
    let Rule {
        endpoint,
        ports,
        protocol,
        private,
        verify,
        reason,
        origin: _,
    } = rule;
    let mut lines = vec!["[[allow]]".to_owned()];
    lines.push(match endpoint {
        Endpoint::Host(pattern) => format!("host = \"{pattern}\""),
        Endpoint::Net(net) => format!("cidr = \"{net}\""),
    });
    lines.push(format!("ports = {}", ports.to_toml()));
    if *protocol != Protocol::Tcp {
        lines.push(format!("protocol = \"{protocol}\""));
    }
    if *private {
        lines.push("private = true".to_owned());
    }
    if let Some(verify) = verify {
        lines.push(format!("verify = \"{verify}\""));
    }
    if let Some(reason) = reason {
        lines.push(format!("reason = {}", toml::Value::from(reason.as_str())));
    }
    lines.join("\n")
}

/// The rule's endpoint for one name, if a rule can have it.
pub(crate) fn exact(name: &str) -> Option<Endpoint> {
    let name = DomainName::parse(name).ok()?;
    let pattern = DomainPattern::new(Depth::Exact, name).ok()?;
    Some(Endpoint::Host(pattern))
}

/// The rule's endpoint for one address, if a rule can have it.
pub(crate) fn alone(address: IpAddr) -> Option<Endpoint> {
    let net = IpNet::from(address.to_canonical());
    parse_net(&net.to_string()).ok().map(Endpoint::Net)
}

/// Whether the address is one that a public name should not have: not globally routed.
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            // 100.64.0.0/10 is shared address space (RFC 6598).
            let shared = matches!(v4.octets(), [100, second, ..] if second & 0xc0 == 64);
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
                || shared
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.is_multicast()
        }
    }
}

#[cfg(test)]
mod tests {
    use cordon_ebpf::abi::{TCP, UDP};

    use super::*;
    use crate::policy::Policy;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    fn address(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    #[test]
    fn a_named_destination_is_allowed_by_name() {
        let remedy = remedy(
            &names(&["api.example.com"]),
            address("192.0.2.1"),
            8443,
            TCP,
        );
        assert_eq!(
            remedy.unwrap(),
            "[[allow]]\nhost = \"api.example.com\"\nports = [8443]"
        );
    }

    #[test]
    fn a_private_answer_asks_for_private() {
        let text = remedy(&names(&["db.example.com"]), address("10.1.2.3"), 5432, TCP).unwrap();
        assert!(text.contains("private = true"), "{text}");
        let text = remedy(&[], address("10.1.2.3"), 5432, TCP).unwrap();
        assert!(!text.contains("private"), "{text}");
    }

    #[test]
    fn a_destination_without_a_usable_name_is_allowed_by_address() {
        for (list, to, cidr) in [
            (names(&[]), "192.0.2.1", "192.0.2.1/32"),
            (names(&["localhost"]), "127.0.0.1", "127.0.0.1/32"),
            (names(&["bad name"]), "2001:db8::1", "2001:db8::1/128"),
            (names(&[]), "::ffff:192.0.2.1", "192.0.2.1/32"),
        ] {
            let text = remedy(&list, address(to), 443, UDP).unwrap();
            assert_eq!(
                text,
                format!("[[allow]]\ncidr = \"{cidr}\"\nports = [443]\nprotocol = \"udp\"")
            );
        }
    }

    #[test]
    fn what_no_rule_can_allow_has_no_remedy() {
        assert_eq!(remedy(&[], address("192.0.2.1"), 0, TCP), None);
        assert_eq!(remedy(&[], address("192.0.2.1"), 53, UDP), None);
        assert_eq!(remedy(&[], address("192.0.2.1"), 443, 1), None);
        assert_eq!(remedy(&[], None, 443, TCP), None);
    }

    #[test]
    fn every_remedy_is_a_rule_our_own_parser_takes() {
        for (list, to) in [
            (names(&["api.example.com"]), None),
            (names(&["db.example.com"]), address("fd00::1")),
            (names(&[]), address("::1")),
            (names(&[]), address("169.254.169.254")),
        ] {
            let rule = remedy(&list, to, 8443, TCP).unwrap();
            let text = format!("name = \"x\"\n{rule}\n");
            let policy = Policy::parse("x.toml", text.as_bytes()).unwrap();
            assert_eq!(policy.rules.len(), 1);
            assert_eq!(policy.rules[0].to_toml(), rule);
        }
    }
}
