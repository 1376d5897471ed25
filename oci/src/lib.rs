//! Evidence of cordon in OCI registries: pushed as referrers of an image, and fetched again.
//!
//! `cordon` starts the program `cordon-oci` for that, so that nothing that holds a signing key or a
//! privilege ever speaks to a network. What goes between the two is a parcel: a private directory of
//! files that are named by their SHA-256 (`parcel`).
//!
//! **Invariants**: nothing that a registry says is a file name; every byte that is kept was hashed
//! while it was read, and compared; sizes, counts and times are bounded; credentials go to the
//! registry they are for and to its token service, over TLS or on this machine, and nowhere else.
//!
//! **Not here**: whether evidence is genuine. The gate of `cordon verify` decides that.

mod auth;
pub mod cli;
mod digest;
mod error;
mod fetch;
mod manifest;
mod origin;
mod parcel;
mod publish;
mod reference;
mod referrers;
mod registry;
mod wire;

#[cfg(test)]
mod tests;

pub use error::OciError;
pub use fetch::fetch;
pub use publish::{Published, publish};
pub use reference::{Reference, ReferenceError};
pub use registry::{Options, Registry};
