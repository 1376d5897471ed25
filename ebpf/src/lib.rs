//! The contract between the kernel and the agent: the ABI, and the verdict both sides share.
//!
//! The library is compiled twice: for the BPF target, where the programs of `main.rs` use it, and
//! for the host, where the agent uses it and the tests hold the verdict against a naive model.
//!
//! **Invariants**: no allocation, no I/O, no panic; every type that crosses the boundary is
//! `repr(C)`, has no padding and accepts every bit pattern.

#![no_std]
#![forbid(unsafe_code)]
#![expect(
    clippy::inline_always,
    reason = "in a BPF program a call costs stack of its own, and the verifier knows less after it"
)]

#[cfg(test)]
extern crate std;

pub mod abi;
pub mod decide;
pub mod option;
pub mod own;
pub mod shown;
