//! Limits of another process.

#![expect(unsafe_code, reason = "a system call nix does not know")]

use std::io;

/// Limits the files that a process may have open, for it and all it starts from now on.
///
/// # Errors
/// It is gone, or the kernel refuses.
pub fn open_files_of(pid: u32, most: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: most,
    };
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: the kernel reads one limit and writes none.
    let set = unsafe {
        libc::prlimit(
            pid,
            libc::RLIMIT_NOFILE,
            &raw const limit,
            std::ptr::null_mut(),
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_is_limited() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        open_files_of(child.id(), 33).unwrap();
        let path = format!("/proc/{}/limits", child.id());
        let limits = crate::sys::fs::read_to_string(path.as_ref(), 1 << 16).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"))
            .unwrap();
        assert_eq!(
            line.split_ascii_whitespace()
                .skip(3)
                .take(2)
                .collect::<Vec<_>>(),
            ["33", "33"]
        );
    }
}
