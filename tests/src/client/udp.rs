//! UDP steps.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockType, SockaddrStorage, bind, connect,
    recv, send, sendmmsg, sendmsg, sendto, setsockopt, socket, sockopt,
};

use crate::client::step::{Form, SendCall};
use crate::client::{Done, Refused, at, socket};

const PING: &[u8] = b"ping";

pub(super) fn exchange(to: SocketAddr, form: Form, call: SendCall) -> Result<Done, Refused> {
    let (socket, address) = socket::for_address(to, form, SockType::Datagram)?;
    let fd = socket.as_raw_fd();
    match call {
        SendCall::Connect => {
            socket::connect_to(fd, &address)?;
            send(fd, PING, MsgFlags::empty()).map_err(at("send"))?;
        }
        SendCall::SendTo => {
            sendto(fd, PING, &address, MsgFlags::empty()).map_err(at("sendto"))?;
        }
        SendCall::SendMsg => {
            let bytes = [IoSlice::new(PING)];
            sendmsg(fd, &bytes, &[], MsgFlags::empty(), Some(&address)).map_err(at("sendmsg"))?;
        }
        SendCall::SendMmsg => send_two(fd, address)?,
    }
    let mut buffer = [0; 64];
    let bytes = recv(fd, &mut buffer, MsgFlags::empty()).map_err(at("recv"))?;
    Ok(Done {
        bytes,
        ..Done::default()
    })
}

fn send_two(fd: RawFd, to: SockaddrStorage) -> Result<(), Refused> {
    let mut headers = MultiHeaders::preallocate(2, None);
    let messages = [[IoSlice::new(PING)], [IoSlice::new(PING)]];
    let addresses = [Some(to); 2];
    let sent = sendmmsg(
        fd,
        &mut headers,
        &messages,
        addresses,
        [],
        MsgFlags::empty(),
    )
    .map_err(at("sendmmsg"))?
    .count();
    // The kernel reports a refusal of the second message only by a smaller number.
    if sent == messages.len() {
        Ok(())
    } else {
        Err(at("sendmmsg")(Errno::EMSGSIZE))
    }
}

/// Sends a datagram to each of the first ports, and counts refusals.
pub(super) fn spray(to: IpAddr, ports: u16) -> Result<Done, Refused> {
    let mut refused = 0;
    for port in 1..=ports {
        refused += flood(SocketAddr::new(to, port), 1)?.bytes;
    }
    Ok(Done {
        bytes: refused,
        ..Done::default()
    })
}

/// Sends many datagrams on one socket, and counts refusals instead of ending at one.
pub(super) fn flood(to: SocketAddr, count: usize) -> Result<Done, Refused> {
    let (socket, address) = socket::for_address(to, Form::Plain, SockType::Datagram)?;
    let send_one = || sendto(socket.as_raw_fd(), PING, &address, MsgFlags::empty());
    let refused = (0..count)
        .filter(|_| send_one() == Err(Errno::EPERM))
        .count();
    Ok(Done {
        bytes: refused,
        ..Done::default()
    })
}

pub(super) fn routed(to: Ipv6Addr, through: Ipv6Addr) -> Result<Done, Refused> {
    let to = SocketAddr::new(to.into(), 8080);
    let (socket, address) = socket::for_address(to, Form::Plain, SockType::Datagram)?;
    socket::set_routing_header(&socket, through)?;
    sendto(socket.as_raw_fd(), PING, &address, MsgFlags::empty()).map_err(at("sendto"))?;
    Ok(Done::default())
}

/// What two threads do with one socket at the same time; no call may lend its permission to another.
pub(super) fn race(to: SocketAddr, beside: SocketAddr, rounds: usize) -> Result<Done, Refused> {
    let (socket, to) = socket::for_address(to, Form::Plain, SockType::Datagram)?;
    let beside = SockaddrStorage::from(beside);
    let fd = socket.as_raw_fd();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..rounds {
                // Allowed or not: only what leaves is counted, elsewhere.
                let _sent = sendto(fd, PING, &to, MsgFlags::MSG_DONTWAIT);
            }
        });
        for _ in 0..rounds {
            if connect(fd, &beside).is_ok() {
                let _sent = send(fd, b"stolen", MsgFlags::MSG_DONTWAIT);
            }
        }
    });
    Ok(Done::default())
}

/// A listener of the own job on all addresses, behind which somebody else's may wait on one.
pub(super) fn shadow(port: u16, from: u16) -> Result<Done, Refused> {
    let bound = |port| -> Result<_, Refused> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket =
            socket(AddressFamily::Inet, SockType::Datagram, flags, None).map_err(at("socket"))?;
        setsockopt(&socket, sockopt::ReuseAddr, &true).map_err(at("setsockopt"))?;
        let any = SockaddrStorage::from(SocketAddr::from(([0, 0, 0, 0], port)));
        bind(socket.as_raw_fd(), &any).map_err(at("bind"))?;
        Ok(socket)
    };
    let _listener = bound(port)?;
    let sender = bound(from)?;
    let listener = SockaddrStorage::from(SocketAddr::from(([127, 0, 0, 1], port)));
    connect(sender.as_raw_fd(), &listener).map_err(at("connect"))?;
    send(sender.as_raw_fd(), PING, MsgFlags::empty()).map_err(at("send"))?;
    Ok(Done::default())
}
