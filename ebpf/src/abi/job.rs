//! A job, and what the kernel keeps about its sockets.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::address::Address;
use super::open_enum;
use super::verdict::Mode;

/// Value of `JOBS`, keyed by the cgroup id of the job's directory. No entry: everything is denied.
#[derive(
    Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
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
#[derive(
    Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
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
#[derive(
    Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
#[repr(C)]
pub struct DnsClientKey {
    /// Cgroup id of the job.
    pub job: u64,
    /// Source port, host byte order.
    pub port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// Always zero.
    pub reserved: [u8; 5],
}

/// Value of `DNS_CLIENTS`.
#[derive(
    Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
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

/// What the kernel keeps with each socket of a job (socket storage).
#[derive(
    Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
#[repr(C)]
pub struct Socket {
    /// Cgroup id of the job that owns it.
    pub job: u64,
    /// Peer of the kept verdict.
    pub peer: Address,
    /// Port of the peer, host byte order.
    pub peer_port: u16,
    /// What the kept verdict says.
    pub state: PeerState,
    /// Protocol of the kept verdict.
    pub protocol: u8,
    /// Process that last connected or sent.
    pub tgid: u32,
    /// Rule behind the kept verdict.
    pub rule: u16,
    /// Reason of the kept verdict.
    pub reason: super::verdict::Reason,
    /// 1 while the socket's DNS is redirected.
    pub redirected: u8,
    /// The DNS server the job asked, port in host byte order.
    pub dns_port: u16,
    /// 1 if it asked by an AF_INET6 address, mapped ones included.
    pub dns_v6: u8,
    /// Always zero.
    pub reserved: u8,
    /// Address of the DNS server the job asked.
    pub dns_server: Address,
}

const _: () = assert!(size_of::<Socket>() == 56);
