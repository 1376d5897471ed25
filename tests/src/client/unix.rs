//! Steps with Unix sockets.

use std::io::{IoSliceMut, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, accept,
    bind, connect, listen, recvmsg, send, socket,
};

use crate::client::step::UnixKind;
use crate::client::{Done, PATIENCE, Refused, at, io_at};

const PING: &[u8] = b"ping";

/// The address of a name; `@` begins an abstract one.
fn address(name: &str) -> Result<SocketAddr, Refused> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
    .map_err(io_at("address"))
}

pub(super) fn speak(to: &str, kind: UnixKind) -> Result<Done, Refused> {
    match kind {
        UnixKind::Stream => {
            let mut stream = UnixStream::connect_addr(&address(to)?).map_err(io_at("connect"))?;
            stream.write_all(PING).map_err(io_at("send"))?;
        }
        UnixKind::Datagram => {
            let socket = UnixDatagram::unbound().map_err(io_at("socket"))?;
            socket
                .send_to_addr(PING, &address(to)?)
                .map_err(io_at("sendto"))?;
        }
        UnixKind::Packets => {
            let socket = packets()?;
            connect(socket.as_raw_fd(), &unix_address(to)?).map_err(at("connect"))?;
            send(socket.as_raw_fd(), PING, MsgFlags::MSG_NOSIGNAL).map_err(at("send"))?;
        }
    }
    Ok(Done::default())
}

fn packets() -> Result<OwnedFd, Refused> {
    socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(at("socket"))
}

fn unix_address(name: &str) -> Result<UnixAddr, Refused> {
    match name.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes()),
        None => UnixAddr::new(name),
    }
    .map_err(at("address"))
}

/// Every way a job speaks to itself.
pub(super) fn own(directory: &Path) -> Result<Done, Refused> {
    let (mut near, mut far) = UnixStream::pair().map_err(io_at("socketpair"))?;
    exchange(&mut near, &mut far)?;
    let (near, far) = UnixDatagram::pair().map_err(io_at("socketpair"))?;
    near.send(PING).map_err(io_at("send to the pair"))?;
    far.recv(&mut [0; 4]).map_err(io_at("recv"))?;
    let named = directory.join("own-stream").display().to_string();
    for name in [named, "@cordon-tests-own-stream".to_owned()] {
        let listener = UnixListener::bind_addr(&address(&name)?).map_err(io_at("bind"))?;
        let mut near = UnixStream::connect_addr(&address(&name)?).map_err(io_at("connect"))?;
        let (mut far, _peer) = listener.accept().map_err(io_at("accept"))?;
        exchange(&mut near, &mut far)?;
    }
    let named = directory.join("own-datagrams").display().to_string();
    for name in [named, "@cordon-tests-own-datagrams".to_owned()] {
        let socket = UnixDatagram::bind_addr(&address(&name)?).map_err(io_at("bind"))?;
        speak(&name, UnixKind::Datagram)?;
        socket.recv(&mut [0; 4]).map_err(io_at("recv"))?;
    }
    let name = "@cordon-tests-own-packets";
    let listener = packets()?;
    bind(listener.as_raw_fd(), &unix_address(name)?).map_err(at("bind"))?;
    listen(&listener, Backlog::MAXCONN).map_err(at("listen"))?;
    speak(name, UnixKind::Packets)?;
    let accepted = accept(listener.as_raw_fd()).map_err(at("accept"))?;
    nix::unistd::close(accepted).map_err(at("close"))?;
    Ok(Done::default())
}

fn exchange(near: &mut UnixStream, far: &mut UnixStream) -> Result<(), Refused> {
    near.write_all(PING).map_err(io_at("send"))?;
    let mut bytes = [0; 4];
    far.read_exact(&mut bytes).map_err(io_at("recv"))
}

/// Takes a descriptor and sends on it.
pub(super) fn take(path: &Path) -> Result<Done, Refused> {
    let listener = UnixListener::bind(path).map_err(io_at("bind"))?;
    let (stream, _peer) = listener.accept().map_err(io_at("accept"))?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .map_err(io_at("setsockopt"))?;
    let taken = receive(&stream)?;
    let sent = send(taken.as_raw_fd(), PING, MsgFlags::MSG_NOSIGNAL).map_err(at("send"))?;
    Ok(Done {
        bytes: sent,
        ..Done::default()
    })
}

/// A message without its descriptor is one that the kernel did not hand over.
fn receive(stream: &UnixStream) -> Result<OwnedFd, Refused> {
    let mut byte = [0; 1];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<()>(
        stream.as_fd().as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )
    .map_err(at("recvmsg"))?;
    // Descriptors that are kept back leave a message that counts as cut.
    let mut control = message
        .cmsgs()
        .map_err(|_cut| at("SCM_RIGHTS")(Errno::EPERM))?;
    match control.next() {
        Some(ControlMessageOwned::ScmRights(fds)) => match fds.as_slice() {
            [fd] => Ok(raw::own(*fd)),
            _ => Err(at("SCM_RIGHTS")(Errno::EPERM)),
        },
        _ => Err(at("SCM_RIGHTS")(Errno::EPERM)),
    }
}

mod raw {
    //! A received descriptor is a number until somebody owns it.
    #![expect(unsafe_code, reason = "a descriptor out of a control message")]

    use std::os::fd::{FromRawFd as _, OwnedFd};

    pub(super) fn own(fd: std::os::fd::RawFd) -> OwnedFd {
        // SAFETY: the kernel has just made this descriptor for the message, and nothing owns it.
        unsafe { OwnedFd::from_raw_fd(fd) }
    }
}
