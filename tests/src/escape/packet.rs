//! Packets made by hand.

use std::net::{Ipv4Addr, Ipv6Addr};

/// IPv4, UDP and the like: the Internet checksum.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fragment {
    /// Offset in units of eight bytes.
    pub offset: u16,
    /// Whether more follow.
    pub more: bool,
}

/// An IPv4 packet.
pub fn ipv4(
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: u8,
    fragment: Fragment,
    payload: &[u8],
) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
    let part = fragment.offset | if fragment.more { 0x2000 } else { 0 };
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0x12, 0x34]);
    packet.extend(part.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum = checksum(&packet).to_be_bytes();
    packet.splice(10..12, sum);
    packet.extend(payload);
    packet
}

/// An IPv6 packet.
pub fn ipv6(from: Ipv6Addr, to: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    packet
}

/// A UDP datagram without a checksum, which IPv4 permits.
pub fn udp(from: u16, to: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + data.len()).unwrap_or(u16::MAX);
    let mut datagram = [from, to, length, 0].map(u16::to_be_bytes).concat();
    datagram.extend(data);
    datagram
}

/// An ICMP or `ICMPv6` echo request (the kernel sums the latter itself).
pub fn echo_request(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 1, 0, 1];
    message.extend(data);
    let sum = checksum(&message).to_be_bytes();
    message.splice(2..4, sum);
    message
}

/// An Ethernet frame.
pub fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = [to, from].concat();
    frame.extend(kind.to_be_bytes());
    frame.extend(packet);
    frame
}

/// How a DNS message is made.
#[derive(Clone, Copy, Debug)]
pub struct Dns<'a> {
    /// Second byte pair: `0x0100` is an ordinary question, `0x8180` an answer.
    pub flags: u16,
    /// How many questions the header says there are.
    pub questions: u16,
    /// The name; its labels.
    pub labels: &'a [&'a str],
}

/// A DNS message with one name.
pub fn dns(
    Dns {
        flags,
        questions,
        labels,
    }: Dns<'_>,
) -> Vec<u8> {
    let mut message = [0x7061, flags, questions, 0, 0, 0]
        .map(u16::to_be_bytes)
        .concat();
    for label in labels {
        message.push(u8::try_from(label.len()).unwrap_or_default());
        message.extend(label.bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_over_itself_is_zero() {
        let (from, to) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        let packet = ipv4(from, to, 17, Fragment::default(), &udp(1, 2, b"odd"));
        assert_eq!(checksum(&packet[..20]), 0);
        assert_eq!(checksum(&echo_request(8, b"abc")), 0);
    }
}
