//! Sockets and addresses, as a job hands them to the kernel.

use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, UnixAddr, connect,
    recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::client::step::{Form, SocketKind};
use crate::client::{Done, PATIENCE, Refused, at};

/// A socket for an address in this form, and the address.
pub(super) fn for_address(
    to: SocketAddr,
    form: Form,
    kind: SockType,
) -> Result<(OwnedFd, SockaddrStorage), Refused> {
    let address = match (form, to) {
        (Form::Mapped, SocketAddr::V4(v4)) => {
            SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
        }
        _ => to,
    };
    let family = if address.is_ipv4() && form != Form::OtherFamily {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let socket =
        with_timeouts(socket(family, kind, SockFlag::SOCK_CLOEXEC, None).map_err(at("socket"))?)?;
    Ok((socket, address.into()))
}

/// A multipath TCP socket for an address, and the address.
pub(super) fn multipath(to: SocketAddr) -> Result<(OwnedFd, SockaddrStorage), Refused> {
    let family = if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let socket =
        raw::socket(family, libc::SOCK_STREAM, libc::IPPROTO_MPTCP).map_err(at("socket"))?;
    Ok((with_timeouts(socket)?, to.into()))
}

/// Gives up a connection, so that the socket can make another (`connect` to `AF_UNSPEC`).
pub(super) fn disconnect(socket: &OwnedFd) -> nix::Result<()> {
    raw::disconnect(socket)
}

/// Sets an option nix does not know.
pub(super) fn set_option(
    socket: &OwnedFd,
    level: i32,
    option: i32,
    value: &[u8],
) -> nix::Result<()> {
    raw::set_option(socket, level, option, value)
}

/// Gives a socket an end to its patience; `connect` obeys the sending one.
fn with_timeouts(socket: OwnedFd) -> Result<OwnedFd, Refused> {
    let limit = TimeVal::new(i64::try_from(PATIENCE.as_secs()).unwrap_or(i64::MAX), 0);
    setsockopt(&socket, sockopt::ReceiveTimeout, &limit).map_err(at("setsockopt"))?;
    setsockopt(&socket, sockopt::SendTimeout, &limit).map_err(at("setsockopt"))?;
    Ok(socket)
}

/// `connect`; running out of patience is a timeout and not the kernel's `EINPROGRESS`.
pub(super) fn connect_to(socket: RawFd, to: &SockaddrStorage) -> Result<(), Refused> {
    connect(socket, to)
        .map_err(|errno| match errno {
            Errno::EINPROGRESS => Errno::ETIMEDOUT,
            other => other,
        })
        .map_err(at("connect"))
}

/// Sends bytes on a connected socket and reads an answer.
pub(super) fn exchange(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Refused> {
    send(socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL).map_err(at("send"))?;
    let mut buffer = [0; 4096];
    recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).map_err(at("recv"))
}

/// Connects to a Unix socket.
pub(super) fn unix(path: &Path) -> Result<Done, Refused> {
    let socket = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(at("socket"))?;
    let address = UnixAddr::new(path).map_err(at("connect"))?;
    connect(socket.as_raw_fd(), &address)
        .map(|()| Done::default())
        .map_err(at("connect"))
}

/// Makes a socket of a special kind.
pub(super) fn special(kind: SocketKind) -> Result<Done, Refused> {
    let (family, kind, protocol) = match kind {
        SocketKind::Raw => (libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
        SocketKind::RawV6 => (libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6),
        SocketKind::Ping => (libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
        SocketKind::PingV6 => (libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6),
        SocketKind::UdpLite => (libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE),
        SocketKind::Vsock => (libc::AF_VSOCK, libc::SOCK_STREAM, 0),
        SocketKind::Alg => (libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
        SocketKind::Packet => {
            return socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::EthAll,
            )
            .map(|_socket| Done::default())
            .map_err(at("socket"));
        }
    };
    raw::socket(family, kind, protocol)
        .map(|_socket| Done::default())
        .map_err(at("socket"))
}

/// Puts a segment routing header with one segment before what the socket sends.
pub(super) fn set_routing_header(socket: &OwnedFd, through: Ipv6Addr) -> Result<(), Refused> {
    // RFC 8754: next header (kernel fills it), length in 8 bytes without the first, type 4,
    // segments left, last entry, flags, tag; segment 0 is the final destination (kernel fills it).
    let mut header = vec![0, 4, 4, 1, 1, 0, 0, 0];
    header.extend([0; 16]);
    header.extend(through.octets());
    raw::set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RTHDR, &header).map_err(at("setsockopt"))
}

mod raw {
    //! The two calls `nix` has no safe form of.
    #![expect(
        unsafe_code,
        reason = "socket(2) with any protocol number and setsockopt(2) with bytes have no safe form"
    )]

    use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

    use nix::errno::Errno;

    /// `socket(2)` with any numbers.
    pub(super) fn socket(family: i32, kind: i32, protocol: i32) -> nix::Result<OwnedFd> {
        // SAFETY: socket(2) takes three integers and touches no memory of the caller.
        let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
        let fd = Errno::result(fd)?;
        // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// `connect(2)` to `AF_UNSPEC`.
    pub(super) fn disconnect(socket: &OwnedFd) -> nix::Result<()> {
        let nowhere = [0u8; size_of::<libc::sockaddr>()];
        let length = libc::socklen_t::try_from(nowhere.len()).map_err(|_too_long| Errno::EINVAL)?;
        let (fd, start) = (socket.as_raw_fd(), nowhere.as_ptr().cast());
        // SAFETY: `start` points at `length` readable bytes that outlive the call: an address of
        // family 0, which is `AF_UNSPEC`.
        let result = unsafe { libc::connect(fd, start, length) };
        Errno::result(result).map(drop)
    }

    /// `setsockopt(2)` with a value given as bytes.
    pub(super) fn set_option(
        socket: &OwnedFd,
        level: i32,
        option: i32,
        value: &[u8],
    ) -> nix::Result<()> {
        let length = libc::socklen_t::try_from(value.len()).map_err(|_too_long| Errno::EINVAL)?;
        let (fd, start) = (socket.as_raw_fd(), value.as_ptr().cast());
        // SAFETY: `start` points at `length` readable bytes that outlive the call; the kernel
        // only reads them.
        let result = unsafe { libc::setsockopt(fd, level, option, start, length) };
        Errno::result(result).map(drop)
    }
}
