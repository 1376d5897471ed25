//! A job, and what the kernel keeps about its sockets.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::address::Address;
use super::open_enum;
use super::verdict::{Mode, Reason};

/// Value of `JOBS`, keyed by the cgroup id of the job's directory. No entry: everything is denied.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Job {
    /// What verdicts do.
    pub mode: Mode,
    /// Always zero.
    pub reserved: [u8; 7],
    /// First 8 bytes of the ruleset's digest: which ruleset is in force.
    pub ruleset: u64,
}

/// Exact counts of what could not be itemised, per job. Only ever added to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Losses {
    /// Records the ring had no room for.
    pub records: u64,
    /// Attempts and packets whose flow found no room in the flow table.
    pub flows: u64,
    /// Denials for want of kernel memory.
    pub memory: u64,
    /// Verdicts of all kinds that refused (or, in audit mode, would have).
    pub denied: u64,
}

/// Who sent a DNS query: key of `DNS_CLIENTS`, written when the packet leaves for the listener.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct DnsClientKey {
    /// Cgroup id of the job.
    pub job: u64,
    /// Source port, host byte order.
    pub port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// Always zero.
    pub reserved: u8,
    /// Always zero.
    pub reserved2: u32,
}

const _: () = assert!(size_of::<DnsClientKey>() == 16);

/// Value of `DNS_CLIENTS`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct DnsClient {
    /// Process that last used the socket.
    pub tgid: u32,
    /// Always zero.
    pub reserved: u32,
}

open_enum! {
    /// What a socket's kept verdict is about.
    pub struct PeerState(pub u8) {
        /// No verdict kept: judge the packet itself.
        NONE = 0, "none";
        /// Packets between the socket and `peer` pass.
        ALLOWED = 1, "allowed";
        /// As above, but only because the job is audited.
        AUDITED = 2, "audited";
    }
}

open_enum! {
    /// Whose socket it is.
    pub struct SocketRole(pub u8) {
        /// A socket of a process of the job.
        JOB = 0, "job";
        /// The job's DNS listener, made by the agent.
        RESOLVER = 1, "resolver";
    }
}

/// What the kernel keeps with each socket of a job (socket storage).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Socket {
    /// Cgroup id of the job that owns it.
    pub job: u64,
    /// Peer of the kept verdict.
    pub peer: Address,
    /// Address of the DNS server the job asked, while its DNS is redirected.
    pub dns_server: Address,
    /// Process that last connected or sent.
    pub tgid: u32,
    /// Port of the peer, host byte order.
    pub peer_port: u16,
    /// Rule behind the kept verdict.
    pub rule: u16,
    /// Port of the DNS server the job asked, host byte order.
    pub dns_port: u16,
    /// Port of the listener the DNS was redirected to; 0 while it is not redirected.
    pub listener_port: u16,
    /// What the kept verdict says.
    pub state: PeerState,
    /// Protocol of the kept verdict.
    pub protocol: u8,
    /// Reason of the kept verdict.
    pub reason: Reason,
    /// Whose it is.
    pub role: SocketRole,
}

const _: () = assert!(size_of::<Socket>() == 56);
