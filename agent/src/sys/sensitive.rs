//! Memory for secrets: never swapped, in no core file, not in a forked child, zeroed at the end.

#![expect(unsafe_code, reason = "memory mappings")]

use std::mem::offset_of;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fmt, io};

use cordon_ebpf::abi::capture::{FREE, SLOT_BYTES, SLOTS, Slot};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

/// Keeps this process' memory out of core files and swap, and from everybody who may not trace root's
/// processes.
///
/// All of it: keys and digests of secrets are in ordinary memory, and on the stack.
///
/// # Errors
/// The kernel refuses: without `CAP_IPC_LOCK` a process may lock no more than `RLIMIT_MEMLOCK`.
pub fn shield() -> io::Result<()> {
    nix::sys::prctl::set_dumpable(false)?;
    // Pages are locked when they are first used: a large mapping that is hardly used takes little.
    // SAFETY: a system call without pointers.
    let locked =
        unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if locked < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Bytes in locked memory of their own.
pub struct Locked {
    mapping: Mapping,
}

// Of what is in there, nothing.
impl fmt::Debug for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locked").finish_non_exhaustive()
    }
}

impl Locked {
    /// So many bytes, all zero.
    ///
    /// # Errors
    /// There is no memory, or it may not be locked (`RLIMIT_MEMLOCK`).
    pub fn new(bytes: NonZeroUsize) -> io::Result<Self> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping where the kernel likes it.
        let start = unsafe { mmap_anonymous(None, bytes, access, MapFlags::MAP_PRIVATE) }?;
        let mapping = Mapping { start, bytes };
        // SAFETY: the whole of a mapping of this process; neither call changes a byte that is in use.
        unsafe {
            madvise(start, bytes.get(), MmapAdvise::MADV_DONTDUMP)?;
        }
        // SAFETY: as above.
        unsafe {
            madvise(start, bytes.get(), MmapAdvise::MADV_WIPEONFORK)?;
        }
        // Pages are locked when they are first written: what is never used takes no memory.
        // SAFETY: as above.
        let locked = unsafe { libc::mlock2(start.as_ptr(), bytes.get(), libc::MLOCK_ONFAULT) };
        if locked < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { mapping })
    }

    /// Fills it with random bytes of the kernel, which waits until it has some.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn fill_random(&mut self) -> io::Result<()> {
        let mut rest = self.bytes_mut();
        while !rest.is_empty() {
            // SAFETY: the kernel writes at most as many bytes as there are.
            let count = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
            match usize::try_from(count) {
                Ok(count) => rest = rest.get_mut(count..).unwrap_or_default(),
                Err(_negative) => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping lives as long as `self`, and is written through `&mut self` only.
        unsafe { std::slice::from_raw_parts(self.mapping.data(), self.mapping.bytes.get()) }
    }

    /// The bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.data(), self.mapping.bytes.get()) }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        zero(self.bytes_mut());
    }
}

/// A job's slots, into which the kernel copies what processes are started with. They are mapped while they are
/// used: a host has many jobs, and few of them start programs at the same time.
pub struct Slots {
    array: OwnedFd,
    mapping: Option<Mapping>,
    used: bool,
}

// Of what is in there, nothing.
impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").finish_non_exhaustive()
    }
}

impl Slots {
    /// The slots of this array, which can be mapped.
    ///
    /// # Errors
    /// It is no such array, or the kernel refuses.
    pub fn new(array: impl AsFd) -> io::Result<Self> {
        let array = array.as_fd().try_clone_to_owned()?;
        map(&array)?;
        Ok(Self {
            array,
            mapping: None,
            used: false,
        })
    }

    /// Maps them, if they are not. `false`: the kernel refuses, and what is in them cannot be read.
    #[must_use]
    pub fn open(&mut self) -> bool {
        self.used = true;
        if self.mapping.is_none() {
            match map(&self.array) {
                Ok(mapping) => self.mapping = Some(mapping),
                Err(error) => tracing::error!(%error, "copies of environments cannot be read"),
            }
        }
        self.mapping.is_some()
    }

    /// Takes the mapping down if nobody used it since this was asked last.
    pub fn rest(&mut self) {
        if !std::mem::take(&mut self.used) {
            self.mapping = None;
        }
    }

    /// The data of a slot that a record gave to the agent, once they are [open](Self::open). `None` for a number that
    /// no slot has.
    ///
    /// Until [`release`](Self::release) the kernel leaves it alone.
    pub fn data(&self, index: u16) -> Option<&[u8]> {
        let data = self.data_of(index)?;
        // SAFETY: inside the mapping, which lives as long as `self`; the kernel gave the slot away and
        // does not write before it is released, for which `&mut self` is needed.
        Some(unsafe { std::slice::from_raw_parts(data, SLOT_BYTES) })
    }

    /// Zeroes a slot and gives it back to the kernel.
    pub fn release(&mut self, index: u16) {
        if !self.open() {
            return;
        }
        let (Some(state), Some(data)) = (self.state_of(index), self.data_of(index)) else {
            return;
        };
        // SAFETY: as in `data`, and nobody in this process looks at it: `&mut self`.
        let data = unsafe { std::slice::from_raw_parts_mut(data, SLOT_BYTES) };
        zero(data);
        // SAFETY: an aligned word inside the mapping, which the kernel changes atomically as well.
        let state = unsafe { AtomicU64::from_ptr(state) };
        // After the zeroes.
        state.store(FREE, Ordering::Release);
    }

    fn state_of(&self, index: u16) -> Option<*mut u64> {
        let at = offset(index)?.checked_add(offset_of!(Slot, state))?;
        let start = self.mapping.as_ref()?.start;
        // SAFETY: inside the mapping, which is an array of so many slots.
        Some(unsafe { start.as_ptr().byte_add(at) }.cast())
    }

    fn data_of(&self, index: u16) -> Option<*mut u8> {
        let at = offset(index)?.checked_add(offset_of!(Slot, data))?;
        let start = self.mapping.as_ref()?.start;
        // SAFETY: inside the mapping, which is an array of so many slots.
        Some(unsafe { start.as_ptr().byte_add(at) }.cast())
    }
}

/// Maps the slots of an array.
fn map(array: impl AsFd) -> io::Result<Mapping> {
    let bytes = NonZeroUsize::MIN.saturating_mul(
        NonZeroUsize::new(size_of::<Slot>().saturating_mul(SLOTS as usize))
            .unwrap_or(NonZeroUsize::MIN),
    );
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping where the kernel likes it.
    let start = unsafe { mmap(None, bytes, access, MapFlags::MAP_SHARED, array, 0) }?;
    let mapping = Mapping { start, bytes };
    for advice in [MmapAdvise::MADV_DONTDUMP, MmapAdvise::MADV_DONTFORK] {
        // SAFETY: the whole of a mapping of this process; no byte changes.
        unsafe { madvise(start, bytes.get(), advice)? };
    }
    Ok(mapping)
}

/// Where a slot begins. `None` for a number that none has.
fn offset(index: u16) -> Option<usize> {
    let is_one = u32::from(index) < SLOTS;
    is_one.then(|| size_of::<Slot>().saturating_mul(usize::from(index)))
}

impl Drop for Slots {
    fn drop(&mut self) {
        // What no record was sent for lies there too.
        for index in 0..u16::try_from(SLOTS).unwrap_or(u16::MAX) {
            self.release(index);
        }
    }
}

/// A mapping, taken down at the end.
struct Mapping {
    start: NonNull<std::ffi::c_void>,
    bytes: NonZeroUsize,
}

impl Mapping {
    fn data(&self) -> *mut u8 {
        self.start.as_ptr().cast()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, which nothing refers to any more.
        let unmapped = unsafe { munmap(self.start, self.bytes.get()) };
        if let Err(error) = unmapped {
            tracing::error!(%error, "memory for secrets cannot be given back");
        }
    }
}

// SAFETY: memory of the process, reached by `&mut` for writing.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// Zeroes, whether or not anybody reads it afterwards.
fn zero(bytes: &mut [u8]) {
    bytes.fill(0);
    // The compiler must take it that the bytes are looked at.
    std::hint::black_box(&*bytes);
}
