//! System calls as hostile programs make them: safe to call, nothing hidden.
//!
//! Addresses, options and ancillary data are bytes, because malformed ones are part of the trade.
#![expect(
    unsafe_code,
    reason = "the suite makes system calls with arguments that no safe wrapper would accept"
)]

use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::errno::Errno;

use super::case::{Refused, at};

type Sys<T> = Result<T, Refused>;

/// How long a socket of a hostile program waits, in ms.
const PATIENCE: i64 = 1000;

fn length(bytes: usize) -> Result<libc::socklen_t, Errno> {
    libc::socklen_t::try_from(bytes).map_err(|_too_long| Errno::EINVAL)
}

fn size(result: isize) -> Result<usize, Errno> {
    Errno::result(result).map(isize::unsigned_abs)
}

/// An address as the kernel reads it.
pub fn address(to: SocketAddr) -> Vec<u8> {
    match to {
        SocketAddr::V4(v4) => {
            let mut bytes = vec![2, 0];
            bytes.extend(v4.port().to_be_bytes());
            bytes.extend(v4.ip().octets());
            bytes.extend([0; 8]);
            bytes
        }
        SocketAddr::V6(v6) => {
            let mut bytes = vec![10, 0];
            bytes.extend(v6.port().to_be_bytes());
            bytes.extend(v6.flowinfo().to_be_bytes());
            bytes.extend(v6.ip().octets());
            bytes.extend(v6.scope_id().to_ne_bytes());
            bytes
        }
    }
}

/// The same address under another family number.
pub fn address_as(family: u8, to: SocketAddr) -> Vec<u8> {
    let mut bytes = address(to);
    if let Some(first) = bytes.first_mut() {
        *first = family;
    }
    bytes
}

/// `socket(2)`, with an end to its patience.
pub fn socket(family: i32, kind: i32, protocol: i32) -> Sys<OwnedFd> {
    // SAFETY: socket(2) takes three integers and touches no memory of the caller.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
    let fd = Errno::result(fd).map_err(at("socket"))?;
    // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let limit = [PATIENCE / 1000, (PATIENCE % 1000) * 1000].map(i64::to_ne_bytes);
    for option in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
        set(&socket, libc::SOL_SOCKET, option, &limit.concat())?;
    }
    Ok(socket)
}

/// `setsockopt(2)`
pub fn set(socket: &OwnedFd, level: i32, option: i32, value: &[u8]) -> Sys<()> {
    let size = length(value.len()).map_err(at("setsockopt"))?;
    let start = value.as_ptr().cast();
    // SAFETY: `start` points at `size` readable bytes that outlive the call; it only reads them.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, start, size) };
    Errno::result(result).map(drop).map_err(at("setsockopt"))
}

/// `setsockopt(2)` with an `int`.
pub fn set_int(socket: &OwnedFd, level: i32, option: i32, value: i32) -> Sys<()> {
    set(socket, level, option, &value.to_ne_bytes())
}

/// `bind(2)`
pub fn bind(socket: &OwnedFd, address: &[u8]) -> Sys<()> {
    let size = length(address.len()).map_err(at("bind"))?;
    let start = address.as_ptr().cast();
    // SAFETY: `start` points at `size` readable bytes; the kernel copies them as bytes.
    let result = unsafe { libc::bind(socket.as_raw_fd(), start, size) };
    Errno::result(result).map(drop).map_err(at("bind"))
}

/// `connect(2)`; running out of patience is a timeout and not the kernel's `EINPROGRESS`.
pub fn connect(socket: &OwnedFd, address: &[u8]) -> Sys<()> {
    let size = length(address.len()).map_err(at("connect"))?;
    let start = address.as_ptr().cast();
    // SAFETY: `start` points at `size` readable bytes; the kernel copies them as bytes.
    let result = unsafe { libc::connect(socket.as_raw_fd(), start, size) };
    Errno::result(result)
        .map(drop)
        .map_err(|errno| match errno {
            Errno::EINPROGRESS => Errno::ETIMEDOUT,
            other => other,
        })
        .map_err(at("connect"))
}

/// `listen(2)`
pub fn listen(socket: &OwnedFd) -> Sys<()> {
    // SAFETY: takes two integers.
    let result = unsafe { libc::listen(socket.as_raw_fd(), 4) };
    Errno::result(result).map(drop).map_err(at("listen"))
}

/// `accept(2)`
pub fn accept(socket: &OwnedFd) -> Sys<OwnedFd> {
    let (none, nothing) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: null pointers say that the peer's address is not wanted.
    let fd = unsafe { libc::accept4(socket.as_raw_fd(), none, nothing, libc::SOCK_CLOEXEC) };
    let fd = Errno::result(fd).map_err(at("accept"))?;
    // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `send(2)`
pub fn send(socket: &OwnedFd, data: &[u8], flags: i32) -> Sys<usize> {
    let (start, flags) = (data.as_ptr().cast(), flags | libc::MSG_NOSIGNAL);
    // SAFETY: `start` points at `data.len()` readable bytes that outlive the call.
    let sent = unsafe { libc::send(socket.as_raw_fd(), start, data.len(), flags) };
    size(sent).map_err(at("send"))
}

/// `sendto(2)`
pub fn sendto(socket: &OwnedFd, data: &[u8], flags: i32, address: &[u8]) -> Sys<usize> {
    let room = length(address.len()).map_err(at("sendto"))?;
    let (start, to) = (data.as_ptr().cast(), address.as_ptr().cast());
    let flags = flags | libc::MSG_NOSIGNAL;
    // SAFETY: both pointers are to readable bytes of the lengths given, which outlive the call.
    let sent = unsafe { libc::sendto(socket.as_raw_fd(), start, data.len(), flags, to, room) };
    size(sent).map_err(at("sendto"))
}

/// `recv(2)`
pub fn recv(socket: &OwnedFd, buffer: &mut [u8]) -> Sys<usize> {
    let start = buffer.as_mut_ptr().cast();
    // SAFETY: `start` points at `buffer.len()` writable bytes.
    let got = unsafe { libc::recv(socket.as_raw_fd(), start, buffer.len(), 0) };
    size(got).map_err(at("recv"))
}

/// `recvfrom(2)` with the peer's address.
pub fn recvfrom(socket: &OwnedFd, buffer: &mut [u8]) -> Sys<Vec<u8>> {
    let mut peer = vec![0_u8; 128];
    let mut room = length(peer.len()).map_err(at("recvfrom"))?;
    let (start, from) = (buffer.as_mut_ptr().cast(), peer.as_mut_ptr().cast());
    let fd = socket.as_raw_fd();
    // SAFETY: both pointers are to writable bytes of the lengths given.
    let got = unsafe { libc::recvfrom(fd, start, buffer.len(), 0, from, &raw mut room) };
    size(got).map_err(at("recvfrom"))?;
    peer.truncate(room as usize);
    Ok(peer)
}

/// A message with everything `sendmsg(2)` takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Message<'a> {
    /// Its bytes.
    pub data: &'a [u8],
    /// Where to; empty: nowhere said.
    pub address: &'a [u8],
    /// Ancillary data, with headers.
    pub control: &'a [u8],
}

/// One piece of ancillary data, header and padding included.
pub fn ancillary(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
    const HEADER: usize = 16;
    let mut bytes = (HEADER + data.len()).to_ne_bytes().to_vec();
    bytes.extend(level.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn header(message: &Message<'_>, part: &mut libc::iovec) -> Result<libc::msghdr, Errno> {
    // SAFETY: a structure of integers and pointers, for which zeros are valid.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    part.iov_base = message.data.as_ptr().cast_mut().cast();
    part.iov_len = message.data.len();
    header.msg_iov = part;
    header.msg_iovlen = 1;
    if !message.address.is_empty() {
        header.msg_name = message.address.as_ptr().cast_mut().cast();
        header.msg_namelen = length(message.address.len())?;
    }
    if !message.control.is_empty() {
        header.msg_control = message.control.as_ptr().cast_mut().cast();
        header.msg_controllen = message.control.len();
    }
    Ok(header)
}

fn no_part() -> libc::iovec {
    libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }
}

/// `sendmsg(2)`
pub fn sendmsg(socket: &OwnedFd, message: &Message<'_>, flags: i32) -> Sys<usize> {
    let mut part = no_part();
    let header = header(message, &mut part).map_err(at("sendmsg"))?;
    let flags = flags | libc::MSG_NOSIGNAL;
    // SAFETY: the header points at `part` and at bytes of `message`, all of which outlive the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, flags) };
    size(sent).map_err(at("sendmsg"))
}

/// `sendmmsg(2)`; the number of messages sent.
pub fn sendmmsg(socket: &OwnedFd, messages: &[Message<'_>]) -> Sys<usize> {
    let mut parts = vec![no_part(); messages.len()];
    let mut headers = Vec::new();
    for (message, part) in messages.iter().zip(&mut parts) {
        headers.push(libc::mmsghdr {
            msg_hdr: header(message, part).map_err(at("sendmmsg"))?,
            msg_len: 0,
        });
    }
    let count = length(headers.len()).map_err(at("sendmmsg"))?;
    let (start, fd) = (headers.as_mut_ptr(), socket.as_raw_fd());
    // SAFETY: `start` points at `count` headers, each of which points at a part and a message that
    // outlive the call.
    let sent = unsafe { libc::sendmmsg(fd, start, count, libc::MSG_NOSIGNAL) };
    Errno::result(sent)
        .map_err(at("sendmmsg"))?
        .try_into()
        .map_err(|_negative| Refused {
            call: "sendmmsg",
            errno: Errno::EINVAL,
        })
}
