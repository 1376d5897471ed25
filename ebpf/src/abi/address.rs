//! One form for every IP address.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// An address in its one canonical form: IPv4 is always IPv4-mapped (`::ffff:a.b.c.d`).
///
/// A v4 socket, a v6 socket that names a mapped address and the packet on the wire therefore meet
/// the same map entries; there is no second spelling a job could use. Aligned to words, so that a
/// program copies it in two steps and not in sixteen.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd,
    FromBytes,
    Immutable,
    IntoBytes,
)]
#[repr(C, align(8))]
pub struct Address(pub [u8; 16]);

const _: () = assert!(size_of::<Address>() == 16);

/// Bits in front of the IPv4 part of a mapped address.
pub const MAPPED_BITS: u32 = 96;

impl Address {
    /// `::`
    pub const UNSPECIFIED: Self = Self(0u128.to_be_bytes());

    /// The mapped form of an IPv4 address, from its bytes in network order.
    #[must_use]
    #[inline(always)]
    pub const fn from_v4(v4: [u8; 4]) -> Self {
        // As one number: byte by byte it becomes a call to memset in a BPF program.
        let mapped = 0xffff_0000_0000 | u32::from_be_bytes(v4) as u128;
        Self(mapped.to_be_bytes())
    }

    /// `127.0.0.1` for an IPv4 address, `::1` for another.
    #[must_use]
    #[inline(always)]
    pub const fn loopback_like(&self) -> Self {
        if self.is_v4() {
            Self::from_v4([127, 0, 0, 1])
        } else {
            Self(1u128.to_be_bytes())
        }
    }

    /// The same 16 bytes as four words, as they lie in memory.
    #[must_use]
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        zerocopy::transmute!(self.0)
    }

    /// Whether this is an IPv4 address.
    #[must_use]
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        matches!(self.0, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ..])
    }

    /// Whether a packet to this address stays on the machine: `127.0.0.0/8`, `::1`, and the two
    /// unspecified addresses, which `connect(2)` turns into loopback.
    #[must_use]
    #[inline(always)]
    pub const fn is_loopback(&self) -> bool {
        match self.0 {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, ..]
            | [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0] => true,
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last] => last <= 1,
            _ => false,
        }
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        match address.0 {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => {
                Self::V4(Ipv4Addr::new(a, b, c, d))
            }
            bytes => Self::V6(Ipv6Addr::from(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_and_plain_v4_are_one_address() {
        let plain: IpAddr = "192.0.2.7".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(Address::from(plain), Address::from(mapped));
        assert_eq!(IpAddr::from(Address::from(mapped)), plain);
        assert!(Address::from(plain).is_v4());
    }

    #[test]
    fn loopback_holds_what_connect_sends_to_loopback() {
        for inside in [
            "127.0.0.1",
            "127.255.0.9",
            "::1",
            "::",
            "0.0.0.0",
            "::ffff:127.0.0.1",
        ] {
            let address = Address::from(inside.parse::<IpAddr>().unwrap());
            assert!(address.is_loopback(), "{inside}");
        }
        for outside in [
            "126.0.0.1",
            "128.0.0.1",
            "::2",
            "0.0.0.1",
            "1::1",
            "::1.2.3.4",
        ] {
            let address = Address::from(outside.parse::<IpAddr>().unwrap());
            assert!(!address.is_loopback(), "{outside}");
        }
    }
}
