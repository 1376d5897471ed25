//! What a process is started with, copied at exec; and the process stopped until it was looked at.
//!
//! *Where*: in `sched_process_exec`, after the new program's arguments and environment were put into
//! its memory and before its first instruction. *What it cannot see*: pages that are not resident
//! any more, more than [`SLOTS_PER_EXEC`] slots, and what finds no free slot; the capture says so, and
//! the agent reads `/proc`.

use core::arch::asm;
use core::ffi::c_void;

use aya_ebpf::Global;
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::programs::BtfTracePointContext;
use cordon_ebpf::abi::capture::{
    Capture, FREE, SLOT_BYTES, SLOTS, SLOTS_PER_EXEC, Slot, TAKEN, Unswept,
};

use crate::maps::{CAPTURES, CURSOR, UNSWEPT};
use crate::{judge, kernel};

/// Offset of `task_struct.mm`, set by the loader from the kernel's BTF.
#[unsafe(no_mangle)]
static OFFSET_TASK_MM: Global<u64> = Global::new(0);
/// Offset of `mm_struct.arg_start`.
#[unsafe(no_mangle)]
static OFFSET_MM_ARG_START: Global<u64> = Global::new(0);
/// Offset of `mm_struct.env_start`.
#[unsafe(no_mangle)]
static OFFSET_MM_ENV_START: Global<u64> = Global::new(0);
/// Offset of `mm_struct.env_end`.
#[unsafe(no_mangle)]
static OFFSET_MM_ENV_END: Global<u64> = Global::new(0);

/// Bytes that are read at once: a page that is not there fails its own part only.
const PAGE: u64 = 4096;
/// Slots that are looked at for free ones.
const LOOKS: u32 = 24;
const SIGSTOP: u32 = 19;

/// Stops the running process until the agent has swept what it was started with. Whether it will stop.
#[inline(always)]
pub(crate) fn hold(job: u64) -> bool {
    let tgid = (kernel::pid_tgid() >> 32) as u32;
    let unswept = Unswept {
        job,
        since: kernel::now(),
    };
    let noted = UNSWEPT.insert(tgid, unswept, 0).is_ok();
    // SAFETY: the helper takes a number; it returns to a process that has not run yet.
    let stops = unsafe { helper::bpf_send_signal(SIGSTOP) } == 0;
    if !(noted && stops) {
        judge::count_loss(job, |losses| &mut losses.unheld);
    }
    noted
}

/// Copies the running process' arguments and environment into slots of its job.
///
/// # Safety
/// `ctx` is that of `sched_process_exec`.
#[inline(always)]
pub(crate) unsafe fn copy(ctx: &BtfTracePointContext, job: u64, capture: &mut Capture) {
    *capture = Capture::default();
    let task: *const *const u8 = ctx.arg(0);
    // SAFETY: the verifier knows the argument as a task_struct and checks the loads against the
    // kernel's BTF; a process that executes has memory.
    let (arguments, environment, end) = unsafe {
        let mm = task
            .byte_add(OFFSET_TASK_MM.load() as usize)
            .read_volatile();
        if mm.is_null() {
            return;
        }
        let word = |offset: u64| mm.add(offset as usize).cast::<u64>().read_volatile();
        (
            word(OFFSET_MM_ARG_START.load()),
            word(OFFSET_MM_ENV_START.load()),
            word(OFFSET_MM_ENV_END.load()),
        )
    };
    capture.arguments = environment.wrapping_sub(arguments) as u32;
    capture.environment = end.wrapping_sub(environment) as u32;
    let total = end.wrapping_sub(arguments);
    let mut filling = Filling {
        capture,
        job,
        from: arguments,
        total,
    };
    // A loop of the kernel's: the verifier follows one turn and not all of them.
    // SAFETY: `fill_slot` is a callback as the helper wants it, and `filling` is live while it runs.
    unsafe {
        let context = (&raw mut filling).cast();
        helper::bpf_loop(LOOKS, fill_slot as *mut c_void, context, 0);
    }
    if u64::from(capture.copied) != total {
        judge::count_loss(job, |losses| &mut losses.captures);
    }
}

/// What slots are filled with. Nothing in it changes on the way.
#[repr(C)]
struct Filling {
    /// In a map.
    capture: *mut Capture,
    job: u64,
    from: u64,
    total: u64,
}

const GO_ON: i64 = 0;
const STOP: i64 = 1;

/// Fills the next slot from user memory, if that is free.
extern "C" fn fill_slot(_index: u32, filling: *mut c_void) -> i64 {
    // SAFETY: the helper hands over what `copy` gave it; the entries are live.
    unsafe {
        let filling = &mut *filling.cast::<Filling>();
        let capture = &mut *filling.capture;
        let copied = u64::from(capture.copied);
        if copied >= filling.total || usize::from(capture.used) >= SLOTS_PER_EXEC {
            return STOP;
        }
        let job = filling.job;
        let (Some(slots), Some(cursor)) = (CAPTURES.get(&job), CURSOR.get_ptr_mut(0)) else {
            return STOP;
        };
        *cursor = (*cursor).wrapping_add(1) & (SLOTS - 1);
        let index = *cursor;
        let Some(slot) = slots.get_ptr_mut(index) else {
            return STOP;
        };
        let slot = slot.cast::<Slot>();
        if !take(&raw mut (*slot).state) {
            return GO_ON;
        }
        if let Some(place) = capture.slots.get_mut(usize::from(capture.used) & 7) {
            *place = index as u16;
        }
        capture.used += 1;
        let data = (&raw mut (*slot).data).cast::<u8>();
        let from = filling.from.wrapping_add(copied);
        let part = copy_pages(data, from, filling.total.wrapping_sub(copied));
        capture.copied = copied.wrapping_add(part) as u32;
        if part == SLOT_BYTES as u64 {
            GO_ON
        } else {
            STOP
        }
    }
}

/// Copies up to one slot of user memory, page by page; returns the bytes copied.
///
/// # Safety
/// There is room for a slot's data at `to`.
#[inline(always)]
unsafe fn copy_pages(to: *mut u8, from: u64, wanted: u64) -> u64 {
    let mut copied = 0u64;
    let mut page = 0u64;
    while page < SLOT_BYTES as u64 / PAGE {
        let offset = page * PAGE;
        if offset >= wanted {
            break;
        }
        let left = wanted - offset;
        // Without the mask 6.1 does not know how much is read.
        let size = kernel::masked(if left > PAGE { PAGE } else { left }, 0x1fff);
        if size > PAGE {
            break;
        }
        // SAFETY: the page stays inside the slot; the helper fails on an address it cannot read.
        let failed = unsafe {
            helper::bpf_probe_read_user(
                to.add(offset as usize).cast(),
                size as u32,
                from.wrapping_add(offset) as *const _,
            )
        };
        if failed != 0 {
            break;
        }
        copied = offset + size;
        page += 1;
    }
    copied
}

/// Takes a slot, if it is free.
///
/// # Safety
/// `state` is a live, aligned word of a map.
#[inline(always)]
unsafe fn take(state: *mut u64) -> bool {
    let mut was = FREE;
    // SAFETY: the caller's; the instruction touches nothing else.
    // JUSTIFICATION: the target's `AtomicU64` has no compare and exchange.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({state} + 0, r0, {taken})",
            state = in(reg) state,
            taken = in(reg) TAKEN,
            inout("r0") was,
        );
    }
    was == FREE
}
