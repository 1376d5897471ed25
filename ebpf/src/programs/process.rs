//! Forks and execs of jobs, so that a report can name processes that are long gone.
//!
//! *Hook*: `tp_btf`, `sched_process_fork` and `sched_process_exec`. *Minimum kernel*: 6.1 (ancestor cgroup
//! here). *Return values*: none. *What it cannot see*: nothing is refused here; without it, chains
//! come from /proc alone.

use aya_ebpf::Global;
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use cordon_ebpf::abi::record::{Exec, Fork, PATH_BYTES, RecordHeader, RecordKind};

use crate::maps::EXEC;
use crate::{judge, kernel};

/// Offset of `task_struct.pid`, set by the loader from the kernel's BTF.
#[unsafe(no_mangle)]
static OFFSET_TASK_PID: Global<u64> = Global::new(0);
/// Offset of `task_struct.tgid`.
#[unsafe(no_mangle)]
static OFFSET_TASK_TGID: Global<u64> = Global::new(0);
/// Offset of `linux_binprm.filename`.
#[unsafe(no_mangle)]
static OFFSET_BINPRM_FILENAME: Global<u64> = Global::new(0);

#[btf_tracepoint(function = "sched_process_fork")]
pub(crate) fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    let job = kernel::current_job();
    if job == 0 {
        return 0;
    }
    let child: *const u32 = ctx.arg(1);
    // SAFETY: the verifier knows the argument as a task_struct and checks both loads against the
    // kernel's BTF; the offsets are constants to it.
    let (pid, tgid) = unsafe {
        (
            child
                .byte_add(OFFSET_TASK_PID.load() as usize)
                .read_volatile(),
            child
                .byte_add(OFFSET_TASK_TGID.load() as usize)
                .read_volatile(),
        )
    };
    if pid == tgid {
        let header = RecordHeader::new(RecordKind::FORK, kernel::now(), job, kernel::pid_tgid());
        judge::send(job, || Fork {
            header,
            child: tgid,
            reserved: 0,
        });
    }
    0
}

#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
    let job = kernel::current_job();
    if job == 0 {
        return 0;
    }
    let Some(record) = EXEC.get_ptr_mut(0) else {
        judge::count_loss(job, |losses| &mut losses.records);
        return 0;
    };
    let binprm: *const *const u8 = ctx.arg(2);
    // SAFETY: `record` is this CPU's own; the pointer load is checked as above, and the string
    // helper fails on an address it cannot read.
    unsafe {
        let record = &mut *record;
        let name = binprm
            .byte_add(OFFSET_BINPRM_FILENAME.load() as usize)
            .read_volatile();
        fill(record, job, name);
        judge::send_copy(job, record);
    }
    0
}

/// Fills the whole record: what was there before belongs to another exec.
///
/// # Safety
/// `name` is a kernel pointer of any value.
#[inline(always)]
unsafe fn fill(record: &mut Exec, job: u64, name: *const u8) {
    record.header = RecordHeader::new(RecordKind::EXEC, kernel::now(), job, kernel::pid_tgid());
    record.uid = kernel::uid();
    record.comm = kernel::comm();
    let path = record.path.as_mut_ptr();
    let mut at = 0;
    while at < PATH_BYTES {
        // SAFETY: `at` stays inside the array. Volatile, or the loop becomes a call to memset.
        unsafe { path.add(at).write_volatile(0) };
        at += 1;
    }
    // SAFETY: the helper writes at most PATH_BYTES bytes.
    let len =
        unsafe { helper::bpf_probe_read_kernel_str(path.cast(), PATH_BYTES as u32, name.cast()) };
    // The length counts the NUL; an error is negative.
    record.path_len = if len > 0 {
        (len - 1).cast_unsigned() as u32
    } else {
        0
    };
}
