//! The descriptors this process inherited.

#![expect(unsafe_code, reason = "flags and options of raw descriptors")]

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use super::fs::FileError;
use crate::sandbox::descriptors::{Descriptor, Kind};

/// All that would pass on to a program this process starts. Descriptors that close at exec are
/// cordon's own.
///
/// # Errors
/// They cannot be listed.
pub fn inherited() -> Result<Vec<Descriptor>, FileError> {
    let path = Path::new("/proc/self/fd");
    let entries = std::fs::read_dir(path).map_err(FileError::on("list", path))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(FileError::on("list", path))?;
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(number) = number.filter(|number| passes_on(*number)) else {
            continue;
        };
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        found.push(Descriptor {
            number,
            // What cannot be examined is not known to be harmless.
            kind: kind(number).unwrap_or(Kind::Other),
            target,
        });
    }
    Ok(found)
}

/// A second descriptor for what was inherited under this number.
///
/// # Errors
/// There is nothing under this number, or it is a descriptor of cordon's own (`EBADF`).
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // Descriptors of cordon's own close at exec; inherited ones do not.
    if !passes_on(number) {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: makes a new descriptor, whatever the number stands for.
    let new = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    checked(new)?;
    // SAFETY: just made, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// Keeps a descriptor from programs this process starts.
///
/// # Errors
/// It is not open.
pub fn withhold(number: RawFd) -> io::Result<()> {
    // SAFETY: sets one flag of a descriptor.
    let result = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    checked(result)
}

/// Passes a descriptor on to programs this process starts.
///
/// # Errors
/// It is not open.
pub fn pass_on(number: RawFd) -> io::Result<()> {
    // SAFETY: clears the flags of a descriptor.
    let result = unsafe { libc::fcntl(number, libc::F_SETFD, 0) };
    checked(result)
}

fn passes_on(number: RawFd) -> bool {
    // SAFETY: asks for the flags of a descriptor; one that is not open is an error.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}

fn kind(number: RawFd) -> io::Result<Kind> {
    // SAFETY: the descriptor is only looked at, and `ManuallyDrop` leaves it open.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(number) });
    // SAFETY: asks for the flags of an open descriptor.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
    if flags < 0 || flags & libc::O_PATH != 0 {
        return Ok(Kind::Path);
    }
    let metadata = file.metadata()?;
    let file_type = metadata.file_type();
    Ok(if file_type.is_dir() || file_type.is_symlink() {
        Kind::Path
    } else if file_type.is_fifo() {
        Kind::Pipe
    } else if file_type.is_socket() {
        Kind::Socket {
            family: socket_option(number, libc::SO_DOMAIN)?,
            kind: socket_option(number, libc::SO_TYPE)?,
        }
    } else if file.is_terminal() {
        Kind::Terminal
    } else if file_type.is_char_device() {
        let device = metadata.rdev();
        Kind::Device {
            major: libc::major(device),
            minor: libc::minor(device),
        }
    } else if metadata.mode() & libc::S_IFMT == libc::S_IFREG {
        let magic = nix::sys::statfs::fstatfs(&*file)?.filesystem_type().0;
        Kind::File {
            // Magic numbers are 32 bits wide, whatever the type that holds them.
            file_system: u32::try_from(magic & 0xffff_ffff).unwrap_or(u32::MAX),
        }
    } else {
        Kind::Other
    })
}

fn socket_option(number: RawFd, option: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    // Bytes of an int.
    let mut len: libc::socklen_t = 4;
    // SAFETY: the kernel writes at most `len` bytes, which `value` has.
    let result = unsafe {
        libc::getsockopt(
            number,
            libc::SOL_SOCKET,
            option,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    checked(result).map(|()| value)
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    fn open(path: &str) -> File {
        crate::sys::fs::open(Path::new(path)).unwrap()
    }

    #[test]
    fn each_kind_is_known() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(
            kind(socket.as_raw_fd()).unwrap(),
            Kind::Socket {
                family: libc::AF_INET,
                kind: libc::SOCK_DGRAM
            }
        );
        let of = |path: &str| kind(open(path).as_raw_fd()).unwrap();
        assert_eq!(of("/"), Kind::Path);
        assert_eq!(of("/dev/null"), Kind::Device { major: 1, minor: 3 });
        assert_eq!(
            of("/proc/self/status"),
            Kind::File {
                file_system: 0x9fa0
            }
        );
        assert_eq!(
            of("/proc/self/ns/net"),
            Kind::File {
                file_system: 0x6e73_6673
            }
        );
        let (reader, _writer) = io::pipe().unwrap();
        assert_eq!(kind(reader.as_raw_fd()).unwrap(), Kind::Pipe);
        let events = nix::sys::signalfd::SignalFd::new(&nix::sys::signal::SigSet::empty()).unwrap();
        assert_eq!(kind(events.as_raw_fd()).unwrap(), Kind::Other);
    }

    #[test]
    fn what_closes_at_exec_is_not_inherited() {
        let file = open("/dev/null");
        let number = file.as_raw_fd();
        let is_listed = || {
            let all = inherited().unwrap();
            all.iter().any(|descriptor| descriptor.number == number)
        };
        assert!(!is_listed());
        pass_on(number).unwrap();
        assert!(is_listed());
        duplicate(number).unwrap();
        withhold(number).unwrap();
        assert!(!is_listed());
        duplicate(number).unwrap_err();
    }
}
