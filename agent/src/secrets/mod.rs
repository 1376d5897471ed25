//! The secret sweep: what processes carry in their environments and arguments, read while they live.
//!
//! [`cordon_secrets`] finds; here is what brings it the bytes and keeps what it says. Bytes come from the
//! kernel's copies at exec ([`Slots`](crate::sys::sensitive::Slots)) and from `/proc` ([`procfs`]), into
//! locked memory, and are zeroed after they were scanned. The [`ledger`] holds none of them.

pub mod ledger;
pub mod procfs;
pub mod sweeper;
