//! What enforcement itself stands on: `bpf(2)`, cgroup and BPF file systems, mounts of them.
//!
//! Refused in audit mode too: it is what audit rests on. *What it cannot see*: which file system a
//! bind mount or an old-style `mount(2)` of an existing tree shows; opening files there is refused. Whom
//! the one open list is used for that [`own::may_arrive`] lets pass: who has it runs nothing of a job yet.

use aya_ebpf::Global;
use aya_ebpf::helpers::generated as helper;
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use cordon_ebpf::abi::record::Call;
use cordon_ebpf::abi::verdict::Reason;
use cordon_ebpf::own::{self, Arrival, magic};

use super::{
    OFFSET_FILE_INODE, OFFSET_FILE_MODE, OFFSET_INODE_INO, OFFSET_INODE_SB, OFFSET_SB_MAGIC, PASS,
    member,
};
use crate::kernel;

/// Offset of `path.mnt`.
#[unsafe(no_mangle)]
static OFFSET_PATH_MNT: Global<u64> = Global::new(0);
/// Offset of `vfsmount.mnt_sb`.
#[unsafe(no_mangle)]
static OFFSET_MNT_SB: Global<u64> = Global::new(0);

const FMODE_WRITE: u32 = 2;

#[lsm(hook = "bpf")]
pub(crate) fn lsm_bpf(ctx: LsmContext) -> i32 {
    let command: u32 = ctx.arg(0);
    control(Call::BPF, [u64::from(command), 0])
}

#[lsm(hook = "file_open")]
pub(crate) fn lsm_file_open(ctx: LsmContext) -> i32 {
    let file: *const u8 = ctx.arg(0);
    // SAFETY: a `struct file`; what follows is its inode and that one's super block.
    let (magic, mode, inode) = unsafe {
        let inode: *const u8 = member(file, &OFFSET_FILE_INODE);
        let super_block: *const u8 = member(inode, &OFFSET_INODE_SB);
        (
            member::<u64>(super_block, &OFFSET_SB_MAGIC),
            member::<u32>(file, &OFFSET_FILE_MODE),
            inode,
        )
    };
    // Every open of the machine comes here.
    if own::may_open(magic, mode & FMODE_WRITE != 0) {
        return PASS;
    }
    // SAFETY: as above.
    let number: u64 = unsafe { member(inode, &OFFSET_INODE_INO) };
    let arrival = Arrival {
        magic,
        file: number,
        who: super::process::newcomer(),
    };
    if own::may_arrive(&arrival) {
        return PASS;
    }
    control(Call::OPEN, [magic, number])
}

/// `mount(2)`, by the name of the type; `lsm_sb_set_mnt_opts` sees what a name leads to.
#[lsm(hook = "sb_mount")]
pub(crate) fn lsm_sb_mount(ctx: LsmContext) -> i32 {
    let kind: *const u8 = ctx.arg(2);
    let mut name = 0u64;
    // SAFETY: the helper writes at most 8 bytes, and fails on an address it cannot read.
    let len = unsafe { helper::bpf_probe_read_kernel_str((&raw mut name).cast(), 8, kind.cast()) };
    if len > 0 && own::is_control_type(name) {
        return control(Call::MOUNT, [0, 0]);
    }
    PASS
}

/// A file system is made ready to be mounted, by `mount(2)` or by `fsconfig(2)`.
#[lsm(hook = "sb_set_mnt_opts")]
pub(crate) fn lsm_sb_set_mnt_opts(ctx: LsmContext) -> i32 {
    let super_block: *const u8 = ctx.arg(0);
    // SAFETY: a `struct super_block`.
    let magic = unsafe { member(super_block, &OFFSET_SB_MAGIC) };
    mounted(magic)
}

#[lsm(hook = "move_mount")]
pub(crate) fn lsm_move_mount(ctx: LsmContext) -> i32 {
    let path: *const u8 = ctx.arg(0);
    // SAFETY: a `struct path`, then its mount and that one's super block.
    let magic = unsafe {
        let mount: *const u8 = member(path, &OFFSET_PATH_MNT);
        let super_block: *const u8 = member(mount, &OFFSET_MNT_SB);
        member(super_block, &OFFSET_SB_MAGIC)
    };
    mounted(magic)
}

#[lsm(hook = "sb_umount")]
pub(crate) fn lsm_sb_umount(ctx: LsmContext) -> i32 {
    let mount: *const u8 = ctx.arg(0);
    // SAFETY: a `struct vfsmount`, then its super block.
    let magic = unsafe {
        let super_block: *const u8 = member(mount, &OFFSET_MNT_SB);
        member(super_block, &OFFSET_SB_MAGIC)
    };
    mounted(magic)
}

#[inline(always)]
fn mounted(magic: u64) -> i32 {
    if own::is_control(magic) {
        return control(Call::MOUNT, [magic, 0]);
    }
    PASS
}

#[lsm(hook = "inode_unlink")]
pub(crate) fn lsm_inode_unlink(ctx: LsmContext) -> i32 {
    change(&ctx)
}

#[lsm(hook = "inode_rename")]
pub(crate) fn lsm_inode_rename(ctx: LsmContext) -> i32 {
    change(&ctx)
}

#[lsm(hook = "inode_mkdir")]
pub(crate) fn lsm_inode_mkdir(ctx: LsmContext) -> i32 {
    change(&ctx)
}

/// A change of the directory that is the first argument. In a BPF file system none is a job's to make;
/// in a cgroup file system the kernel's own permissions hold, and what is below a job is the job.
#[inline(always)]
fn change(ctx: &LsmContext) -> i32 {
    let inode: *const u8 = ctx.arg(0);
    // SAFETY: a `struct inode`, then its super block.
    let (magic, number) = unsafe {
        let super_block: *const u8 = member(inode, &OFFSET_INODE_SB);
        (
            member::<u64>(super_block, &OFFSET_SB_MAGIC),
            member::<u64>(inode, &OFFSET_INODE_INO),
        )
    };
    if magic == magic::BPF {
        return control(Call::UNLINK, [magic, number]);
    }
    PASS
}

/// Refuses a job, and lets pass who is none.
#[inline(always)]
fn control(call: Call, arguments: [u64; 2]) -> i32 {
    let id = kernel::current_job();
    if id == 0 {
        return PASS;
    }
    super::refuse(id, call, Reason::CONTROL, arguments)
}
