//! Processes by descriptor: a number can be used again, a descriptor means one process for ever.

#![expect(unsafe_code, reason = "raw system calls")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use super::fs::FileError;

/// Inode of the initial pid namespace (`PROC_PID_INIT_INO`): a constant of the kernel.
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// One process.
#[derive(Debug)]
pub struct Process(OwnedFd);

impl Process {
    /// The process that has this number now.
    ///
    /// # Errors
    /// There is none.
    pub fn open(tgid: u32) -> io::Result<Self> {
        // SAFETY: two integers; no memory of the caller is touched.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, tgid, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = i32::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: the kernel just made this descriptor for us alone.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The process that made the connection at the other end of a Unix socket, as the kernel noted it then.
    /// `None`: this kernel does not say (before 6.5).
    ///
    /// # Errors
    /// It is gone.
    pub fn of_peer(socket: &impl AsFd) -> io::Result<Option<Self>> {
        const SO_PEERPIDFD: libc::c_int = 77;
        let mut fd: libc::c_int = -1;
        // Bytes of a descriptor's number.
        let mut len: libc::socklen_t = 4;
        // SAFETY: the kernel writes at most `len` bytes, which `fd` has.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                SO_PEERPIDFD,
                (&raw mut fd).cast(),
                &raw mut len,
            )
        };
        if result < 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::ENOPROTOOPT) => Ok(None),
                _ => Err(error),
            };
        }
        // SAFETY: the kernel just made this descriptor for us alone.
        Ok(Some(Self(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// Its number in this pid namespace. `None`: it has ended, or has none here.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn number(&self) -> Result<Option<u32>, FileError> {
        let path = format!("/proc/self/fdinfo/{}", self.0.as_raw_fd());
        let text = super::fs::read_to_string(path.as_ref(), 1 << 16)?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pid:"));
        // 0 and -1 where it has none.
        let number = line.and_then(|line| line.trim().parse::<u32>().ok());
        Ok(number.filter(|number| *number != 0))
    }

    /// Ends it.
    ///
    /// # Errors
    /// It is gone already (`ESRCH`), or may not be signalled.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(libc::SIGKILL)
    }

    /// Asks it to end.
    ///
    /// # Errors
    /// As [`kill`](Self::kill).
    pub fn end(&self) -> io::Result<()> {
        self.signal(libc::SIGTERM)
    }

    /// Lets it go on after it was stopped.
    ///
    /// # Errors
    /// As [`kill`](Self::kill).
    pub fn go_on(&self) -> io::Result<()> {
        self.signal(libc::SIGCONT)
    }

    fn signal(&self, signal: libc::c_int) -> io::Result<()> {
        let (fd, none) = (self.0.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
        // SAFETY: no information is passed with the signal.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, none, 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Whether it has ended; its parent may not have noticed yet.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn has_ended(&self) -> io::Result<bool> {
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one live entry; returns at once.
        match unsafe { libc::poll(&raw mut poll, 1, 0) } {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether this process counts processes as the kernel does: only then do numbers from the kernel
/// mean the same here.
#[must_use]
pub fn in_initial_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/pid")
        .is_ok_and(|link| link.as_os_str() == INITIAL_PID_NAMESPACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_process_is_gone_and_its_number_means_nobody() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let process = Process::open(child.id()).unwrap();
        process.kill().unwrap();
        while !process.has_ended().unwrap() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        let gone = process.kill().unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(libc::ESRCH));
    }
}
