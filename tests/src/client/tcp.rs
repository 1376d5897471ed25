//! TCP steps.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockType, recv, sendto};

use crate::client::step::Form;
use crate::client::{Done, PATIENCE, Refused, at, io_at, process, socket};

const PING: &[u8] = b"ping";

fn done(bytes: usize) -> Done {
    Done {
        bytes,
        ..Done::default()
    }
}

fn connected(to: SocketAddr, form: Form) -> Result<OwnedFd, Refused> {
    let (socket, address) = socket::for_address(to, form, SockType::Stream)?;
    socket::connect_to(socket.as_raw_fd(), &address)?;
    Ok(socket)
}

pub(super) fn exchange(to: SocketAddr, form: Form) -> Result<Done, Refused> {
    let socket = connected(to, form)?;
    socket::exchange(&socket, PING).map(done)
}

/// Connects, and waits for nothing.
pub(super) fn attempt(to: SocketAddr) -> Result<Done, Refused> {
    connected(to, Form::Plain).map(|_socket| done(0))
}

/// Each connection is closed by the peer before the next one: no queue of theirs is measured.
pub(super) fn connects(to: SocketAddr, count: usize) -> Result<Done, Refused> {
    for _ in 0..count {
        let read = |socket: OwnedFd| {
            let mut byte = [0];
            recv(socket.as_raw_fd(), &mut byte, MsgFlags::empty()).map_err(at("recv"))
        };
        match connected(to, Form::Plain).and_then(read) {
            // The reset may overtake the end of `connect`.
            Ok(_)
            | Err(Refused {
                errno: Errno::ECONNRESET,
                ..
            }) => {}
            Err(refused) => return Err(refused),
        }
    }
    Ok(done(0))
}

pub(super) fn fast_open(to: SocketAddr) -> Result<Done, Refused> {
    let (socket, address) = socket::for_address(to, Form::Plain, SockType::Stream)?;
    let flags = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN);
    sendto(socket.as_raw_fd(), PING, &address, flags).map_err(at("sendto"))?;
    let mut buffer = [0; 64];
    recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())
        .map(done)
        .map_err(at("recv"))
}

pub(super) fn hold(to: SocketAddr, until: &Path) -> Result<Done, Refused> {
    let socket = connected(to, Form::Plain)?;
    let first = socket::exchange(&socket, PING)?;
    process::wait_for(until)?;
    let second = socket::exchange(&socket, PING)?;
    Ok(done(first + second))
}

pub(super) fn serve(address: SocketAddr, ready: &Path) -> Result<Done, Refused> {
    let listener = TcpListener::bind(address).map_err(io_at("bind"))?;
    process::mark(ready)?;
    listener.set_nonblocking(true).map_err(io_at("fcntl"))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((mut stream, _peer)) => {
                stream.write_all(b"leak").map_err(io_at("write"))?;
                return Ok(done(4));
            }
            Err(_) if Instant::now() < deadline => sleep(Duration::from_millis(10)),
            Err(error) => return Err(io_at("accept")(error)),
        }
    }
}

pub(super) fn loopback(address: IpAddr) -> Result<Done, Refused> {
    let listener = TcpListener::bind((address, 0)).map_err(io_at("bind"))?;
    let to = listener.local_addr().map_err(io_at("getsockname"))?;
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).map_err(io_at("connect"))?;
    let (_peer, _address) = listener.accept().map_err(io_at("accept"))?;
    stream.write_all(PING).map_err(io_at("write"))?;
    Ok(done(PING.len()))
}
