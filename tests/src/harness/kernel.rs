//! Makes kernel limits reachable: hooks that take no more programs, maps that take no more entries.

#![expect(unsafe_code, reason = "raw bpf(2) calls")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// `BPF_CGROUP_MAX_PROGS`
const PROGRAMS_PER_HOOK: usize = 64;

const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const PROG_LOAD: libc::c_long = 5;
const OBJ_GET: libc::c_long = 7;
const MAP_GET_FD_BY_ID: libc::c_long = 14;
const LINK_CREATE: libc::c_long = 28;

fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: `attr` is a live, fully initialised block of the size passed; the pointers the callers
    // below put into it are those of live buffers of the sizes the kernel expects.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(result).map_err(io::Error::other)
}

fn owned(fd: libc::c_int) -> OwnedFd {
    // SAFETY: the kernel just made this descriptor for us alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Links that take all the room there is at one hook of a cgroup, with programs that allow.
#[derive(Debug)]
pub struct FullHook {
    _links: Vec<OwnedFd>,
}

impl FullHook {
    /// Fills a hook (`BPF_CGROUP_*`) of a cgroup.
    pub fn new(cgroup: &Path, attach_type: u32) -> Result<Self> {
        #[repr(C)]
        struct Attr {
            program: u32,
            target: u32,
            attach_type: u32,
            flags: u32,
        }
        let program = allow_all(attach_type)?;
        let directory = File::open(cgroup)?;
        let mut links = Vec::new();
        loop {
            let mut attr = Attr {
                program: program.as_raw_fd().cast_unsigned(),
                target: directory.as_raw_fd().cast_unsigned(),
                attach_type,
                flags: 0,
            };
            match bpf(LINK_CREATE, &mut attr) {
                Ok(link) => links.push(owned(link)),
                Err(error) if error.raw_os_error() == Some(libc::E2BIG) => {
                    return Ok(Self { _links: links });
                }
                Err(error) => return Err(error).context("attach a program that allows"),
            }
            if links.len() > PROGRAMS_PER_HOOK {
                bail!("hook {attach_type} has no limit of {PROGRAMS_PER_HOOK} programs");
            }
        }
    }
}

/// `return 1`, of the type a hook wants.
fn allow_all(attach_type: u32) -> Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        kind: u32,
        instruction_count: u32,
        instructions: u64,
        license: u64,
        log: [u32; 4],
        kernel_version: u32,
        flags: u32,
        name: [u8; 16],
        ifindex: u32,
        attach_type: u32,
    }
    let kind = match attach_type {
        0 | 1 => 8,            // BPF_PROG_TYPE_CGROUP_SKB
        2 | 12 | 13 | 34 => 9, // BPF_PROG_TYPE_CGROUP_SOCK
        21 | 22 => 25,         // BPF_PROG_TYPE_CGROUP_SOCKOPT
        _ => 18,               // BPF_PROG_TYPE_CGROUP_SOCK_ADDR
    };
    // `r0 = 1; exit`
    let instructions: [u64; 2] = [0xb7 | 1 << 32, 0x95];
    let mut attr = Attr {
        kind,
        instruction_count: 2,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log: [0; 4],
        kernel_version: 0,
        flags: 0,
        name: *b"allow_all\0\0\0\0\0\0\0",
        ifindex: 0,
        attach_type,
    };
    let program = bpf(PROG_LOAD, &mut attr);
    program.map(owned).context("load a program that allows")
}

/// A map, opened by its pin or found in another one.
#[derive(Debug)]
pub struct KernelMap(OwnedFd);

impl KernelMap {
    /// A pinned one.
    pub fn pinned(path: &Path) -> Result<Self> {
        #[repr(C)]
        struct Attr {
            path: u64,
            fd: u32,
            flags: u32,
        }
        let name = CString::new(path.as_os_str().as_bytes())?;
        let mut attr = Attr {
            path: name.as_ptr() as u64,
            fd: 0,
            flags: 0,
        };
        let map = bpf(OBJ_GET, &mut attr);
        let map = map.with_context(|| format!("open the pin {}", path.display()))?;
        Ok(Self(owned(map)))
    }

    /// The map that this map of maps has under a key.
    pub fn inner(&self, key: u64) -> Result<Self> {
        #[repr(C)]
        struct Attr {
            id: u32,
            next: u32,
            flags: u32,
        }
        let (mut key, mut id) = (key, 0u32);
        element(
            MAP_LOOKUP_ELEM,
            self.0.as_fd(),
            std::ptr::from_mut(&mut key).cast(),
            std::ptr::from_mut(&mut id).cast(),
        )
        .context("find the map of a job")?;
        let mut attr = Attr {
            id,
            next: 0,
            flags: 0,
        };
        let map = bpf(MAP_GET_FD_BY_ID, &mut attr).context("open the map of a job")?;
        Ok(Self(owned(map)))
    }

    /// Adds entries under keys of `key_size` bytes until the map takes no more; returns how many.
    pub fn fill(&self, key_size: usize, value: &[u8]) -> Result<usize> {
        let mut value = value.to_vec();
        for number in 0..usize::MAX {
            let mut key = vec![0xee; key_size.max(8)];
            if let Some(head) = key.first_chunk_mut::<8>() {
                *head = (number as u64 | 0xee << 56).to_ne_bytes();
            }
            let added = element(
                MAP_UPDATE_ELEM,
                self.0.as_fd(),
                key.as_mut_ptr(),
                value.as_mut_ptr(),
            );
            match added {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::E2BIG) => return Ok(number),
                Err(error) => return Err(error).context("fill a map"),
            }
        }
        Ok(usize::MAX)
    }
}

fn element(
    command: libc::c_long,
    map: BorrowedFd<'_>,
    key: *mut u8,
    value: *mut u8,
) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        map: u32,
        reserved: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let mut attr = Attr {
        map: map.as_raw_fd().cast_unsigned(),
        reserved: 0,
        key: key as u64,
        value: value as u64,
        flags: 0,
    };
    bpf(command, &mut attr).map(drop)
}
