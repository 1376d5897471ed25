//! Processes of jobs: who descends from whom, so that one that leaves the job's cgroup stays the
//! job's, and a report can name those that are long gone.
//!
//! *Hook*: `tp_btf`, `sched_process_fork`, `sched_process_exec`, `sched_process_exit`,
//! `cgroup_attach_task`. *Minimum kernel*: 6.1 (ancestor cgroup here). *Return values*: none. *What it
//! cannot see*: a process that somebody puts into a job and takes out again before it forks or
//! executes anything.

use aya_ebpf::Global;
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use cordon_ebpf::abi::record::{Exec, Fork, PATH_BYTES, RecordHeader, RecordKind};

use crate::judge::Wake;
use crate::maps::{EXEC, MEMBERS, MOVED, UNSWEPT};
use crate::programs::capture;
use crate::{judge, kernel};

/// Offset of `task_struct.pid`, set by the loader from the kernel's BTF.
#[unsafe(no_mangle)]
static OFFSET_TASK_PID: Global<u64> = Global::new(0);
/// Offset of `task_struct.tgid`.
#[unsafe(no_mangle)]
pub(crate) static OFFSET_TASK_TGID: Global<u64> = Global::new(0);
/// Offset of `task_struct.signal`.
#[unsafe(no_mangle)]
static OFFSET_TASK_SIGNAL: Global<u64> = Global::new(0);
/// Offset of `signal_struct.live`: threads of the process that have not ended.
#[unsafe(no_mangle)]
static OFFSET_SIGNAL_LIVE: Global<u64> = Global::new(0);
/// Offset of `linux_binprm.filename`.
#[unsafe(no_mangle)]
static OFFSET_BINPRM_FILENAME: Global<u64> = Global::new(0);
/// Offset of `task_struct.nsproxy`.
#[unsafe(no_mangle)]
static OFFSET_TASK_NSPROXY: Global<u64> = Global::new(0);
/// Offset of `nsproxy.net_ns`.
#[unsafe(no_mangle)]
static OFFSET_NSPROXY_NET: Global<u64> = Global::new(0);
/// Offset of `net.net_cookie`; 0 where the kernel's BTF lacks one of the three.
#[unsafe(no_mangle)]
static OFFSET_NET_COOKIE: Global<u64> = Global::new(0);

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
        join(job, tgid);
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
    join(job, (kernel::pid_tgid() >> 32) as u32);
    tell_namespace(&ctx, job);
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
        let held = judge::job(job).is_some_and(|job| job.hold != 0) && capture::hold(job);
        capture::copy(&ctx, job, &mut record.capture);
        record.capture.held = u16::from(held);
        // What was not copied is in the process as long as it lives.
        let wake = if record.capture.is_whole() {
            Wake::InTurn
        } else {
            Wake::Now
        };
        judge::send_copy(job, wake, record);
    }
    0
}

#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let tgid = (kernel::pid_tgid() >> 32) as u32;
    if kernel::member(tgid) == 0 {
        return 0;
    }
    let task: *const *const u32 = ctx.arg(0);
    // SAFETY: as in `sched_process_fork`.
    let live = unsafe {
        let signal = task
            .byte_add(OFFSET_TASK_SIGNAL.load() as usize)
            .read_volatile();
        signal
            .byte_add(OFFSET_SIGNAL_LIVE.load() as usize)
            .read_volatile()
    };
    // Its first thread can end long before the others: only the last one ends the process.
    if live == 0 {
        // Not there is as good as removed.
        let _gone = MEMBERS.remove(tgid);
        let _gone = UNSWEPT.remove(tgid);
    }
    0
}

#[btf_tracepoint(function = "cgroup_attach_task")]
pub(crate) fn cgroup_attach_task(ctx: BtfTracePointContext) -> i32 {
    let task: *const u32 = ctx.arg(2);
    // SAFETY: as in `sched_process_fork`.
    let tgid = unsafe {
        task.byte_add(OFFSET_TASK_TGID.load() as usize)
            .read_volatile()
    };
    let job = kernel::member(tgid);
    if job == 0 {
        return 0;
    }
    let Some(record) = MOVED.get_ptr_mut(0) else {
        judge::count_loss(job, |losses| &mut losses.records);
        return 0;
    };
    let path: *const u8 = ctx.arg(1);
    // SAFETY: `record` is this CPU's own; the string helper fails on an address it cannot read.
    unsafe {
        let record = &mut *record;
        let moved = u64::from(tgid) << 32;
        record.header = RecordHeader::new(RecordKind::MOVED, kernel::now(), job, moved);
        record.mover = (kernel::pid_tgid() >> 32) as u32;
        record.path_len = read_path(&mut record.path, path);
        judge::send_copy(job, Wake::InTurn, record);
    }
    0
}

/// Has DNS served where a program starts, long before it asks.
#[inline(always)]
fn tell_namespace(ctx: &BtfTracePointContext, job: u64) {
    let cookie = OFFSET_NET_COOKIE.load() as usize;
    if cookie == 0 {
        // Sockets tell, a little later.
        return;
    }
    let task: *const *const *const u64 = ctx.arg(0);
    // SAFETY: as in `sched_process_fork`; the running task has its namespaces until it exits.
    let netns = unsafe {
        let nsproxy = task
            .byte_add(OFFSET_TASK_NSPROXY.load() as usize)
            .read_volatile();
        let net = nsproxy
            .byte_add(OFFSET_NSPROXY_NET.load() as usize)
            .read_volatile();
        net.byte_add(cookie).read_volatile()
    };
    judge::need_resolver(job, netns);
}

/// Notes that a process is the job's, wherever it goes.
#[inline(always)]
fn join(job: u64, tgid: u32) {
    if MEMBERS.insert(tgid, job, 0).is_err() {
        kernel::lose_track();
        judge::count_loss(job, |losses| &mut losses.members);
    }
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
    // SAFETY: the caller's.
    record.path_len = unsafe { read_path(&mut record.path, name) };
}

/// Copies a string of the kernel over all of `path`; returns its length without the NUL.
///
/// # Safety
/// `name` is a kernel pointer of any value.
#[inline(always)]
unsafe fn read_path(path: &mut [u8; PATH_BYTES], name: *const u8) -> u32 {
    let path = path.as_mut_ptr();
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
    if len > 0 {
        (len - 1).cast_unsigned() as u32
    } else {
        0
    }
}
