//! From a hook's facts to a verdict that is counted, recorded and returned.

use core::ffi::c_void;

use aya_ebpf::bindings::BPF_RB_FORCE_WAKEUP;
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::helpers::generated as helper;
use cordon_ebpf::abi::address::Address;
use cordon_ebpf::abi::flow::{FlowCounters, FlowKey};
use cordon_ebpf::abi::job::{Job, SocketRole};
use cordon_ebpf::abi::record::{
    Call, CallRefused, Connection, Hook, RecordHeader, RecordKind, SocketRefused, Unserved,
};
use cordon_ebpf::abi::ruleset::{Grants, HeldKey, ResolverKey, RuleIndex};
use cordon_ebpf::abi::verdict::{Reason, Verdict};
use cordon_ebpf::decide::{Decision, Destination, Listener, Tables, decide};

use crate::kernel::{self, Ends};
use crate::maps::{
    Cell, FLOWS, HELD, JOBS, LEASES, LOSSES, NETS, RECORDS, RESOLVERS, UNSERVED, UNSWEPT,
};
use crate::programs::process::OFFSET_TASK_TGID;

/// What a program returns to let pass.
pub(crate) const PASS: i32 = 1;
/// What a program returns to refuse: `EPERM` for the caller, silence on the wire.
pub(crate) const REFUSE: i32 = 0;

/// The kernel's maps of one job.
pub(crate) struct Maps {
    pub(crate) job: u64,
}

impl Tables for Maps {
    #[inline(always)]
    fn lease(&self, address: &Address) -> Option<&Grants> {
        // SAFETY: the agent replaces entries whole; an entry is freed only after a grace period.
        unsafe { LEASES.get_value(&self.job, address).map(grants) }
    }

    #[inline(always)]
    fn net(&self, address: &Address) -> Option<&Grants> {
        // SAFETY: as above.
        unsafe { NETS.get(&self.job) }?
            .get(&Key::new(128, address.0))
            .map(grants)
    }

    #[inline(always)]
    fn held(&self, address: &Address, rule: RuleIndex) -> Option<&Grants> {
        let key = HeldKey {
            address: *address,
            rule,
            reserved: 0,
        };
        // SAFETY: as above.
        unsafe { HELD.get_value(&self.job, &key).map(grants) }
    }
}

/// The grants in a map's value.
#[inline(always)]
fn grants(cell: &Cell<Grants>) -> &Grants {
    // SAFETY: the same size, words aligned as words, and every bit pattern is a `Grants`.
    unsafe { &*core::ptr::from_ref(cell).cast() }
}

/// The job of this id, if there is one in force.
#[inline(always)]
pub(crate) fn job(id: u64) -> Option<Job> {
    // SAFETY: copied at once; the agent only inserts and removes.
    unsafe { JOBS.get(id) }.copied()
}

/// The process on whose CPU the program runs: for what is sent by a call, the sender. Packet hooks of 6.1
/// have no helper that tells.
#[inline(always)]
fn running() -> Option<u32> {
    let mut tgid = 0u32;
    // SAFETY: the helper gives the running task, and the other one fails on what it cannot read.
    let failed = unsafe {
        let task = helper::bpf_get_current_task() + OFFSET_TASK_TGID.load();
        helper::bpf_probe_read_kernel((&raw mut tgid).cast(), 4, task as *const c_void)
    };
    if failed == 0 { Some(tgid) } else { None }
}

/// What [`closed`] and [`barred`] say where nothing is.
pub(crate) const NOT_BARRED: Reason = Reason(0);

/// Why nothing of a job may pass at all, if that is so.
#[inline(always)]
pub(crate) fn closed(job: &Job) -> Reason {
    if job.closed == 0 {
        NOT_BARRED
    } else {
        Reason::CLOSED
    }
}

/// Why nothing that the running process sends may leave, if that is so.
#[inline(always)]
pub(crate) fn barred(job: &Job) -> Reason {
    if job.closed != 0 || job.hold == 0 {
        return closed(job);
    }
    match running() {
        // SAFETY: only looked for.
        Some(tgid) if unsafe { UNSWEPT.get(tgid) }.is_none() => NOT_BARRED,
        _ => Reason::NOT_SWEPT,
    }
}

/// Decides where `ends` lead.
///
/// # Safety
/// `ctx` is the context of a `cgroup_skb` or `cgroup_sock_addr` program.
#[inline(always)]
pub(crate) unsafe fn judge(ctx: *mut c_void, id: u64, job: &Job, ends: &Ends) -> Decision {
    let listener = if ends.far.is_loopback() {
        // SAFETY: the caller's.
        match unsafe { kernel::socket_at(ctx, ends) } {
            (owner, SocketRole::RESOLVER) if owner == id => Listener::Resolver,
            (owner, _) if owner == id => Listener::Own,
            _ => Listener::Foreign,
        }
    } else {
        Listener::Foreign
    };
    let to = Destination {
        address: ends.far,
        port: ends.far_port,
        protocol: ends.protocol,
        listener,
    };
    let decision = decide(&Maps { job: id }, &to, kernel::now());
    // The job's entry says so before its tables do, which are several.
    if job.withdrew(decision.rule) {
        Decision::without_rule(Reason::WITHDRAWN)
    } else {
        decision
    }
}

/// What one event adds to its flow.
pub(crate) struct Event {
    /// 1 for a connect or send that was judged.
    pub(crate) attempts: u64,
    /// Bytes of the packet out, 0 if it is none.
    pub(crate) bytes_out: u64,
    /// Bytes of the packet in, 0 if it is none.
    pub(crate) bytes_in: u64,
    /// Process behind it, 0 if not known.
    pub(crate) tgid: u32,
}

/// Counts a packet of a flow whose attempt was judged before.
#[inline(always)]
pub(crate) fn count_packet(job: u64, key: &FlowKey, event: &Event) {
    // Its verdict was counted, and recorded, with the attempt.
    let _news = itemise(job, key, event);
}

/// Counts an event exactly. Returns whether it is worth a record: the first of its flow, or one of
/// another process than the last.
#[inline(always)]
pub(crate) fn count(job: u64, key: &FlowKey, event: &Event) -> bool {
    if key.verdict != Verdict::ALLOW {
        count_loss(job, |losses| &mut losses.denied);
    }
    itemise(job, key, event)
}

/// Adds an event to its line in the flow table, making the line where there is none.
#[inline(always)]
fn itemise(job: u64, key: &FlowKey, event: &Event) -> bool {
    // SAFETY: see `Tables for Maps`.
    let Some(flows) = (unsafe { FLOWS.get(&job) }) else {
        return true;
    };
    let mut news = false;
    let mut line = flows.get_ptr_mut(key);
    if line.is_none() {
        // Made empty and never over an existing line: another CPU may have been first.
        const NOEXIST: u64 = 1;
        #[expect(
            clippy::needless_borrows_for_generic_args,
            reason = "by value it is copied to the stack, which has no room for it"
        )]
        let made = flows.insert(key, &EMPTY, NOEXIST);
        news = made.is_ok();
        line = flows.get_ptr_mut(key);
    }
    let Some(line) = line else {
        count_loss(job, |losses| &mut losses.flows);
        return true;
    };
    // SAFETY: a live map value. What is counted is added atomically; times and process may race
    // and are for display.
    let line = unsafe { &mut *line.cast::<FlowCounters>() };
    kernel::add(&mut line.attempts, event.attempts);
    if event.bytes_out != 0 {
        kernel::add(&mut line.packets_out, 1);
        kernel::add(&mut line.bytes_out, event.bytes_out);
    }
    if event.bytes_in != 0 {
        kernel::add(&mut line.packets_in, 1);
        kernel::add(&mut line.bytes_in, event.bytes_in);
    }
    line.last = kernel::now();
    if line.first == 0 {
        line.first = line.last;
    }
    let other = event.tgid != 0 && line.tgid != event.tgid;
    if other {
        line.tgid = event.tgid;
    }
    news || other
}

/// A new line of the flow table. In read-only data, because the stack of a program is small.
static EMPTY: Cell<FlowCounters> = [0; size_of::<FlowCounters>() / 8];

/// Adds one to a loss counter of the job.
#[inline(always)]
pub(crate) fn count_loss(
    job: u64,
    which: impl FnOnce(&mut cordon_ebpf::abi::job::Losses) -> &mut u64,
) {
    if let Some(losses) = LOSSES.get_ptr_mut(job) {
        // SAFETY: a live map value, added to atomically.
        kernel::add(which(unsafe { &mut *losses }), 1);
    }
}

/// When the agent is to look at a record.
#[derive(Clone, Copy)]
pub(crate) enum Wake {
    /// When it looks at those before it: it is woken if it has seen all of them.
    InTurn,
    /// Now: somebody waits for what it will do.
    Now,
}

impl Wake {
    const fn flags(self) -> u64 {
        match self {
            Self::InTurn => 0,
            Self::Now => BPF_RB_FORCE_WAKEUP as u64,
        }
    }
}

/// Sends a record to the job's ring, or counts it as lost. Written straight into the ring, whole.
#[inline(always)]
pub(crate) fn send<T>(job: u64, record: impl FnOnce() -> T) {
    // SAFETY: the slot has room for one T, aligned to 8.
    send_with(job, Wake::InTurn, |slot: *mut T| unsafe {
        slot.write(record());
    });
}

/// Sends a record that is written in the ring, field by field, because the stack has no room for it.
/// `write` writes all of it.
#[inline(always)]
pub(crate) fn send_with<T>(job: u64, wake: Wake, write: impl FnOnce(*mut T)) {
    // SAFETY: see `Tables for Maps`; the ring gives room for one T, aligned to 8, or nothing.
    unsafe {
        let Some(ring) = RECORDS.get(&job) else {
            return count_loss(job, |losses| &mut losses.records);
        };
        let ring = core::ptr::from_ref(ring).cast_mut().cast();
        let slot = helper::bpf_ringbuf_reserve(ring, size_of::<T>() as u64, 0).cast::<T>();
        if slot.is_null() {
            return count_loss(job, |losses| &mut losses.records);
        }
        write(slot);
        helper::bpf_ringbuf_submit(slot.cast(), wake.flags());
    }
}

/// Sends a record that is too large for the stack and lies in a map.
#[inline(always)]
pub(crate) fn send_copy<T>(job: u64, wake: Wake, record: &T) {
    // SAFETY: see `Tables for Maps`; the ring copies `size_of::<T>()` initialised bytes.
    unsafe {
        let sent = match RECORDS.get(&job) {
            Some(ring) => helper::bpf_ringbuf_output(
                core::ptr::from_ref(ring).cast_mut().cast(),
                core::ptr::from_ref(record).cast_mut().cast(),
                size_of::<T>() as u64,
                wake.flags(),
            ),
            None => -1,
        };
        if sent != 0 {
            count_loss(job, |losses| &mut losses.records);
        }
    }
}

/// How often the agent is told of one namespace: longer than it takes to serve it, shorter than a
/// program waits before it asks again.
const TELL_AGAIN_NS: u64 = 100_000_000;

/// Tells the agent that a job is in a network namespace where its DNS has nowhere to go. Until somebody
/// serves it there, it is denied.
#[inline(always)]
pub(crate) fn need_resolver(job: u64, netns: u64) {
    let key = ResolverKey { job, netns };
    // SAFETY: only asked whether it is there.
    if unsafe { RESOLVERS.get(key) }.is_some() {
        return;
    }
    let now = kernel::now();
    // SAFETY: copied at once.
    let told = unsafe { UNSERVED.get(key) }.copied();
    if told.is_some_and(|told| now.wrapping_sub(told) < TELL_AGAIN_NS) {
        return;
    }
    // Not noted, it is told once more.
    let _noted = UNSERVED.insert(key, now, 0);
    let header = RecordHeader::new(RecordKind::UNSERVED, now, job, kernel::pid_tgid());
    // SAFETY: as in `send`.
    send_with(job, Wake::Now, |slot: *mut Unserved| unsafe {
        slot.write(Unserved { header, netns });
    });
}

/// Who the caller of a socket call is.
pub(crate) struct Caller {
    /// Process and thread.
    pub(crate) pid_tgid: u64,
    /// Real user id.
    pub(crate) uid: u32,
    /// Thread name.
    pub(crate) comm: [u8; 16],
}

impl Caller {
    /// The running task.
    #[inline(always)]
    pub(crate) fn current() -> Self {
        Self {
            pid_tgid: kernel::pid_tgid(),
            uid: kernel::uid(),
            comm: kernel::comm(),
        }
    }

    /// On the wire, where the running task may be anybody: what the socket remembers.
    #[inline(always)]
    pub(crate) fn remembered(tgid: u32) -> Self {
        let pid_tgid = u64::from(tgid) << 32;
        Self {
            pid_tgid,
            uid: u32::MAX,
            comm: u128::to_ne_bytes(0),
        }
    }
}

/// Counts a judged event, and records it if it is a denial or new.
#[inline(always)]
pub(crate) fn settle(job: u64, key: &FlowKey, event: &Event, hook: Hook, caller: &Caller) {
    let news = count(job, key, event);
    if !news && key.verdict == Verdict::ALLOW {
        return;
    }
    send(job, || Connection {
        header: RecordHeader::new(RecordKind::CONNECTION, kernel::now(), job, caller.pid_tgid),
        address: key.address,
        port: key.port,
        protocol: key.protocol,
        verdict: key.verdict,
        reason: key.reason,
        hook,
        rule: key.rule,
        uid: caller.uid,
        reserved: 0,
        comm: caller.comm,
    });
}

/// Refuses to make a socket of a family, type and protocol: counts it, records it, and returns the
/// verdict, which in audit mode lets pass.
#[inline(always)]
pub(crate) fn refuse_socket(
    id: u64,
    job: &Job,
    reason: Reason,
    [family, kind, protocol]: [u32; 3],
) -> Verdict {
    let caller = Caller::current();
    let verdict = job.mode.verdict(reason);
    count_loss(id, |losses| &mut losses.denied);
    let header = RecordHeader::new(
        RecordKind::SOCKET_REFUSED,
        kernel::now(),
        id,
        caller.pid_tgid,
    );
    send(id, || SocketRefused {
        header,
        family,
        kind,
        protocol,
        uid: caller.uid,
        verdict,
        reason,
        reserved: 0,
        reserved2: 0,
        comm: caller.comm,
    });
    verdict
}

/// Refuses a call that is about no destination: counts it, records it, and returns the verdict, which
/// in audit mode lets pass.
#[inline(always)]
pub(crate) fn refuse_call(
    id: u64,
    job: &Job,
    call: Call,
    reason: Reason,
    arguments: [u64; 2],
) -> Verdict {
    let caller = Caller::current();
    let verdict = job.mode.verdict(reason);
    count_loss(id, |losses| &mut losses.denied);
    send(id, || CallRefused {
        header: RecordHeader::new(RecordKind::CALL_REFUSED, kernel::now(), id, caller.pid_tgid),
        call,
        verdict,
        reason,
        reserved: 0,
        uid: caller.uid,
        arguments,
        comm: caller.comm,
    });
    verdict
}

/// What the program returns for a verdict. Anything but a known pass refuses.
#[inline(always)]
pub(crate) fn answer(verdict: Verdict) -> i32 {
    match verdict {
        Verdict::ALLOW | Verdict::WOULD_DENY => PASS,
        _ => REFUSE,
    }
}
