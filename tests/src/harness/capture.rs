//! Counts every frame that arrives at the attacker.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};

use crate::harness::namespace::Namespace;

/// Long enough for the headers that are described.
const HEADERS: usize = 128;

/// IP protocol number.
const TCP: u8 = 6;

/// A packet socket that holds what arrived until it is asked.
///
/// Nobody reads while a story runs: the socket's buffer keeps the first few hundred frames, which
/// is enough to prove that there were none, or to name them. A flood cannot hide a frame: what
/// overflows the buffer stands behind frames that are seen.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
    own_mac: [u8; 6],
}

impl Capture {
    /// Starts to listen on all devices of a namespace whose own hardware address is `own_mac`.
    pub fn start(namespace: &Namespace, own_mac: [u8; 6]) -> Result<Self> {
        let socket = namespace.run(|| {
            socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                SockProtocol::EthAll,
            )
            .context("make a packet socket")
        })?;
        Ok(Self { socket, own_mac })
    }

    /// The frames that arrived since the last call.
    pub fn take(&self) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        let mut buffer = [0; HEADERS];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => {
                    let frame = Frame(buffer.get(..length).unwrap_or_default().to_vec());
                    if !frame.is_from(self.own_mac) && !frame.is_local() && !frame.is_housekeeping()
                    {
                        frames.push(frame);
                    }
                }
                Err(Errno::EAGAIN) => return Ok(frames),
                Err(error) => return Err(error).context("read captured frames"),
            }
        }
    }
}

/// The first bytes of an Ethernet frame.
#[derive(Clone, Debug)]
pub struct Frame(Vec<u8>);

impl Frame {
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.get(offset..offset + N)?.try_into().ok()
    }

    fn is_from(&self, mac: [u8; 6]) -> bool {
        self.bytes(6) == Some(mac)
    }

    /// The loopback device of the namespace is captured as well; its frames have no addresses.
    fn is_local(&self) -> bool {
        self.bytes(0) == Some([0; 12])
    }

    /// Multicast listener reports, which the kernel sends for a device that comes up: IPv6, a
    /// hop-by-hop header, `ICMPv6` type 143 or 131.
    fn is_housekeeping(&self) -> bool {
        self.bytes(12) == Some([0x86, 0xdd])
            && self.bytes(20) == Some([0])
            && self.bytes(54) == Some([58])
            && matches!(self.bytes(62), Some([131 | 143]))
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let byte = |offset| self.bytes::<1>(offset).map_or(0, |[byte]| byte);
        let port = |offset| self.bytes(offset).map_or(0, u16::from_be_bytes);
        let (protocol, transport) =
            if let (Some([0x08, 0x00]), Some(to)) = (self.bytes(12), self.bytes(30)) {
                let to = Ipv4Addr::from_octets(to);
                write!(f, "IPv4 to {to}, protocol {}", byte(23))?;
                (byte(23), 34)
            } else if let (Some([0x86, 0xdd]), Some(to)) = (self.bytes(12), self.bytes(38)) {
                let to = Ipv6Addr::from_octets(to);
                write!(f, "IPv6 to {to}, next header {}", byte(20))?;
                (byte(20), 54)
            } else {
                return write!(f, "frame {:02x?}", self.0);
            };
        write!(f, ", port {} from {}", port(transport + 2), port(transport))?;
        if protocol == TCP {
            // They tell a connection that begins from one that ends.
            write!(f, ", TCP flags {:#04x}", byte(transport + 13))?;
        }
        Ok(())
    }
}
