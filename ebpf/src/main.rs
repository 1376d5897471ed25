//! The BPF programs. Entry points are in `programs`; what they decide is in the library.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(unsafe_code, reason = "kernel helpers and kernel memory")]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a helper, its pointers and its result are one step with one argument"
)]
#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a BPF program cannot panic; what is cut or wraps here is bounded where it is read"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "aya's macros hand a program its context by value"
)]
#![expect(
    clippy::inline_always,
    reason = "in a BPF program a call costs stack of its own, and the verifier knows less after it"
)]

mod judge;
mod kernel;
mod maps;
mod programs;

/// The helpers the tracing programs use are GPL-only; MIT and GPL together are compatible.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier has proved that no path leads here.
    loop {}
}
