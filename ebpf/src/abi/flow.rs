//! Exact counters: who talked to what, how often, how much.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::address::Address;
use super::ruleset::RuleIndex;
use super::verdict::{Reason, Verdict};

/// One line of the report: a destination with the verdict it met.
#[derive(
    Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd, FromBytes, Immutable, IntoBytes,
)]
#[repr(C)]
pub struct FlowKey {
    /// Destination (source, for [`Reason::INBOUND`]).
    pub address: Address,
    /// Port, host byte order; 0 for protocols without ports.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// What happened.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Always zero.
    pub reserved: [u8; 7],
    /// Rule that allowed it; [`NO_RULE`](super::ruleset::NO_RULE) if none did.
    pub rule: RuleIndex,
}

const _: () = assert!(size_of::<FlowKey>() == 32);

/// Value of a job's flow map. Bytes count IP packets with their IP headers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct FlowCounters {
    /// Connects and sends with an address that were judged.
    pub attempts: u64,
    /// Packets that left, or were refused on the wire.
    pub packets_out: u64,
    /// Bytes of `packets_out`.
    pub bytes_out: u64,
    /// Packets that came in.
    pub packets_in: u64,
    /// Bytes of `packets_in`.
    pub bytes_in: u64,
    /// Boot time (ns) of the first event.
    pub first: u64,
    /// Boot time (ns) of the last event.
    pub last: u64,
    /// Process of the last attempt: a change of it is worth a record.
    pub tgid: u32,
    /// Always zero.
    pub reserved: u32,
}
