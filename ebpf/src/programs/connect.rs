//! `connect(2)` and `sendto(2)` with an address: the verdict with a caller, at once.
//!
//! *Hook*: cgroup/connect4, connect6, sendmsg4, sendmsg6. *Minimum kernel*: 5.8 (netns cookie).
//! *Return values*: 1 passes, 0 is `EPERM`. *What it cannot see*: raw and ping sockets, and where
//! routing headers send a packet afterwards; those meet `packet`.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use cordon_ebpf::abi::address::Address;
use cordon_ebpf::abi::flow::FlowKey;
use cordon_ebpf::abi::job::{Job, Kept, PeerState, Socket, SocketRole};
use cordon_ebpf::abi::record::Hook;
use cordon_ebpf::abi::ruleset::{NO_RULE, ResolverKey};
use cordon_ebpf::abi::verdict::{Reason, Verdict};
use cordon_ebpf::abi::{TCP, UDP};
use cordon_ebpf::decide::Decision;
use cordon_ebpf::shown::Verify;

use crate::judge::{self, Caller, Event, PASS, REFUSE};
use crate::kernel::{self, Ends};
use crate::maps::RESOLVERS;

const DNS_PORT: u16 = 53;
const SOCK_STREAM: u32 = 1;
/// Multipath TCP carries TCP; its subflows are TCP on the wire.
const IPPROTO_MPTCP: u32 = 262;

#[cgroup_sock_addr(connect4)]
pub(crate) fn connect4(ctx: SockAddrContext) -> i32 {
    judge_call(&ctx, Hook::CONNECT4)
}

#[cgroup_sock_addr(connect6)]
pub(crate) fn connect6(ctx: SockAddrContext) -> i32 {
    judge_call(&ctx, Hook::CONNECT6)
}

#[cgroup_sock_addr(sendmsg4)]
pub(crate) fn sendmsg4(ctx: SockAddrContext) -> i32 {
    judge_call(&ctx, Hook::SENDMSG4)
}

#[cgroup_sock_addr(sendmsg6)]
pub(crate) fn sendmsg6(ctx: SockAddrContext) -> i32 {
    judge_call(&ctx, Hook::SENDMSG6)
}

/// Where the caller wants to go.
struct Call {
    address: Address,
    port: u16,
    protocol: u8,
    hook: Hook,
}

impl Call {
    #[inline(always)]
    fn read(ctx: &SockAddrContext, hook: Hook) -> Self {
        // SAFETY: the kernel gives a live context; each field is read as the word it is.
        let (address, port, kind, protocol) = unsafe {
            let call = ctx.sock_addr;
            let address = if is_v4(hook) {
                Address::from_v4((*call).user_ip4.to_ne_bytes())
            } else {
                let ip = (*call).user_ip6;
                kernel::address_from_words(ip)
            };
            let port = u16::from_be((*call).user_port as u16);
            (address, port, (*call).type_, (*call).protocol)
        };
        let protocol = match protocol {
            IPPROTO_MPTCP if kind == SOCK_STREAM => TCP,
            // Numbers that do not fit in a byte are no IP protocols; 255 is reserved.
            other if other > 255 => 255,
            other => other as u8,
        };
        Self {
            address,
            port,
            protocol,
            hook,
        }
    }

    #[inline(always)]
    fn is_connect(&self) -> bool {
        matches!(self.hook, Hook::CONNECT4 | Hook::CONNECT6)
    }

    #[inline(always)]
    fn flow(&self, decision: Decision, verdict: Verdict) -> FlowKey {
        FlowKey {
            address: self.address,
            port: self.port,
            protocol: self.protocol,
            verdict,
            reason: decision.reason,
            reserved: [0; 7],
            rule: decision.rule,
        }
    }
}

#[inline(always)]
fn is_v4(hook: Hook) -> bool {
    matches!(hook, Hook::CONNECT4 | Hook::SENDMSG4)
}

/// One call of a process of a job, or with a socket of one.
#[inline(always)]
fn judge_call(ctx: &SockAddrContext, hook: Hook) -> i32 {
    // SAFETY: the context's own socket.
    let sk = unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk };
    let current = kernel::current_job();
    // SAFETY: `sk` is a full socket in these hooks.
    let (owner, role) = match unsafe { kernel::socket_storage(sk.cast(), false) } {
        // The agent's listener answers whoever the job is; in a job's hands it is one more socket
        // from outside.
        Some(kept) if kept.role.is_agents() => (0, SocketRole::FOREIGN),
        Some(kept) => (kept.job, kept.role),
        None => (0, SocketRole::FOREIGN),
    };
    let id = if current != 0 { current } else { owner };
    if id == 0 {
        return PASS;
    }
    let Some(job) = judge::job(id) else {
        return REFUSE;
    };
    let call = Call::read(ctx, hook);
    let barred = judge::barred(&job);
    if barred != judge::NOT_BARRED {
        return settle(id, &job, &call, Decision::without_rule(barred));
    }
    // SAFETY: as above.
    let Some(socket) = (unsafe { kernel::socket_storage(sk.cast(), true) }) else {
        judge::count_loss(id, |losses| &mut losses.memory);
        return settle(id, &job, &call, Decision::without_rule(Reason::NO_MEMORY));
    };
    let caller = kernel::pid_tgid();
    socket.job = id;
    socket.role = role;
    socket.tgid = (caller >> 32) as u32;
    if call.port == DNS_PORT && (call.protocol == UDP || call.protocol == TCP) {
        return redirect(ctx, id, &job, &call, socket);
    }
    let ends = Ends {
        near: call.address.loopback_like(),
        near_port: 0,
        far: call.address,
        far_port: call.port,
        protocol: call.protocol,
    };
    // SAFETY: a `cgroup_sock_addr` context.
    let decision = unsafe { judge::judge(ctx.as_ptr(), id, &job, &ends) };
    let verdict = job.mode.verdict(decision.reason);
    keep(socket, &call, decision, verdict);
    // A UDP connect sends nothing: libc makes one to each resolved address only to sort them. The
    // packet, if one follows, is judged when it leaves, and its send fails with EPERM.
    if call.is_connect() && call.protocol == UDP {
        return PASS;
    }
    settle(id, &job, &call, decision)
}

/// Counts, records and answers.
#[inline(always)]
fn settle(id: u64, job: &Job, call: &Call, decision: Decision) -> i32 {
    let caller = Caller::current();
    let verdict = job.mode.verdict(decision.reason);
    let tgid = (caller.pid_tgid >> 32) as u32;
    let event = Event {
        attempts: 1,
        bytes_out: 0,
        bytes_in: 0,
        tgid,
    };
    judge::settle(
        id,
        &call.flow(decision, verdict),
        &event,
        call.hook,
        &caller,
    );
    judge::answer(verdict)
}

/// Keeps the verdict with the socket, for its packets.
#[inline(always)]
fn keep(socket: &mut Socket, call: &Call, decision: Decision, verdict: Verdict) {
    socket.peer = call.address;
    socket.peer_port = call.port;
    socket.protocol = call.protocol;
    socket.rule = decision.rule;
    socket.reason = decision.reason;
    socket.listener_port = 0;
    socket.verify = decision.verify;
    socket.told = 0;
    let state = match verdict {
        // Who listens on loopback can change between call and packet, and for UDP depends on the
        // sender's port: each packet is judged.
        Verdict::ALLOW if decision.reason == Reason::OWN_SOCKET && call.protocol == UDP => {
            PeerState::NONE
        }
        Verdict::ALLOW if decision.verify != Verify::NONE => PeerState::READ,
        Verdict::ALLOW => PeerState::ALLOWED,
        Verdict::WOULD_DENY => PeerState::AUDITED,
        _ => PeerState::NONE,
    };
    seal(socket, &call.address, call.port, call.protocol, state);
}

/// Writes the word that lets packets pass.
#[inline(always)]
pub(crate) fn seal(socket: &mut Socket, peer: &Address, port: u16, protocol: u8, state: PeerState) {
    let kept = match kernel::kept_key() {
        Some(key) if state != PeerState::NONE => Kept::new(&key, peer, port, protocol, state),
        _ => Kept::NONE,
    };
    // SAFETY: an aligned word of a live entry; volatile, so that it is written whole and once.
    unsafe { (&raw mut socket.kept).write_volatile(kept) };
}

/// Sends DNS to the job's own listener, whatever server was asked.
#[inline(always)]
fn redirect(ctx: &SockAddrContext, id: u64, job: &Job, call: &Call, socket: &mut Socket) -> i32 {
    // SAFETY: a `cgroup_sock_addr` context.
    let netns = unsafe { kernel::netns_cookie(ctx.as_ptr()) };
    // SAFETY: copied at once.
    let resolver = unsafe { RESOLVERS.get(ResolverKey { job: id, netns }) }.copied();
    let v4 = call.address.is_v4();
    let port = match (resolver, call.protocol == UDP) {
        (Some(resolver), true) if v4 => resolver.udp4,
        (Some(resolver), true) => resolver.udp6,
        (Some(resolver), false) if v4 => resolver.tcp4,
        (Some(resolver), false) => resolver.tcp6,
        (None, _) => 0,
    };
    if port == 0 {
        judge::need_resolver(id, netns);
        let decision = Decision::without_rule(Reason::NO_RESOLVER);
        keep(socket, call, decision, job.mode.verdict(decision.reason));
        return settle(id, job, call, decision);
    }
    let loopback = call.address.loopback_like();
    socket.dns_server = call.address;
    socket.dns_port = call.port;
    socket.dns_netns = netns;
    socket.peer = loopback;
    socket.peer_port = port;
    socket.listener_port = port;
    socket.protocol = call.protocol;
    socket.rule = NO_RULE;
    socket.reason = Reason::RESOLVER;
    socket.verify = Verify::NONE;
    seal(socket, &loopback, port, call.protocol, PeerState::ALLOWED);
    write_destination(ctx, call.hook, &loopback, port);
    PASS
}

/// Rewrites where the call goes.
#[inline(always)]
fn write_destination(ctx: &SockAddrContext, hook: Hook, address: &Address, port: u16) {
    let [a, b, c, d] = address.words();
    // SAFETY: stores of whole words to fields these hooks may write.
    unsafe {
        let call = ctx.sock_addr;
        if is_v4(hook) {
            (*call).user_ip4 = d;
        } else {
            (*call).user_ip6[0] = a;
            (*call).user_ip6[1] = b;
            (*call).user_ip6[2] = c;
            (*call).user_ip6[3] = d;
        }
        (*call).user_port = u32::from(port.to_be());
    }
}
