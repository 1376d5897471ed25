//! `bpf(2)` calls that aya has no public way to make.

#![expect(unsafe_code, reason = "raw system calls")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::fs::FileError;

const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_CREATE: libc::c_int = 28;

/// What the kernel says of a cgroup link: the head of `struct bpf_link_info`.
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, PartialEq)]
#[repr(C)]
pub struct LinkInfo {
    /// `BPF_LINK_TYPE_*`; 3 is a cgroup link.
    pub kind: u32,
    /// Id of the link.
    pub id: u32,
    /// Id of the program it runs.
    pub program: u32,
    reserved: u32,
    /// Cgroup it is attached to; 0 once that is gone.
    pub cgroup: u64,
    /// `BPF_CGROUP_*`
    pub attach_type: u32,
    reserved2: u32,
}

const LINK_INFO_BYTES: u32 = 32;
const _: () = assert!(size_of::<LinkInfo>() == 32);

/// `BPF_LINK_TYPE_TRACING`, which is that of LSM programs too.
pub const LINK_TRACING: u32 = 2;
/// `BPF_LINK_TYPE_CGROUP`
pub const LINK_CGROUP: u32 = 3;

fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: `attr` is a live, fully initialised block of the size passed; the kernel reads it,
    // and follows only pointers the callers below put there.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(result).map_err(io::Error::other)
}

/// Makes a call that asks for nothing (a command that is none), and says whether the kernel refuses
/// the caller (`EPERM`) before it looks at the command.
///
/// # Errors
/// The kernel gave another answer than these two.
pub fn is_refused() -> io::Result<bool> {
    const NO_COMMAND: libc::c_int = 0x7fff;
    let mut attr = 0u64;
    match bpf(NO_COMMAND, &mut attr).map_err(|error| error.raw_os_error()) {
        Err(Some(libc::EPERM)) => Ok(true),
        Err(Some(libc::EINVAL)) => Ok(false),
        _ => Err(io::Error::other("bpf(2) knows a command that is none")),
    }
}

/// Attaches a program to a cgroup (`BPF_LINK_CREATE`). It stacks with those of others, and holds as
/// long as the link is open or pinned.
///
/// # Errors
/// The kernel refuses it: another program type, too many programs, no permission.
pub fn link_to_cgroup(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        program: u32,
        target: u32,
        attach_type: u32,
        flags: u32,
    }
    let mut attr = Attr {
        program: program.as_raw_fd().cast_unsigned(),
        target: cgroup.as_raw_fd().cast_unsigned(),
        attach_type,
        flags: 0,
    };
    let fd = bpf(BPF_LINK_CREATE, &mut attr)?;
    // SAFETY: the kernel just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives an object a name in bpffs (`BPF_OBJ_PIN`).
///
/// # Errors
/// The name is taken, or not in bpffs.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = PathAttr {
        path: name.as_ptr() as u64,
        fd: object.as_raw_fd().cast_unsigned(),
        flags: 0,
    };
    bpf(BPF_OBJ_PIN, &mut attr).map(drop)
}

#[repr(C)]
struct PathAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Opens a pinned object (`BPF_OBJ_GET`).
///
/// # Errors
/// There is no such pin, or it may not be opened.
pub fn open_pin(path: &Path) -> Result<OwnedFd, FileError> {
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(io::Error::from)
        .map_err(FileError::on("open pin", path))?;
    let mut attr = PathAttr {
        path: name.as_ptr() as u64,
        fd: 0,
        flags: 0,
    };
    let fd = bpf(BPF_OBJ_GET, &mut attr).map_err(FileError::on("open pin", path))?;
    // SAFETY: the kernel just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Asks the kernel about a link.
///
/// # Errors
/// The descriptor is none of a link.
pub fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    #[repr(C)]
    struct Attr {
        fd: u32,
        len: u32,
        info: u64,
    }
    let mut info = LinkInfo::default();
    let mut attr = Attr {
        fd: link.as_raw_fd().cast_unsigned(),
        len: LINK_INFO_BYTES,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}
