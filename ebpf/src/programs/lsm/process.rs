//! Processes outside the job: not signalled, not traced, not looked into, not slowed down.
//!
//! Refused in audit mode too: a job that can end cordon, or act through a process outside, decides
//! itself what the evidence says. *What it cannot see*: signals that the kernel sends for a job, as
//! those of a file whose owner (`F_SETOWN`) is a process outside.

use aya_ebpf::Global;
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use cordon_ebpf::abi::record::Call;
use cordon_ebpf::abi::verdict::Reason;
use cordon_ebpf::own::{self, Newcomer};

use super::{PASS, REFUSE, member, peek};
use crate::kernel;
use crate::programs::process::OFFSET_TASK_TGID;

/// Offset of `task_struct.cgroups`.
#[unsafe(no_mangle)]
static OFFSET_TASK_CGROUPS: Global<u64> = Global::new(0);
/// Offset of `css_set.dfl_cgrp`.
#[unsafe(no_mangle)]
static OFFSET_CSS_SET_CGROUP: Global<u64> = Global::new(0);
/// Offset of `cgroup.level`.
#[unsafe(no_mangle)]
static OFFSET_CGROUP_LEVEL: Global<u64> = Global::new(0);
/// Offset of `cgroup.ancestors`.
#[unsafe(no_mangle)]
static OFFSET_CGROUP_ANCESTORS: Global<u64> = Global::new(0);
/// Offset of `cgroup.kn`.
#[unsafe(no_mangle)]
static OFFSET_CGROUP_KN: Global<u64> = Global::new(0);
/// Offset of `cgroup.procs_file.kn`.
#[unsafe(no_mangle)]
static OFFSET_CGROUP_PROCS: Global<u64> = Global::new(0);
/// Offset of `kernfs_node.id`.
#[unsafe(no_mangle)]
static OFFSET_KERNFS_ID: Global<u64> = Global::new(0);

#[lsm(hook = "task_kill")]
pub(crate) fn lsm_task_kill(ctx: LsmContext) -> i32 {
    let signal: u32 = ctx.arg(2);
    // Nothing is sent: it asks whether the process is there.
    if signal == 0 {
        return PASS;
    }
    about(&ctx, Call::SIGNAL, u64::from(signal), true, true)
}

#[lsm(hook = "ptrace_access_check")]
pub(crate) fn lsm_ptrace_access_check(ctx: LsmContext) -> i32 {
    let mode: u32 = ctx.arg(1);
    let told = own::is_worth_telling(mode);
    // One that has only just arrived may still write to cgroups: nobody in the job may act through it.
    let arrived = !own::is_attach(mode);
    about(&ctx, Call::TRACE, u64::from(mode), told, arrived)
}

/// A tracer outside would be told of every signal of the job, and could forget to pass it on.
#[lsm(hook = "ptrace_traceme")]
pub(crate) fn lsm_ptrace_traceme(ctx: LsmContext) -> i32 {
    about(&ctx, Call::TRACE, 0, true, true)
}

#[lsm(hook = "task_setrlimit")]
pub(crate) fn lsm_task_setrlimit(ctx: LsmContext) -> i32 {
    about(&ctx, Call::ADJUST, 0, true, true)
}

#[lsm(hook = "task_setscheduler")]
pub(crate) fn lsm_task_setscheduler(ctx: LsmContext) -> i32 {
    about(&ctx, Call::ADJUST, 0, true, true)
}

#[lsm(hook = "task_setnice")]
pub(crate) fn lsm_task_setnice(ctx: LsmContext) -> i32 {
    about(&ctx, Call::ADJUST, 0, true, true)
}

#[lsm(hook = "task_setioprio")]
pub(crate) fn lsm_task_setioprio(ctx: LsmContext) -> i32 {
    about(&ctx, Call::ADJUST, 0, true, true)
}

/// A call about the process that is the hook's first argument; `arrived`: also one that is in the job's cgroup, and was
/// not started there.
#[inline(always)]
fn about(ctx: &LsmContext, call: Call, argument: u64, told: bool, arrived: bool) -> i32 {
    let id = kernel::current_job();
    if id == 0 {
        return PASS;
    }
    let task: *const u8 = ctx.arg(0);
    // SAFETY: a `struct task_struct`.
    let process: u32 = unsafe { member(task, &OFFSET_TASK_TGID) };
    let of = kernel::member(process);
    if of == id || (arrived && is_in(task, id).is_some()) {
        return PASS;
    }
    // A runner ends the worker of a job that was cancelled.
    if of != 0 && super::parent(of) == id {
        return PASS;
    }
    if !told {
        return REFUSE;
    }
    let arguments = [u64::from(process), argument];
    super::refuse(id, call, Reason::FOREIGN_PROCESS, arguments)
}

/// Whether a process' cgroup is this job's, or below it.
#[inline(always)]
fn is_in(task: *const u8, id: u64) -> Option<()> {
    let cgroup = cgroup_of(task)?;
    let level = kernel::job_level();
    if peek::<u32>(cgroup, &OFFSET_CGROUP_LEVEL)? < level {
        return None;
    }
    let entry = cgroup.wrapping_byte_add(level as usize * size_of::<u64>());
    let ancestor = peek::<u64>(entry, &OFFSET_CGROUP_ANCESTORS)? as *const u8;
    let node = peek::<u64>(ancestor, &OFFSET_CGROUP_KN)? as *const u8;
    (peek::<u64>(node, &OFFSET_KERNFS_ID)? == id).then_some(())
}

#[inline(always)]
fn cgroup_of(task: *const u8) -> Option<*const u8> {
    let set = peek::<u64>(task, &OFFSET_TASK_CGROUPS)? as *const u8;
    Some(peek::<u64>(set, &OFFSET_CSS_SET_CGROUP)? as *const u8)
}

/// The caller, as one that may be on its way in.
#[inline(always)]
pub(super) fn newcomer() -> Newcomer {
    Newcomer {
        own_list: own_list(),
        member: kernel::member((kernel::pid_tgid() >> 32) as u32),
        all_known: kernel::has_track(),
    }
}

/// Number of `cgroup.procs` of the caller's cgroup, if that is a job's own.
#[inline(always)]
fn own_list() -> Option<u64> {
    // SAFETY: the helper takes no arguments.
    let task = unsafe { helper::bpf_get_current_task() } as *const u8;
    let cgroup = cgroup_of(task)?;
    if peek::<u32>(cgroup, &OFFSET_CGROUP_LEVEL)? != kernel::job_level() {
        return None;
    }
    let list = peek::<u64>(cgroup, &OFFSET_CGROUP_PROCS)? as *const u8;
    peek::<u64>(list, &OFFSET_KERNFS_ID)
}
