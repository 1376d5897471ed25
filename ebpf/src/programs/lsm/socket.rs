//! Sockets by their family, and IP sockets by who made them.
//!
//! *What it cannot see*: before Linux 6.5, `sendfile(2)` and `splice(2)` into a socket; there
//! `lsm_file_permission` is loaded too.

use aya_ebpf::Global;
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use cordon_ebpf::abi::record::Call;
use cordon_ebpf::abi::verdict::{Reason, Verdict};
use cordon_ebpf::own;

use super::{
    OFFSET_FILE_INODE, OFFSET_FILE_MODE, OFFSET_INODE_INO, OFFSET_INODE_SB, OFFSET_SB_DEV,
    OFFSET_SB_MAGIC, PASS, REFUSE, member,
};
use crate::{judge, kernel};

/// Offset of `socket.sk`.
#[unsafe(no_mangle)]
pub(super) static OFFSET_SOCKET_SK: Global<u64> = Global::new(0);
/// Offset of `sock.skc_family`.
#[unsafe(no_mangle)]
static OFFSET_SOCK_FAMILY: Global<u64> = Global::new(0);
/// Offset of `sock.skc_state`.
#[unsafe(no_mangle)]
static OFFSET_SOCK_STATE: Global<u64> = Global::new(0);
/// Offset of `sock.sk_type`.
#[unsafe(no_mangle)]
static OFFSET_SOCK_TYPE: Global<u64> = Global::new(0);
/// Offset of `sock.sk_protocol`.
#[unsafe(no_mangle)]
static OFFSET_SOCK_PROTOCOL: Global<u64> = Global::new(0);
/// Offset of `inode.i_mode`.
#[unsafe(no_mangle)]
static OFFSET_INODE_MODE: Global<u64> = Global::new(0);

const MAY_WRITE: i32 = 2;
const FMODE_WRITE: u32 = 2;
const S_IFMT: u16 = 0o17_0000;
const S_IFSOCK: u16 = 0o14_0000;

#[lsm(hook = "socket_create")]
pub(crate) fn lsm_socket_create(ctx: LsmContext) -> i32 {
    let (family, kind, protocol): (u32, u32, u32) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    let kern: i32 = ctx.arg(3);
    if kern != 0 || own::is_family_for_jobs(family) {
        return PASS;
    }
    let id = kernel::current_job();
    if id == 0 {
        return PASS;
    }
    let Some(job) = judge::job(id) else {
        return REFUSE;
    };
    match judge::refuse_socket(id, &job, Reason::ADDRESS_FAMILY, [family, kind, protocol]) {
        Verdict::ALLOW | Verdict::WOULD_DENY => PASS,
        _ => REFUSE,
    }
}

#[lsm(hook = "socket_sendmsg")]
pub(crate) fn lsm_socket_sendmsg(ctx: LsmContext) -> i32 {
    use_socket(&ctx, Call::SEND)
}

#[lsm(hook = "socket_recvmsg")]
pub(crate) fn lsm_socket_recvmsg(ctx: LsmContext) -> i32 {
    use_socket(&ctx, Call::RECEIVE)
}

/// A connection made outside the job is none of the job's. Without a peer, the hook of the address
/// decides, and what it lets pass is the job's from then on.
#[inline(always)]
fn use_socket(ctx: &LsmContext, call: Call) -> i32 {
    let id = kernel::current_job();
    if id == 0 {
        return PASS;
    }
    let socket: *const u8 = ctx.arg(0);
    // SAFETY: a `struct socket`.
    let sk: *const u8 = unsafe { member(socket, &OFFSET_SOCKET_SK) };
    // SAFETY: a `struct sock`.
    unsafe { use_sk(id, sk, call) }
}

/// # Safety
/// The verifier knows `sk` as a `struct sock`.
#[inline(always)]
unsafe fn use_sk(id: u64, sk: *const u8, call: Call) -> i32 {
    if sk.is_null() {
        return PASS;
    }
    // SAFETY: the caller's.
    let (family, kind, protocol, state) = unsafe { kind_of(sk) };
    // SAFETY: the caller's.
    if !own::has_owner(family) || unsafe { super::ownership(sk, id) }.usable {
        return PASS;
    }
    if call == Call::SEND && own::is_judged_by_address(family, kind, protocol, state) {
        return PASS;
    }
    let arguments = [u64::from(family), u64::from(kind)];
    super::refuse(id, call, Reason::FOREIGN_SOCKET, arguments)
}

/// Family, type, protocol and state.
///
/// # Safety
/// The verifier knows `sk` as a `struct sock`.
#[inline(always)]
unsafe fn kind_of(sk: *const u8) -> (u32, u32, u32, u32) {
    // SAFETY: the caller's; their types in `struct sock`.
    unsafe {
        (
            u32::from(member::<u16>(sk, &OFFSET_SOCK_FAMILY)),
            u32::from(member::<u16>(sk, &OFFSET_SOCK_TYPE)),
            u32::from(member::<u16>(sk, &OFFSET_SOCK_PROTOCOL)),
            u32::from(member::<u8>(sk, &OFFSET_SOCK_STATE)),
        )
    }
}

/// What somebody else listens on brings somebody else's connections.
#[lsm(hook = "socket_accept")]
pub(crate) fn lsm_socket_accept(ctx: LsmContext) -> i32 {
    let id = kernel::current_job();
    if id == 0 {
        return PASS;
    }
    let socket: *const u8 = ctx.arg(0);
    // SAFETY: a `struct socket`, then its `struct sock`.
    unsafe {
        let sk: *const u8 = member(socket, &OFFSET_SOCKET_SK);
        if sk.is_null() {
            return PASS;
        }
        let (family, kind, ..) = kind_of(sk);
        if !own::has_owner(family) || super::ownership(sk, id).own {
            return PASS;
        }
        let arguments = [u64::from(family), u64::from(kind)];
        super::refuse(id, Call::ACCEPT, Reason::FOREIGN_SOCKET, arguments)
    }
}

/// What the job's listeners accept is the job's: that they are, `lsm_socket_accept` has seen.
#[lsm(hook = "sock_graft")]
pub(crate) fn lsm_sock_graft(ctx: LsmContext) -> i32 {
    let id = kernel::current_job();
    if id == 0 {
        return PASS;
    }
    let sk: *const u8 = ctx.arg(0);
    // SAFETY: a `struct sock`.
    unsafe {
        let (family, ..) = kind_of(sk);
        // Not noted, the job cannot use it: that is the safe side.
        if own::has_owner(family) && !super::own(sk, id) {
            judge::count_loss(id, |losses| &mut losses.memory);
        }
    }
    PASS
}

/// A descriptor that comes over a Unix socket, or out of another process.
#[lsm(hook = "file_receive")]
pub(crate) fn lsm_file_receive(ctx: LsmContext) -> i32 {
    let id = kernel::current_job();
    if id == 0 {
        return PASS;
    }
    let file: *mut u8 = ctx.arg(0);
    // SAFETY: a `struct file`; what follows is its inode, that one's super block, and its socket.
    unsafe {
        let inode: *const u8 = member(file, &OFFSET_FILE_INODE);
        let super_block: *const u8 = member(inode, &OFFSET_INODE_SB);
        let magic: u64 = member(super_block, &OFFSET_SB_MAGIC);
        let mode: u32 = member(file, &OFFSET_FILE_MODE);
        let arguments = [
            member::<u64>(inode, &OFFSET_INODE_INO),
            u64::from(member::<u32>(super_block, &OFFSET_SB_DEV)),
        ];
        if !own::may_open(magic, mode & FMODE_WRITE != 0) {
            return super::refuse(id, Call::RECEIVE_FILE, Reason::CONTROL, arguments);
        }
        let socket = helper::bpf_sock_from_file(file.cast());
        if socket.is_null() {
            return PASS;
        }
        let sk: *const u8 = member(socket.cast::<u8>(), &OFFSET_SOCKET_SK);
        if sk.is_null() {
            return PASS;
        }
        let (family, ..) = kind_of(sk);
        if !own::has_owner(family) || super::ownership(sk, id).usable {
            return PASS;
        }
        super::refuse(id, Call::RECEIVE_FILE, Reason::FOREIGN_SOCKET, arguments)
    }
}

/// Before Linux 6.5 `splice(2)` into a socket reaches no socket hook.
#[lsm(hook = "file_permission")]
pub(crate) fn lsm_file_permission(ctx: LsmContext) -> i32 {
    let file: *mut u8 = ctx.arg(0);
    let mask: i32 = ctx.arg(1);
    if mask & MAY_WRITE == 0 {
        return PASS;
    }
    // SAFETY: a `struct file`, then its inode.
    let mode: u16 = unsafe {
        let inode: *const u8 = member(file, &OFFSET_FILE_INODE);
        member(inode, &OFFSET_INODE_MODE)
    };
    // Every write of the machine comes here.
    if mode & S_IFMT != S_IFSOCK {
        return PASS;
    }
    let id = kernel::current_job();
    if id == 0 {
        return PASS;
    }
    // SAFETY: as above; the helper gives a `struct socket` or nothing.
    unsafe {
        let socket = helper::bpf_sock_from_file(file.cast());
        if socket.is_null() {
            return PASS;
        }
        let sk: *const u8 = member(socket.cast::<u8>(), &OFFSET_SOCKET_SK);
        use_sk(id, sk, Call::SEND)
    }
}
