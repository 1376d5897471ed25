//! What kind of address it is: the question behind DNS rebinding.
//!
//! A name of the public DNS must not lead a job to the host, its network or a cloud's metadata
//! service, whatever the zone's owner answers. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Kinds of addresses. Only [`AddressClass::Public`] is given to a job without a rule that says so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AddressClass {
    /// Reached over the Internet. The documentation ranges count as public: nobody lives there, and
    /// test networks use them as their Internet.
    Public,
    /// RFC 1918, IPv6 unique local and site-local addresses.
    Private,
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// `169.254.0.0/16`, `fe80::/10`.
    LinkLocal,
    /// A cloud's metadata service: it hands out credentials.
    Metadata,
    /// `224.0.0.0/4`, `ff00::/8`.
    Multicast,
    /// `0.0.0.0/8`, `::`: Linux connects them to the machine itself.
    Unspecified,
    /// `255.255.255.255`.
    Broadcast,
    /// Carrier-grade NAT, `100.64.0.0/10`: also what overlay networks use.
    Shared,
    /// Everything else that is not handed out for use on the Internet.
    Reserved,
}

/// Metadata services whose addresses do not lie in a link-local range, or are worth their own name.
const METADATA_V4: [Ipv4Addr; 6] = [
    Ipv4Addr::new(169, 254, 169, 254), // most clouds
    Ipv4Addr::new(169, 254, 170, 2),   // container credentials, AWS ECS
    Ipv4Addr::new(169, 254, 170, 23),  // container credentials, AWS EKS
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba Cloud
    Ipv4Addr::new(168, 63, 129, 16),   // Azure's host agent, in a public range
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle Cloud classic
];

impl AddressClass {
    /// The kind of an address; IPv6 forms that carry an IPv4 address have that one's kind.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => of_v4(v4),
            IpAddr::V6(v6) => of_v6(v6),
        }
    }

    /// The word for it in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Metadata => "metadata service",
            Self::Multicast => "multicast",
            Self::Unspecified => "unspecified",
            Self::Broadcast => "broadcast",
            Self::Shared => "shared (CGNAT)",
            Self::Reserved => "reserved",
        }
    }
}

fn of_v4(address: Ipv4Addr) -> AddressClass {
    if METADATA_V4.contains(&address) {
        return AddressClass::Metadata;
    }
    match address.octets() {
        [0, ..] => AddressClass::Unspecified,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => AddressClass::Private,
        [127, ..] => AddressClass::Loopback,
        [169, 254, ..] => AddressClass::LinkLocal,
        [100, 64..=127, ..] => AddressClass::Shared,
        [224..=239, ..] => AddressClass::Multicast,
        [255, 255, 255, 255] => AddressClass::Broadcast,
        // IETF protocol assignments, the 6to4 relay anycast, benchmarking, and class E.
        [192, 0, 0, _] | [192, 88, 99, _] | [198, 18..=19, ..] | [240..=255, ..] => {
            AddressClass::Reserved
        }
        _ => AddressClass::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> AddressClass {
    if let Some(v4) = embedded_v4(address) {
        return of_v4(v4);
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => AddressClass::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressClass::Loopback,
        // AWS: the one metadata service with an IPv6 address of its own, inside a private range.
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254] => AddressClass::Metadata,
        // Unique local; site-local, which RFC 3879 took out of use but not out of kernels; and NAT64
        // for local use, which may embed an IPv4 address at any of several places.
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] | [0x0064, 0xff9b, 0x0001, ..] => {
            AddressClass::Private
        }
        [0xfe80..=0xfebf, ..] => AddressClass::LinkLocal,
        [0xff00..=0xffff, ..] => AddressClass::Multicast,
        // IETF protocol assignments: Teredo, benchmarking, ORCHID and others.
        [0x2001, 0x0000..=0x01ff, ..] => AddressClass::Reserved,
        // The only part of IPv6 that is handed out, documentation ranges included.
        [0x2000..=0x3fff, ..] => AddressClass::Public,
        _ => AddressClass::Reserved,
    }
}

/// The IPv4 address a packet to this IPv6 address may end at: mapped, NAT64, 6to4.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.octets() {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
        | [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]
        | [0x20, 0x02, a, b, c, d, ..] => Some(Ipv4Addr::new(a, b, c, d)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn assert_class(class: AddressClass, addresses: &[&str]) {
        for text in addresses {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(AddressClass::of(address), class, "{text}");
        }
    }

    #[test]
    fn each_v4_range_ends_where_its_rfc_says() {
        assert_class(
            AddressClass::Private,
            &[
                "10.0.0.0",
                "10.255.255.255",
                "172.16.0.0",
                "172.31.255.255",
                "192.168.0.0",
                "192.168.255.255",
            ],
        );
        assert_class(AddressClass::Unspecified, &["0.0.0.0", "0.255.255.255"]);
        assert_class(AddressClass::Loopback, &["127.0.0.0", "127.255.255.255"]);
        assert_class(AddressClass::LinkLocal, &["169.254.0.0", "169.254.255.255"]);
        assert_class(AddressClass::Shared, &["100.64.0.0", "100.127.255.255"]);
        assert_class(AddressClass::Multicast, &["224.0.0.0", "239.255.255.255"]);
        assert_class(AddressClass::Broadcast, &["255.255.255.255"]);
        assert_class(
            AddressClass::Reserved,
            &[
                "192.0.0.0",
                "192.0.0.255",
                "192.88.99.1",
                "198.18.0.0",
                "198.19.255.255",
                "240.0.0.0",
                "255.255.255.254",
            ],
        );
        assert_class(
            AddressClass::Metadata,
            &["169.254.169.254", "100.100.100.200", "168.63.129.16"],
        );
    }

    #[test]
    fn the_neighbours_of_each_v4_range_are_public() {
        assert_class(
            AddressClass::Public,
            &[
                "1.0.0.0",
                "9.255.255.255",
                "11.0.0.0",
                "100.63.255.255",
                "100.128.0.0",
                "126.255.255.255",
                "128.0.0.0",
                "169.253.255.255",
                "169.255.0.0",
                "172.15.255.255",
                "172.32.0.0",
                "191.255.255.255",
                "192.0.1.0",
                "192.167.255.255",
                "192.169.0.0",
                "198.17.255.255",
                "198.20.0.0",
                "223.255.255.255",
            ],
        );
    }

    #[test]
    fn documentation_ranges_count_as_public() {
        assert_class(
            AddressClass::Public,
            &["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1"],
        );
    }

    #[test]
    fn each_v6_range_ends_where_its_rfc_says() {
        assert_class(AddressClass::Unspecified, &["::"]);
        assert_class(AddressClass::Loopback, &["::1"]);
        assert_class(
            AddressClass::Private,
            &[
                "fc00::",
                "fdff:ffff::",
                "fec0::1",
                "feff:ffff::",
                "64:ff9b:1::1",
            ],
        );
        assert_class(AddressClass::LinkLocal, &["fe80::", "febf:ffff::"]);
        assert_class(AddressClass::Metadata, &["fd00:ec2::254"]);
        assert_class(AddressClass::Multicast, &["ff00::", "ffff:ffff::"]);
        assert_class(
            AddressClass::Reserved,
            &[
                "::2",
                "::10.0.0.1",
                "100::1",
                "1fff:ffff::",
                "2001::1",
                "2001:1ff:ffff::",
                "4000::",
                "fbff::",
                "fe00::1",
            ],
        );
        assert_class(
            AddressClass::Public,
            &["2000::", "2001:200::", "2003::1", "2606::1", "3fff:ffff::"],
        );
    }

    proptest! {
        #[test]
        fn an_ipv6_form_has_the_class_of_the_ipv4_address_inside(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let [a, b, c, d] = v4.octets();
            let mapped = v4.to_ipv6_mapped();
            let nat64: Ipv6Addr = format!("64:ff9b::{v4}").parse().unwrap();
            let six_to_four = Ipv6Addr::from([0x20, 2, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            for form in [mapped, nat64, six_to_four] {
                prop_assert_eq!(AddressClass::of(form.into()), AddressClass::of(v4.into()));
            }
        }

        #[test]
        fn the_standard_library_never_calls_a_public_v4_address_private(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            if AddressClass::of(v4.into()) == AddressClass::Public {
                prop_assert!(!v4.is_private() && !v4.is_loopback() && !v4.is_link_local());
                prop_assert!(!v4.is_multicast() && !v4.is_broadcast() && !v4.is_unspecified());
            }
        }
    }
}
