//! `recvfrom(2)` and `getpeername(2)`: a job that asked 192.0.2.53 sees answers from 192.0.2.53.
//!
//! *Hook*: cgroup/recvmsg4, recvmsg6, getpeername4, getpeername6. *Minimum kernel*: 5.8. *Return
//! values*: always 1. *What it cannot see*: which of two servers a socket asked; it names the last.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use cordon_ebpf::abi::address::Address;

use crate::judge::PASS;
use crate::kernel;

#[cgroup_sock_addr(recvmsg4)]
pub(crate) fn recvmsg4(ctx: SockAddrContext) -> i32 {
    restore4(&ctx)
}

#[cgroup_sock_addr(recvmsg6)]
pub(crate) fn recvmsg6(ctx: SockAddrContext) -> i32 {
    restore6(&ctx)
}

#[cgroup_sock_addr(getpeername4)]
pub(crate) fn getpeername4(ctx: SockAddrContext) -> i32 {
    restore4(&ctx)
}

#[cgroup_sock_addr(getpeername6)]
pub(crate) fn getpeername6(ctx: SockAddrContext) -> i32 {
    restore6(&ctx)
}

/// The server the job asked, if this reply is from its listener.
#[inline(always)]
fn asked(ctx: &SockAddrContext) -> Option<(Address, u16)> {
    // SAFETY: a live context whose socket is full.
    let (kept, port) = unsafe {
        let sk = (*ctx.sock_addr).__bindgen_anon_1.sk;
        let port = u16::from_be((*ctx.sock_addr).user_port as u16);
        (kernel::socket_storage(sk.cast(), false)?, port)
    };
    let ours = kept.listener_port != 0 && kept.listener_port == port;
    ours.then_some((kept.dns_server, kept.dns_port))
}

#[inline(always)]
fn restore4(ctx: &SockAddrContext) -> i32 {
    let Some((server, port)) = asked(ctx) else {
        return PASS;
    };
    // SAFETY: whole words of a live context.
    unsafe {
        let reply = ctx.sock_addr;
        if (*reply).user_ip4.to_ne_bytes() != [127, 0, 0, 1] {
            return PASS;
        }
        let [.., last] = server.words();
        (*reply).user_ip4 = last;
        (*reply).user_port = u32::from(port.to_be());
    }
    PASS
}

#[inline(always)]
fn restore6(ctx: &SockAddrContext) -> i32 {
    let Some((server, port)) = asked(ctx) else {
        return PASS;
    };
    // SAFETY: whole words of a live context.
    unsafe {
        let reply = ctx.sock_addr;
        let ip = (*reply).user_ip6;
        // `::1`, or `::ffff:127.0.0.1` where a v6 socket asked by a v4 address.
        if !kernel::address_from_words(ip).is_loopback() {
            return PASS;
        }
        let [a, b, c, d] = server.words();
        (*reply).user_ip6[0] = a;
        (*reply).user_ip6[1] = b;
        (*reply).user_ip6[2] = c;
        (*reply).user_ip6[3] = d;
        (*reply).user_port = u32::from(port.to_be());
    }
    PASS
}
