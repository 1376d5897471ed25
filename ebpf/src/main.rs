//! The BPF programs. Entry points are in `programs`; what they decide is in the library.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(unsafe_code, reason = "kernel helpers and kernel memory")]

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
