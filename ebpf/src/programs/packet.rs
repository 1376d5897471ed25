//! Packets of jobs: the truth on the wire.
//!
//! *Hook*: `cgroup_skb` egress and ingress. *Minimum kernel*: 5.8. *Return values*: 1 passes, 0 drops
//! (the sender of a UDP packet gets `EPERM`, TCP hears nothing). *What it cannot see*: packets that
//! have no IP socket (`AF_PACKET`, `AF_XDP`).

use core::ffi::c_void;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;
use cordon_ebpf::abi::address::Address;
use cordon_ebpf::abi::flow::FlowKey;
use cordon_ebpf::abi::job::{DnsClient, DnsClientKey, Job, PeerState, Socket, SocketRole};
use cordon_ebpf::abi::record::Hook;
use cordon_ebpf::abi::ruleset::{NO_RULE, RuleIndex};
use cordon_ebpf::abi::verdict::{Mode, Reason, Verdict};
use cordon_ebpf::abi::{TCP, UDP};
use cordon_ebpf::decide::Decision;
use cordon_ebpf::shown::Verify;

use crate::judge::{self, Caller, Event, PASS, REFUSE};
use crate::kernel::{self, Ends};
use crate::maps::DNS_CLIENTS;
use crate::programs::connect::seal;
use crate::programs::shown::{self, Segment};

#[cgroup_skb(egress)]
pub(crate) fn egress(ctx: SkBuffContext) -> i32 {
    judge_packet(&ctx, Hook::EGRESS)
}

#[cgroup_skb(ingress)]
pub(crate) fn ingress(ctx: SkBuffContext) -> i32 {
    if is_guest(&ctx) {
        return REFUSE;
    }
    judge_packet(&ctx, Hook::INGRESS)
}

/// A packet's head. `flaw` is 0, or the reason that refuses the packet whatever its address.
struct Head {
    ends: Ends,
    flaw: Reason,
    /// Where TCP's or UDP's header begins.
    transport: u32,
    /// Whether it opens a TCP connection.
    opens: bool,
}

#[inline(always)]
fn judge_packet(ctx: &SkBuffContext, hook: Hook) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: the context of a `cgroup_skb` program.
    let sk = unsafe { kernel::full_socket(skb) };
    let mut socket = match sk {
        // SAFETY: a full socket the context holds.
        Some(sk) => unsafe { kernel::socket_storage(sk, false) },
        None => None,
    };
    let owner = match socket.as_ref() {
        // The agent's: it answers whoever the job is, and needs no leave.
        Some(kept) if kept.role.is_agents() => return PASS,
        Some(kept) => kept.job,
        None => 0,
    };
    let id = if owner != 0 {
        owner
    } else {
        // SAFETY: as above.
        unsafe { kernel::packet_job(skb) }
    };
    if id == 0 {
        return PASS;
    }
    let Some(job) = judge::job(id) else {
        return REFUSE;
    };
    // SAFETY: as above.
    let mut head = unsafe { read_head(skb, hook) };
    let barred = if hook == Hook::EGRESS {
        judge::barred(&job)
    } else {
        judge::closed(&job)
    };
    if barred != NO_FLAW {
        head.flaw = barred;
    }
    // SAFETY: a word of a live context.
    let len = u64::from(unsafe { (*skb).len });
    let (mut state, tgid) = match socket.as_ref() {
        Some(socket) => (known_peer(socket, &head), socket.tgid),
        None => (PeerState::NONE, 0),
    };
    let packet = Packet {
        skb,
        sk,
        job: id,
        mode: job.mode,
        len,
    };
    if state != PeerState::NONE
        && let (Some(socket), Some(sk)) = (socket.as_deref_mut(), sk)
        && job.outlived(state, socket.rule)
    {
        if head.ends.protocol == TCP {
            return after_narrowing(&packet, sk, socket, &head, hook);
        }
        // Of what has no connection, each packet is judged anew.
        state = PeerState::NONE;
    }
    match socket {
        Some(socket) if state != PeerState::NONE => {
            let read = state == PeerState::READ || state == PeerState::REFUSED;
            if read && hook == Hook::EGRESS {
                return after_reading(&packet, socket, &head, state);
            }
            pass_known(id, socket, &head.ends, hook, len, state)
        }
        _ => {
            let decision = decide_packet(ctx, id, &job, &head, hook);
            if decision.verify != Verify::NONE && hook == Hook::EGRESS && head.ends.protocol == TCP
            {
                return begin_reading(&packet, &head, decision);
            }
            settle_packet(&packet, &head, hook, decision, tgid)
        }
    }
}

/// A packet of a job, on its way out.
struct Packet {
    skb: *mut __sk_buff,
    sk: Option<*mut c_void>,
    job: u64,
    mode: Mode,
    len: u64,
}

const NO_FLAW: Reason = judge::NOT_BARRED;

/// Where the flags are in a TCP header.
const TCP_FLAGS: u32 = 13;
const TCP_SYN: u8 = 2;

/// What the kept verdict says of the packet; [`PeerState::NONE`] if it is about another peer, or the
/// packet must be judged by itself.
#[inline(always)]
fn known_peer(socket: &Socket, head: &Head) -> PeerState {
    // A connection to loopback begins with its packet: between call and packet, the job's own
    // listener can have made room for somebody else's.
    if head.flaw != NO_FLAW || (head.opens && socket.reason == Reason::OWN_SOCKET) {
        return PeerState::NONE;
    }
    let ends = &head.ends;
    // SAFETY: an aligned word of a live entry; volatile, so that it is read whole and once.
    let kept = unsafe { (&raw const socket.kept).read_volatile() };
    match kernel::kept_key() {
        Some(key) => kept.about(&key, &ends.far, ends.far_port, ends.protocol),
        None => PeerState::NONE,
    }
}

/// The fast path: count, and remember who asks the DNS listener.
#[inline(always)]
fn pass_known(
    id: u64,
    socket: &Socket,
    ends: &Ends,
    hook: Hook,
    len: u64,
    state: PeerState,
) -> i32 {
    let out = hook == Hook::EGRESS;
    if out && socket.listener_port != 0 && socket.listener_port == ends.far_port {
        let key = DnsClientKey {
            job: id,
            netns: socket.dns_netns,
            port: ends.near_port,
            protocol: ends.protocol,
            reserved: 0,
            reserved2: 0,
        };
        // A full map drops its oldest entry; an error costs a report one process name.
        let _lost_name = DNS_CLIENTS.insert(
            key,
            DnsClient {
                tgid: socket.tgid,
                port: socket.dns_port,
                reserved: 0,
                server: socket.dns_server,
            },
            0,
        );
    }
    let verdict = if state == PeerState::AUDITED {
        Verdict::WOULD_DENY
    } else {
        Verdict::ALLOW
    };
    let key = flow(ends, verdict, socket.reason, socket.rule);
    let event = Event {
        attempts: 0,
        bytes_out: if out { len } else { 0 },
        bytes_in: if out { 0 } else { len },
        tgid: 0,
    };
    judge::count_packet(id, &key, &event);
    PASS
}

/// What the tables say of a packet that no kept verdict speaks of.
#[inline(always)]
fn decide_packet(ctx: &SkBuffContext, id: u64, job: &Job, head: &Head, hook: Hook) -> Decision {
    if head.flaw != NO_FLAW {
        Decision::without_rule(head.flaw)
    } else if hook == Hook::EGRESS {
        // SAFETY: the context of a `cgroup_skb` program.
        unsafe { judge::judge(ctx.as_ptr(), id, job, &head.ends) }
    } else {
        judge_inbound(ctx, id, job, &head.ends)
    }
}

/// Counts, records and answers a packet that was judged by itself.
#[inline(always)]
fn settle_packet(packet: &Packet, head: &Head, hook: Hook, decision: Decision, tgid: u32) -> i32 {
    let out = hook == Hook::EGRESS;
    if matches!(decision.reason, Reason::OWN_SOCKET | Reason::OWN_NETWORK) {
        // Between two sockets of one job; the connect was counted, and a line for each ephemeral
        // port would fill the table.
        return PASS;
    }
    let verdict = packet.mode.verdict(decision.reason);
    let key = flow(&head.ends, verdict, decision.reason, decision.rule);
    let event = Event {
        // Refused here, a send fails for its caller; a TCP segment is only sent again.
        attempts: u64::from(out && !decision.reason.allows() && head.ends.protocol != TCP),
        bytes_out: if out { packet.len } else { 0 },
        bytes_in: if out { 0 } else { packet.len },
        tgid,
    };
    judge::settle(packet.job, &key, &event, hook, &Caller::remembered(tgid));
    judge::answer(verdict)
}

#[inline(always)]
fn flow(ends: &Ends, verdict: Verdict, reason: Reason, rule: RuleIndex) -> FlowKey {
    FlowKey {
        address: ends.far,
        port: ends.far_port,
        protocol: ends.protocol,
        verdict,
        reason,
        reserved: [0; 7],
        rule,
    }
}

/// The first packet of a connection that was made without a call of its own (a subflow of a multipath
/// one), to where a name must be shown.
#[inline(always)]
fn begin_reading(packet: &Packet, head: &Head, decision: Decision) -> i32 {
    let socket = match packet.sk {
        // SAFETY: a full socket the context holds.
        Some(sk) => unsafe { kernel::socket_storage(sk, true) },
        None => None,
    };
    let Some(socket) = socket else {
        // No socket to keep a reading with: what carries data does not leave.
        // SAFETY: the context of a `cgroup_skb` program.
        let segment = unsafe { Segment::read(packet.skb, head.transport) };
        let decision = if segment.is_some_and(|segment| segment.data() == 0) {
            decision
        } else {
            Decision::without_rule(Reason::NOT_READABLE)
        };
        return settle_packet(packet, head, Hook::EGRESS, decision, 0);
    };
    if socket.job == 0 {
        socket.job = packet.job;
        socket.role = SocketRole::FOREIGN;
    }
    let ends = &head.ends;
    socket.peer = ends.far;
    socket.peer_port = ends.far_port;
    socket.protocol = ends.protocol;
    socket.rule = decision.rule;
    socket.reason = decision.reason;
    socket.verify = decision.verify;
    seal(
        socket,
        &ends.far,
        ends.far_port,
        ends.protocol,
        PeerState::READ,
    );
    // SAFETY: the context of a `cgroup_skb` program.
    let segment = unsafe { Segment::read(packet.skb, head.transport) };
    let refused = match (packet.sk, segment) {
        // SAFETY: the context, and its full socket.
        (Some(sk), Some(segment)) => unsafe {
            shown::open(packet.skb, sk, &segment, socket.verify)
        },
        _ => Reason::MALFORMED,
    };
    let decision = if refused == NO_FLAW {
        decision
    } else {
        Decision::without_rule(refused)
    };
    settle_packet(packet, head, Hook::EGRESS, decision, socket.tgid)
}

/// A packet of a connection whose names are read: `names` has seen it before.
#[inline(always)]
fn after_reading(packet: &Packet, socket: &Socket, head: &Head, state: PeerState) -> i32 {
    let ends = &head.ends;
    // SAFETY: the context of a `cgroup_skb` program.
    let segment = unsafe { Segment::read(packet.skb, head.transport) };
    let (Some(segment), Some(sk)) = (segment, packet.sk) else {
        return REFUSE;
    };
    // SAFETY: the context's full socket.
    if state == PeerState::READ && unsafe { shown::was_read(sk, &segment) } {
        return pass_known(packet.job, socket, ends, Hook::EGRESS, packet.len, state);
    }
    // Without data it ends the connection, and may; but no other one begins with it.
    let refused = segment.data() > 0 || head.opens;
    let key = if refused {
        flow(ends, Verdict::DENY, socket.reason, NO_RULE)
    } else {
        flow(ends, Verdict::ALLOW, Reason::LEASE, socket.rule)
    };
    let event = Event {
        attempts: 0,
        bytes_out: packet.len,
        bytes_in: 0,
        tgid: 0,
    };
    judge::count_packet(packet.job, &key, &event);
    if refused { REFUSE } else { PASS }
}

/// A packet of a TCP connection whose rule the job gave up since: no data passes either way, nor does a
/// connection begin. The agent is told once, and closes it.
#[inline(always)]
fn after_narrowing(
    packet: &Packet,
    sk: *mut c_void,
    socket: &mut Socket,
    head: &Head,
    hook: Hook,
) -> i32 {
    let ends = &head.ends;
    let out = hook == Hook::EGRESS;
    // SAFETY: the context of a `cgroup_skb` program.
    let data = unsafe { shown::data_from(packet.skb, head.transport) };
    // Without data it ends the connection, and may.
    let ends_it = data == 0 && !head.opens;
    let verdict = if ends_it {
        Verdict::ALLOW
    } else {
        packet.mode.verdict(Reason::WITHDRAWN)
    };
    if !ends_it && socket.told == 0 {
        let near = (ends.near, ends.near_port);
        // SAFETY: the context, and its full socket.
        unsafe { shown::refuse(packet.skb, sk, socket, near, verdict, Reason::WITHDRAWN) };
        socket.told = 1;
    }
    let event = Event {
        attempts: 0,
        bytes_out: if out { packet.len } else { 0 },
        bytes_in: if out { 0 } else { packet.len },
        tgid: 0,
    };
    let (reason, rule) = if ends_it {
        (socket.reason, socket.rule)
    } else {
        (Reason::WITHDRAWN, NO_RULE)
    };
    let key = flow(ends, verdict, reason, rule);
    judge::count_packet(packet.job, &key, &event);
    judge::answer(verdict)
}

/// What comes in must come from where the job may send to; what a loopback peer sends was judged
/// when it left, and the answer to it is judged when it leaves.
#[inline(always)]
fn judge_inbound(ctx: &SkBuffContext, id: u64, job: &Job, ends: &Ends) -> Decision {
    if ends.far.is_loopback() {
        return Decision::without_rule(Reason::OWN_SOCKET);
    }
    // SAFETY: the context of a `cgroup_skb` program.
    let decision = unsafe { judge::judge(ctx.as_ptr(), id, job, ends) };
    if decision.reason.allows() {
        decision
    } else {
        Decision::without_rule(Reason::INBOUND)
    }
}

/// Whether it comes to a socket that listens for one job alone, and not from a socket of that job.
#[inline(always)]
fn is_guest(ctx: &SkBuffContext) -> bool {
    let skb = ctx.skb.skb;
    // SAFETY: the context of a `cgroup_skb` program, and a full socket that it holds.
    let listener = unsafe {
        match kernel::full_socket(skb) {
            Some(sk) => kernel::socket_storage(sk, false),
            None => None,
        }
    };
    match listener {
        Some(kept) if kept.role == SocketRole::ENGINE => {
            let job = kept.job;
            // SAFETY: as above.
            let (owner, _role) = unsafe {
                let head = read_head(skb, Hook::INGRESS);
                kernel::socket_at(ctx.as_ptr(), &head.ends)
            };
            owner != job
        }
        _ => false,
    }
}

/// Reads addresses, protocol and ports.
///
/// # Safety
/// `skb` is the context of a `cgroup_skb` program.
#[inline(always)]
unsafe fn read_head(skb: *mut __sk_buff, hook: Hook) -> Head {
    let mut head = Head {
        ends: Ends {
            near: Address::UNSPECIFIED,
            far: Address::UNSPECIFIED,
            near_port: 0,
            far_port: 0,
            protocol: 0,
        },
        flaw: Reason::MALFORMED,
        transport: 0,
        opens: false,
    };
    // SAFETY: the caller's.
    let ports_from = unsafe {
        match kernel::packet_bytes::<1>(skb, 0) {
            Some([first]) if first >> 4 == 4 => read_v4(skb, &mut head),
            Some([first]) if first >> 4 == 6 => read_v6(skb, &mut head),
            _ => 0,
        }
    };
    head.transport = ports_from;
    if head.flaw == NO_FLAW {
        // SAFETY: the caller's.
        unsafe { read_ports(skb, ports_from, &mut head) };
    }
    if hook == Hook::INGRESS {
        let ends = &mut head.ends;
        core::mem::swap(&mut ends.near, &mut ends.far);
        core::mem::swap(&mut ends.near_port, &mut ends.far_port);
    }
    head
}

/// Fills in an IPv4 header as if sent by the job; returns where the ports are.
///
/// # Safety
/// As [`read_head`].
#[inline(always)]
unsafe fn read_v4(skb: *mut __sk_buff, head: &mut Head) -> u32 {
    // SAFETY: the caller's.
    let Some(ip) = (unsafe { kernel::packet_bytes::<20>(skb, 0) }) else {
        return 0;
    };
    head.ends.near = Address::from_v4([ip[12], ip[13], ip[14], ip[15]]);
    head.ends.far = Address::from_v4([ip[16], ip[17], ip[18], ip[19]]);
    head.ends.protocol = ip[9];
    // The kernel fragments after this hook: a fragment here was made by hand.
    let fragment = u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff != 0;
    head.flaw = if ip[0] & 0x0f != 5 {
        Reason::IP_OPTIONS
    } else if fragment {
        Reason::EXTENSION_HEADER
    } else {
        NO_FLAW
    };
    20
}

/// The same for an IPv6 header.
///
/// # Safety
/// As [`read_head`].
#[inline(always)]
unsafe fn read_v6(skb: *mut __sk_buff, head: &mut Head) -> u32 {
    // SAFETY: the caller's.
    let read = unsafe {
        (
            kernel::packet_bytes::<1>(skb, 6),
            kernel::packet_address(skb, 8, &mut head.ends.near),
            kernel::packet_address(skb, 24, &mut head.ends.far),
        )
    };
    let (Some([next]), true, true) = read else {
        return 0;
    };
    head.ends.protocol = next;
    // Hop-by-hop, routing, fragment, ESP, AH, destination options, mobility, HIP, shim6: each can
    // hide or change where the packet goes.
    head.flaw = if matches!(next, 0 | 43 | 44 | 50 | 51 | 60 | 135 | 139 | 140) {
        Reason::EXTENSION_HEADER
    } else {
        NO_FLAW
    };
    40
}

/// TCP and UDP have their ports first; nothing else leaves a job.
///
/// # Safety
/// As [`read_head`].
#[inline(always)]
unsafe fn read_ports(skb: *mut __sk_buff, from: u32, head: &mut Head) {
    if head.ends.protocol != TCP && head.ends.protocol != UDP {
        head.flaw = Reason::IP_PROTOCOL;
        return;
    }
    // SAFETY: the caller's.
    match unsafe { kernel::packet_bytes::<4>(skb, from) } {
        Some([a, b, c, d]) => {
            head.ends.near_port = u16::from_be_bytes([a, b]);
            head.ends.far_port = u16::from_be_bytes([c, d]);
        }
        None => head.flaw = Reason::MALFORMED,
    }
    if head.ends.protocol == TCP {
        // SAFETY: the caller's.
        match unsafe { kernel::packet_bytes::<1>(skb, from + TCP_FLAGS) } {
            Some([flags]) => head.opens = flags & TCP_SYN != 0,
            None => head.flaw = Reason::MALFORMED,
        }
    }
}
