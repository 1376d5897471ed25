//! ABI types as aya wants them.

#![expect(
    unsafe_code,
    reason = "aya's Pod is an unsafe trait for types of another crate"
)]

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A map key or value of the ABI.
///
/// aya's `Pod` cannot be implemented here for types of the ABI library; this wrapper takes the
/// proof from zerocopy's derives, once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(transparent)]
pub struct Wire<T>(pub T);

// SAFETY: `FromBytes` and `IntoBytes` say that T has no padding, no pointers and accepts every bit
// pattern, which is all `Pod` asks for; the wrapper is transparent.
unsafe impl<T: Copy + FromBytes + Immutable + IntoBytes + 'static> aya::Pod for Wire<T> {}
