//! `socket(2)`: a job gets TCP and UDP, and its sockets are marked as its own.
//!
//! *Hook*: `cgroup/sock_create`. *Minimum kernel*: 5.12 (socket storage here). *Return values*: 1
//! passes, 0 is `EPERM`. *What it cannot see*: families other than inet and inet6.

use aya_ebpf::macros::cgroup_sock;
use aya_ebpf::programs::SockContext;
use cordon_ebpf::abi::verdict::Reason;
use cordon_ebpf::abi::{TCP, UDP};

use crate::judge::{self, PASS, REFUSE};
use crate::kernel;

const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const IPPROTO_TCP: u32 = TCP as u32;
const IPPROTO_UDP: u32 = UDP as u32;
const IPPROTO_MPTCP: u32 = 262;

#[cgroup_sock(sock_create)]
pub(crate) fn sock_create(ctx: SockContext) -> i32 {
    let id = kernel::current_job();
    if id == 0 {
        return PASS;
    }
    let Some(job) = judge::job(id) else {
        return REFUSE;
    };
    // SAFETY: whole words of a live context.
    let (family, kind, protocol) =
        unsafe { ((*ctx.sock).family, (*ctx.sock).type_, (*ctx.sock).protocol) };
    let wanted = matches!(
        (kind, protocol),
        (SOCK_STREAM, IPPROTO_TCP | IPPROTO_MPTCP) | (SOCK_DGRAM, IPPROTO_UDP)
    );
    // SAFETY: the context of a `cgroup_sock` program.
    let kept = unsafe { kernel::socket_storage(ctx.sock.cast(), true) };
    let Some(socket) = kept else {
        judge::count_loss(id, |losses| &mut losses.memory);
        return judge::answer(judge::refuse_socket(
            id,
            &job,
            Reason::NO_MEMORY,
            [family, kind, protocol],
        ));
    };
    socket.job = id;
    socket.tgid = (kernel::pid_tgid() >> 32) as u32;
    if wanted {
        // Before the first question: that one is refused where nobody serves it.
        // SAFETY: as above.
        judge::need_resolver(id, unsafe { kernel::netns_cookie(ctx.sock.cast()) });
        return PASS;
    }
    judge::answer(judge::refuse_socket(
        id,
        &job,
        Reason::SOCKET_KIND,
        [family, kind, protocol],
    ))
}
