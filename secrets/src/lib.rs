//! Finds credentials in the environments and arguments of processes.
//!
//! Pure: bytes in, [`Detection`]s out. No file, socket, clock or log is touched here, and nothing
//! that leaves the crate holds a byte of a secret: a detection says which rule, of which class,
//! where, and carries a keyed fingerprint.

#[cfg(any(test, feature = "cases"))]
pub mod cases;
mod checksum;
mod credential;
mod formats;
mod json;
mod placeholder;
mod scratch;

pub use credential::{Checksum, Class, Confidence, Fact, Life, Rule};
pub use scratch::Scratch;
