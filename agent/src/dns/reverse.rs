//! Reverse lookups: answered from the leases a job holds, never asked.
//!
//! What an address is called says something about the host's networks, and asking upstream would
//! tell the owner of a network which addresses a job has. A job that holds a lease knows the name
//! already. Pure: the time is a parameter.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use cordon_ebpf::abi::ruleset::RuleIndex;
use hickory_proto::rr::Name;

use super::Lease;

/// Addresses remembered.
const ADDRESSES: usize = 4096;

/// Names remembered for one address; shared front ends have many.
const NAMES: usize = 8;

/// The leases of one job by their addresses, for as long as they last. Bounded: what is beyond is
/// not found here, and no less leased.
#[derive(Debug, Default)]
pub(super) struct Held {
    addresses: BTreeMap<IpAddr, BTreeMap<String, Life>>,
}

/// How long a name is that of an address, and by which rule.
#[derive(Clone, Copy, Debug)]
struct Life {
    until: Duration,
    rule: Option<RuleIndex>,
}

/// A name an address is leased for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Known {
    /// The name that was asked for the lease.
    pub name: String,
    /// The first rule that allows it.
    pub rule: Option<RuleIndex>,
    /// Seconds the lease still lasts.
    pub seconds: u32,
}

impl Held {
    /// Remembers leases the kernel has taken; `now` is the time since any fixed moment.
    pub(super) fn hold(&mut self, leases: &[Lease], now: Duration) {
        for lease in leases {
            self.hold_one(lease, now);
        }
    }

    fn hold_one(&mut self, lease: &Lease, now: Duration) {
        let new = !self.addresses.contains_key(&lease.address);
        if new && self.addresses.len() >= ADDRESSES {
            self.forget(now);
            if self.addresses.len() >= ADDRESSES {
                return;
            }
        }
        let names = self.addresses.entry(lease.address).or_default();
        names.retain(|_, life| now < life.until);
        if names.len() >= NAMES && !names.contains_key(&lease.name) {
            return;
        }
        let until = now.saturating_add(Duration::from_secs(lease.seconds.into()));
        let rule = lease.rules.first().copied();
        let new = Life { until, rule };
        let life = names.entry(lease.name.clone()).or_insert(new);
        life.until = life.until.max(until);
    }

    /// The names an address is leased for.
    pub(super) fn names_of(&self, address: IpAddr, now: Duration) -> Vec<Known> {
        let known = |(name, life): (&String, &Life)| {
            let left = life.until.checked_sub(now).filter(|left| !left.is_zero())?;
            Some(Known {
                name: name.clone(),
                rule: life.rule,
                seconds: u32::try_from(left.as_secs()).unwrap_or(u32::MAX),
            })
        };
        let names = self.addresses.get(&address);
        names.into_iter().flatten().filter_map(known).collect()
    }

    /// Forgets what has run out.
    fn forget(&mut self, now: Duration) {
        self.addresses.retain(|_, names| {
            names.retain(|_, life| now < life.until);
            !names.is_empty()
        });
    }
}

/// The address a reverse lookup is about: all of `4.3.2.1.in-addr.arpa` or of 32 nibbles and
/// `ip6.arpa`.
pub(super) fn address_of(name: &Name) -> Option<IpAddr> {
    let mut labels: Vec<String> = Vec::new();
    for label in name {
        labels.push(str::from_utf8(label).ok()?.to_ascii_lowercase());
    }
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    match labels.as_slice() {
        [d, c, b, a, "in-addr", "arpa"] => {
            let mut octets = [0; 4];
            for (octet, label) in octets.iter_mut().zip([a, b, c, d]) {
                *octet = label
                    .parse()
                    .ok()
                    .filter(|octet: &u8| octet.to_string() == **label)?;
            }
            Some(Ipv4Addr::from(octets).into())
        }
        [nibbles @ .., "ip6", "arpa"] if nibbles.len() == 32 => {
            let mut bits = 0_u128;
            for label in nibbles.iter().rev() {
                let [nibble] = label.as_bytes() else {
                    return None;
                };
                let nibble = char::from(*nibble).to_digit(16)?;
                bits = (bits << 4) | u128::from(nibble);
            }
            let v6 = Ipv6Addr::from(bits);
            Some(v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lease(name: &str, address: &str, seconds: u32) -> Lease {
        Lease {
            name: name.into(),
            address: address.parse().unwrap(),
            rules: vec![3, 4],
            seconds,
        }
    }

    fn names(held: &Held, address: &str, now: Duration) -> Vec<(String, u32)> {
        let known = held.names_of(address.parse().unwrap(), now);
        known
            .into_iter()
            .map(|known| (known.name, known.seconds))
            .collect()
    }

    #[test]
    fn an_address_has_its_names_as_long_as_their_leases_last() {
        let mut held = Held::default();
        held.hold(&[lease("a.example", "192.0.2.1", 10)], SECOND);
        held.hold(&[lease("b.example", "192.0.2.1", 20)], SECOND);
        // A shorter lease takes nothing from a longer one.
        held.hold(&[lease("b.example", "192.0.2.1", 5)], SECOND);
        let both = [("a.example".to_owned(), 5), ("b.example".to_owned(), 15)];
        assert_eq!(names(&held, "192.0.2.1", 6 * SECOND), both);
        assert_eq!(names(&held, "192.0.2.1", 11 * SECOND).len(), 1);
        assert_eq!(names(&held, "192.0.2.1", 21 * SECOND), []);
        assert_eq!(names(&held, "192.0.2.2", SECOND), []);
        let known = held.names_of("192.0.2.1".parse().unwrap(), SECOND);
        assert_eq!(known[0].rule, Some(3));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_ran_out_makes_room() {
        let mut held = Held::default();
        for number in 0..ADDRESSES + 10 {
            let address = Ipv4Addr::from(u32::try_from(number).unwrap()).to_string();
            held.hold(&[lease("a.example", &address, 10)], SECOND);
        }
        assert_eq!(held.addresses.len(), ADDRESSES);
        held.hold(&[lease("a.example", "203.0.113.1", 10)], 12 * SECOND);
        assert_eq!(held.addresses.len(), 1);
        for number in 0..NAMES + 10 {
            held.hold(
                &[lease(&format!("n{number}.example"), "203.0.113.1", 10)],
                12 * SECOND,
            );
        }
        assert_eq!(names(&held, "203.0.113.1", 12 * SECOND).len(), NAMES);
    }

    #[test]
    fn only_whole_addresses_are_addresses() {
        let nibbles = "0.".repeat(32);
        for (name, address) in [
            ("1.2.0.192.in-addr.arpa.".to_owned(), Some("192.0.2.1")),
            ("1.2.0.192.IN-ADDR.Arpa.".to_owned(), Some("192.0.2.1")),
            (format!("1.{}ip6.arpa.", "0.".repeat(31)), Some("::1")),
            ("2.0.192.in-addr.arpa.".to_owned(), None),
            ("1.1.2.0.192.in-addr.arpa.".to_owned(), None),
            ("256.2.0.192.in-addr.arpa.".to_owned(), None),
            ("01.2.0.192.in-addr.arpa.".to_owned(), None),
            ("a.2.0.192.in-addr.arpa.".to_owned(), None),
            (format!("0.{nibbles}ip6.arpa."), None),
            (format!("g.{}ip6.arpa.", "0.".repeat(31)), None),
            (format!("00.{}ip6.arpa.", "0.".repeat(31)), None),
            ("in-addr.arpa.".to_owned(), None),
            (".".to_owned(), None),
        ] {
            let address = address.map(|text| text.parse().unwrap());
            assert_eq!(
                address_of(&Name::from_ascii(&name).unwrap()),
                address,
                "{name}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_address_is_read_from_its_reverse_name(v4: u32, v6: u128) {
            let v6 = Ipv6Addr::from(v6 | 1 << 127);
            for address in [IpAddr::from(Ipv4Addr::from(v4)), v6.into()] {
                prop_assert_eq!(address_of(&Name::from(address)), Some(address));
            }
        }
    }
}
