//! What a job may reach: values of the per-job lease and net maps.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::address::Address;
use crate::shown::Verify;

/// Grants one address or range can hold. A verdict looks at all of them, so the number is also the
/// bound of the kernel's loop.
pub const MAX_GRANTS: usize = 16;

/// Index of a rule in its job's ruleset.
pub type RuleIndex = u32;

/// The index where no rule allowed.
pub const NO_RULE: RuleIndex = RuleIndex::MAX;

/// `expires` of a grant that does not run out.
pub const NEVER: u64 = u64::MAX;

/// Permission for one protocol and one range of ports, until a time, by one rule.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Grant {
    /// Boot time (ns, `CLOCK_BOOTTIME`) after which it is void; [`NEVER`] for address ranges.
    pub expires: u64,
    /// First port, host byte order.
    pub first_port: u16,
    /// Last port, inclusive.
    pub last_port: u16,
    /// The rule.
    pub rule: RuleIndex,
    /// IP protocol: [`super::TCP`] or [`super::UDP`].
    pub protocol: u8,
    /// What the connection must show a name in; [`Verify::NONE`] where the address is enough.
    pub verify: Verify,
    /// Always zero.
    pub reserved: [u8; 6],
}

const _: () = assert!(size_of::<Grant>() == 24);

/// All grants of one address or range. The first `len` are meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Grants {
    /// How many of `grants` hold.
    pub len: u32,
    /// Always zero.
    pub reserved: u32,
    /// The grants: those that ask for no name first, then in the order of the policy's rules. The
    /// first that speaks of a destination says what is asked for.
    pub grants: [Grant; MAX_GRANTS],
}

const _: () = assert!(size_of::<Grants>() == 392);

impl Grants {
    /// Grants nothing.
    pub const NONE: Self = Self {
        len: 0,
        reserved: 0,
        grants: [Grant {
            expires: 0,
            first_port: 0,
            last_port: 0,
            rule: 0,
            protocol: 0,
            verify: Verify::NONE,
            reserved: [0; 6],
        }; MAX_GRANTS],
    };

    /// The value for a list of grants; `None` if there are more than [`MAX_GRANTS`].
    #[must_use]
    pub fn new(list: &[Grant]) -> Option<Self> {
        let mut value = Self::NONE;
        value.grants.get_mut(..list.len())?.copy_from_slice(list);
        value.len = u32::try_from(list.len()).ok()?;
        Some(value)
    }

    /// The grants that are meant.
    #[must_use]
    #[inline(always)]
    pub fn as_slice(&self) -> &[Grant] {
        let len = (self.len as usize).min(MAX_GRANTS);
        self.grants.get(..len).unwrap_or(&[])
    }
}

/// Key of the map of a job's leases by rule: what a name that a connection shows is held against.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct HeldKey {
    /// The leased address.
    pub address: Address,
    /// The rule by whose name it was leased.
    pub rule: RuleIndex,
    /// Always zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<HeldKey>() == 24);

/// Key of the map that says where a job's DNS goes: one listener per network namespace.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct ResolverKey {
    /// Cgroup id of the job.
    pub job: u64,
    /// Cookie of the network namespace (`SO_NETNS_COOKIE`).
    pub netns: u64,
}

/// Loopback ports of a job's DNS listener, host byte order; 0 where there is none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Resolver {
    /// UDP on 127.0.0.1.
    pub udp4: u16,
    /// TCP on 127.0.0.1.
    pub tcp4: u16,
    /// UDP on `::1`.
    pub udp6: u16,
    /// TCP on `::1`.
    pub tcp6: u16,
}
