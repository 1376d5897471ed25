//! Ends one TCP socket of another process, over `NETLINK_SOCK_DIAG`.
//!
//! Its user is told at once: whoever waits on it gets `ECONNABORTED`, the peer a reset. Without this,
//! who is refused in the middle of a connection waits until its own patience ends.
//!
//! The kernel looks for a connection first and then for a listener at the same end, so a socket is
//! closed only by its cookie: a connection that is gone must not cost its listener.

#![forbid(unsafe_code)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use cordon_ebpf::abi::TCP;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::netns;

/// `NLMSG_ERROR`, which is also the word for "done".
const ERROR: u16 = 2;
/// `NLM_F_REQUEST`
const REQUEST: u16 = 1;
/// `NLM_F_ACK`
const ACK: u16 = 4;
/// `SOCK_DIAG_BY_FAMILY`: asks for a socket.
const LOOK: u16 = 20;
/// `SOCK_DESTROY`: closes it.
const DESTROY: u16 = 21;
/// `INET_DIAG_NOCOOKIE`
const NO_COOKIE: [u8; 8] = [0xff; 8];
/// `AF_INET`
const AF_INET: u8 = 2;
/// `AF_INET6`
const AF_INET6: u8 = 10;
/// `TCP_LISTEN`
const LISTEN: u8 = 10;
/// Bytes of an answer that are read: a message about one socket, without extensions, has 88.
const ANSWER_MAX: usize = 1024;

/// One TCP connection, seen from the socket that is to be closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ends {
    /// Its own end.
    pub local: SocketAddr,
    /// Its peer. IPv4 addresses mapped into IPv6 are the same as IPv4 ones, here and for `local`.
    pub remote: SocketAddr,
    /// Interface it is bound to (`SO_BINDTODEVICE`, or the scope of a link-local address); 0 for none.
    pub interface: u32,
    /// Its cookie (`SO_COOKIE`), if known: then no other socket is closed in its place.
    pub cookie: Option<u64>,
}

impl Ends {
    /// A connection that is bound to no interface, and whose cookie is not known.
    #[must_use]
    pub fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            local,
            remote,
            interface: 0,
            cookie: None,
        }
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Destroyed {
    /// It was there, and is closed.
    Closed,
    /// There is no such connection (any more).
    Gone,
}

/// Why a connection could not be closed.
#[derive(Debug, thiserror::Error)]
pub enum DestroyError {
    /// The kernel cannot.
    #[error(
        "the kernel cannot close another process' socket; use one built with CONFIG_INET_DIAG_DESTROY"
    )]
    Unsupported,
    /// The two ends are of two families.
    #[error("{} and {} are of different address families", .0.local, .0.remote)]
    Families(Ends),
    /// A call failed.
    #[error("cannot {operation} over NETLINK_SOCK_DIAG")]
    Call {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl From<io::Error> for DestroyError {
    fn from(source: io::Error) -> Self {
        Self::Call {
            operation: "enter the network namespace",
            source,
        }
    }
}

fn failed(operation: &'static str) -> impl FnOnce(Errno) -> DestroyError {
    move |errno| DestroyError::Call {
        operation,
        source: errno.into(),
    }
}

/// Closes connections of one network namespace. It keeps the namespace alive as long as it is there.
#[derive(Debug)]
pub struct SocketDestroyer {
    netlink: OwnedFd,
}

impl SocketDestroyer {
    /// For the network namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel has no such socket.
    pub fn here() -> Result<Self, DestroyError> {
        let netlink = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        )
        .map_err(failed("open a socket"))?;
        Ok(Self { netlink })
    }

    /// For another network namespace: `/proc/PID/ns/net`, opened.
    ///
    /// # Errors
    /// It cannot be entered, or the kernel has no such socket.
    pub fn in_namespace(namespace: impl AsFd) -> Result<Self, DestroyError> {
        netns::within(namespace, Self::here)
    }

    /// Closes a connection. Needs `CAP_NET_ADMIN` in the namespace.
    ///
    /// # Errors
    /// The kernel cannot, or refuses.
    pub fn destroy(&self, ends: &Ends) -> Result<Destroyed, DestroyError> {
        let mut request = Request::of(ends)?;
        request.id.cookie = match ends.cookie {
            Some(cookie) => cookie.to_ne_bytes(),
            None => match self.cookie_of(ends, &request)? {
                Some(cookie) => cookie,
                None => return Ok(Destroyed::Gone),
            },
        };
        match self.ask(DESTROY, &request)? {
            Answer::Code(0) => Ok(Destroyed::Closed),
            // ENOTCONN: it ended by itself in the meantime.
            Answer::Code(libc::ENOENT | libc::ENOTCONN) => Ok(Destroyed::Gone),
            Answer::Code(libc::EOPNOTSUPP) => Err(DestroyError::Unsupported),
            Answer::Code(errno) => Err(failed("close a socket")(Errno::from_raw(errno))),
            Answer::Found(_) => Err(failed("close a socket")(Errno::EPROTO)),
        }
    }

    /// The cookie of the connection with exactly these ends.
    fn cookie_of(&self, ends: &Ends, request: &Request) -> Result<Option<[u8; 8]>, DestroyError> {
        match self.ask(LOOK, request)? {
            Answer::Found(found) if found.is(ends) => Ok(Some(found.id.cookie)),
            // A listener at this end: the connection is gone.
            Answer::Found(_) | Answer::Code(libc::ENOENT) => Ok(None),
            Answer::Code(errno) => Err(failed("find a socket")(Errno::from_raw(errno))),
        }
    }

    /// One request, one answer. The kernel answers before `send` returns, so nobody has to wait.
    fn ask(&self, kind: u16, request: &Request) -> Result<Answer, DestroyError> {
        let netlink = self.netlink.as_raw_fd();
        let message = Message {
            header: Header::of(kind),
            request: *request,
        };
        send(netlink, message.as_bytes(), MsgFlags::empty()).map_err(failed("send"))?;
        let mut buffer = [0; ANSWER_MAX];
        let length =
            recv(netlink, &mut buffer, MsgFlags::MSG_DONTWAIT).map_err(failed("receive"))?;
        let answer = buffer.get(..length).and_then(Answer::read);
        answer.ok_or_else(|| failed("understand the answer")(Errno::EPROTO))
    }
}

/// `struct nlmsghdr`
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
struct Header {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

/// Bytes of a request with its header.
const MESSAGE: u32 = 72;

impl Header {
    fn of(kind: u16) -> Self {
        // Asked for a socket, the kernel answers with it or with an error; else an error may be 0.
        let flags = if kind == DESTROY {
            REQUEST | ACK
        } else {
            REQUEST
        };
        Self {
            length: MESSAGE,
            kind,
            flags,
            sequence: 0,
            port: 0,
        }
    }
}

/// `struct inet_diag_sockid`; ports and addresses in network order.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, PartialEq)]
#[repr(C)]
struct SocketId {
    local_port: [u8; 2],
    remote_port: [u8; 2],
    local: [u8; 16],
    remote: [u8; 16],
    interface: u32,
    cookie: [u8; 8],
}

/// `struct inet_diag_req_v2`
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
struct Request {
    family: u8,
    protocol: u8,
    extensions: u8,
    reserved: u8,
    states: u32,
    id: SocketId,
}

#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
struct Message {
    header: Header,
    request: Request,
}

const _: () = assert!(size_of::<Message>() == MESSAGE as usize);

impl Request {
    /// About any socket with these ends.
    fn of(ends: &Ends) -> Result<Self, DestroyError> {
        let (local, remote) = (ends.local.ip(), ends.remote.ip());
        let (local, remote) = (local.to_canonical(), remote.to_canonical());
        if local.is_ipv4() != remote.is_ipv4() {
            return Err(DestroyError::Families(*ends));
        }
        // The family of the addresses, not of the socket: one of IPv6 with mapped addresses is found
        // among those of IPv4.
        let family = if local.is_ipv4() { AF_INET } else { AF_INET6 };
        Ok(Self {
            family,
            protocol: TCP,
            extensions: 0,
            reserved: 0,
            states: u32::MAX,
            id: SocketId {
                local_port: ends.local.port().to_be_bytes(),
                remote_port: ends.remote.port().to_be_bytes(),
                local: octets(local),
                remote: octets(remote),
                interface: ends.interface,
                cookie: NO_COOKIE,
            },
        })
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The head of `struct inet_diag_msg`: a socket that was found.
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, PartialEq)]
#[repr(C)]
struct Found {
    family: u8,
    state: u8,
    timer: u8,
    retransmissions: u8,
    id: SocketId,
}

impl Found {
    fn is(&self, ends: &Ends) -> bool {
        let end = |octets: [u8; 16], port: [u8; 2]| {
            let [a, b, c, d, ..] = octets;
            let address = if self.family == AF_INET {
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            } else {
                IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
            };
            (address, u16::from_be_bytes(port))
        };
        let wanted = |end: SocketAddr| (end.ip().to_canonical(), end.port());
        self.state != LISTEN
            && end(self.id.local, self.id.local_port) == wanted(ends.local)
            && end(self.id.remote, self.id.remote_port) == wanted(ends.remote)
    }
}

/// What the kernel said.
#[derive(Debug, Eq, PartialEq)]
enum Answer {
    /// 0 for done, else an error's number.
    Code(i32),
    /// The socket that was asked for.
    Found(Found),
}

impl Answer {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (header, body) = Header::read_from_prefix(bytes).ok()?;
        match header.kind {
            ERROR => {
                let (code, _) = i32::read_from_prefix(body).ok()?;
                Some(Self::Code(code.checked_neg()?))
            }
            LOOK => Found::read_from_prefix(body)
                .ok()
                .map(|(found, _)| Self::Found(found)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends(local: &str, remote: &str) -> Ends {
        Ends::new(local.parse().unwrap(), remote.parse().unwrap())
    }

    fn found(state: u8, family: u8, request: &Request) -> Found {
        Found {
            family,
            state,
            timer: 0,
            retransmissions: 0,
            id: request.id,
        }
    }

    #[test]
    fn mapped_addresses_are_those_of_ipv4() {
        let mapped = ends("[::ffff:192.0.2.1]:40000", "[::ffff:203.0.113.7]:443");
        let plain = ends("192.0.2.1:40000", "203.0.113.7:443");
        let request = Request::of(&mapped).unwrap();
        assert_eq!(request.family, AF_INET);
        assert_eq!(request.id, Request::of(&plain).unwrap().id);
        assert!(found(1, AF_INET, &request).is(&mapped));
        let mut as_v6 = found(1, AF_INET6, &request);
        as_v6.id.local = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets();
        as_v6.id.remote = Ipv4Addr::new(203, 0, 113, 7).to_ipv6_mapped().octets();
        assert!(as_v6.is(&plain));
    }

    #[test]
    fn a_listener_is_not_taken_for_its_connection() {
        let of = ends("192.0.2.1:443", "203.0.113.7:40000");
        let request = Request::of(&of).unwrap();
        assert!(found(1, AF_INET, &request).is(&of));
        assert!(!found(LISTEN, AF_INET, &request).is(&of));
        let mut other = found(1, AF_INET, &request);
        other.id.remote_port = [0, 0];
        assert!(!other.is(&of));
    }

    #[test]
    fn two_families_are_no_connection() {
        let of = ends("192.0.2.1:1", "[2001:db8::1]:2");
        assert!(matches!(Request::of(&of), Err(DestroyError::Families(_))));
    }

    #[test]
    fn an_error_of_the_kernel_is_its_number() {
        let mut bytes = Header::of(ERROR).as_bytes().to_vec();
        bytes.extend((-libc::EOPNOTSUPP).to_ne_bytes());
        assert_eq!(Answer::read(&bytes), Some(Answer::Code(libc::EOPNOTSUPP)));
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..120), kind in 0u16..30,
        ) {
            let _any = Answer::read(&bytes);
            let mut headed = Header::of(kind).as_bytes().to_vec();
            headed.extend(bytes);
            let _any = Answer::read(&headed);
        }
    }
}
