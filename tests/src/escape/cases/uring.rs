//! `io_uring`: sockets used without the system calls that filters look for.

use nix::errno::Errno;

use crate::escape::case::{Case, Unrecorded, by};
use crate::escape::sys;
use crate::escape::uring::{Ring, SEND, SEND_ZC, Worker};
use crate::harness::network::{EVIL_V4, EVIL_V6};

const NO_RING: &[Unrecorded] = &[by("seccomp", "io_uring_setup", Errno::EPERM)];

pub(super) const CASES: &[Case] = &[
    Case::new(
        "io-uring-connect",
        &["G02", "P38"],
        "io_uring: connect and send on an ordinary socket.",
        |targets| {
            let ring = Ring::new(Worker::Caller)?;
            let socket = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
            ring.connect(&socket, &sys::address(targets.at(EVIL_V4)))?;
            ring.send(SEND, &socket, targets.tag().as_bytes())
        },
    )
    .stopped_by(NO_RING),
    Case::new(
        "io-uring-socket",
        &["G02", "P38"],
        "io_uring: socket, connect and send, IPv6.",
        |targets| {
            let ring = Ring::new(Worker::Caller)?;
            let socket = ring.socket(libc::AF_INET6, 1)?;
            ring.connect(&socket, &sys::address(targets.at(EVIL_V6)))?;
            ring.send(SEND, &socket, targets.tag().as_bytes())
        },
    )
    .stopped_by(NO_RING),
    Case::new(
        "io-uring-sendmsg",
        &["G02", "P38"],
        "io_uring: one datagram by SENDMSG.",
        |targets| {
            let ring = Ring::new(Worker::Caller)?;
            let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            let to = sys::address(targets.at(EVIL_V4));
            ring.sendmsg(&socket, targets.tag().as_bytes(), &to)
        },
    )
    .stopped_by(NO_RING),
    Case::new(
        "io-uring-worker",
        &["G02"],
        "io_uring: a worker thread of the ring connects.",
        |targets| {
            let ring = Ring::new(Worker::Pool)?;
            let socket = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
            ring.connect(&socket, &sys::address(targets.at(EVIL_V4)))?;
            ring.send(SEND, &socket, targets.tag().as_bytes())
        },
    )
    .stopped_by(NO_RING),
    Case::new(
        "io-uring-poller",
        &["G02"],
        "io_uring with SQPOLL: a kernel thread that polls sends the datagram.",
        |targets| {
            let ring = Ring::new(Worker::Poller)?;
            let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            let to = sys::address(targets.at(EVIL_V4));
            ring.sendmsg(&socket, targets.tag().as_bytes(), &to)
        },
    )
    .stopped_by(NO_RING),
    Case::new(
        "io-uring-zerocopy",
        &["G02"],
        "io_uring: zero-copy send on a connected UDP socket.",
        |targets| {
            let ring = Ring::new(Worker::Caller)?;
            let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            sys::connect(&socket, &sys::address(targets.at(EVIL_V4)))?;
            ring.send(SEND_ZC, &socket, targets.tag().as_bytes())
        },
    )
    .stopped_by(NO_RING),
];
