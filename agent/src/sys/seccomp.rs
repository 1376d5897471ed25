//! Installing a system call filter.

#![expect(unsafe_code, reason = "seccomp(2) has no safe form")]

use std::io;

use crate::sandbox::filter::Instruction;

/// A filter in the kernel's form.
#[derive(Debug)]
pub struct Filter(Vec<libc::sock_filter>);

impl Filter {
    /// From a program.
    #[must_use]
    pub fn new(program: &[Instruction]) -> Self {
        let instruction = |instruction: &Instruction| libc::sock_filter {
            code: instruction.code,
            jt: instruction.jump_true,
            jf: instruction.jump_false,
            k: instruction.operand,
        };
        Self(program.iter().map(instruction).collect())
    }

    /// Puts the calling thread, and what it starts, under the filter for good. It needs
    /// `no_new_privs`. Allocates nothing.
    ///
    /// # Errors
    /// The kernel has no seccomp filters, or refuses this one.
    pub fn install(&self) -> io::Result<()> {
        let program = libc::sock_fprog {
            len: u16::try_from(self.0.len())
                .map_err(|_too_long| libc::E2BIG)
                .map_err(io::Error::from_raw_os_error)?,
            // The kernel only reads them.
            filter: self.0.as_ptr().cast_mut(),
        };
        // SAFETY: the program points at `len` instructions that live through the call; the kernel
        // copies them.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0,
                &raw const program,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// A call that does nothing and is refused by every filter of ours: what the kernel says to it.
#[must_use]
pub fn refused_call() -> io::Error {
    // SAFETY: an unknown operation; the kernel touches no memory for it.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, -1, 0, 0, 0, 0) };
    if result == 0 {
        io::Error::other("it succeeded")
    } else {
        io::Error::last_os_error()
    }
}
