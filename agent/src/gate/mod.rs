//! The promotion gate: whether a release may be promoted on the evidence there is for it.
//!
//! It denies unless every check shows that it is good. Checks only say what they found; what that
//! comes to is one rule, in [`decision`].
//!
//! **Invariants**: no I/O: evidence is read through [`source::Source`]; size, depth and count are
//! bounded before anything is parsed; what a statement says is looked at only after its signature;
//! "the policy says no" and "it could not be decided" never have the same status.

#![forbid(unsafe_code)]

mod attended;
mod chain;
mod check;
mod contents;
pub mod decision;
mod evidence;
pub mod lines;
mod other;
pub mod parcel;
mod piece;
pub mod policy;
pub mod revocations;
pub mod source;
pub mod state;
mod substance;
pub mod tar;
#[cfg(test)]
pub(crate) mod tests;
pub mod text;
pub mod vsa;

pub use check::{Question, decide};
