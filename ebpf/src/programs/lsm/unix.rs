//! Unix sockets: a job speaks to its own. Daemons outside could act for it.
//!
//! Judged by the socket at the other end, so neither a name, nor a symbolic link, nor a bind mount
//! of it changes anything. *What it cannot see*: a connection that somebody outside made, and what a
//! socket that was connected outside is used for.

use aya_ebpf::Global;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use cordon_ebpf::abi::job::CONTROL;
use cordon_ebpf::abi::record::Call;
use cordon_ebpf::abi::verdict::Reason;
use cordon_ebpf::own;

use super::socket::OFFSET_SOCKET_SK;
use super::{OFFSET_INODE_INO, OFFSET_INODE_SB, OFFSET_SB_DEV, PASS, REFUSE, member, peek};
use crate::{judge, kernel};

/// Offset of `unix_sock.path.dentry`.
#[unsafe(no_mangle)]
static OFFSET_UNIX_DENTRY: Global<u64> = Global::new(0);
/// Offset of `dentry.d_inode`.
#[unsafe(no_mangle)]
static OFFSET_DENTRY_INODE: Global<u64> = Global::new(0);

#[lsm(hook = "socket_post_create")]
pub(crate) fn lsm_socket_post_create(ctx: LsmContext) -> i32 {
    let (family, kern): (u32, i32) = (ctx.arg(1), ctx.arg(4));
    if kern != 0 || family != own::AF_UNIX {
        return PASS;
    }
    let id = kernel::current_job();
    if id == 0 {
        return PASS;
    }
    let socket: *const u8 = ctx.arg(0);
    // SAFETY: a `struct socket`, then its `struct sock`.
    let noted = unsafe {
        let sk: *const u8 = member(socket, &OFFSET_SOCKET_SK);
        !sk.is_null() && super::own(sk, id)
    };
    if noted {
        return PASS;
    }
    judge::count_loss(id, |losses| &mut losses.memory);
    REFUSE
}

#[lsm(hook = "unix_stream_connect")]
pub(crate) fn lsm_unix_stream_connect(ctx: LsmContext) -> i32 {
    let (listener, accepted): (*const u8, *const u8) = (ctx.arg(1), ctx.arg(2));
    // SAFETY: two of `struct sock`.
    let owner = unsafe {
        let owner = super::owner(listener);
        if owner != 0 && owner != CONTROL {
            // What it accepts is the listener's job's. Not noted, the job can use it, and not
            // connect to it: nobody can, it has no name.
            let _noted = super::own(accepted, owner);
        }
        owner
    };
    judge_peer(listener, owner)
}

#[lsm(hook = "unix_may_send")]
pub(crate) fn lsm_unix_may_send(ctx: LsmContext) -> i32 {
    let peer: *const u8 = ctx.arg(1);
    // SAFETY: a `struct socket`, then its `struct sock`.
    unsafe {
        let sk: *const u8 = member(peer, &OFFSET_SOCKET_SK);
        if sk.is_null() {
            return PASS;
        }
        judge_peer(sk, super::owner(sk))
    }
}

#[inline(always)]
fn judge_peer(peer: *const u8, owner: u64) -> i32 {
    let id = kernel::current_job();
    if id == 0 || owner == id || owner == CONTROL {
        return PASS;
    }
    let parent = super::parent(id);
    if parent != 0 && owner == parent {
        return PASS;
    }
    // What its service manager has it say before it executes the service: who it is, and to the journal.
    if super::process::newcomer().arrives() {
        return PASS;
    }
    let arguments = place(peer).unwrap_or([0, 0]);
    super::refuse(id, Call::UNIX_CONNECT, Reason::FOREIGN_UNIX, arguments)
}

/// Inode and device of a socket's file; `None` for one without, whose name is abstract.
#[inline(always)]
fn place(sk: *const u8) -> Option<[u64; 2]> {
    let dentry = peek::<u64>(sk, &OFFSET_UNIX_DENTRY)? as *const u8;
    let inode = peek::<u64>(dentry, &OFFSET_DENTRY_INODE)? as *const u8;
    let super_block = peek::<u64>(inode, &OFFSET_INODE_SB)? as *const u8;
    let device = peek::<u32>(super_block, &OFFSET_SB_DEV)?;
    Some([peek(inode, &OFFSET_INODE_INO)?, u64::from(device)])
}
