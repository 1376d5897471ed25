//! What a client can be told to do, and what it tells: plain data, shared with the stories.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How an address is handed to the kernel.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Form {
    /// As what it is.
    Plain,
    /// An IPv4 address as `::ffff:a.b.c.d` on an IPv6 socket.
    Mapped,
    /// An IPv4 address (`AF_INET`) on an IPv6 socket.
    OtherFamily,
}

/// How a datagram is sent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum SendCall {
    /// `connect`, then `send`.
    Connect,
    /// `sendto`
    SendTo,
    /// `sendmsg`
    SendMsg,
    /// `sendmmsg`, two datagrams.
    SendMmsg,
}

/// A kind of socket that ordinary programs do not make.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum SocketKind {
    /// `SOCK_RAW`, ICMP.
    Raw,
    /// `SOCK_RAW`, IPv6.
    RawV6,
    /// `SOCK_DGRAM`, ICMP.
    Ping,
    /// `SOCK_DGRAM`, `ICMPv6`.
    PingV6,
    /// UDP-Lite.
    UdpLite,
    /// `AF_PACKET`
    Packet,
    /// `AF_VSOCK`; made, never connected.
    Vsock,
    /// `AF_ALG`
    Alg,
}

/// A kind of Unix socket.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum UnixKind {
    /// `SOCK_STREAM`
    Stream,
    /// `SOCK_DGRAM`
    Datagram,
    /// `SOCK_SEQPACKET`
    Packets,
}

/// What is done with a connection that is standard input.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Use {
    /// `send(2)`
    Send,
    /// `recv(2)`, of what is there.
    Receive,
    /// `sendfile(2)`
    SendFile,
}

/// What is done to another process.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Touch {
    /// A signal that does nothing.
    Signal,
    /// `PTRACE_SEIZE`
    Trace,
    /// `pidfd_getfd(2)` of its standard input.
    Descriptor,
    /// `process_vm_readv(2)` of nothing.
    Memory,
    /// Reading `/proc/PID/environ`.
    Environment,
    /// `prlimit(2)` of the size of core files.
    Limit,
    /// `setpriority(2)`
    Priority,
}

/// A way into the kernel, with its own numbers.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Abi {
    /// `int 0x80`
    I386,
    /// `syscall` with a number that has bit 30.
    X32,
    /// `syscall`
    X86_64,
}

/// TCP or UDP, for DNS.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Transport {
    /// One connection, all questions on it.
    Tcp,
    /// One datagram for each question.
    Udp,
}

/// How bytes are given to a connection.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Way {
    /// `send(2)`
    Write,
    /// The first piece with `MSG_FASTOPEN`, before there is a connection.
    FastOpen,
    /// On a multipath TCP socket.
    Multipath,
    /// The last byte of each piece urgent (`MSG_OOB`).
    Urgent,
    /// `sendfile(2)`
    SendFile,
    /// `send(2)` of the first piece, `sendfile(2)` of all others
    SendFileAfter,
    /// `vmsplice(2)`, then `splice(2)`
    Splice,
    /// `MSG_ZEROCOPY`
    ZeroCopy,
}

/// One thing to do.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Step {
    /// Connect, send four bytes, read them back.
    Tcp { to: SocketAddr, form: Form },
    /// `sendto` with `MSG_FASTOPEN`: connects without `connect`.
    TcpFastOpen { to: SocketAddr },
    /// Connect and exchange; wait for a file; exchange again on the same connection.
    Hold { to: SocketAddr, until: PathBuf },
    /// Listen, make a file, accept one connection, greet it.
    Serve { at: SocketAddr, ready: PathBuf },
    /// Listen on loopback and connect to it.
    Loopback { address: IpAddr },
    /// Send datagrams, wait for an echo.
    Udp {
        to: SocketAddr,
        form: Form,
        call: SendCall,
    },
    /// Connect, send pieces, each in a packet of its own, and read as many bytes back.
    Show {
        to: SocketAddr,
        way: Way,
        pieces: Vec<Vec<u8>>,
    },
    /// The same in one piece, twice on one socket: between them it gives up its connection.
    ShowAgain {
        to: SocketAddr,
        first: Vec<u8>,
        second: Vec<u8>,
    },
    /// Connect and close, many times.
    Connects { to: SocketAddr, count: usize },
    /// Start `/bin/true` and wait for it, many times.
    Execs { count: usize },
    /// Send many datagrams; `bytes` counts the ones that were refused.
    Flood { to: SocketAddr, count: usize },
    /// On one UDP socket, one thread sends to one address, another connects to the other one and
    /// sends.
    UdpRace {
        to: SocketAddr,
        beside: SocketAddr,
        rounds: usize,
    },
    /// Listen on a port of all addresses with `SO_REUSEADDR`, and send to it from another port.
    UdpShadow { port: u16, from: u16 },
    /// One datagram to each of this many ports, from 1 on; `bytes` counts the refused ones.
    Spray { to: IpAddr, ports: u16 },
    /// Until a file is there: connect to one address, which is allowed, and by TCP and UDP to another,
    /// which is not. `bytes` counts how often the first was reached.
    Hammer {
        good: SocketAddr,
        evil: SocketAddr,
        until: PathBuf,
    },
    /// Send a datagram to an address through another one (`IPV6_RTHDR`).
    RoutingHeader { to: Ipv6Addr, through: Ipv6Addr },
    /// Make a socket.
    Socket { kind: SocketKind },
    /// Make a system call; `bytes` is what it returned.
    Call {
        abi: Abi,
        number: u32,
        arguments: [i64; 4],
    },
    /// Take a descriptor of another process (`pidfd_getfd`).
    TakeDescriptor { pid: u32, number: i32 },
    /// Start a process in another cgroup (`clone3` with `CLONE_INTO_CGROUP`).
    StartIn { cgroup: PathBuf },
    /// Connect to a Unix socket, and no more.
    UnixConnect { path: PathBuf },
    /// Connect to a Unix socket, or send to it; `@` stands for the NUL of an abstract name.
    Unix { to: String, kind: UnixKind },
    /// Everything of one's own with Unix sockets: pairs, names, abstract names.
    UnixOwn { directory: PathBuf },
    /// Use the connection that is standard input.
    Input { way: Use },
    /// Listen on a Unix socket, take a descriptor from whoever connects, send on it.
    Take { at: PathBuf },
    /// Do something to another process.
    Touch { process: i32, how: Touch },
    /// `bpf(2)` with a command that is none.
    Bpf,
    /// In user, mount and cgroup namespaces of one's own: mount a file system of this type.
    Mount {
        kind: String,
        at: PathBuf,
        by_name: bool,
    },
    /// Ask libc (`getaddrinfo`).
    Resolve { name: String },
    /// Ask a server by hand.
    Dns {
        server: SocketAddr,
        transport: Transport,
        names: Vec<String>,
        kind: String,
    },
    /// Start a process in a session of its own that does steps, and do not wait for it.
    Background { steps: Vec<Self> },
    /// Go to a user and a network namespace of one's own, whose loopback is up.
    Apart,
    /// So many times, one after the other: start a process that does steps, and wait for it. `bytes`
    /// counts those in which all worked.
    Again { count: usize, steps: Vec<Self> },
    /// Do one step until it works, at most so long.
    Soon { ms: u64, step: Box<Self> },
    /// Make a file.
    Mark { path: PathBuf },
    /// Wait until a file is there.
    Await { path: PathBuf },
    /// Wait.
    Sleep { ms: u64 },
    /// Send a signal to the own process.
    Raise { signal: i32 },
    /// Take memory and write to all of it.
    Allocate { mib: usize },
    /// Start so many processes that wait, then end them. `bytes` counts those that started.
    Crowd { count: usize },
    /// Open a file that is there, and write to it.
    Write { path: PathBuf, text: String },
    /// Open a file so many times. `bytes` counts those that opened.
    OpenFiles { count: usize },
    /// Keep a processor busy.
    Burn { ms: u64 },
    /// End with this status.
    Exit { code: u8 },
}

impl Step {
    /// Plain TCP.
    pub fn tcp(to: SocketAddr) -> Self {
        Self::Tcp {
            to,
            form: Form::Plain,
        }
    }

    /// Plain UDP with `sendto`.
    pub fn udp(to: SocketAddr) -> Self {
        Self::Udp {
            to,
            form: Form::Plain,
            call: SendCall::SendTo,
        }
    }

    /// A system call of x86-64.
    pub fn call(number: libc::c_long, arguments: [i64; 4]) -> Self {
        Self::Call {
            abi: Abi::X86_64,
            number: u32::try_from(number).unwrap_or(u32::MAX),
            arguments,
        }
    }

    /// `getaddrinfo`.
    pub fn resolve(name: &str) -> Self {
        Self::Resolve {
            name: name.to_owned(),
        }
    }

    /// How outcomes call it.
    pub fn name(&self) -> String {
        format!("{self:?}")
    }
}

/// One answer to a DNS question.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Answer {
    /// The name asked for.
    pub name: String,
    /// For example `No Error`, `Query Refused`.
    pub code: String,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// All records of the answer section.
    pub records: Vec<String>,
    /// Whether it was too long for the transport.
    pub truncated: bool,
    /// The text of its extended error.
    pub why: Option<String>,
}

/// What became of a step.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Outcome {
    /// [`Step::name`]
    pub step: String,
    /// Whether all of it worked.
    pub ok: bool,
    /// The call that failed.
    pub call: Option<String>,
    /// How, as `EPERM: Operation not permitted`.
    pub errno: Option<String>,
    /// What a library said about it.
    pub error: Option<String>,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// The same in microseconds.
    pub us: u64,
    /// Bytes that came back; for a flood, datagrams refused.
    pub bytes: usize,
    /// Addresses a name has.
    pub addresses: Vec<IpAddr>,
    /// DNS answers, in the order of the questions.
    pub answers: Vec<Answer>,
    /// The address an answer came from.
    pub from: Option<SocketAddr>,
}

impl Outcome {
    /// Whether it failed with `EPERM`.
    pub fn is_refused(&self) -> bool {
        self.errno
            .as_deref()
            .is_some_and(|errno| errno.starts_with("EPERM"))
    }
}
