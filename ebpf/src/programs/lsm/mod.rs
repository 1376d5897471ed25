//! What jobs may not do to anything but destinations: sockets of other families and of other owners,
//! processes outside, and what enforcement stands on.
//!
//! *Hook*: BPF LSM. *Minimum kernel*: 6.1 (ancestor cgroup here), with `bpf` among the kernel's
//! `lsm=`. *Return values*: 0 passes, -1 is `EPERM`. *What it cannot see*: what each file says.
//!
//! The kernel runs the programs of one hook in order and stops at the first that refuses, so none
//! of these need look at the result of an earlier one.

use core::ffi::c_void;
use core::ptr::null_mut;

use aya_ebpf::Global;
use aya_ebpf::bindings::BPF_SK_STORAGE_GET_F_CREATE;
use aya_ebpf::helpers::generated as helper;
use cordon_ebpf::abi::job::SocketRole;
use cordon_ebpf::abi::record::Call;
use cordon_ebpf::abi::verdict::{Reason, Verdict};

use crate::maps::OWNERS;
use crate::{judge, kernel};

pub(crate) mod control;
pub(crate) mod process;
pub(crate) mod socket;
pub(crate) mod unix;

const PASS: i32 = 0;
/// `EPERM`
const REFUSE: i32 = -1;

/// Offset of `inode.i_sb`, set by the loader from the kernel's BTF, as those in the other files.
#[unsafe(no_mangle)]
static OFFSET_INODE_SB: Global<u64> = Global::new(0);
/// Offset of `inode.i_ino`.
#[unsafe(no_mangle)]
static OFFSET_INODE_INO: Global<u64> = Global::new(0);
/// Offset of `super_block.s_magic`.
#[unsafe(no_mangle)]
static OFFSET_SB_MAGIC: Global<u64> = Global::new(0);
/// Offset of `super_block.s_dev`.
#[unsafe(no_mangle)]
static OFFSET_SB_DEV: Global<u64> = Global::new(0);
/// Offset of `file.f_inode`.
#[unsafe(no_mangle)]
static OFFSET_FILE_INODE: Global<u64> = Global::new(0);
/// Offset of `file.f_mode`.
#[unsafe(no_mangle)]
static OFFSET_FILE_MODE: Global<u64> = Global::new(0);

/// A member of a structure of the kernel.
///
/// # Safety
/// The verifier knows `from` by the kernel's BTF as a structure that has a `T` at `offset`; it checks
/// the load, and the kernel gives zeros where the pointer leads nowhere.
#[inline(always)]
unsafe fn member<T>(from: *const u8, offset: &Global<u64>) -> T {
    // SAFETY: the caller's.
    unsafe {
        from.byte_add(offset.load() as usize)
            .cast::<T>()
            .read_volatile()
    }
}

/// The same by copying, where the verifier does not know what `from` is. `None` if there is nothing.
#[inline(always)]
fn peek<T: Default>(from: *const u8, offset: &Global<u64>) -> Option<T> {
    let mut value = T::default();
    let from = from.wrapping_byte_add(offset.load() as usize);
    // SAFETY: the helper writes `size_of::<T>()` bytes or fails, whatever `from` is; it is used with
    // plain words alone.
    let failed = unsafe {
        let to = (&raw mut value).cast();
        helper::bpf_probe_read_kernel(to, size_of::<T>() as u32, from.cast()) != 0
    };
    if failed { None } else { Some(value) }
}

/// Counts and records a refusal; what the hook returns.
#[inline(always)]
fn refuse(id: u64, call: Call, reason: Reason, arguments: [u64; 2]) -> i32 {
    let Some(job) = judge::job(id) else {
        return REFUSE;
    };
    match judge::refuse_call(id, &job, call, reason, arguments) {
        Verdict::ALLOW | Verdict::WOULD_DENY => PASS,
        _ => REFUSE,
    }
}

/// Job that a socket was noted for; 0 for none.
///
/// # Safety
/// The verifier knows `sk` as a `struct sock`.
#[inline(always)]
unsafe fn owner(sk: *const u8) -> u64 {
    // SAFETY: the caller's; the helper refuses a null.
    unsafe {
        let map = (&raw const OWNERS).cast_mut().cast();
        helper::bpf_sk_storage_get(map, sk.cast_mut().cast(), null_mut(), 0)
            .cast::<u64>()
            .as_ref()
    }
    .copied()
    .unwrap_or(0)
}

/// Notes that a socket is a job's. False without memory for it.
///
/// # Safety
/// As [`owner`].
#[inline(always)]
unsafe fn own(sk: *const u8, id: u64) -> bool {
    // SAFETY: as above; an aligned word of a live entry.
    unsafe {
        let map = (&raw const OWNERS).cast_mut().cast();
        let create = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
        let entry = helper::bpf_sk_storage_get(map, sk.cast_mut().cast(), null_mut(), create);
        match entry.cast::<u64>().as_mut() {
            Some(entry) => {
                *entry = id;
                true
            }
            None => false,
        }
    }
}

/// The runner a job came from, or 0. Its worker was the runner's before it was the job's: it goes on using what it
/// has, judged as the runner's.
#[inline(always)]
fn parent(id: u64) -> u64 {
    match judge::job(id) {
        Some(job) => job.parent,
        None => 0,
    }
}

/// Whose an IP socket is to a job.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Ownership {
    /// The job may use it: made in the job, or packets are judged as the job's.
    usable: bool,
    /// Made in the job.
    own: bool,
}

/// # Safety
/// As [`owner`].
#[inline(always)]
unsafe fn ownership(sk: *const u8, id: u64) -> Ownership {
    // SAFETY: the caller's.
    let owner = unsafe { owner(sk) };
    if owner == id {
        return Ownership {
            usable: true,
            own: true,
        };
    }
    let parent = parent(id);
    if parent != 0 && owner == parent {
        return Ownership {
            usable: true,
            own: false,
        };
    }
    // SAFETY: the caller's.
    match unsafe { kernel::socket_storage(sk.cast_mut().cast::<c_void>(), false) } {
        Some(kept) => {
            let of_job = kept.job == id;
            let of_parent = parent != 0 && kept.job == parent;
            Ownership {
                usable: (of_job || of_parent) && !kept.role.is_agents(),
                own: of_job && kept.role == SocketRole::JOB,
            }
        }
        None => Ownership {
            usable: false,
            own: false,
        },
    }
}
