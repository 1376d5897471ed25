//! The kernel's helpers, as the programs need them.

use core::arch::asm;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::null_mut;

use aya_ebpf::Global;
use aya_ebpf::bindings::{__sk_buff, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock_tuple};
use aya_ebpf::helpers::generated as helper;
use cordon_ebpf::abi::address::Address;
use cordon_ebpf::abi::job::{KeptKey, PeerState, Socket, SocketRole};
use cordon_ebpf::abi::{TCP, UDP};

use crate::maps::{KEPT_KEY, MEMBERS, SOCKETS, UNFOLLOWED};

/// Cgroup id of the slice, set by the loader.
#[unsafe(no_mangle)]
static SLICE_ID: Global<u64> = Global::new(0);
/// Depth of the slice below the root of the hierarchy, set by the loader.
#[unsafe(no_mangle)]
static SLICE_LEVEL: Global<u32> = Global::new(0);

/// Key of the kept verdicts; an array always has its entry.
#[inline(always)]
pub(crate) fn kept_key() -> Option<KeptKey> {
    KEPT_KEY.get(0).copied()
}

/// What a socket's kept verdict says of the peer that is kept with it.
#[inline(always)]
pub(crate) fn kept_state(socket: &Socket) -> PeerState {
    // SAFETY: an aligned word of a live entry; volatile, so that it is read whole and once.
    let kept = unsafe { (&raw const socket.kept).read_volatile() };
    match kept_key() {
        Some(key) => kept.about(&key, &socket.peer, socket.peer_port, socket.protocol),
        None => PeerState::NONE,
    }
}

/// Boot time in ns. It goes on through suspend, as TTLs do.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper takes no arguments.
    unsafe { helper::bpf_ktime_get_boot_ns() }
}

/// Process and thread of the caller.
#[inline(always)]
pub(crate) fn pid_tgid() -> u64 {
    // SAFETY: the helper takes no arguments.
    unsafe { helper::bpf_get_current_pid_tgid() }
}

/// Real user id of the caller.
#[inline(always)]
pub(crate) fn uid() -> u32 {
    // SAFETY: the helper takes no arguments.
    unsafe { helper::bpf_get_current_uid_gid() as u32 }
}

/// Name of the calling thread, NUL-padded.
#[inline(always)]
pub(crate) fn comm() -> [u8; 16] {
    let mut comm = MaybeUninit::<[u8; 16]>::uninit();
    // SAFETY: the helper writes at most 16 bytes, and on failure zeroes all of them.
    unsafe {
        helper::bpf_get_current_comm(comm.as_mut_ptr().cast(), 16);
        comm.assume_init()
    }
}

/// The job of the calling process: that of its cgroup, or, for a process that was taken out of the
/// slice, the job it or its ancestors ran in. 0 outside.
#[inline(always)]
pub(crate) fn current_job() -> u64 {
    match current_cgroup_job() {
        0 => member((pid_tgid() >> 32) as u32),
        job => job,
    }
}

/// The job a process belongs to by descent, or 0.
#[inline(always)]
pub(crate) fn member(tgid: u32) -> u64 {
    // SAFETY: copied at once.
    unsafe { MEMBERS.get(tgid) }.copied().unwrap_or(0)
}

/// Notes that [`member`] does not know all processes of jobs any more.
#[inline(always)]
pub(crate) fn lose_track() {
    if let Some(lost) = UNFOLLOWED.get_ptr_mut(0) {
        // SAFETY: an array always has its entry; an aligned word, only ever set to 1.
        unsafe { lost.write_volatile(1) };
    }
}

/// Whether [`member`] knows all processes that were started in jobs.
#[inline(always)]
pub(crate) fn has_track() -> bool {
    // SAFETY: as above.
    (UNFOLLOWED.get_ptr(0)).is_some_and(|lost| unsafe { lost.read_volatile() } == 0)
}

/// The job of the calling process' cgroup: the one below the slice, the slice itself for a process
/// that is directly in it (no job has that id, so it is denied), or 0 outside.
#[inline(always)]
pub(crate) fn current_cgroup_job() -> u64 {
    let (slice, level) = (SLICE_ID.load(), SLICE_LEVEL.load().cast_signed());
    // SAFETY: the helper takes a number.
    if unsafe { helper::bpf_get_current_ancestor_cgroup_id(level) } != slice {
        return 0;
    }
    // SAFETY: as above.
    match unsafe { helper::bpf_get_current_ancestor_cgroup_id(level + 1) } {
        0 => slice,
        job => job,
    }
}

/// Depth of a job's own cgroup.
#[inline(always)]
pub(crate) fn job_level() -> u32 {
    SLICE_LEVEL.load() + 1
}

/// The same for the socket of a packet.
///
/// # Safety
/// `skb` is the context of a `cgroup_skb` program.
#[inline(always)]
pub(crate) unsafe fn packet_job(skb: *mut __sk_buff) -> u64 {
    let (slice, level) = (SLICE_ID.load(), SLICE_LEVEL.load().cast_signed());
    // SAFETY: the caller's.
    if unsafe { helper::bpf_skb_ancestor_cgroup_id(skb, level) } != slice {
        return 0;
    }
    // SAFETY: the caller's.
    match unsafe { helper::bpf_skb_ancestor_cgroup_id(skb, level + 1) } {
        0 => slice,
        job => job,
    }
}

/// What is kept with a socket; `create` makes a zeroed entry where there is none.
///
/// # Safety
/// `sk` is a full socket the program holds, or the context of a `cgroup_sock` program.
#[inline(always)]
pub(crate) unsafe fn socket_storage(sk: *mut c_void, create: bool) -> Option<&'static mut Socket> {
    let flags = if create {
        u64::from(BPF_SK_STORAGE_GET_F_CREATE)
    } else {
        0
    };
    // SAFETY: the caller's; the entry lives as long as its socket, which outlives the program.
    unsafe {
        let map = (&raw const SOCKETS).cast_mut().cast();
        helper::bpf_sk_storage_get(map, sk, null_mut(), flags)
            .cast::<Socket>()
            .as_mut()
    }
}

/// The full socket of a packet; `None` for time-wait and request sockets.
///
/// # Safety
/// `skb` is the context of a `cgroup_skb` program.
#[inline(always)]
pub(crate) unsafe fn full_socket(skb: *mut __sk_buff) -> Option<*mut c_void> {
    // SAFETY: the caller's; the helper takes the pointer that was just checked.
    unsafe {
        let sk = (*skb).__bindgen_anon_2.sk;
        if sk.is_null() {
            return None;
        }
        let sk = helper::bpf_sk_fullsock(sk);
        if sk.is_null() { None } else { Some(sk.cast()) }
    }
}

/// Cookie of the network namespace of a `cgroup_sock_addr` or `cgroup_sock` context.
///
/// # Safety
/// `ctx` is such a context.
#[inline(always)]
pub(crate) unsafe fn netns_cookie(ctx: *mut c_void) -> u64 {
    // SAFETY: the caller's.
    unsafe { helper::bpf_get_netns_cookie(ctx) }
}

/// `N` bytes of a packet, counted from its IP header.
///
/// # Safety
/// `skb` is the context of a `cgroup_skb` program.
#[inline(always)]
pub(crate) unsafe fn packet_bytes<const N: usize>(
    skb: *mut __sk_buff,
    from: u32,
) -> Option<[u8; N]> {
    // Not `[0; N]`: that may become a call to a memset loop.
    let mut bytes = MaybeUninit::<[u8; N]>::uninit();
    // SAFETY: the helper writes all N bytes or fails.
    unsafe {
        let to = bytes.as_mut_ptr().cast();
        let failed = helper::bpf_skb_load_bytes(skb.cast(), from, to, N as u32) != 0;
        if failed {
            None
        } else {
            Some(bytes.assume_init())
        }
    }
}

/// Reads an IPv6 address of a packet in place. Whether it could be read.
///
/// # Safety
/// As [`packet_bytes`].
#[inline(always)]
pub(crate) unsafe fn packet_address(skb: *mut __sk_buff, from: u32, to: &mut Address) -> bool {
    // SAFETY: an address is 16 bytes.
    unsafe { helper::bpf_skb_load_bytes(skb.cast(), from, to.0.as_mut_ptr().cast(), 16) == 0 }
}

/// Where a packet comes from; unspecified if that cannot be read.
///
/// # Safety
/// As [`packet_bytes`].
#[inline(always)]
pub(crate) unsafe fn packet_source(skb: *mut __sk_buff) -> Address {
    let mut address = Address::UNSPECIFIED;
    // SAFETY: the caller's.
    unsafe {
        match packet_bytes::<1>(skb, 0) {
            Some([first]) if first >> 4 == 4 => {
                if let Some(v4) = packet_bytes::<4>(skb, 12) {
                    address = Address::from_v4(v4);
                }
            }
            _ => {
                let _unspecified = packet_address(skb, 8, &mut address);
            }
        }
    }
    address
}

/// Two ends of a packet or of a connection to be, seen from the job; ports in host byte order.
pub(crate) struct Ends {
    /// The job's end; loopback with port 0 where it is not known yet.
    pub(crate) near: Address,
    /// The other end: what verdicts are about.
    pub(crate) far: Address,
    /// Port of the job's end.
    pub(crate) near_port: u16,
    /// Port of the other end.
    pub(crate) far_port: u16,
    /// IP protocol.
    pub(crate) protocol: u8,
}

/// Job and role of the socket that waits at the far end in this network namespace; job 0 for
/// none, or one that is no job's. The reference to it is given back before this returns.
///
/// # Safety
/// `ctx` is the context of a `cgroup_skb` or `cgroup_sock_addr` program.
#[inline(always)]
pub(crate) unsafe fn socket_at(ctx: *mut c_void, ends: &Ends) -> (u64, SocketRole) {
    let mut tuple = MaybeUninit::<bpf_sock_tuple>::uninit();
    let to = tuple.as_mut_ptr().cast::<u8>();
    // SAFETY: an IPv4 tuple is addresses (4 + 4 bytes) then ports (2 + 2), an IPv6 tuple 16 + 16
    // then 2 + 2, all in network order; the sizes passed are those of the bytes written.
    let size = unsafe {
        if ends.far.is_v4() {
            write_v4(to, &ends.near);
            write_v4(to.add(4), &connectable(&ends.far));
            write_ports(to.add(8), ends);
            12u32
        } else {
            to.cast::<[u8; 16]>().write_unaligned(ends.near.0);
            to.add(16)
                .cast::<[u8; 16]>()
                .write_unaligned(connectable(&ends.far).0);
            write_ports(to.add(32), ends);
            36u32
        }
    };
    // SAFETY: the tuple is initialised as far as `size` says; a found socket is released.
    unsafe {
        // -1: the namespace of the context, not one named by id.
        let here = u64::MAX;
        let sk = match ends.protocol {
            TCP => helper::bpf_sk_lookup_tcp(ctx, tuple.as_mut_ptr(), size, here, 0),
            UDP => helper::bpf_sk_lookup_udp(ctx, tuple.as_mut_ptr(), size, here, 0),
            _ => return NOBODY,
        };
        if sk.is_null() {
            return NOBODY;
        }
        let found = match socket_storage(sk.cast(), false) {
            // What came from outside is nobody's own, whoever uses it: its maker may listen too.
            Some(kept) if kept.role == SocketRole::FOREIGN => NOBODY,
            Some(kept) => (kept.job, kept.role),
            None => NOBODY,
        };
        helper::bpf_sk_release(sk.cast());
        found
    }
}

const NOBODY: (u64, SocketRole) = (0, SocketRole::JOB);

/// # Safety
/// There is room for 4 bytes at `to`.
#[inline(always)]
unsafe fn write_v4(to: *mut u8, address: &Address) {
    let [.., a, b, c, d] = address.0;
    // SAFETY: the caller's.
    unsafe { to.cast::<[u8; 4]>().write_unaligned([a, b, c, d]) }
}

/// # Safety
/// There is room for 4 bytes at `to`.
#[inline(always)]
unsafe fn write_ports(to: *mut u8, ends: &Ends) {
    // SAFETY: the caller's.
    unsafe {
        to.cast::<[u8; 2]>()
            .write_unaligned(ends.near_port.to_be_bytes());
        to.add(2)
            .cast::<[u8; 2]>()
            .write_unaligned(ends.far_port.to_be_bytes());
    }
}

/// `connect(2)` to an unspecified address goes to loopback; the lookup must look there too.
#[inline(always)]
fn connectable(address: &Address) -> Address {
    let unspecified = Address::from_v4([0; 4]);
    if *address == unspecified || *address == Address::UNSPECIFIED {
        address.loopback_like()
    } else {
        *address
    }
}

/// A number with a bound the verifier sees: LLVM must not leave out a mask that it can prove, because
/// the verifier cannot.
#[inline(always)]
pub(crate) fn masked(number: u64, mask: u64) -> u64 {
    let mut number = number;
    // SAFETY: one instruction on a register; it touches no memory.
    unsafe {
        asm!("{0} &= {1}", inout(reg) number, in(reg) mask, options(pure, nomem, nostack));
    }
    number
}

/// Adds to a counter in a map that other CPUs add to as well.
#[inline(always)]
pub(crate) fn add(counter: &mut u64, n: u64) {
    // SAFETY: an aligned, live u64 inside a map value; the instruction touches nothing else.
    // JUSTIFICATION: the target's `AtomicU64` has no `fetch_add`.
    unsafe {
        asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) core::ptr::from_mut(counter), in(reg) n);
    }
}

/// The address the kernel gives as four words in network order.
#[inline(always)]
pub(crate) fn address_from_words(words: [u32; 4]) -> Address {
    // SAFETY: the same 16 bytes; a byte has no invalid value.
    Address(unsafe { words.as_ptr().cast::<[u8; 16]>().read() })
}
