//! What a job may have and use, where that is no matter of destinations: families, sockets of
//! others, file systems that control jobs. Pure; the LSM programs ask it.

use crate::abi::{TCP, UDP};

/// `AF_UNIX`
pub const AF_UNIX: u32 = 1;
/// `AF_INET`
pub const AF_INET: u32 = 2;
/// `AF_INET6`
pub const AF_INET6: u32 = 10;
/// `AF_NETLINK`: names the machine's interfaces; it carries nothing out.
pub const AF_NETLINK: u32 = 16;

const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const IPPROTO_MPTCP: u32 = 262;
/// `TCP_CLOSE`, which is also the state of a UDP socket without a peer.
const UNCONNECTED: u32 = 7;

/// Magic numbers of the file systems that control jobs.
pub mod magic {
    /// `CGROUP_SUPER_MAGIC`: cgroup v1.
    pub const CGROUP: u64 = 0x0027_e0eb;
    /// `CGROUP2_SUPER_MAGIC`
    pub const CGROUP2: u64 = 0x6367_7270;
    /// `BPF_FS_MAGIC`
    pub const BPF: u64 = 0xcafe_4a11;
}

/// Whether jobs get sockets of this family at all.
#[must_use]
#[inline(always)]
pub const fn is_family_for_jobs(family: u32) -> bool {
    matches!(family, AF_UNIX | AF_INET | AF_INET6 | AF_NETLINK)
}

/// Whether it matters who made a socket of this family once it is in hand. Unix sockets are judged
/// by their peer when they connect or send.
#[must_use]
#[inline(always)]
pub const fn has_owner(family: u32) -> bool {
    !matches!(family, AF_UNIX | AF_NETLINK)
}

/// Whether other hooks judge what is sent on a socket that somebody else made: those of `connect(2)`
/// and of `sendto(2)`, which see TCP and UDP that have no peer yet.
#[must_use]
#[inline(always)]
pub const fn is_judged_by_address(family: u32, kind: u32, protocol: u32, state: u32) -> bool {
    let ip = matches!(family, AF_INET | AF_INET6);
    let known = (kind == SOCK_STREAM && (protocol == TCP as u32 || protocol == IPPROTO_MPTCP))
        || (kind == SOCK_DGRAM && protocol == UDP as u32);
    ip && known && state == UNCONNECTED
}

/// Whether a file system of this magic number controls jobs.
#[must_use]
#[inline(always)]
pub const fn is_control(magic: u64) -> bool {
    matches!(magic, magic::CGROUP | magic::CGROUP2 | magic::BPF)
}

/// Whether a job may open a file there. Control groups may be read; a pinned map that is opened is
/// already a way to write to it.
#[must_use]
#[inline(always)]
pub const fn may_open(magic: u64, for_writing: bool) -> bool {
    match magic {
        magic::BPF => false,
        magic::CGROUP | magic::CGROUP2 => !for_writing,
        _ => true,
    }
}

/// Who opens a file of a control group for writing, and which one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Arrival {
    /// File system of the file.
    pub magic: u64,
    /// Number of the file.
    pub file: u64,
    /// Who opens it.
    pub who: Newcomer,
}

/// A process in a cgroup of the slice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Newcomer {
    /// Number of `cgroup.procs` of its own cgroup, if that is directly below the slice.
    pub own_list: Option<u64>,
    /// The job that it was started in, or has executed a program in; 0 for none.
    pub member: u64,
    /// Whether each process that was started in a job is known to have been.
    pub all_known: bool,
}

impl Newcomer {
    /// Whether it is on its way: moved into the cgroup of a job or runner from outside, and no program has been executed
    /// since. What it does is what was written outside: a service manager that makes the process of a service, which it
    /// moves from both sides, and so at any time of this.
    #[must_use]
    #[inline(always)]
    pub const fn arrives(&self) -> bool {
        self.own_list.is_some() && self.member == 0 && self.all_known
    }
}

/// Whether a process may list itself once more in the cgroup that it was moved to. Service managers move a new process
/// from both sides, from outside and from within; the later one finds it there already.
///
/// That is nothing for jobs: with the open file a process could take others into its cgroup, or go back there from
/// another one. So it is for processes in which no program of a job has run yet. These were started outside, and do
/// what was written there.
#[must_use]
#[inline(always)]
pub const fn may_arrive(arrival: &Arrival) -> bool {
    let Arrival { magic, file, who } = *arrival;
    let is_own = match who.own_list {
        Some(list) => list == file,
        None => false,
    };
    magic == magic::CGROUP2 && is_own && who.arrives()
}

/// Whether a look at another process leads into it: tracing, its memory, its descriptors.
#[must_use]
#[inline(always)]
pub const fn is_attach(trace_mode: u32) -> bool {
    const ATTACH: u32 = 2;
    trace_mode & ATTACH != 0
}

/// Whether a mount of this type controls jobs. `name` is NUL-padded.
#[must_use]
#[inline(always)]
pub const fn is_control_type(name: u64) -> bool {
    const CGROUP: u64 = u64::from_ne_bytes(*b"cgroup\0\0");
    const CGROUP2: u64 = u64::from_ne_bytes(*b"cgroup2\0");
    const CPUSET: u64 = u64::from_ne_bytes(*b"cpuset\0\0");
    const BPF: u64 = u64::from_ne_bytes(*b"bpf\0\0\0\0\0");
    matches!(name, CGROUP | CGROUP2 | CPUSET | BPF)
}

/// Whether a look at another process is an attempt to act through it. The kernel marks those that
/// only decide what a listing shows; refusing these is nothing to tell.
#[must_use]
#[inline(always)]
pub const fn is_worth_telling(trace_mode: u32) -> bool {
    const NO_AUDIT: u32 = 4;
    trace_mode & NO_AUDIT == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_four_families_are_for_jobs() {
        let given: std::vec::Vec<u32> = (0..=u32::from(u8::MAX))
            .filter(|family| is_family_for_jobs(*family))
            .collect();
        assert_eq!(given, [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK]);
    }

    #[test]
    fn a_socket_of_others_is_judged_elsewhere_only_without_a_peer() {
        for (family, kind, protocol) in
            [(2, 1, 6), (10, 1, 6), (2, 1, 262), (2, 2, 17), (10, 2, 17)]
        {
            assert!(is_judged_by_address(family, kind, protocol, UNCONNECTED));
            for state in (0..16).filter(|state| *state != UNCONNECTED) {
                assert!(!is_judged_by_address(family, kind, protocol, state));
            }
        }
        // Raw, ping, UDP-Lite, SCTP; packet sockets and vsock: no hook sees their addresses.
        for (family, kind, protocol) in [
            (2, 3, 1),
            (2, 2, 1),
            (2, 2, 136),
            (2, 1, 132),
            (17, 3, 0),
            (40, 1, 0),
        ] {
            assert!(!is_judged_by_address(family, kind, protocol, UNCONNECTED));
        }
    }

    #[test]
    fn control_groups_can_be_read_and_bpf_not() {
        assert!(may_open(magic::CGROUP2, false) && may_open(magic::CGROUP, false));
        assert!(!may_open(magic::CGROUP2, true) && !may_open(magic::CGROUP, true));
        assert!(!may_open(magic::BPF, false) && !may_open(magic::BPF, true));
        assert!(may_open(0x0102_1994, true), "tmpfs");
    }

    #[test]
    fn only_who_was_never_in_a_job_arrives_and_only_in_its_own_list() {
        let who = Newcomer {
            own_list: Some(7),
            member: 0,
            all_known: true,
        };
        let arrival = Arrival {
            magic: magic::CGROUP2,
            file: 7,
            who,
        };
        assert!(may_arrive(&arrival) && who.arrives());
        let strangers = [
            Newcomer {
                own_list: None,
                ..who
            },
            Newcomer { member: 1, ..who },
            Newcomer {
                all_known: false,
                ..who
            },
        ];
        for who in strangers {
            assert!(!who.arrives(), "{who:?}");
            assert!(!may_arrive(&Arrival { who, ..arrival }), "{who:?}");
        }
        for other in [
            Arrival {
                magic: magic::CGROUP,
                ..arrival
            },
            Arrival {
                magic: magic::BPF,
                ..arrival
            },
            Arrival { file: 8, ..arrival },
        ] {
            assert!(!may_arrive(&other), "{other:?}");
        }
    }

    #[test]
    fn types_are_whole_names() {
        let name = |text: &[u8]| {
            let mut padded = [0; 8];
            padded[..text.len()].copy_from_slice(text);
            u64::from_ne_bytes(padded)
        };
        for text in [&b"cgroup"[..], b"cgroup2", b"cpuset", b"bpf"] {
            assert!(is_control_type(name(text)));
        }
        for text in [&b""[..], b"tmpfs", b"cgroup3", b"bpffs", b"b", b"proc"] {
            assert!(!is_control_type(name(text)));
        }
    }
}
