//! Steps that reach for what is outside the job, other than by addresses.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount as mount_by_name};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::unistd::Pid;

use crate::client::step::{Touch, Use};
use crate::client::{Done, Refused, at, io_at};

/// The connection a story gives as standard input.
const INPUT: i32 = 0;

pub(super) fn use_input(way: Use) -> Result<Done, Refused> {
    let bytes = match way {
        Use::Send => send(INPUT, b"ping", MsgFlags::MSG_NOSIGNAL).map_err(at("send"))?,
        Use::Receive => recv(INPUT, &mut [0; 64], MsgFlags::empty()).map_err(at("recv"))?,
        Use::SendFile => {
            let file = File::open("/proc/self/exe").map_err(io_at("open"))?;
            raw::sendfile(INPUT, file.as_raw_fd(), 4).map_err(at("sendfile"))?
        }
    };
    Ok(Done {
        bytes,
        ..Done::default()
    })
}

pub(super) fn touch(process: i32, how: Touch) -> Result<Done, Refused> {
    match how {
        Touch::Signal => {
            kill(Pid::from_raw(process), Signal::SIGWINCH).map_err(at("kill"))?;
        }
        Touch::Trace => raw::seize(process).map_err(at("ptrace"))?,
        Touch::Descriptor => raw::take_input(process)?,
        Touch::Memory => raw::read_nothing(process).map_err(at("process_vm_readv"))?,
        Touch::Environment => {
            fs::read(format!("/proc/{process}/environ")).map_err(io_at("open"))?;
        }
        Touch::Limit => raw::limit(process).map_err(at("prlimit"))?,
        Touch::Priority => raw::lower(process).map_err(at("setpriority"))?,
    }
    Ok(Done::default())
}

pub(super) fn bpf() -> Result<Done, Refused> {
    match raw::bpf() {
        Err(Errno::EINVAL) => Ok(Done::default()),
        Err(errno) => Err(at("bpf")(errno)),
        Ok(()) => Err(at("bpf")(Errno::EEXIST)),
    }
}

/// A user namespace gives the capability for mounts, and a cgroup namespace of it the cgroups.
pub(super) fn mount(kind: &str, place: &Path, by_name: bool) -> Result<Done, Refused> {
    let own = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP;
    unshare(own).map_err(at("unshare"))?;
    if by_name {
        let none: Option<&str> = None;
        mount_by_name(Some("none"), place, Some(kind), MsFlags::empty(), none)
            .map_err(at("mount"))?;
    } else {
        let kind = CString::new(kind).map_err(|_nul| at("fsopen")(Errno::EINVAL))?;
        raw::mount(&kind, place)?;
    }
    Ok(Done::default())
}

mod raw {
    //! System calls that `nix` has no safe form of here.
    #![expect(unsafe_code, reason = "raw system calls")]

    use std::ffi::CStr;
    use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
    use std::path::Path;
    use std::ptr::null;

    use nix::errno::Errno;

    use super::{CString, Refused, at};

    const FSCONFIG_CMD_CREATE: libc::c_int = 6;
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_int = 4;

    pub(super) fn sendfile(to: RawFd, from: RawFd, count: usize) -> nix::Result<usize> {
        // SAFETY: no offset is given, so no memory of the caller is touched.
        let sent = unsafe { libc::sendfile(to, from, std::ptr::null_mut(), count) };
        Errno::result(sent).map(|sent| usize::try_from(sent).unwrap_or_default())
    }

    pub(super) fn seize(process: i32) -> nix::Result<()> {
        // SAFETY: PTRACE_SEIZE takes two numbers.
        let result = unsafe { libc::ptrace(libc::PTRACE_SEIZE, process, 0, 0) };
        Errno::result(result)?;
        // A traced process goes on; it is let go when this one ends.
        Ok(())
    }

    pub(super) fn take_input(process: i32) -> Result<(), Refused> {
        // SAFETY: takes two numbers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) };
        let pidfd = owned(fd).map_err(at("pidfd_open"))?;
        // SAFETY: takes three numbers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), 0, 0) };
        owned(fd).map(drop).map_err(at("pidfd_getfd"))
    }

    /// The kernel asks for permission before it looks at the (one byte) buffers.
    pub(super) fn read_nothing(process: i32) -> nix::Result<()> {
        let mut byte = 0u8;
        let local = libc::iovec {
            iov_base: (&raw mut byte).cast(),
            iov_len: 1,
        };
        let remote = libc::iovec {
            iov_base: 8 as *mut libc::c_void,
            iov_len: 1,
        };
        // SAFETY: one live byte of this process may be written; the other address is of another.
        let result = unsafe {
            libc::process_vm_readv(process, &raw const local, 1, &raw const remote, 1, 0)
        };
        match Errno::result(result) {
            // Allowed, and nothing there.
            Ok(_) | Err(Errno::EFAULT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    pub(super) fn limit(process: i32) -> nix::Result<()> {
        let limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: reads one live structure.
        let result = unsafe {
            libc::prlimit(
                process,
                libc::RLIMIT_CORE,
                &raw const limit,
                std::ptr::null_mut(),
            )
        };
        Errno::result(result).map(drop)
    }

    pub(super) fn lower(process: i32) -> nix::Result<()> {
        let process = libc::id_t::try_from(process).map_err(|_negative| Errno::EINVAL)?;
        // SAFETY: takes three numbers.
        Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, process, 10) }).map(drop)
    }

    pub(super) fn bpf() -> nix::Result<()> {
        let attr = 0u64;
        // SAFETY: the kernel reads eight live bytes at most.
        let result = unsafe { libc::syscall(libc::SYS_bpf, 0x7fff, &raw const attr, 8) };
        Errno::result(result).map(drop)
    }

    /// The new way to mount: file system, then mount, then its place.
    pub(super) fn mount(kind: &CStr, place: &Path) -> Result<(), Refused> {
        let place = CString::new(place.as_os_str().as_encoded_bytes())
            .map_err(|_nul| at("move_mount")(Errno::EINVAL))?;
        // SAFETY: reads a live string.
        let fd = unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), 0) };
        let context = owned(fd).map_err(at("fsopen"))?;
        // SAFETY: this command takes neither key nor value.
        let result = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                context.as_raw_fd(),
                FSCONFIG_CMD_CREATE,
                null::<u8>(),
                null::<u8>(),
                0,
            )
        };
        Errno::result(result).map_err(at("fsconfig"))?;
        // SAFETY: takes three numbers.
        let fd = unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 0, 0) };
        let mounted = owned(fd).map_err(at("fsmount"))?;
        // SAFETY: reads two live strings.
        let result = unsafe {
            libc::syscall(
                libc::SYS_move_mount,
                mounted.as_raw_fd(),
                c"".as_ptr(),
                libc::AT_FDCWD,
                place.as_ptr(),
                MOVE_MOUNT_F_EMPTY_PATH,
            )
        };
        Errno::result(result).map(drop).map_err(at("move_mount"))
    }

    fn owned(fd: libc::c_long) -> nix::Result<OwnedFd> {
        let fd = RawFd::try_from(Errno::result(fd)?).map_err(|_large| Errno::EBADF)?;
        // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}
