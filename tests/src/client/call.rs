//! System calls by number, through each way into the kernel this machine has.

use std::fs::File;

use nix::errno::Errno;
use nix::sys::wait::waitpid;

use crate::client::step::{Abi, Outcome};
use crate::client::{Done, Refused, at};

/// Calls; tells what came back in `bytes`.
pub(super) fn perform(abi: Abi, number: u32, arguments: [i64; 4]) -> Result<Done, Refused> {
    let result = raw::call(abi, number, arguments);
    if (-4095..0).contains(&result) {
        let errno = i32::try_from(-result).map_or(Errno::UnknownErrno, Errno::from_raw);
        return Err(at("syscall")(errno));
    }
    Ok(Done {
        bytes: usize::try_from(result).unwrap_or(usize::MAX),
        outcome: Outcome::default(),
    })
}

/// `clone3` of a process that ends at once, in the cgroup of this directory.
pub(super) fn clone_into(cgroup: &File) -> Result<Done, Refused> {
    let child = raw::clone_into(cgroup).map_err(at("clone3"))?;
    waitpid(child, None).map_err(at("waitpid"))?;
    Ok(Done::default())
}

mod raw {
    //! The ways in.
    #![expect(
        unsafe_code,
        reason = "libc has no i386 or x32 calls, and wraps others with its own checks"
    )]

    use std::arch::asm;
    use std::fs::File;
    use std::os::fd::AsRawFd as _;

    use nix::errno::Errno;
    use nix::unistd::Pid;

    use crate::client::step::Abi;

    /// x32 shares the way in with x86-64; its numbers have this bit.
    const X32: i64 = 0x4000_0000;

    /// Returns what the kernel returned: negative error numbers included.
    pub(super) fn call(abi: Abi, number: u32, arguments: [i64; 4]) -> i64 {
        let number = i64::from(number);
        match abi {
            Abi::X86_64 => long(number, arguments),
            Abi::X32 => long(number | X32, arguments),
            Abi::I386 => interrupt(number, arguments),
        }
    }

    fn long(number: i64, [a, b, c, d]: [i64; 4]) -> i64 {
        let result;
        // SAFETY: the stories pass null pointers or none; the kernel writes to no memory of ours.
        unsafe {
            asm!(
                "syscall",
                inlateout("rax") number => result,
                in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") 0, in("r9") 0,
                lateout("rcx") _, lateout("r11") _,
                options(nostack),
            );
        }
        result
    }

    pub(super) fn clone_into(cgroup: &File) -> nix::Result<Pid> {
        const INTO_CGROUP: u64 = 0x2_0000_0000;
        const SIGCHLD: u64 = 17;
        let mut arguments = [0_u64; 11];
        arguments[0] = INTO_CGROUP;
        arguments[4] = SIGCHLD;
        arguments[10] = u64::try_from(cgroup.as_raw_fd()).map_err(|_negative| Errno::EBADF)?;
        let length = size_of_val(&arguments);
        // SAFETY: the kernel reads `length` bytes; the child has a copy of all memory, as by fork.
        let pid = unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), length) };
        if pid == 0 {
            // SAFETY: ends the child, which has done nothing.
            unsafe { libc::_exit(0) };
        }
        let pid = Errno::result(pid)?;
        Ok(Pid::from_raw(
            i32::try_from(pid).map_err(|_large| Errno::EOVERFLOW)?,
        ))
    }

    fn interrupt(number: i64, [a, b, c, d]: [i64; 4]) -> i64 {
        let result: i64;
        // SAFETY: as above. LLVM keeps rbx for itself, so that it is put back at once; r8 to r11
        // are lost on the way.
        unsafe {
            asm!(
                "xchg rbx, {first}",
                "int 0x80",
                "xchg rbx, {first}",
                first = inlateout(reg) a => _,
                inlateout("rax") number => result,
                in("rcx") b, in("rdx") c, in("rsi") d, in("rdi") 0,
                lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
                options(nostack),
            );
        }
        // An i386 call returns 32 bits.
        let low = u32::try_from(result & 0xffff_ffff).unwrap_or_default();
        i64::from(low.cast_signed())
    }
}
