//! The system calls of each ABI a program can use on this machine.
//!
//! Numbers are the kernel's and never change. A machine runs programs of several ABIs, each with
//! numbers of its own: a table that left one out would refuse all of its calls.

/// One ABI.
#[derive(Debug)]
pub(super) struct Abi {
    /// `AUDIT_ARCH_…`, as the kernel tells the filter.
    pub(super) architecture: u32,
    /// From this number on, calls are of another ABI that shares the architecture's name. They are
    /// refused.
    pub(super) other_abi_from: Option<u32>,
    /// Refused whole: names are for the reader.
    pub(super) refused: &'static [(&'static str, u32)],
    /// Can start a process in another cgroup, behind a pointer. The kernel asks for permission to
    /// write there, which root has, and not whether the mount is read-only.
    pub(super) clone3: u32,
    /// `clone`, `unshare`: the namespaces that are made are flags in the first argument.
    pub(super) flagged: [u32; 2],
    /// `io_uring_setup`, `_enter`, `_register`
    pub(super) rings: [u32; 3],
    pub(super) socket: u32,
    pub(super) socketpair: u32,
    pub(super) ioctl: u32,
    /// One call for all socket operations, arguments behind a pointer.
    pub(super) socketcall: Option<u32>,
}

/// First argument of `socketcall` (linux/net.h).
pub(super) const SYS_SOCKET: u32 = 1;
pub(super) const SYS_SOCKETPAIR: u32 = 8;

#[cfg(not(target_arch = "x86_64"))]
compile_error!(
    "the system call filter has no table for this architecture: add it to sandbox/filter/abi.rs"
);

/// The ABIs of this machine.
#[cfg(target_arch = "x86_64")]
pub(super) const ABIS: &[Abi] = &[
    Abi {
        architecture: 0xc000_003e,
        // x32: same architecture, numbers from here.
        other_abi_from: Some(0x4000_0000),
        refused: &[
            // The kernel's own code and memory.
            ("bpf", 321),
            ("perf_event_open", 298),
            ("init_module", 175),
            ("finit_module", 313),
            ("delete_module", 176),
            ("kexec_load", 246),
            ("kexec_file_load", 320),
            // Files by number, past every mount that hides them.
            ("open_by_handle_at", 304),
            // Descriptors of a process outside: a pidfd can come from a Unix socket's peer.
            ("pidfd_getfd", 438),
            // Keys are shared with the user's other processes, and asking for one can make the
            // kernel start a program outside the job that resolves names.
            ("add_key", 248),
            ("request_key", 249),
            ("keyctl", 250),
        ],
        clone3: 435,
        flagged: [56, 272],
        rings: [425, 426, 427],
        socket: 41,
        socketpair: 53,
        ioctl: 16,
        socketcall: None,
    },
    // i386: 32-bit programs, and `int 0x80` in 64-bit ones.
    Abi {
        architecture: 0x4000_0003,
        other_abi_from: None,
        refused: &[
            ("bpf", 357),
            ("perf_event_open", 336),
            ("init_module", 128),
            ("finit_module", 350),
            ("delete_module", 129),
            ("kexec_load", 283),
            ("open_by_handle_at", 342),
            ("pidfd_getfd", 438),
            ("add_key", 286),
            ("request_key", 287),
            ("keyctl", 288),
        ],
        clone3: 435,
        flagged: [120, 310],
        rings: [425, 426, 427],
        socket: 359,
        socketpair: 360,
        ioctl: 54,
        socketcall: Some(102),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x86_64_numbers_are_those_of_libc() {
        let abi = &ABIS[0];
        let known: &[(&str, libc::c_long)] = &[
            ("bpf", libc::SYS_bpf),
            ("perf_event_open", libc::SYS_perf_event_open),
            ("init_module", libc::SYS_init_module),
            ("finit_module", libc::SYS_finit_module),
            ("delete_module", libc::SYS_delete_module),
            ("kexec_load", libc::SYS_kexec_load),
            ("kexec_file_load", libc::SYS_kexec_file_load),
            ("open_by_handle_at", libc::SYS_open_by_handle_at),
            ("pidfd_getfd", libc::SYS_pidfd_getfd),
            ("add_key", libc::SYS_add_key),
            ("request_key", libc::SYS_request_key),
            ("keyctl", libc::SYS_keyctl),
        ];
        assert_eq!(abi.refused.len(), known.len());
        for (name, number) in known {
            let own = abi.refused.iter().find(|(own, _)| own == name).unwrap();
            assert_eq!(libc::c_long::from(own.1), *number, "{name}");
        }
        assert_eq!(libc::c_long::from(abi.socket), libc::SYS_socket);
        assert_eq!(libc::c_long::from(abi.socketpair), libc::SYS_socketpair);
        assert_eq!(libc::c_long::from(abi.ioctl), libc::SYS_ioctl);
        assert_eq!(libc::c_long::from(abi.clone3), libc::SYS_clone3);
        let flagged = [libc::SYS_clone, libc::SYS_unshare];
        assert_eq!(abi.flagged.map(libc::c_long::from), flagged);
        let rings = [
            libc::SYS_io_uring_setup,
            libc::SYS_io_uring_enter,
            libc::SYS_io_uring_register,
        ];
        assert_eq!(abi.rings.map(libc::c_long::from), rings);
    }

    #[test]
    fn no_call_stands_in_two_places() {
        for abi in ABIS {
            let mut numbers: Vec<u32> = abi.refused.iter().map(|(_, number)| *number).collect();
            numbers.extend(abi.rings);
            numbers.extend(abi.flagged);
            numbers.extend([abi.clone3, abi.socket, abi.socketpair, abi.ioctl]);
            numbers.extend(abi.socketcall);
            let all = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), all);
        }
    }
}
