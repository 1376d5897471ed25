//! The job's DNS sockets: made inside the job's network namespace, served from cordon's own.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};

use cordon_ebpf::abi::ruleset::Resolver;
use nix::sys::socket::sockopt::IpFreebind;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
};

use super::handler::Resolution;
use super::serve::Listener;
use crate::sys::netns;

/// Why a listener could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A socket call failed.
    #[error("cannot {operation} the job's DNS socket on {address}")]
    Socket {
        /// The call, as a verb.
        operation: &'static str,
        /// Where.
        address: IpAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Nothing can be sent on loopback: it is not up in this network namespace.
    #[error(
        "loopback is down in the job's network namespace; run `ip link set lo up` in it before the job starts"
    )]
    LoopbackDown(#[source] io::Error),
    /// The namespace cannot be entered or told from others.
    #[error("cannot work in the network namespace")]
    Namespace(#[from] io::Error),
    /// There is no runtime to serve on, or it did not take the sockets.
    #[error("cannot serve the job's DNS sockets")]
    Register(#[source] io::Error),
}

/// Bound sockets that nobody reads yet. They belong to the network namespace of the thread that
/// bound them, wherever they are served.
#[derive(Debug)]
pub struct Bound {
    /// UDP on 127.0.0.1.
    pub udp4: UdpSocket,
    /// TCP on 127.0.0.1.
    pub tcp4: TcpListener,
    /// UDP on `::1`; `None` where the namespace has no IPv6 loopback.
    pub udp6: Option<UdpSocket>,
    /// TCP on `::1`, likewise.
    pub tcp6: Option<TcpListener>,
    pub(super) origin: Origin,
}

/// The network namespace a listener is in.
#[derive(Debug)]
pub(super) struct Origin {
    /// Its cookie.
    pub(super) netns: u64,
    /// The namespace itself, where it is one of the job's own: it may have a resolver at 127.0.0.11.
    pub(super) own: Option<File>,
}

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 64;

impl Bound {
    /// Binds in the network namespace of the calling thread, to ports the kernel chooses.
    ///
    /// # Errors
    /// A socket cannot be made, or loopback is down there.
    pub fn bind() -> Result<Self, BindError> {
        let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        let udp4 = udp(v4)?;
        let bound = Self {
            origin: Origin {
                netns: netns::cookie(&udp4)?,
                own: None,
            },
            udp4,
            tcp4: tcp(v4)?,
            udp6: if_available(udp(v6))?,
            tcp6: if_available(tcp(v6))?,
        };
        probe(&bound)?;
        Ok(bound)
    }

    /// Binds in a network namespace of the job's own, if it is the one with this cookie. Loopback may
    /// still be down there: nothing gets here before it is up.
    ///
    /// # Errors
    /// It is another namespace, cannot be entered, or a socket cannot be made.
    pub fn bind_in(namespace: File, cookie: u64) -> Result<Self, BindError> {
        let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        let (udp4, tcp4, udp6, tcp6) = netns::within(&namespace, || {
            let udp4 = early(v4, SockType::Datagram)?;
            if netns::cookie(&udp4)? != cookie {
                let other = "the process has gone to another network namespace";
                return Err(BindError::Namespace(io::Error::other(other)));
            }
            Ok((
                udp4,
                early(v4, SockType::Stream)?,
                if_available(early(v6, SockType::Datagram))?,
                if_available(early(v6, SockType::Stream))?,
            ))
        })?;
        Ok(Self {
            udp4: udp4.into(),
            tcp4: tcp4.into(),
            udp6: udp6.map(UdpSocket::from),
            tcp6: tcp6.map(TcpListener::from),
            origin: Origin {
                netns: cookie,
                own: Some(namespace),
            },
        })
    }

    /// Cookie of the network namespace it is in.
    #[must_use]
    pub fn netns(&self) -> u64 {
        self.origin.netns
    }

    /// The ports, as the kernel's redirection wants them: 0 where there is no socket.
    #[must_use]
    pub fn ports(&self) -> Resolver {
        let port = |address: io::Result<SocketAddr>| address.map_or(0, |address| address.port());
        Resolver {
            udp4: port(self.udp4.local_addr()),
            tcp4: port(self.tcp4.local_addr()),
            udp6: self.udp6.as_ref().map_or(0, |udp| port(udp.local_addr())),
            tcp6: self.tcp6.as_ref().map_or(0, |tcp| port(tcp.local_addr())),
        }
    }

    /// Serves the sockets on the tokio runtime of the calling task, until the handle is dropped.
    ///
    /// # Errors
    /// Called outside a tokio runtime, or the runtime does not take the sockets.
    pub fn serve(self, resolution: Resolution) -> Result<Listener, BindError> {
        Listener::start(self, resolution).map_err(BindError::Register)
    }
}

/// A socket bound to an address that the namespace may not have yet.
fn early(address: IpAddr, kind: SockType) -> Result<OwnedFd, BindError> {
    let family = if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let made = || -> nix::Result<OwnedFd> {
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, IpFreebind, &true)?;
        let to = SockaddrStorage::from(SocketAddr::new(address, 0));
        bind(socket.as_raw_fd(), &to)?;
        if kind == SockType::Stream {
            listen(&socket, Backlog::new(BACKLOG)?)?;
        }
        Ok(socket)
    };
    made()
        .map_err(io::Error::from)
        .map_err(failed("bind", address))
}

fn udp(address: IpAddr) -> Result<UdpSocket, BindError> {
    UdpSocket::bind((address, 0)).map_err(failed("bind", address))
}

fn tcp(address: IpAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind((address, 0)).map_err(failed("listen on", address))
}

fn failed(operation: &'static str, address: IpAddr) -> impl FnOnce(io::Error) -> BindError {
    move |source| BindError::Socket {
        operation,
        address,
        source,
    }
}

/// No IPv6 in the kernel, or no `::1` in the namespace, is not an error: nothing can ask there.
fn if_available<T>(bound: Result<T, BindError>) -> Result<Option<T>, BindError> {
    match bound {
        Ok(socket) => Ok(Some(socket)),
        Err(BindError::Socket { source, .. })
            if source.kind() == io::ErrorKind::AddrNotAvailable
                || source.raw_os_error() == Some(libc::EAFNOSUPPORT) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A bind to 127.0.0.1 succeeds while loopback is down; only a send tells. The datagram is empty
/// and its receiver gone, so the listener never sees it.
fn probe(bound: &Bound) -> Result<(), BindError> {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let receiver = udp(address)?;
    let to = receiver.local_addr().map_err(failed("inspect", address))?;
    match bound.udp4.send_to(&[], to) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NetworkUnreachable => {
            Err(BindError::LoopbackDown(error))
        }
        Err(error) => Err(failed("send from", address)(error)),
    }
}
