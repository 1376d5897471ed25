//! What a process was started with: its arguments and environment, as the kernel copies them at exec.
//!
//! The bytes go into slots of an array that the agent maps into its memory, not into the ring: a ring is
//! read-only to its reader, and secrets would lie in it until it is written over. A slot is zeroed as
//! soon as it was read.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bytes of one slot's data.
pub const SLOT_BYTES: usize = 16_384;

/// Slots of one job. Full: counted in the capture, which the agent completes from `/proc`.
pub const SLOTS: u32 = 128;

/// Slots one exec can fill: 128 KiB. Beyond, the capture is cut, and completed from `/proc`.
pub const SLOTS_PER_EXEC: usize = 8;

/// `slots` where there is none.
pub const NO_SLOT: u16 = u16::MAX;

/// A slot that anybody may take.
pub const FREE: u64 = 0;
/// A slot that is written by the kernel, or read by the agent.
pub const TAKEN: u64 = 1;

/// One slot: as much of a process' arguments and environment as fits.
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Slot {
    /// [`FREE`] or [`TAKEN`]; changed by an atomic exchange only.
    pub state: u64,
    /// The bytes. Not initialised beyond what the capture says; whatever is there is an older secret.
    pub data: [u8; SLOT_BYTES],
}

const _: () = assert!(size_of::<Slot>() == 16_392);

/// What was copied at one exec: part of its record.
///
/// Arguments and environment lie behind each other in the process' memory, and so they do in the slots:
/// the bytes of `slots[0]`, then those of `slots[1]`, each full but the last.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Capture {
    /// Bytes of the arguments.
    pub arguments: u32,
    /// Bytes of the environment.
    pub environment: u32,
    /// Bytes copied, of both. Less than both together: the rest was not copied.
    pub copied: u32,
    /// How many of `slots` hold bytes.
    pub used: u16,
    /// 1 if the process was stopped, and waits for the agent.
    pub held: u16,
    /// The slots.
    pub slots: [u16; SLOTS_PER_EXEC],
}

const _: () = assert!(size_of::<Capture>() == 32);

impl Capture {
    /// Whether all of it was copied.
    #[must_use]
    #[inline(always)]
    pub const fn is_whole(&self) -> bool {
        self.copied as u64 == (self.arguments as u64).wrapping_add(self.environment as u64)
    }
}

/// A process that has not been swept since its last exec.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Unswept {
    /// Its job.
    pub job: u64,
    /// Boot time (ns) of the exec.
    pub since: u64,
}
