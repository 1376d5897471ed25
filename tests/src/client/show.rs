//! Streams that show a name, sent in all ways there are.

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    MsgFlags, SockType, SockaddrStorage, recv, send, sendto, setsockopt, sockopt,
};
use nix::unistd::pipe;

use crate::client::step::{Form, Way};
use crate::client::{Done, Refused, at, io_at, socket};

/// Long enough for a packet to have left before the next piece is written.
const BETWEEN: Duration = Duration::from_millis(15);
/// `MSG_ZEROCOPY`
const ZERO_COPY: i32 = 0x0400_0000;
/// `SO_ZEROCOPY`
const SO_ZEROCOPY: i32 = 60;

/// Connects, sends all pieces, each in a packet of its own, and reads as much as was sent.
pub(super) fn stream(to: SocketAddr, way: Way, pieces: &[Vec<u8>]) -> Result<Done, Refused> {
    let (socket, address) = match way {
        Way::Multipath => socket::multipath(to)?,
        _ => socket::for_address(to, Form::Plain, SockType::Stream)?,
    };
    setsockopt(&socket, sockopt::TcpNoDelay, &true).map_err(at("setsockopt"))?;
    let mut pieces = pieces.iter();
    if way == Way::FastOpen {
        let first = pieces.next().map_or(&[][..], Vec::as_slice);
        let flags = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL);
        sendto(socket.as_raw_fd(), first, &address, flags).map_err(at("sendto"))?;
        let rest: Vec<_> = pieces.cloned().collect();
        send_all(&socket, Way::Write, &rest)?;
        return read_back(
            &socket,
            first.len() + rest.iter().map(Vec::len).sum::<usize>(),
        );
    }
    socket::connect_to(socket.as_raw_fd(), &address)?;
    let pieces: Vec<_> = pieces.cloned().collect();
    send_all(&socket, way, &pieces)?;
    read_back(&socket, pieces.iter().map(Vec::len).sum())
}

/// On one socket: connects and sends; gives up the connection, connects again and sends something
/// else.
pub(super) fn again(to: SocketAddr, first: &[u8], second: &[u8]) -> Result<Done, Refused> {
    let (socket, address) = socket::for_address(to, Form::Plain, SockType::Stream)?;
    let exchange = |bytes: &[u8]| {
        connect(&socket, &address)?;
        send_all(&socket, Way::Write, &[bytes.to_vec()])?;
        read_back(&socket, bytes.len())
    };
    exchange(first)?;
    socket::disconnect(&socket).map_err(at("connect"))?;
    exchange(second)
}

fn connect(socket: &OwnedFd, address: &SockaddrStorage) -> Result<(), Refused> {
    socket::connect_to(socket.as_raw_fd(), address)
}

fn send_all(socket: &OwnedFd, way: Way, pieces: &[Vec<u8>]) -> Result<(), Refused> {
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 {
            sleep(BETWEEN);
        }
        let way = match way {
            Way::SendFileAfter if index > 0 => Way::SendFile,
            Way::SendFileAfter => Way::Write,
            other => other,
        };
        send_piece(socket, way, piece)?;
    }
    Ok(())
}

fn send_piece(socket: &OwnedFd, way: Way, piece: &[u8]) -> Result<(), Refused> {
    let to = socket.as_raw_fd();
    match way {
        Way::Write | Way::SendFileAfter | Way::FastOpen | Way::Multipath => plain(to, piece, 0),
        Way::Urgent => plain(to, piece, libc::MSG_OOB),
        Way::ZeroCopy => {
            socket::set_option(socket, libc::SOL_SOCKET, SO_ZEROCOPY, &1i32.to_ne_bytes())
                .map_err(at("setsockopt"))?;
            plain(to, piece, ZERO_COPY)
        }
        Way::SendFile => {
            let file = memfd_create(c"piece", MFdFlags::MFD_CLOEXEC).map_err(at("memfd_create"))?;
            let mut file = std::fs::File::from(file);
            file.write_all(piece).map_err(io_at("write"))?;
            nix::sys::sendfile::sendfile(socket, &file, Some(&mut 0), piece.len())
                .map(drop)
                .map_err(at("sendfile"))
        }
        Way::Splice => {
            let (from, into) = pipe().map_err(at("pipe"))?;
            let flags = nix::fcntl::SpliceFFlags::empty();
            nix::fcntl::vmsplice(&into, &[std::io::IoSlice::new(piece)], flags)
                .map_err(at("vmsplice"))?;
            nix::fcntl::splice(&from, None, socket, None, piece.len(), flags)
                .map(drop)
                .map_err(at("splice"))
        }
    }
}

fn plain(to: RawFd, mut bytes: &[u8], flags: i32) -> Result<(), Refused> {
    let flags = MsgFlags::from_bits_retain(libc::MSG_NOSIGNAL | flags);
    while !bytes.is_empty() {
        let sent = send(to, bytes, flags).map_err(at("send"))?;
        bytes = bytes.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Everything comes back, unless the connection ends before.
fn read_back(socket: &OwnedFd, expected: usize) -> Result<Done, Refused> {
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    while bytes < expected {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).map_err(at("recv"))? {
            0 => return Err(at("recv")(Errno::ECONNRESET)),
            read => bytes += read,
        }
    }
    Ok(Done {
        bytes,
        ..Done::default()
    })
}
