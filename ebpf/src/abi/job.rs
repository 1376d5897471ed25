//! A job, and what the kernel keeps about its sockets.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::address::Address;
use super::open_enum;
use super::ruleset::RuleIndex;
use super::verdict::{Mode, Reason};
use crate::shown::name::KEY_BYTES;
use crate::shown::{Reading, Step, Verify};

/// Value of `JOBS`, keyed by the cgroup id of the job's directory. No entry: everything is denied.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Job {
    /// What verdicts do.
    pub mode: Mode,
    /// 1 if nothing may leave any more, whatever the rules say.
    pub closed: u8,
    /// 1 if a process waits, stopped, until what it was started with has been swept.
    pub hold: u8,
    /// Always zero.
    pub reserved: [u8; 5],
    /// First 8 bytes of the ruleset's digest: which ruleset is in force.
    pub ruleset: u64,
    /// The runner it came from, which has a say in its processes, and whose sockets its worker goes on using;
    /// 0 if it has none.
    pub parent: u64,
    /// First rule that the job gave up since it began: rules from here on allow nothing any more.
    pub withdrawn_from: u32,
    /// First rule after those; as large as `withdrawn_from` if the job gave none up.
    pub withdrawn_to: u32,
}

const _: () = assert!(size_of::<Job>() == 32);

impl Job {
    /// Whether a rule allows nothing any more.
    #[must_use]
    #[inline(always)]
    pub const fn withdrew(&self, rule: RuleIndex) -> bool {
        rule >= self.withdrawn_from && rule < self.withdrawn_to
    }

    /// Whether a verdict that was kept with a socket holds no longer: its rule was given up, or it let pass what
    /// an audited job may, and the job is enforced now.
    #[must_use]
    #[inline(always)]
    pub const fn outlived(&self, state: PeerState, rule: RuleIndex) -> bool {
        match state {
            PeerState::AUDITED => self.mode.0 != Mode::AUDIT.0,
            PeerState::ALLOWED | PeerState::READ => self.withdrew(rule),
            _ => false,
        }
    }
}

/// What the daemon's control socket belongs to: every job may speak to it. No cgroup has this id.
pub const CONTROL: u64 = u64::MAX;

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
    /// Processes that could not be noted as the job's.
    pub members: u64,
    /// Processes whose arguments or environment were not copied whole at exec.
    pub captures: u64,
    /// Processes that should have been stopped until they were swept, and were not.
    pub unheld: u64,
}

/// Who sent a DNS query: key of `DNS_CLIENTS`, written when the packet leaves for the listener.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct DnsClientKey {
    /// Cgroup id of the job.
    pub job: u64,
    /// Cookie of the network namespace: each has its own ports.
    pub netns: u64,
    /// Source port, host byte order.
    pub port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// Always zero.
    pub reserved: u8,
    /// Always zero.
    pub reserved2: u32,
}

const _: () = assert!(size_of::<DnsClientKey>() == 24);

/// Value of `DNS_CLIENTS`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct DnsClient {
    /// Process that last used the socket.
    pub tgid: u32,
    /// Port of the server that was asked, host byte order.
    pub port: u16,
    /// Always zero.
    pub reserved: u16,
    /// Address of the server that was asked.
    pub server: Address,
}

const _: () = assert!(size_of::<DnsClient>() == 24);

open_enum! {
    /// What a socket's kept verdict is about.
    pub struct PeerState(pub u8) {
        /// No verdict kept: judge the packet itself.
        NONE = 0, "none";
        /// Packets between the socket and `peer` pass.
        ALLOWED = 1, "allowed";
        /// As above, but only because the job is audited.
        AUDITED = 2, "audited";
        /// As above, as long as the names the connection shows are allowed.
        READ = 3, "read";
        /// The connection showed a name that is not allowed, or none: nothing more of it leaves.
        REFUSED = 4, "refused";
    }
}

/// Secret numbers of one loaded object, for [`Kept`].
pub type KeptKey = [u32; 6];

/// A kept verdict in one word that is written and read whole.
///
/// Two threads can use one UDP socket at once. Kept in several fields, the permission of one call
/// could end up beside the address of the other; here it is worthless with any peer but its own.
/// The peer is hashed (NH, as in UMAC, RFC 4418, two dependent products) under a key that no job
/// sees.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(transparent)]
pub struct Kept(pub u64);

impl Kept {
    /// No verdict.
    pub const NONE: Self = Self(0);

    /// A verdict about one peer.
    #[must_use]
    #[inline(always)]
    pub fn new(key: &KeptKey, peer: &Address, port: u16, protocol: u8, state: PeerState) -> Self {
        let [a, b, c, d] = peer.words();
        let [k0, k1, k2, k3, k4, k5] = *key;
        let ends = (u32::from(port) << 8) | u32::from(protocol);
        let product = |x: u32, y: u32, kx: u32, ky: u32| {
            u64::from(x.wrapping_add(kx)).wrapping_mul(u64::from(y.wrapping_add(ky)))
        };
        let sum = product(a, b, k0, k1)
            .wrapping_add(product(c, d, k2, k3))
            .wrapping_add(product(ends, !ends, k4, k5));
        // The middle of a product is its best part; the lowest byte makes room for the state.
        let mixed = sum ^ (sum >> 29);
        Self((mixed & !0xff) | u64::from(state.0))
    }

    /// What it says of this peer; [`PeerState::NONE`] if it is about another.
    #[must_use]
    #[inline(always)]
    pub fn about(self, key: &KeptKey, peer: &Address, port: u16, protocol: u8) -> PeerState {
        let state = PeerState((self.0 & 0xff) as u8);
        let same = Self::new(key, peer, port, protocol, state).0 == self.0;
        if same && state.0 >= PeerState::ALLOWED.0 && state.0 <= PeerState::REFUSED.0 {
            state
        } else {
            PeerState::NONE
        }
    }
}

open_enum! {
    /// Whose socket it is.
    pub struct SocketRole(pub u8) {
        /// A socket of a process of the job.
        JOB = 0, "job";
        /// The job's DNS listener, made by the agent.
        RESOLVER = 1, "resolver";
        /// Made outside the job and used inside: judged as the job's, never taken for its own.
        FOREIGN = 2, "foreign";
        /// Listens for the job alone, made by the agent: the way to the container engine, and ports of the
        /// job's containers.
        ENGINE = 3, "engine";
    }
}

impl SocketRole {
    /// Whether the agent made it, for the job to reach. Those have odd numbers.
    #[must_use]
    #[inline(always)]
    pub const fn is_agents(self) -> bool {
        self.0 & 1 == 1
    }
}

/// What the kernel keeps with each socket of a job (socket storage).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Socket {
    /// Cgroup id of the job that owns it.
    pub job: u64,
    /// The kept verdict, bound to its peer.
    pub kept: Kept,
    /// Peer of the kept verdict.
    pub peer: Address,
    /// Address of the DNS server the job asked, while its DNS is redirected.
    pub dns_server: Address,
    /// Cookie of the network namespace in which the DNS was redirected.
    pub dns_netns: u64,
    /// Process that last connected or sent.
    pub tgid: u32,
    /// Rule behind the kept verdict.
    pub rule: RuleIndex,
    /// Port of the peer, host byte order.
    pub peer_port: u16,
    /// Port of the DNS server the job asked, host byte order.
    pub dns_port: u16,
    /// Port of the listener the DNS was redirected to; 0 while it is not redirected.
    pub listener_port: u16,
    /// What the connection must show an allowed name in.
    pub verify: Verify,
    /// Protocol of the kept verdict.
    pub protocol: u8,
    /// Reason of the kept verdict.
    pub reason: Reason,
    /// Whose it is.
    pub role: SocketRole,
    /// 1 once the agent was told that the rule behind the kept verdict was given up.
    pub told: u8,
    /// Always zero.
    pub reserved: [u8; 5],
}

const _: () = assert!(size_of::<Socket>() == 80);

/// Bytes of a packet that are looked at together.
pub const WINDOW_BYTES: usize = 512;

/// Where the reading of one packet is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Cursor {
    /// The next byte, counted from the packet's start.
    pub position: u32,
    /// The end of the packet.
    pub end: u32,
    /// Where in the packet the window begins.
    pub window: u32,
    /// Bytes in the window.
    pub filled: u32,
    /// What the last byte led to.
    pub step: Step,
    /// Why a name was refused; 0 if none was.
    pub refused: Reason,
    /// Always zero.
    pub reserved: [u8; 6],
}

/// What the kernel keeps with a socket while the names its connection shows are read. Apart from
/// [`Socket`], because few sockets need it, and most of these for one packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Stream {
    /// Boot time (ns) of the connection's first packet: leases that held then, hold for it.
    pub begun: u64,
    /// Sequence number of the next byte that was not read.
    pub next: u32,
    /// Bits of `key` that count, as the trie wants it: in front of the key.
    pub key_bits: u32,
    /// Key of the name that is looked up.
    pub key: [u8; KEY_BYTES],
    /// Bytes of the packet.
    pub window: [u8; WINDOW_BYTES],
    /// Where in the packet that is being read. Here and not on the program's stack, where the verifier
    /// would follow every value.
    pub cursor: Cursor,
    /// What was read so far.
    pub reading: Reading,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: KeptKey = [
        0x9e37_79b9,
        0x7f4a_7c15,
        0xf39c_c060,
        0x5ced_c834,
        0x1082_276b,
        0xf3a2_7251,
    ];

    proptest! {
        #[test]
        fn a_kept_verdict_is_about_its_own_peer_alone(
            peer: [u8; 16], other: [u8; 16], port: u16, other_port: u16, state in 1u8..=4,
        ) {
            let state = PeerState(state);
            let (peer, other) = (Address(peer), Address(other));
            let kept = Kept::new(&KEY, &peer, port, 6, state);
            prop_assert_eq!(kept.about(&KEY, &peer, port, 6), state);
            prop_assert_eq!(kept.about(&KEY, &peer, port, 17), PeerState::NONE);
            if other_port != port {
                prop_assert_eq!(kept.about(&KEY, &peer, other_port, 6), PeerState::NONE);
            }
            if other != peer {
                prop_assert_eq!(kept.about(&KEY, &other, port, 6), PeerState::NONE);
            }
        }
    }

    #[test]
    fn no_verdict_lets_nothing_pass_and_neither_does_an_unknown_state() {
        let peer = Address::from_v4([203, 0, 113, 10]);
        assert_eq!(Kept::NONE.about(&KEY, &peer, 443, 6), PeerState::NONE);
        for state in [0, 5, 255] {
            let kept = Kept::new(&KEY, &peer, 443, 6, PeerState(state));
            assert_eq!(kept.about(&KEY, &peer, 443, 6), PeerState::NONE);
        }
    }

    #[test]
    fn each_part_of_the_key_matters() {
        let peer = Address([7; 16]);
        let kept = Kept::new(&KEY, &peer, 443, 6, PeerState::ALLOWED);
        for part in 0..KEY.len() {
            let mut key = KEY;
            key[part] ^= 0x8000_0000;
            assert_eq!(kept.about(&key, &peer, 443, 6), PeerState::NONE, "{part}");
        }
    }
}
