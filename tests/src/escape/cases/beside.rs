//! What runs beside the job: relays on the host's own addresses, and peers that come in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use crate::escape::accomplice::{RELAY_PORT, Visit};
use crate::escape::case::{Case, Refused, Targets};
use crate::escape::sys;
use crate::harness::network::{JOB_V4, JOB_V6, at};

type Result = std::result::Result<(), Refused>;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "relay-loopback-tcp",
        &["G19"],
        "A relay of somebody else on 127.0.0.1, TCP.",
        |targets| tcp(Ipv4Addr::LOCALHOST.into(), targets),
    ),
    Case::new(
        "relay-loopback-tcp-v6",
        &["G19"],
        "A relay of somebody else on ::1, TCP.",
        |targets| tcp(Ipv6Addr::LOCALHOST.into(), targets),
    ),
    Case::new(
        "relay-loopback-mapped",
        &["G03", "G19"],
        "A relay of somebody else on ::ffff:127.0.0.1.",
        |targets| tcp(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), targets),
    ),
    Case::new(
        "relay-loopback-other",
        &["G19"],
        "The same relay by another address of 127.0.0.0/8.",
        |targets| tcp(Ipv4Addr::new(127, 9, 8, 7).into(), targets),
    ),
    Case::new(
        "relay-unspecified",
        &["G19"],
        "The same relay by 0.0.0.0, which `connect` takes for loopback.",
        |targets| tcp(Ipv4Addr::UNSPECIFIED.into(), targets),
    ),
    Case::new(
        "relay-unspecified-v6",
        &["G19"],
        "The same relay by `::`.",
        |targets| tcp(Ipv6Addr::UNSPECIFIED.into(), targets),
    ),
    Case::new(
        "relay-own-address",
        &["G19", "P23"],
        "The same relay by the host's own address.",
        |targets| tcp(JOB_V4.into(), targets),
    ),
    Case::new(
        "relay-own-address-v6",
        &["G19", "P23"],
        "The same relay by the host's own IPv6 address.",
        |targets| tcp(JOB_V6.into(), targets),
    ),
    Case::new(
        "relay-loopback-udp",
        &["G19"],
        "A relay of somebody else on 127.0.0.1, UDP.",
        |targets| udp(Ipv4Addr::LOCALHOST.into(), targets),
    ),
    Case::new(
        "relay-loopback-udp-v6",
        &["G19"],
        "A relay of somebody else on ::1, UDP.",
        |targets| udp(Ipv6Addr::LOCALHOST.into(), targets),
    ),
    Case::new(
        "relay-loopback-udp-connected",
        &["G19"],
        "A relay of somebody else on 127.0.0.1, connected UDP.",
        |targets| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            sys::connect(&socket, &sys::address(at(Ipv4Addr::LOCALHOST, RELAY_PORT)))?;
            sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
        },
    ),
    Case::new(
        "relay-broadcast-loopback",
        &["G19", "G29"],
        "The same relay by the broadcast address of loopback.",
        |targets| {
            super::place::broadcast(at(Ipv4Addr::new(127, 255, 255, 255), RELAY_PORT), targets)
        },
    ),
    Case::new(
        "inbound-tcp",
        &["G20"],
        "The job listens, the attacker connects and is answered.",
        |targets| {
            let listener = listening(at(Ipv4Addr::UNSPECIFIED, targets.port()), libc::SOCK_STREAM)?;
            sys::listen(&listener)?;
            Visit::Connection.ask(&targets.directory, targets.port())?;
            let peer = sys::accept(&listener)?;
            sys::send(&peer, targets.tag().as_bytes(), 0).map(drop)
        },
    ),
    Case::new(
        "inbound-tcp-dual-stack",
        &["G20"],
        "The same with a listener of both families.",
        |targets| {
            let listener = listening(at(Ipv6Addr::UNSPECIFIED, targets.port()), libc::SOCK_STREAM)?;
            sys::listen(&listener)?;
            Visit::Connection.ask(&targets.directory, targets.port())?;
            let peer = sys::accept(&listener)?;
            sys::send(&peer, targets.tag().as_bytes(), 0).map(drop)
        },
    ),
    Case::new(
        "inbound-udp",
        &["G20"],
        "The job waits for a datagram of the attacker and answers it.",
        |targets| {
            let socket = listening(at(Ipv4Addr::UNSPECIFIED, targets.port()), libc::SOCK_DGRAM)?;
            Visit::Datagram.ask(&targets.directory, targets.port())?;
            let peer = sys::recvfrom(&socket, &mut [0; 64])?;
            sys::sendto(&socket, targets.tag().as_bytes(), 0, &peer).map(drop)
        },
    ),
    Case::new(
        "inbound-handshake",
        &["G20"],
        "The handshake alone: the kernel answers for a listening job, and open or closed is a bit.",
        |targets| {
            let socket = listening(at(Ipv4Addr::UNSPECIFIED, targets.port()), libc::SOCK_STREAM)?;
            sys::listen(&socket)?;
            Visit::Connection.ask(&targets.directory, targets.port())?;
            Visit::Connection.over(&targets.directory, targets.port());
            Ok(())
        },
    ),
];

fn tcp(address: IpAddr, targets: &Targets) -> Result {
    let to = at(address, RELAY_PORT);
    let socket = sys::socket(family(to), libc::SOCK_STREAM, 0)?;
    sys::connect(&socket, &sys::address(to))?;
    sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
}

fn udp(address: IpAddr, targets: &Targets) -> Result {
    let to = at(address, RELAY_PORT);
    let socket = sys::socket(family(to), libc::SOCK_DGRAM, 0)?;
    sys::sendto(&socket, targets.tag().as_bytes(), 0, &sys::address(to)).map(drop)
}

fn listening(address: SocketAddr, kind: i32) -> std::result::Result<OwnedFd, Refused> {
    let socket = sys::socket(family(address), kind, 0)?;
    sys::set_int(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    sys::bind(&socket, &sys::address(address))?;
    Ok(socket)
}

fn family(to: SocketAddr) -> i32 {
    if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    }
}
