//! `bind(2)`: a socket made outside becomes one that the job answers for when the job binds it.
//!
//! *Hook*: `cgroup/post_bind4`, `post_bind6`. *Minimum kernel*: 5.12 (socket storage here). *Return
//! values*: 1 passes, 0 is `EPERM`. *What it cannot see*: sockets that get their port by connecting.

use aya_ebpf::macros::cgroup_sock;
use aya_ebpf::programs::SockContext;
use cordon_ebpf::abi::job::SocketRole;

use crate::judge::{self, PASS, REFUSE};
use crate::kernel;

#[cgroup_sock(post_bind4)]
pub(crate) fn post_bind4(ctx: SockContext) -> i32 {
    own(&ctx)
}

#[cgroup_sock(post_bind6)]
pub(crate) fn post_bind6(ctx: SockContext) -> i32 {
    own(&ctx)
}

/// Who binds a socket in a job must be able to say whose it is: loopback means "my own job". What was
/// made inside is marked already.
#[inline(always)]
fn own(ctx: &SockContext) -> i32 {
    let id = kernel::current_job();
    if id == 0 {
        return PASS;
    }
    if judge::job(id).is_none() {
        return REFUSE;
    }
    // SAFETY: the context of a `cgroup_sock` program.
    if unsafe { kernel::socket_storage(ctx.sock.cast(), false) }.is_some() {
        return PASS;
    }
    // SAFETY: as above.
    let Some(socket) = (unsafe { kernel::socket_storage(ctx.sock.cast(), true) }) else {
        judge::count_loss(id, |losses| &mut losses.memory);
        return REFUSE;
    };
    socket.job = id;
    socket.role = SocketRole::FOREIGN;
    socket.tgid = (kernel::pid_tgid() >> 32) as u32;
    PASS
}
