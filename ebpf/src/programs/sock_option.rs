//! `setsockopt(2)`: options that change where packets go, or make the kernel send some by itself.
//!
//! *Hook*: `cgroup/setsockopt`. *Minimum kernel*: 5.8 (socket storage here). *Return values*: 1 passes, 0
//! is `EPERM`. *What it cannot see*: the same things as ancillary data of `sendmsg(2)`; those meet
//! `packet`.

use aya_ebpf::macros::cgroup_sockopt;
use aya_ebpf::programs::SockoptContext;
use cordon_ebpf::abi::record::Call;
use cordon_ebpf::abi::verdict::Reason;
use cordon_ebpf::option::changes_the_way;

use crate::judge::{self, PASS, REFUSE};
use crate::kernel;

/// The largest value the kernel copies for a program.
const PAGE: i32 = 4096;

#[cgroup_sockopt(setsockopt)]
pub(crate) fn setsockopt(ctx: SockoptContext) -> i32 {
    // SAFETY: whole words of a live context.
    let (level, option, sk) = unsafe {
        let call = ctx.sockopt;
        if (*call).optlen > PAGE {
            // "Use the caller's own": kernels refuse a value that was cut for the program.
            (*call).optlen = 0;
        }
        ((*call).level, (*call).optname, (*call).__bindgen_anon_1.sk)
    };
    if !changes_the_way(level, option) {
        return PASS;
    }
    let current = kernel::current_job();
    let id = if current == 0 {
        // SAFETY: `sk` is a full socket in this hook.
        unsafe { kernel::socket_storage(sk.cast(), false) }.map_or(0, |socket| socket.job)
    } else {
        current
    };
    if id == 0 {
        return PASS;
    }
    let Some(job) = judge::job(id) else {
        return REFUSE;
    };
    let arguments = [
        u64::from(level.cast_unsigned()),
        u64::from(option.cast_unsigned()),
    ];
    judge::answer(judge::refuse_call(
        id,
        &job,
        Call::SET_OPTION,
        Reason::SOCKET_OPTION,
        arguments,
    ))
}
