//! `bpf(2)` calls that aya has no public way to make.

#![expect(unsafe_code, reason = "raw system calls")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::fs::FileError;

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;

/// What the kernel says of a cgroup link: the head of `struct bpf_link_info`.
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, PartialEq)]
#[repr(C)]
pub struct LinkInfo {
    /// `BPF_LINK_TYPE_*`; 3 is a cgroup link.
    pub kind: u32,
    /// Id of the link.
    pub id: u32,
    /// Id of the program it runs.
    pub program: u32,
    reserved: u32,
    /// Cgroup it is attached to; 0 once that is gone.
    pub cgroup: u64,
    /// `BPF_CGROUP_*`
    pub attach_type: u32,
    reserved2: u32,
}

const _: () = assert!(size_of::<LinkInfo>() == 32);

/// `BPF_LINK_TYPE_TRACING`, which is that of LSM programs too.
pub const LINK_TRACING: u32 = 2;
/// `BPF_LINK_TYPE_CGROUP`
pub const LINK_CGROUP: u32 = 3;

/// What the kernel says of a map: the head of `struct bpf_map_info`.
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, PartialEq)]
#[repr(C)]
pub struct MapInfo {
    /// `BPF_MAP_TYPE_*`
    pub kind: u32,
    /// Id of the map.
    pub id: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// How many entries it takes.
    pub max_entries: u32,
    /// `BPF_F_*`
    pub flags: u32,
}

const _: () = assert!(size_of::<MapInfo>() == 24);

/// Maps of one program that are asked for: far more than any of ours uses.
const MAPS_PER_PROGRAM: u32 = 64;

/// The head of `struct bpf_prog_info`.
#[derive(Clone, Copy, Debug, Default, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
struct RawProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_len: u32,
    xlated_len: u32,
    jited: u64,
    xlated: u64,
    load_time: u64,
    created_by: u32,
    map_count: u32,
    map_ids: u64,
    name: [u8; 16],
}

const _: () = assert!(size_of::<RawProgramInfo>() == 80);

/// What the kernel says of a program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProgramInfo {
    /// Id of the program.
    pub id: u32,
    /// Its name, cut to 15 bytes by the kernel.
    pub name: String,
    /// Ids of the maps it uses.
    pub maps: Vec<u32>,
}

fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: `attr` is a live, fully initialised block of the size passed; the kernel reads it,
    // and follows only pointers the callers below put there.
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

/// Makes a call that asks for nothing (a command that is none), and says whether the kernel refuses
/// the caller (`EPERM`) before it looks at the command.
///
/// # Errors
/// The kernel gave another answer than these two.
pub fn is_refused() -> io::Result<bool> {
    const NO_COMMAND: libc::c_int = 0x7fff;
    let mut attr = 0u64;
    match bpf(NO_COMMAND, &mut attr).map_err(|error| error.raw_os_error()) {
        Err(Some(libc::EPERM)) => Ok(true),
        Err(Some(libc::EINVAL)) => Ok(false),
        _ => Err(io::Error::other("bpf(2) knows a command that is none")),
    }
}

/// Attaches a program to a cgroup (`BPF_LINK_CREATE`). It stacks with those of others, and holds as
/// long as the link is open or pinned.
///
/// # Errors
/// The kernel refuses it: another program type, too many programs, no permission.
pub fn link_to_cgroup(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        program: u32,
        target: u32,
        attach_type: u32,
        flags: u32,
    }
    let mut attr = Attr {
        program: program.as_raw_fd().cast_unsigned(),
        target: cgroup.as_raw_fd().cast_unsigned(),
        attach_type,
        flags: 0,
    };
    let fd = bpf(BPF_LINK_CREATE, &mut attr)?;
    // SAFETY: the kernel just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives an object a name in bpffs (`BPF_OBJ_PIN`).
///
/// # Errors
/// The name is taken, or not in bpffs.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = PathAttr {
        path: name.as_ptr() as u64,
        fd: object.as_raw_fd().cast_unsigned(),
        flags: 0,
    };
    bpf(BPF_OBJ_PIN, &mut attr).map(drop)
}

#[repr(C)]
struct PathAttr {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Opens a pinned object (`BPF_OBJ_GET`).
///
/// # Errors
/// There is no such pin, or it may not be opened.
pub fn open_pin(path: &Path) -> Result<OwnedFd, FileError> {
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(io::Error::from)
        .map_err(FileError::on("open pin", path))?;
    let mut attr = PathAttr {
        path: name.as_ptr() as u64,
        fd: 0,
        flags: 0,
    };
    let fd = bpf(BPF_OBJ_GET, &mut attr).map_err(FileError::on("open pin", path))?;
    // SAFETY: the kernel just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Asks the kernel about a link.
///
/// # Errors
/// The descriptor is none of a link.
pub fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    object_info(link, &mut info)?;
    Ok(info)
}

/// Asks the kernel about a map.
///
/// # Errors
/// The descriptor is none of a map.
pub fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut info = MapInfo::default();
    object_info(map, &mut info)?;
    Ok(info)
}

/// Asks the kernel about a program, by its id.
///
/// # Errors
/// There is none of this id.
pub fn program_info(id: u32) -> io::Result<ProgramInfo> {
    #[repr(C)]
    struct Attr {
        id: u32,
        next_id: u32,
        flags: u32,
    }
    let mut attr = Attr {
        id,
        next_id: 0,
        flags: 0,
    };
    let fd = bpf(BPF_PROG_GET_FD_BY_ID, &mut attr)?;
    // SAFETY: the kernel just made this descriptor for us alone.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut maps = vec![0u32; MAPS_PER_PROGRAM as usize];
    let mut info = RawProgramInfo {
        map_count: MAPS_PER_PROGRAM,
        map_ids: maps.as_mut_ptr() as u64,
        ..RawProgramInfo::default()
    };
    object_info(program.as_fd(), &mut info)?;
    maps.truncate(info.map_count as usize);
    let name = info.name.split(|byte| *byte == 0).next();
    Ok(ProgramInfo {
        id: info.id,
        name: String::from_utf8_lossy(name.unwrap_or_default()).into_owned(),
        maps,
    })
}

/// Lets a cgroup link run another program from now on, in one step (`BPF_LINK_UPDATE`).
///
/// # Errors
/// The kernel refuses the program, or the link's cgroup is gone.
pub fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        link: u32,
        program: u32,
        flags: u32,
        old: u32,
    }
    let mut attr = Attr {
        link: link.as_raw_fd().cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        flags: 0,
        old: 0,
    };
    bpf(BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// Whether the kernel loads a BPF LSM program: `return 0` for a hook, attached nowhere. The list in
/// `/sys/kernel/security/lsm` does not tell.
///
/// # Errors
/// What the kernel said.
pub fn try_lsm(hook_type: u32) -> io::Result<()> {
    /// `BPF_PROG_TYPE_LSM`
    const LSM: u32 = 29;
    /// `BPF_LSM_MAC`
    const LSM_MAC: u32 = 27;
    #[repr(C)]
    struct Attr {
        kind: u32,
        instruction_count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
        name: [u8; 16],
        ifindex: u32,
        attach_type: u32,
        btf_fd: u32,
        func_info_rec_size: u32,
        func_info: u64,
        func_info_count: u32,
        line_info_rec_size: u32,
        line_info: u64,
        line_info_count: u32,
        attach_btf_id: u32,
        attach_program: u32,
        reserved: u32,
    }
    // `r0 = 0; exit`
    let instructions: [u64; 2] = [0xb7, 0x95];
    let mut attr = Attr {
        kind: LSM,
        instruction_count: 2,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: *b"cordon_probe\0\0\0\0",
        ifindex: 0,
        attach_type: LSM_MAC,
        btf_fd: 0,
        func_info_rec_size: 0,
        func_info: 0,
        func_info_count: 0,
        line_info_rec_size: 0,
        line_info: 0,
        line_info_count: 0,
        attach_btf_id: hook_type,
        attach_program: 0,
        reserved: 0,
    };
    let fd = bpf(BPF_PROG_LOAD, &mut attr)?;
    // SAFETY: the kernel just made this descriptor for us alone.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

fn object_info<T: FromBytes + IntoBytes>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        fd: u32,
        len: u32,
        info: u64,
    }
    let mut attr = Attr {
        fd: object.as_raw_fd().cast_unsigned(),
        len: u32::try_from(size_of::<T>()).map_err(io::Error::other)?,
        info: std::ptr::from_mut(info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr).map(drop)
}
