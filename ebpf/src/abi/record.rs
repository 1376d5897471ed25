//! Ring records: one kind, one struct, each listed once.
//!
//! A record is written whole, header first, in one reserve-and-submit: the ring's memory is not
//! zeroed by the kernel, and a partly written slot would show bytes of an earlier record.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::address::Address;
use super::capture::Capture;
use super::ruleset::RuleIndex;
use super::verdict::{Reason, Verdict};
use super::{ABI_VERSION, open_enum};

open_enum! {
    /// What a record tells. 0x0_ connections, 0x1_ processes.
    pub struct RecordKind(pub u32) {
        /// [`Connection`]
        CONNECTION = 0x01, "connection";
        /// [`SocketRefused`]
        SOCKET_REFUSED = 0x02, "socket-refused";
        /// [`CallRefused`]
        CALL_REFUSED = 0x03, "call-refused";
        /// [`NameRefused`]
        NAME_REFUSED = 0x04, "name-refused";
        /// [`Fork`]
        FORK = 0x10, "fork";
        /// [`Exec`]
        EXEC = 0x11, "exec";
        /// [`Moved`]
        MOVED = 0x12, "moved";
        /// [`Unserved`]
        UNSERVED = 0x13, "unserved";
    }
}

open_enum! {
    /// A call that is about no destination of its own.
    pub struct Call(pub u8) {
        /// `setsockopt(2)`; arguments: level, option.
        SET_OPTION = 1, "setsockopt";
        /// Sending on a connected socket; arguments: family, type.
        SEND = 2, "send";
        /// Receiving on a connected socket; arguments: family, type.
        RECEIVE = 3, "recv";
        /// `connect(2)` or a send to a Unix socket; arguments: inode of the peer, device.
        UNIX_CONNECT = 4, "connect-unix";
        /// A descriptor that came over a Unix socket; arguments: inode, device.
        RECEIVE_FILE = 5, "receive-fd";
        /// A signal; arguments: process, signal.
        SIGNAL = 6, "kill";
        /// `ptrace(2)` and kin; arguments: process, mode.
        TRACE = 7, "ptrace";
        /// `bpf(2)`; arguments: command.
        BPF = 8, "bpf";
        /// Opening a file for writing; arguments: magic of the file system, inode.
        OPEN = 9, "open";
        /// Mounting; arguments: magic of the file system, if known.
        MOUNT = 10, "mount";
        /// Making, removing or renaming a file; arguments: magic of the file system, inode.
        UNLINK = 11, "unlink";
        /// Accepting on a socket made outside; arguments: family, type.
        ACCEPT = 12, "accept";
        /// Limits, priority or scheduling of a process; arguments: process.
        ADJUST = 13, "adjust";
    }
}

open_enum! {
    /// The hook that judged.
    pub struct Hook(pub u8) {
        /// `connect(2)`, IPv4 address.
        CONNECT4 = 1, "connect4";
        /// `connect(2)`, IPv6 address.
        CONNECT6 = 2, "connect6";
        /// `sendto(2)` and kin with an IPv4 address.
        SENDMSG4 = 3, "sendmsg4";
        /// `sendto(2)` and kin with an IPv6 address.
        SENDMSG6 = 4, "sendmsg6";
        /// `socket(2)`
        SOCK_CREATE = 5, "sock_create";
        /// A packet on its way out.
        EGRESS = 6, "egress";
        /// A packet on its way in.
        INGRESS = 7, "ingress";
    }
}

/// First in every record; its place never moves.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct RecordHeader {
    /// What follows.
    pub kind: RecordKind,
    /// [`ABI_VERSION`] of the writer.
    pub abi: u32,
    /// Boot time, ns.
    pub time: u64,
    /// Cgroup id of the job.
    pub job: u64,
    /// Process, in the initial pid namespace; 0 if not known.
    pub tgid: u32,
    /// Thread; 0 if not known.
    pub tid: u32,
}

const _: () = assert!(size_of::<RecordHeader>() == 32);

impl RecordHeader {
    /// The header of a record of this ABI.
    #[must_use]
    #[inline(always)]
    pub const fn new(kind: RecordKind, time: u64, job: u64, pid_tgid: u64) -> Self {
        Self {
            kind,
            abi: ABI_VERSION,
            time,
            job,
            tgid: (pid_tgid >> 32) as u32,
            tid: (pid_tgid & 0xffff_ffff) as u32,
        }
    }
}

/// An attempt to reach a destination, and the verdict.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Connection {
    /// Kind [`RecordKind::CONNECTION`].
    pub header: RecordHeader,
    /// Where to.
    pub address: Address,
    /// Port, host byte order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// What happened.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Which hook said so.
    pub hook: Hook,
    /// Always zero.
    pub reserved: u16,
    /// Rule that allowed it, else [`NO_RULE`](super::ruleset::NO_RULE).
    pub rule: RuleIndex,
    /// Real user id of the caller; `u32::MAX` on the wire, where there is no caller.
    pub uid: u32,
    /// Name of the thread, NUL-padded; zeros on the wire.
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<Connection>() == 80);

/// A socket that was not made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct SocketRefused {
    /// Kind [`RecordKind::SOCKET_REFUSED`].
    pub header: RecordHeader,
    /// Address family, `AF_*`.
    pub family: u32,
    /// Socket type, `SOCK_*`.
    pub kind: u32,
    /// Protocol number.
    pub protocol: u32,
    /// Real user id.
    pub uid: u32,
    /// What happened.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Always zero.
    pub reserved: u16,
    /// Always zero.
    pub reserved2: u32,
    /// Name of the thread, NUL-padded.
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<SocketRefused>() == 72);

/// A call that was refused, and is about no destination.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct CallRefused {
    /// Kind [`RecordKind::CALL_REFUSED`].
    pub header: RecordHeader,
    /// Which call.
    pub call: Call,
    /// What happened.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Always zero.
    pub reserved: u8,
    /// Real user id.
    pub uid: u32,
    /// What it was about; see [`Call`].
    pub arguments: [u64; 2],
    /// Name of the thread, NUL-padded.
    pub comm: [u8; 16],
}

const _: () = assert!(size_of::<CallRefused>() == 72);

/// Bytes of a name kept in a [`NameRefused`] record: a whole one.
pub const NAME_BYTES: usize = 256;

/// A connection that showed a name it may not, or none. It sends nothing more; the agent closes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct NameRefused {
    /// Kind [`RecordKind::NAME_REFUSED`].
    pub header: RecordHeader,
    /// Where to.
    pub address: Address,
    /// The job's end.
    pub near: Address,
    /// The socket's own number (`SO_COOKIE`).
    pub cookie: u64,
    /// Port, host byte order.
    pub port: u16,
    /// Port of the job's end, host byte order.
    pub near_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// What happened.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Bytes of `name` that are meant.
    pub name_len: u8,
    /// The name that was shown, lower case.
    pub name: [u8; NAME_BYTES],
}

const _: () = assert!(size_of::<NameRefused>() == 336);

/// A new process (threads are not recorded).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Fork {
    /// Kind [`RecordKind::FORK`]; `tgid` is the parent.
    pub header: RecordHeader,
    /// The new process.
    pub child: u32,
    /// Always zero.
    pub reserved: u32,
}

/// Bytes of the path kept in an [`Exec`] record.
pub const PATH_BYTES: usize = 256;

/// A program that a process became.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Exec {
    /// Kind [`RecordKind::EXEC`].
    pub header: RecordHeader,
    /// Real user id.
    pub uid: u32,
    /// Bytes of `path` that are meant, without the NUL.
    pub path_len: u32,
    /// Name of the thread, NUL-padded.
    pub comm: [u8; 16],
    /// What it was started with.
    pub capture: Capture,
    /// The path given to `execve(2)`, cut at [`PATH_BYTES`].
    pub path: [u8; PATH_BYTES],
}

const _: () = assert!(size_of::<Exec>() == 344);

/// A process of the job was put into a cgroup, its own or another.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Moved {
    /// Kind [`RecordKind::MOVED`]; `tgid` is the process that was moved.
    pub header: RecordHeader,
    /// Who moved it.
    pub mover: u32,
    /// Bytes of `path` that are meant, without the NUL.
    pub path_len: u32,
    /// Path of the cgroup below the root of its hierarchy, cut at [`PATH_BYTES`].
    pub path: [u8; PATH_BYTES],
}

const _: () = assert!(size_of::<Moved>() == 296);

/// A process of the job is in a network namespace where nobody serves the job's DNS.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Unserved {
    /// Kind [`RecordKind::UNSERVED`]; `tid` is the thread that is there.
    pub header: RecordHeader,
    /// Cookie of the namespace.
    pub netns: u64,
}

const _: () = assert!(size_of::<Unserved>() == 40);

/// Lists every record kind with its struct, once. `$then!` receives the whole list.
#[macro_export]
macro_rules! for_each_record {
    ($then:ident) => {
        $then! {
            CONNECTION => Connection,
            SOCKET_REFUSED => SocketRefused,
            CALL_REFUSED => CallRefused,
            NAME_REFUSED => NameRefused,
            FORK => Fork,
            EXEC => Exec,
            MOVED => Moved,
            UNSERVED => Unserved,
        }
    };
}
