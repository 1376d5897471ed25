//! A host on which `clone3` is answered as by a kernel that has none, as systemd's `RestrictNamespaces=` does it.

#![expect(unsafe_code, reason = "a filter of system calls")]

use std::io;

use anyhow::{Context as _, Result};

/// From now on, for this process and all it starts.
pub fn hide_clone3() -> Result<()> {
    let number = u32::try_from(libc::SYS_clone3)?;
    let answer = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::ENOSYS)?;
    // Load the number; if it is the one, go on, else skip one; the two answers.
    let mut program = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)?,
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, number)?,
        step(libc::BPF_RET | libc::BPF_K, 0, answer)?,
        step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW)?,
    ];
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len())?,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the program, which lives until the call returns.
    let set = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const filter,
        )
    };
    if set == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error()).context("install a filter of system calls")
}

fn step(code: u32, skip: u8, value: u32) -> Result<libc::sock_filter> {
    Ok(libc::sock_filter {
        code: u16::try_from(code)?,
        jt: 0,
        jf: skip,
        k: value,
    })
}
