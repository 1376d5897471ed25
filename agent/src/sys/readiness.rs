//! Descriptors that tokio waits for.

#![expect(unsafe_code, reason = "tokio asks for a promise about the descriptor")]

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use nix::sys::signalfd::SignalFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::pidfd::Process;
use crate::events::ring::Ring;

/// Waits for a ring's records, on the tokio runtime of the caller.
///
/// # Errors
/// It cannot be polled.
pub fn records(ring: Ring) -> io::Result<AsyncFd<Ring>> {
    // SAFETY: a ring owns one map descriptor, keeps it open as long as it lives, and always returns
    // the same one.
    unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }.map_err(io::Error::from)
}

/// Waits for signals, likewise.
///
/// # Errors
/// It cannot be polled.
pub fn signals(fd: SignalFd) -> io::Result<AsyncFd<SignalFd>> {
    // SAFETY: as a ring.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(io::Error::from)
}

/// Waits for the end of a process, likewise.
///
/// # Errors
/// It cannot be polled.
pub fn end_of(process: &Process) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
    // SAFETY: the descriptor is borrowed of the process, which keeps it open for as long.
    unsafe { AsyncFd::register_with_interest(process.as_fd(), Interest::READABLE) }
        .map_err(io::Error::from)
}
