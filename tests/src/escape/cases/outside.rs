//! Processes outside the job that act for it: over Unix sockets, by descriptors, as services.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};

use nix::errno::Errno;

use crate::escape::accomplice::{Gift, Service, abstract_relay, datagram_relay};
use crate::escape::case::{Case, Refused, Targets, Unrecorded, at as failed, by, io_at};
use crate::escape::sys;
use crate::harness::network::EVIL_V4;

type Result = std::result::Result<(), Refused>;

/// The layers that keep Unix sockets of others from a job.
const UNIX: &[Unrecorded] = &[
    by("unix_stream_connect", "connect", Errno::EPERM),
    by("unix_may_send", "sendto", Errno::EPERM),
    by("mount namespace", "connect", Errno::ENOENT),
    by("mount namespace", "sendto", Errno::ENOENT),
];
const GIVEN: &[Unrecorded] = &[
    by("unix_stream_connect", "connect", Errno::EPERM),
    by("file_receive", "recvmsg", Errno::EPERM),
    by("file_receive", "recvmsg", Errno::ENODATA),
    by("socket_sendmsg", "send", Errno::EPERM),
];

pub(super) const CASES: &[Case] = &[
    Case::new(
        "unix-relay",
        &["G13", "G18"],
        "A daemon that sends what it reads on a Unix socket, by its path.",
        |targets| {
            let tag = targets.tag();
            Service::Relay
                .ask(&targets.directory, tag.as_bytes())
                .map(drop)
        },
    )
    .stopped_by(UNIX),
    Case::new(
        "unix-relay-abstract",
        &["G18"],
        "The same by an abstract name, which no file permission guards.",
        |targets| {
            let name = abstract_relay(&targets.directory).map_err(io_at("bind"))?;
            let mut stream = UnixStream::connect_addr(&name).map_err(io_at("connect"))?;
            stream
                .write_all(targets.tag().as_bytes())
                .map_err(io_at("write"))
        },
    )
    .stopped_by(UNIX),
    Case::new(
        "unix-relay-datagram",
        &["G18", "P35"],
        "The same with datagrams: nothing is connected.",
        |targets| {
            let socket = UnixDatagram::unbound().map_err(io_at("socket"))?;
            let path = datagram_relay(&targets.directory);
            socket
                .send_to(targets.tag().as_bytes(), path)
                .map(drop)
                .map_err(io_at("sendto"))
        },
    )
    .stopped_by(UNIX),
    Case::new(
        "unix-relay-symlink",
        &["G13"],
        "The same by a symbolic link of the job's own.",
        |targets| {
            let link = std::env::temp_dir().join(format!("escape-{}", std::process::id()));
            std::os::unix::fs::symlink(Service::Relay.path(&targets.directory), &link)
                .map_err(io_at("symlink"))?;
            let stream = UnixStream::connect(&link).map_err(io_at("connect"));
            std::fs::remove_file(&link).map_err(io_at("unlink"))?;
            stream?
                .write_all(targets.tag().as_bytes())
                .map_err(io_at("write"))
        },
    )
    .stopped_by(UNIX),
    Case::new(
        "scm-rights-udp",
        &["G15", "P33"],
        "An unconnected UDP socket made outside, received over a Unix socket.",
        |targets| {
            let socket = given(Gift::Udp, targets)?;
            let to = sys::address(targets.at(EVIL_V4));
            sys::sendto(&socket, targets.tag().as_bytes(), 0, &to).map(drop)
        },
    )
    .stopped_by(GIVEN),
    Case::new(
        "scm-rights-tcp",
        &["G15", "P33"],
        "An unconnected TCP socket made outside, received and then connected.",
        |targets| {
            let socket = given(Gift::Tcp, targets)?;
            let to: SocketAddr = targets.at(EVIL_V4);
            sys::connect(&socket, &sys::address(to))?;
            sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
        },
    )
    .stopped_by(GIVEN),
    Case::new(
        "scm-rights-udp-connected",
        &["G15", "P33"],
        "A UDP socket connected outside, received over a Unix socket.",
        |targets| {
            let socket = given(Gift::ConnectedUdp, targets)?;
            sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
        },
    )
    .stopped_by(GIVEN),
    Case::new(
        "scm-rights-tcp-connected",
        &["G15", "P08", "P33"],
        "A TCP connection opened outside, received over a Unix socket.",
        |targets| {
            let socket = given(Gift::ConnectedTcp, targets)?;
            sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
        },
    )
    .stopped_by(GIVEN),
    Case::new(
        "activation",
        &["G14"],
        "A service outside runs a command for whoever asks, as `systemd-run` does.",
        |targets| {
            let program = std::env::current_exe().map_err(io_at("readlink"))?;
            let line = format!("{}\0escape-send\0{}\0", program.display(), targets.tag());
            let mut stream = Service::Activation.ask(&targets.directory, line.as_bytes())?;
            stream.read(&mut [0; 16]).map(drop).map_err(io_at("read"))
        },
    )
    .stopped_by(UNIX),
    Case::new(
        "moved-out",
        &["G16"],
        "A service outside moves the process into another cgroup, then it sends.",
        |targets| {
            moved(targets)?;
            let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            let to = sys::address(targets.at(EVIL_V4));
            sys::sendto(&socket, targets.tag().as_bytes(), 0, &to).map(drop)
        },
    )
    .stopped_by(UNIX),
    Case::new(
        "moved-out-old-socket",
        &["G16"],
        "The same with a socket that was made in the job.",
        |targets| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
            moved(targets)?;
            sys::connect(&socket, &sys::address(targets.at(EVIL_V4)))?;
            sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
        },
    )
    .stopped_by(UNIX),
    Case::new(
        "moved-out-child",
        &["G16"],
        "The same by a child of the process that was moved.",
        |targets| {
            moved(targets)?;
            let child = sys::forked(|| {
                let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
                let to = sys::address(targets.at(EVIL_V4));
                sys::sendto(&socket, targets.tag().as_bytes(), 0, &to)
            })?;
            sys::wait(child)
        },
    )
    .stopped_by(UNIX),
];

fn given(gift: Gift, targets: &Targets) -> std::result::Result<OwnedFd, Refused> {
    let stream = Service::Giver.ask(&targets.directory, &[gift as u8])?;
    sys::receive(&stream)
}

/// Asks to be moved; whether it was is seen by what arrives.
fn moved(targets: &Targets) -> Result {
    let mut stream = Service::Mover.ask(&targets.directory, b"")?;
    let mut answer = [0; 16];
    let length = stream.read(&mut answer).map_err(io_at("read"))?;
    match answer.get(..length) {
        Some(b"moved") => Ok(()),
        _ => Err(failed("move")(Errno::EIO)),
    }
}
