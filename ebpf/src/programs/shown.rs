//! Names that connections show: read on the way out, before the data that shows them has left.
//!
//! *Hook*: `cgroup_skb` egress, attached before `egress`. *Minimum kernel*: 5.17 (`bpf_loop`). *Return
//! values*: always 1; `egress` lets nothing pass that was not read here, so that without this program
//! nothing leaves. *What it cannot see*: what is inside of TLS.

use core::ffi::c_void;

use aya_ebpf::Global;
use aya_ebpf::bindings::{__sk_buff, BPF_SK_STORAGE_GET_F_CREATE};
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;
use cordon_ebpf::abi::TCP;
use cordon_ebpf::abi::address::Address;
use cordon_ebpf::abi::flow::FlowKey;
use cordon_ebpf::abi::job::{Cursor, PeerState, Socket, Stream, WINDOW_BYTES};
use cordon_ebpf::abi::record::{NAME_BYTES, NameRefused, RecordHeader, RecordKind};
use cordon_ebpf::abi::ruleset::NO_RULE;
use cordon_ebpf::abi::verdict::{Reason, Verdict};
use cordon_ebpf::decide::{Destination, Listener, allows_name};
use cordon_ebpf::shown::name::{End, KEY_BYTES, NAME_MAX, NameRule, NameRules, RULES_MAX};
use cordon_ebpf::shown::{Protocol, Step, Verify};

use crate::judge::{self, Event, Maps, PASS, Wake};
use crate::kernel::{self, masked};
use crate::maps::{NAMES, STREAMS};
use crate::programs::connect::seal;

/// Offset of `sk_buff.head`, set by the loader from the kernel's BTF.
#[unsafe(no_mangle)]
static OFFSET_SKB_HEAD: Global<u64> = Global::new(0);
/// Offset of `sk_buff.end`.
#[unsafe(no_mangle)]
static OFFSET_SKB_END: Global<u64> = Global::new(0);
/// Offset of `skb_shared_info.flags`.
#[unsafe(no_mangle)]
static OFFSET_SHARED_INFO_FLAGS: Global<u64> = Global::new(0);

/// `SKBFL_*`: zero copy in any form, and fragments that somebody else can write to. All bits there
/// are: a new one means memory of a kind that is not known here.
const NOT_PRIVATE: u8 = 0xff;

const TCP_SYN: u8 = 0x02;
const TCP_URG: u8 = 0x20;
/// TCP's own header without options.
const TCP_HEADER: u32 = 20;
/// TCP options: the end of them, padding, multipath TCP (RFC 8684).
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const MULTIPATH: u8 = 30;
/// Subtype: one more subflow of a connection that is there.
const MP_JOIN: u8 = 1;
/// As many options as fit, each of two bytes.
const OPTIONS_MAX: u32 = 20;

/// The TCP header of a packet.
pub(crate) struct Segment {
    /// Where the header is in the packet.
    at: u32,
    /// Where the data is.
    from: u32,
    /// Length of the packet.
    end: u32,
    /// Sequence number of the first byte of data.
    sequence: u32,
    /// Port it comes from, host byte order.
    near_port: u16,
    /// `SYN` and so on.
    flags: u8,
}

impl Segment {
    /// Reads the header of a TCP packet.
    ///
    /// # Safety
    /// `skb` is the context of a `cgroup_skb` program.
    #[inline(always)]
    unsafe fn of(skb: *mut __sk_buff) -> Option<Self> {
        // SAFETY: the caller's. `egress` refuses what has other headers in between.
        unsafe {
            let [first] = kernel::packet_bytes::<1>(skb, 0)?;
            let (at, length) = if first >> 4 == 4 { (9, 20) } else { (6, 40) };
            let [protocol] = kernel::packet_bytes::<1>(skb, at)?;
            if protocol == TCP {
                Self::read(skb, length)
            } else {
                None
            }
        }
    }

    /// Reads the header that begins at `at`.
    ///
    /// # Safety
    /// `skb` is the context of a `cgroup_skb` program.
    #[inline(always)]
    pub(crate) unsafe fn read(skb: *mut __sk_buff, at: u32) -> Option<Self> {
        // SAFETY: the caller's.
        let [near, port, _, _, a, b, c, d, _, _, _, _, size, flags] =
            unsafe { kernel::packet_bytes::<14>(skb, at) }?;
        let opens = u32::from(flags & TCP_SYN != 0);
        Some(Self {
            at,
            from: at + u32::from(size >> 4) * 4,
            // SAFETY: a word of a live context.
            end: unsafe { (*skb).len },
            sequence: u32::from_be_bytes([a, b, c, d]).wrapping_add(opens),
            near_port: u16::from_be_bytes([near, port]),
            flags,
        })
    }

    /// Bytes of data.
    #[inline(always)]
    pub(crate) fn data(&self) -> u32 {
        self.end.saturating_sub(self.from)
    }

    #[inline(always)]
    fn opens(&self) -> bool {
        self.flags & TCP_SYN != 0
    }
}

/// Bytes of data of the TCP packet whose header begins at `at`; all of it, where there is no whole header.
///
/// # Safety
/// `skb` is the context of a `cgroup_skb` program.
#[inline(always)]
pub(crate) unsafe fn data_from(skb: *mut __sk_buff, at: u32) -> u32 {
    // SAFETY: the caller's.
    let end = unsafe { (*skb).len };
    // SAFETY: as above.
    match unsafe { kernel::packet_bytes::<1>(skb, at + 12) } {
        Some([size]) => end.saturating_sub(at + u32::from(size >> 4) * 4),
        None => u32::MAX,
    }
}

#[cgroup_skb(egress)]
pub(crate) fn names(ctx: SkBuffContext) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: the context of a `cgroup_skb` program.
    let Some(sk) = (unsafe { kernel::full_socket(skb) }) else {
        return PASS;
    };
    // SAFETY: a full socket the context holds.
    let Some(socket) = (unsafe { kernel::socket_storage(sk, false) }) else {
        return PASS;
    };
    if socket.verify == Verify::NONE || kernel::kept_state(socket) != PeerState::READ {
        return PASS;
    }
    // SAFETY: the context of a `cgroup_skb` program.
    let Some(segment) = (unsafe { Segment::of(skb) }) else {
        return PASS;
    };
    let Some(job) = judge::job(socket.job) else {
        return PASS;
    };
    // SAFETY: the context, and its full socket.
    let shown = unsafe {
        let opened = if segment.opens() {
            open(skb, sk, &segment, socket.verify)
        } else {
            NOT_REFUSED
        };
        if opened == NOT_REFUSED {
            read(skb, sk, socket, &segment)
        } else {
            Shown::refuse(opened)
        }
    };
    if shown.refused == NOT_REFUSED && !shown.done {
        return PASS;
    }
    let state = if shown.done {
        PeerState::ALLOWED
    } else {
        let verdict = job.mode.verdict(shown.refused);
        // SAFETY: as above.
        unsafe {
            let near = (kernel::packet_source(skb), segment.near_port);
            refuse(skb, sk, socket, near, verdict, shown.refused);
        }
        socket.reason = shown.refused;
        if verdict == Verdict::DENY {
            PeerState::REFUSED
        } else {
            socket.rule = NO_RULE;
            PeerState::AUDITED
        }
    };
    let (peer, port, protocol) = (socket.peer, socket.peer_port, socket.protocol);
    seal(socket, &peer, port, protocol, state);
    // SAFETY: as above; what was kept is not used again.
    unsafe { forget(sk) };
    PASS
}

/// No reason.
const NOT_REFUSED: Reason = Reason(0);

/// What a packet of a connection whose names are read leads to.
// No enum with values inside: the verifier does not know that only one of them is read.
struct Shown {
    /// Why it must not leave; [`NOT_REFUSED`] if it may.
    refused: Reason,
    /// Nothing that follows can show another name.
    done: bool,
}

impl Shown {
    const PASS: Self = Self {
        refused: NOT_REFUSED,
        done: false,
    };
    const DONE: Self = Self {
        done: true,
        ..Self::PASS
    };

    #[inline(always)]
    const fn refuse(refused: Reason) -> Self {
        Self {
            refused,
            done: false,
        }
    }
}

/// Begins the reading of a connection with its first packet. Returns why that must not leave, or
/// nothing.
///
/// # Safety
/// `skb` is the context of a `cgroup_skb` program, and `sk` its full socket.
#[inline(always)]
pub(crate) unsafe fn open(
    skb: *mut __sk_buff,
    sk: *mut c_void,
    segment: &Segment,
    verify: Verify,
) -> Reason {
    // SAFETY: the caller's; only packets of this socket change its entry, one at a time.
    unsafe {
        let Some(stream) = stream(sk, true) else {
            return Reason::NO_MEMORY;
        };
        let stream = &mut *stream;
        stream.begun = kernel::now();
        stream.next = segment.sequence;
        stream.reading.begin(verify);
        // One more way for a connection whose name was shown elsewhere.
        if joins(skb, segment) {
            Reason::NOT_READABLE
        } else {
            NOT_REFUSED
        }
    }
}

/// Whether all data of a packet was read, or there is none.
///
/// # Safety
/// `sk` is a full socket the program holds.
#[inline(always)]
pub(crate) unsafe fn was_read(sk: *mut c_void, segment: &Segment) -> bool {
    let data = segment.data();
    // SAFETY: the caller's.
    let Some(stream) = (unsafe { stream(sk, false) }) else {
        return data == 0 && !segment.opens();
    };
    let end = segment.sequence.wrapping_add(data);
    // SAFETY: a live entry.
    data == 0 || unsafe { (*stream).next }.wrapping_sub(end) >> 31 == 0
}

/// Reads a packet.
///
/// # Safety
/// `skb` is the context of a `cgroup_skb` program, and `sk` its full socket.
#[inline(always)]
unsafe fn read(
    skb: *mut __sk_buff,
    sk: *mut c_void,
    socket: &mut Socket,
    segment: &Segment,
) -> Shown {
    let data = segment.data();
    if data == 0 {
        return Shown::PASS;
    }
    // SAFETY: the caller's.
    let Some(stream) = (unsafe { stream(sk, false) }) else {
        // Its beginning was not seen.
        return Shown::refuse(Reason::NOT_READABLE);
    };
    // Urgent data is read in another place, or not at all.
    if segment.flags & TCP_URG != 0 {
        return Shown::refuse(Reason::NOT_READABLE);
    }
    // SAFETY: a live entry, which only packets of this socket change, one at a time.
    let (next, skippable) = unsafe { ((*stream).next, (*stream).reading.skippable()) };
    let known = next.wrapping_sub(segment.sequence);
    if known >> 31 != 0 {
        // A hole; the kernel sends in order.
        return Shown::refuse(Reason::NOT_READABLE);
    }
    if known >= data {
        // Sent again, from memory nobody could write to: it is what was read.
        return Shown::PASS;
    }
    // A body may come from anywhere: nothing of it is read, then or when it is sent again.
    // SAFETY: the caller's.
    if u64::from(data - known) > skippable && !unsafe { is_private(skb) } {
        return Shown::refuse(Reason::SHARED_MEMORY);
    }
    let mut walk = Walk {
        skb,
        stream,
        socket: core::ptr::from_mut(socket),
    };
    // Each byte takes a turn, each window one more.
    let turns = (data - known) * 2 + 2;
    // SAFETY: `turn` is a callback as the helper wants it, and `walk` is live while it runs; the entry
    // as above.
    unsafe {
        let stream = &mut *stream;
        stream.cursor.position = segment.from + known;
        stream.cursor.end = segment.end;
        stream.cursor.filled = 0;
        stream.cursor.step = Step::MORE;
        stream.cursor.refused = NOT_REFUSED;
        let context = (&raw mut walk).cast();
        helper::bpf_loop(turns, turn as *mut c_void, context, 0);
        stream.next = segment.sequence.wrapping_add(data);
        let cursor = &stream.cursor;
        let whole = cursor.position >= cursor.end;
        if cursor.refused != NOT_REFUSED {
            return Shown::refuse(cursor.refused);
        }
        match cursor.step {
            Step::MORE if whole => Shown::PASS,
            Step::DONE => Shown::DONE,
            Step::NO_NAME => Shown::refuse(Reason::NO_NAME),
            Step::TOO_LONG => Shown::refuse(Reason::NAME_TOO_LATE),
            _ => Shown::refuse(Reason::NOT_READABLE),
        }
    }
}

/// What a packet's data is walked through with. Nothing in it changes on the way.
#[repr(C)]
struct Walk {
    skb: *mut __sk_buff,
    stream: *mut Stream,
    socket: *mut Socket,
}

const GO_ON: i64 = 0;
const STOP: i64 = 1;

/// One turn: passes over what is of no interest, fills the window, or takes a byte.
extern "C" fn turn(_index: u32, walk: *mut c_void) -> i64 {
    // SAFETY: the helper hands over what `read` gave it; the entries live as long as the socket of
    // the packet.
    unsafe {
        let walk = &mut *walk.cast::<Walk>();
        let stream = &mut *walk.stream;
        let cursor = &mut stream.cursor;
        let (position, end) = (cursor.position, cursor.end);
        if position >= end {
            return STOP;
        }
        let left = end - position;
        let skip = stream.reading.skippable();
        if skip > 0 {
            let bytes = if skip > u64::from(left) {
                left
            } else {
                skip as u32
            };
            cursor.position = position + bytes;
            return go_on(cursor, stream.reading.pass_over(u64::from(bytes)));
        }
        let offset = position.wrapping_sub(cursor.window);
        if offset >= cursor.filled {
            return fill(walk.skb, stream, left);
        }
        let offset = masked(u64::from(offset), WINDOW_BYTES as u64 - 1) as usize;
        let byte = stream.window.as_ptr().add(offset).read_volatile();
        cursor.position = position + 1;
        let step = stream.reading.advance(byte);
        if step.0 == Step::NAME.0 {
            return look_up(walk.socket, stream);
        }
        go_on(cursor, step)
    }
}

/// Keeps what a byte led to; whether that ends the walk.
#[inline(always)]
fn go_on(cursor: &mut Cursor, step: Step) -> i64 {
    cursor.step = step;
    if step.0 == Step::MORE.0 { GO_ON } else { STOP }
}

/// Fills the window with the next bytes of the packet.
///
/// # Safety
/// `skb` is the context of a `cgroup_skb` program.
#[inline(always)]
unsafe fn fill(skb: *mut __sk_buff, stream: &mut Stream, left: u32) -> i64 {
    let most = WINDOW_BYTES as u64;
    // Never a read of no bytes, and never more than there is room for, in a way the verifier sees.
    let wanted = u64::from(left.min(WINDOW_BYTES as u32)).wrapping_sub(1);
    let bytes = (masked(wanted, most - 1) + 1) as u32;
    let to = stream.window.as_mut_ptr().cast();
    let position = stream.cursor.position;
    // SAFETY: the caller's; the helper writes `bytes` bytes or fails.
    if unsafe { helper::bpf_skb_load_bytes(skb.cast(), position, to, bytes) } != 0 {
        return go_on(&mut stream.cursor, Step::UNREADABLE);
    }
    stream.cursor.window = position;
    stream.cursor.filled = bytes;
    GO_ON
}

/// Judges the name that has been read.
#[inline(always)]
fn look_up(socket: *mut Socket, stream: &mut Stream) -> i64 {
    write_key(stream);
    // SAFETY: a live entry. The agent only inserts into maps; an entry is freed only after a grace period.
    let names = unsafe { NAMES.get(&(*socket).job) };
    let rules: *const NameRules = match names {
        Some(names) => {
            let map = core::ptr::from_ref(names).cast_mut().cast();
            let key = (&raw mut stream.key_bits).cast();
            // SAFETY: the key is the bits and then the data, as the trie has it; a value is a
            // `NameRules`.
            unsafe { helper::bpf_map_lookup_elem(map, key).cast_const().cast() }
        }
        None => core::ptr::null(),
    };
    stream.cursor.refused = Reason::NAME_NOT_ALLOWED;
    if rules.is_null() {
        return STOP;
    }
    let mut tries = Tries {
        rules,
        socket,
        stream,
    };
    // A loop of the kernel's: the verifier follows it once and not for every rule.
    // SAFETY: `try_rule` is a callback as the helper wants it, and `tries` is live while it runs.
    unsafe {
        let context = (&raw mut tries).cast();
        helper::bpf_loop(RULES_MAX as u32, try_rule as *mut c_void, context, 0);
    }
    if stream.cursor.refused == NOT_REFUSED {
        return go_on(&mut stream.cursor, Step::MORE);
    }
    STOP
}

/// What the rules of a name are tried with.
#[repr(C)]
struct Tries {
    rules: *const NameRules,
    socket: *mut Socket,
    stream: *mut Stream,
}

/// Tries one rule; stops at the first that allows.
extern "C" fn try_rule(index: u32, tries: *mut c_void) -> i64 {
    // SAFETY: the helper hands over what `look_up` gave it; the entries are live.
    unsafe {
        let tries = &mut *tries.cast::<Tries>();
        let (socket, stream) = (&mut *tries.socket, &mut *tries.stream);
        if index >= (*tries.rules).len {
            return STOP;
        }
        let at = masked(u64::from(index), RULES_MAX as u64 - 1) as usize;
        let first = (&raw const (*tries.rules).rules).cast::<NameRule>();
        let rule = first.add(at).read();
        let kind = if stream.reading.protocol.0 == Protocol::TLS.0 {
            Verify::TLS
        } else {
            Verify::HTTP
        };
        let to = Destination {
            address: socket.peer,
            port: socket.peer_port,
            protocol: socket.protocol,
            listener: Listener::Foreign,
        };
        let tables = Maps { job: socket.job };
        let labels = stream.reading.name.labels;
        if !allows_name(&tables, rule, labels, &to, kind, stream.begun) {
            return GO_ON;
        }
        socket.rule = rule.rule;
        stream.cursor.refused = NOT_REFUSED;
        STOP
    }
}

/// Writes the name backwards, and what ends it.
#[inline(always)]
fn write_key(stream: &mut Stream) {
    let name = &stream.reading.name;
    let len = u32::from(name.len);
    let (from, to) = (name.bytes.as_ptr(), stream.key.as_mut_ptr());
    for index in 0..u32::from(NAME_MAX) {
        if index >= len {
            break;
        }
        let last = masked(u64::from(len - 1 - index), KEY_BYTES as u64 - 1) as usize;
        let at = masked(u64::from(index), KEY_BYTES as u64 - 1) as usize;
        // SAFETY: both are inside of their 256 bytes.
        unsafe { to.add(at).write_volatile(from.add(last).read_volatile()) };
    }
    // Read again: after the loop the verifier knows the length, and would follow each one apart.
    // SAFETY: a live byte.
    let len = u32::from(unsafe { (&raw const stream.reading.name.len).read_volatile() });
    let end = masked(u64::from(len), KEY_BYTES as u64 - 1) as usize;
    // SAFETY: as above.
    unsafe { to.add(end).write_volatile(End::Exact.byte()) };
    stream.key_bits = (len + 1) * 8;
}

/// What is kept of a socket's connection; `create` makes a zeroed entry where there is none.
///
/// # Safety
/// `sk` is a full socket the program holds.
#[inline(always)]
unsafe fn stream(sk: *mut c_void, create: bool) -> Option<*mut Stream> {
    let flags = if create {
        u64::from(BPF_SK_STORAGE_GET_F_CREATE)
    } else {
        0
    };
    // SAFETY: the caller's.
    let entry = unsafe {
        let map = (&raw const STREAMS).cast_mut().cast();
        helper::bpf_sk_storage_get(map, sk, core::ptr::null_mut(), flags).cast::<Stream>()
    };
    if entry.is_null() { None } else { Some(entry) }
}

/// Forgets what is kept of a socket's connection.
///
/// # Safety
/// As [`stream`].
#[inline(always)]
unsafe fn forget(sk: *mut c_void) {
    // SAFETY: the caller's. Not there is as good as removed.
    unsafe {
        let map = (&raw const STREAMS).cast_mut().cast();
        helper::bpf_sk_storage_delete(map, sk);
    }
}

/// Whether it is the first packet of one more subflow of a multipath connection.
///
/// # Safety
/// `skb` is the context of a `cgroup_skb` program.
#[inline(always)]
unsafe fn joins(skb: *mut __sk_buff, segment: &Segment) -> bool {
    let mut at = segment.at + TCP_HEADER;
    for _ in 0..OPTIONS_MAX {
        if at >= segment.from {
            return false;
        }
        // SAFETY: the caller's.
        let Some([kind]) = (unsafe { kernel::packet_bytes::<1>(skb, at) }) else {
            return true;
        };
        if kind == END_OF_OPTIONS {
            return false;
        }
        if kind == NO_OPERATION {
            at += 1;
            continue;
        }
        // SAFETY: the caller's.
        let Some([size]) = (unsafe { kernel::packet_bytes::<1>(skb, at + 1) }) else {
            return true;
        };
        if kind == MULTIPATH {
            // SAFETY: the caller's.
            let subtype = unsafe { kernel::packet_bytes::<1>(skb, at + 2) };
            return subtype.is_none_or(|[subtype]| subtype >> 4 == MP_JOIN);
        }
        if size < 2 {
            return true;
        }
        at += u32::from(size);
    }
    true
}

/// Whether all data of the packet is in memory of the kernel's own. What a sender can still write to
/// (`vmsplice`, `sendfile`, `MSG_ZEROCOPY`) could be another name when it is sent again.
///
/// # Safety
/// `skb` is the context of a `cgroup_skb` program.
#[inline(always)]
unsafe fn is_private(skb: *mut __sk_buff) -> bool {
    let (mut head, mut end, mut flags) = (0u64, 0u32, NOT_PRIVATE);
    // SAFETY: the context is the kernel's `sk_buff`; the helper fails on what it cannot read.
    let read = unsafe {
        let skb = skb.cast::<u8>();
        let at = skb.add(OFFSET_SKB_HEAD.load() as usize);
        let first = helper::bpf_probe_read_kernel((&raw mut head).cast(), 8, at.cast());
        let at = skb.add(OFFSET_SKB_END.load() as usize);
        let second = helper::bpf_probe_read_kernel((&raw mut end).cast(), 4, at.cast());
        let at = head + u64::from(end) + OFFSET_SHARED_INFO_FLAGS.load();
        let third = helper::bpf_probe_read_kernel((&raw mut flags).cast(), 1, at as *const c_void);
        first | second | third
    };
    read == 0 && flags & NOT_PRIVATE == 0
}

/// Counts and records a connection that is refused, or in audit mode would be, for the name it showed,
/// for showing none, or because the job gave up its rule. `near` is the socket's own end.
///
/// # Safety
/// `skb` is the context of a `cgroup_skb` program, and `sk` its full socket.
#[inline(always)]
pub(crate) unsafe fn refuse(
    skb: *mut __sk_buff,
    sk: *mut c_void,
    socket: &Socket,
    near: (Address, u16),
    verdict: Verdict,
    reason: Reason,
) {
    let id = socket.job;
    let key = FlowKey {
        address: socket.peer,
        port: socket.peer_port,
        protocol: socket.protocol,
        verdict,
        reason,
        reserved: [0; 7],
        rule: NO_RULE,
    };
    let event = Event {
        attempts: 1,
        // `egress` counts the packet.
        bytes_out: 0,
        bytes_in: 0,
        tgid: socket.tgid,
    };
    // Recorded in any case: the agent closes each of them.
    let _news = judge::count(id, &key, &event);
    let header = RecordHeader::new(
        RecordKind::NAME_REFUSED,
        kernel::now(),
        id,
        u64::from(socket.tgid) << 32,
    );
    // SAFETY: the caller's.
    let (cookie, stream) = unsafe {
        let cookie = helper::bpf_get_socket_cookie(skb.cast());
        (cookie, stream(sk, false))
    };
    judge::send_with(id, Wake::Now, |slot: *mut NameRefused| {
        // SAFETY: the slot is ours until it is submitted; every byte of it is written.
        unsafe {
            (&raw mut (*slot).header).write(header);
            (&raw mut (*slot).address).write(socket.peer);
            (&raw mut (*slot).near).write(near.0);
            (&raw mut (*slot).cookie).write(cookie);
            (&raw mut (*slot).port).write(socket.peer_port);
            (&raw mut (*slot).near_port).write(near.1);
            (&raw mut (*slot).protocol).write(socket.protocol);
            (&raw mut (*slot).verdict).write(verdict);
            (&raw mut (*slot).reason).write(reason);
            let name = (&raw mut (*slot).name).cast::<c_void>();
            let read = match stream {
                // Of anything else there is no whole name.
                Some(stream) if reason == Reason::NAME_NOT_ALLOWED => {
                    let from = (&raw const (*stream).reading.name.bytes).cast();
                    let read = helper::bpf_probe_read_kernel(name, NAME_BYTES as u32, from);
                    (&raw mut (*slot).name_len).write((*stream).reading.name.len);
                    read
                }
                _ => -1,
            };
            if read != 0 {
                (&raw mut (*slot).name_len).write(0);
                helper::bpf_probe_read_kernel(name, NAME_BYTES as u32, (&raw const NO_NAME).cast());
            }
        }
    });
}

/// What stands for a name that is not known.
static NO_NAME: [u8; NAME_BYTES] = [0; NAME_BYTES];
