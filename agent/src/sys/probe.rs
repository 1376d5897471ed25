//! Tries of kernel features that leave nothing behind.

#![expect(unsafe_code, reason = "a prctl that nix does not have")]

use std::io;

use nix::sched::{CloneFlags, unshare};

/// Whether the kernel filters system calls. It is asked to take a filter at an address where none
/// can be: who knows filters complains of the address.
///
/// # Errors
/// The kernel has no filters, or said something that tells nothing.
pub fn seccomp_filter() -> io::Result<()> {
    // SAFETY: the address is null, so nothing is installed; the kernel checks it.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            std::ptr::null::<libc::c_void>(),
        )
    };
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EFAULT) if result < 0 => Ok(()),
        _ => Err(error),
    }
}

/// Whether a new namespace can be made: on a thread of its own, with which it goes away.
///
/// # Errors
/// What the kernel said.
pub fn namespace(flags: CloneFlags) -> io::Result<()> {
    let tried = std::thread::scope(|scope| scope.spawn(|| unshare(flags)).join());
    match tried {
        Ok(made) => Ok(made?),
        Err(_panic) => Err(io::Error::other("the thread ended")),
    }
}
