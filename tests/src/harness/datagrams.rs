//! Counts every UDP datagram that arrives at a machine, whether or not anybody listens there.

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};

use crate::harness::namespace::Namespace;

/// The longest header of IPv4, and that of UDP.
const HEADERS: usize = 68;

/// Raw sockets, to which the kernel gives a copy of each datagram before it looks for a listener.
///
/// Nobody reads while a story runs: the sockets' buffers keep the first few hundred, which is
/// enough to prove that there were none.
#[derive(Debug)]
pub struct Datagrams {
    v4: OwnedFd,
    v6: OwnedFd,
}

impl Datagrams {
    /// Starts to listen on a machine.
    pub fn start(machine: &Namespace) -> Result<Self> {
        let open = |family| {
            machine.run(|| {
                let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
                socket(family, SockType::Raw, flags, SockProtocol::Udp)
                    .context("make a raw socket for UDP")
            })
        };
        Ok(Self {
            v4: open(AddressFamily::Inet)?,
            v6: open(AddressFamily::Inet6)?,
        })
    }

    /// How many arrived at a port since the last call; those at other ports are forgotten.
    pub fn arrived_at(&self, port: u16) -> Result<usize> {
        let with_header = |bytes: &[u8]| {
            let words = bytes.first().map_or(0, |first| first & 0xf);
            destination(bytes, usize::from(words) * 4)
        };
        // The kernel takes the header of IPv6 away.
        let without = |bytes: &[u8]| destination(bytes, 0);
        let ports = [ports(&self.v4, with_header)?, ports(&self.v6, without)?].concat();
        Ok(ports.into_iter().filter(|to| *to == port).count())
    }
}

/// The destination ports of all that waits in a socket.
fn ports(socket: &OwnedFd, port_of: impl Fn(&[u8]) -> Option<u16>) -> Result<Vec<u16>> {
    let mut ports = Vec::new();
    let mut buffer = [0; HEADERS];
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) => ports.extend(port_of(buffer.get(..length).unwrap_or_default())),
            Err(Errno::EAGAIN) => return Ok(ports),
            Err(error) => return Err(error).context("read datagrams"),
        }
    }
}

/// The destination port of a UDP header that begins at `offset`.
fn destination(bytes: &[u8], offset: usize) -> Option<u16> {
    let port = bytes.get(offset + 2..offset + 4)?;
    Some(u16::from_be_bytes(port.try_into().ok()?))
}
