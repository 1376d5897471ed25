//! Loading, attaching and pinning the programs; adopting them when they are there already.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use aya::maps::{Map, MapData, MapError};
use aya::programs::links::{FdLink, LinkError};
use aya::programs::{
    BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSock, CgroupSockAddr,
    Program, ProgramError,
};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader};

use super::btf::Types;
use super::layout::LayoutError;
use super::maps::{self, Maps};
use super::object;
use super::pins::Pins;
use crate::cgroup::Cgroup;
use crate::cgroup::hierarchy::Root;
use crate::sys::{bpf, fs};

/// How a program gets to its hook.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attach {
    /// To the root cgroup, as this `BPF_CGROUP_*` type.
    Cgroup(u32),
    /// To a kernel tracepoint; without it cordon enforces all the same.
    Tracepoint,
}

/// One program: its name in the object, its hook, what it is for.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Name of the program and of its hook.
    pub name: &'static str,
    /// How it is attached.
    pub attach: Attach,
    /// What it does, for reports.
    pub detail: &'static str,
}

const fn cgroup(name: &'static str, attach_type: u32, detail: &'static str) -> Hook {
    Hook {
        name,
        attach: Attach::Cgroup(attach_type),
        detail,
    }
}

const fn tracepoint(name: &'static str, detail: &'static str) -> Hook {
    Hook {
        name,
        attach: Attach::Tracepoint,
        detail,
    }
}

/// Every program. The packet hooks come first: from the first moment on, nothing passes the wire
/// that has no verdict.
pub const HOOKS: [Hook; 13] = [
    cgroup("egress", 1, "every IP packet a job sends"),
    cgroup("ingress", 0, "every IP packet a job is sent"),
    cgroup(
        "sock_create",
        2,
        "refuses raw, ping and other sockets than TCP and UDP",
    ),
    cgroup(
        "connect4",
        10,
        "connect(2) to IPv4; sends DNS to the job's listener",
    ),
    cgroup(
        "connect6",
        11,
        "connect(2) to IPv6 and IPv4-mapped; sends DNS to the job's listener",
    ),
    cgroup(
        "sendmsg4",
        14,
        "sendto(2) and kin to IPv4; sends DNS to the job's listener",
    ),
    cgroup(
        "sendmsg6",
        15,
        "sendto(2) and kin to IPv6; sends DNS to the job's listener",
    ),
    cgroup(
        "recvmsg4",
        19,
        "shows DNS answers as from the server that was asked",
    ),
    cgroup(
        "recvmsg6",
        20,
        "shows DNS answers as from the server that was asked",
    ),
    cgroup("getpeername4", 29, "shows the DNS server that was asked"),
    cgroup("getpeername6", 30, "shows the DNS server that was asked"),
    tracepoint(
        "sched_process_fork",
        "process chains of processes that are gone",
    ),
    tracepoint(
        "sched_process_exec",
        "process chains of processes that are gone",
    ),
];

/// Constants of the object, with the kernel structure member each is the offset of.
pub const OFFSETS: [(&str, &str, &str); 3] = [
    ("OFFSET_TASK_PID", "task_struct", "pid"),
    ("OFFSET_TASK_TGID", "task_struct", "tgid"),
    ("OFFSET_BINPRM_FILENAME", "linux_binprm", "filename"),
];

/// Why the kernel side is not up.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The executable was built without a BPF toolchain.
    #[error("this build of cordon has no BPF programs; build it with `cargo xtask build`")]
    NoObject,
    /// The kernel says nothing of its own types.
    #[error(
        "the kernel's type information cannot be read; mount sysfs on `/sys`, or use a kernel built \
         with CONFIG_DEBUG_INFO_BTF"
    )]
    NoBtf(#[source] fs::FileError),
    /// A member the programs need is not in the kernel's BTF.
    #[error("the kernel's BTF does not have {structure}.{member}; this kernel is not supported")]
    NoOffset {
        /// The structure.
        structure: &'static str,
        /// Its member.
        member: &'static str,
    },
    /// The object cannot be loaded.
    #[error("cannot load the BPF object")]
    Object(#[source] Box<EbpfError>),
    /// A program is not in the object.
    #[error("the BPF object has no program {program}")]
    NoProgram {
        /// Its name.
        program: &'static str,
    },
    /// A map is not in the object.
    #[error("the BPF object has no map {map}")]
    NoMap {
        /// Its name.
        map: &'static str,
    },
    /// The kernel does not take a program.
    #[error("the kernel refuses program {program}: {}", tail(.source))]
    Load {
        /// Its name.
        program: &'static str,
        /// What the kernel said.
        source: Box<ProgramError>,
    },
    /// The kernel takes a program, and does not attach it.
    #[error("the kernel does not attach program {program}: {why}; {remedy}")]
    Attach {
        /// Its name.
        program: &'static str,
        /// What the kernel said.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The object's maps.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A link cannot be pinned.
    #[error("cannot pin the link of {program}")]
    Pin {
        /// Its program.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A link that should hold does not.
    #[error("program {program} is not attached to the root cgroup any more")]
    Detached {
        /// Its name.
        program: &'static str,
    },
    /// A map.
    #[error(transparent)]
    Map(#[from] maps::MapsError),
    /// A file.
    #[error(transparent)]
    File(#[from] fs::FileError),
}

impl KernelError {
    /// Whether it says that this program is gone. What cannot be asked about counts as gone.
    #[must_use]
    pub fn is_about(&self, program: &str) -> bool {
        match self {
            Self::Detached { program: gone } => *gone == program,
            _ => true,
        }
    }
}

/// The end of a verifier log says what is wrong; the rest can be megabytes.
fn tail(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(4);
            format!(
                "{io_error}: {}",
                lines.get(from..).unwrap_or_default().join(" | ")
            )
        }
        other => other.to_string(),
    }
}

/// The kernel side, up: its maps, and which hooks are there.
#[derive(Debug)]
pub struct Kernel {
    /// The maps.
    pub maps: Maps,
    /// Hooks that could not be attached, with the reason.
    pub missing: Vec<(Hook, String)>,
}

/// Loads the object, attaches every program at the root and pins it all.
///
/// # Errors
/// Any program that enforces is refused, or anything cannot be pinned; what was pinned is removed.
pub fn load(root: &Root, slice: &Cgroup, pins: &Pins) -> Result<Kernel, KernelError> {
    // What an interrupted load left is of no use, and its programs deny by empty maps meanwhile.
    pins.remove()?;
    pins.create()?;
    let loaded = load_parts(root, slice, pins);
    if loaded.is_err() {
        // The load's own error is the one to report.
        drop(pins.remove());
    }
    loaded
}

fn load_parts(root: &Root, slice: &Cgroup, pins: &Pins) -> Result<Kernel, KernelError> {
    let mut ebpf = open_object(slice.id(), root.level.saturating_add(1), None)?;
    for name in maps::NAMES {
        let path = pins.map(name);
        let map = ebpf.map_mut(name).ok_or(KernelError::NoMap { map: name })?;
        map.pin(&path)
            .map_err(io::Error::other)
            .map_err(fs::FileError::on("pin map", &path))?;
    }
    let directory = fs::open(root.cgroup.path())?;
    let btf = Btf::from_sys_fs()
        .map_err(EbpfError::BtfError)
        .map_err(Box::new)
        .map_err(KernelError::Object)?;
    let mut missing = Vec::new();
    for hook in HOOKS {
        match attach(&mut ebpf, hook, &directory, &btf, pins) {
            Err(error) if hook.attach == Attach::Tracepoint => {
                missing.push((hook, error.to_string()));
            }
            attached => attached?,
        }
    }
    pins.mark_loaded(&object::sha256())?;
    let maps = Maps::from(|name| {
        ebpf.take_map(name).ok_or_else(|| MapError::InvalidName {
            name: name.to_owned(),
        })
    })?;
    Ok(Kernel { maps, missing })
}

/// Opens the object with its constants set, on new maps or on the ones that are pinned. Nothing is
/// attached by this.
///
/// # Errors
/// There is no object, or the kernel lacks what it needs.
pub fn open_object(
    slice_id: u64,
    slice_level: u32,
    pins: Option<&Pins>,
) -> Result<Ebpf, KernelError> {
    let object = object::bytes().ok_or(KernelError::NoObject)?;
    let btf =
        fs::read("/sys/kernel/btf/vmlinux".as_ref(), 256 << 20).map_err(KernelError::NoBtf)?;
    let types = Types::parse(btf);
    let mut offsets = Vec::new();
    for (constant, structure, member) in OFFSETS {
        let offset = types
            .as_ref()
            .and_then(|types| types.offset(structure, member));
        offsets.push((
            constant,
            offset.ok_or(KernelError::NoOffset { structure, member })?,
        ));
    }
    let mut loader = EbpfLoader::new();
    loader.override_global("SLICE_ID", &slice_id, true);
    loader.override_global("SLICE_LEVEL", &slice_level, true);
    for (constant, offset) in &offsets {
        loader.override_global(constant, offset, true);
    }
    for (pins, name) in pins
        .iter()
        .flat_map(|pins| maps::NAMES.map(|name| (pins, name)))
    {
        loader.map_pin_path(name, pins.map(name));
    }
    loader
        .load(object)
        .map_err(Box::new)
        .map_err(KernelError::Object)
}

/// Loads one program into the kernel.
///
/// # Errors
/// The kernel's verifier refuses it.
pub fn load_program<'a>(
    ebpf: &'a mut Ebpf,
    hook: Hook,
    btf: &Btf,
) -> Result<&'a mut Program, KernelError> {
    let name = hook.name;
    let program = ebpf
        .program_mut(name)
        .ok_or(KernelError::NoProgram { program: name })?;
    let loaded = match program {
        Program::CgroupSkb(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::BtfTracePoint(program) => program.load(name, btf),
        _ => return Err(KernelError::NoProgram { program: name }),
    };
    loaded.map_err(|source| KernelError::Load {
        program: name,
        source: Box::new(source),
    })?;
    Ok(program)
}

fn attach(
    ebpf: &mut Ebpf,
    hook: Hook,
    root: &File,
    btf: &Btf,
    pins: &Pins,
) -> Result<(), KernelError> {
    let program = load_program(ebpf, hook, btf)?;
    attach_to(program, hook, root, &pins.link(hook.name))?;
    Ok(pins.mark_hook(hook.name)?)
}

/// Attaches a loaded program to its hook and pins the link.
pub(super) fn attach_to(
    program: &mut Program,
    hook: Hook,
    root: &File,
    pin: &Path,
) -> Result<(), KernelError> {
    let name = hook.name;
    let linked = match program {
        Program::CgroupSkb(program) => link_skb(program, hook, root),
        Program::CgroupSock(program) => link_sock(program, root),
        Program::CgroupSockAddr(program) => link_sock_addr(program, root),
        Program::BtfTracePoint(program) => link_tracepoint(program),
        _ => return Err(KernelError::NoProgram { program: name }),
    };
    let link = linked.map_err(|source| KernelError::Attach {
        program: name,
        why: super::chain(&source),
        remedy: attach_remedy(&source),
    })?;
    let failed = |source| KernelError::Pin {
        program: name,
        source,
    };
    let link = link.map_err(io::Error::other).map_err(failed)?;
    link.pin(pin).map_err(io::Error::other).map_err(failed)?;
    Ok(())
}

/// What to do about a program that loads and cannot be attached.
fn attach_remedy(error: &ProgramError) -> &'static str {
    let errno = match error {
        ProgramError::SyscallError(call) => call.io_error.raw_os_error(),
        _ => None,
    };
    match errno {
        // BPF_CGROUP_MAX_PROGS
        Some(libc::E2BIG) => {
            "64 programs are attached to this hook already, which is all the kernel takes: find \
             them with `bpftool cgroup tree`, detach what nobody needs"
        }
        Some(libc::EPERM | libc::EACCES) => "run cordon as root, with CAP_BPF and CAP_NET_ADMIN",
        _ => "`cordon doctor` says what this kernel can do",
    }
}

type Linked = Result<Result<FdLink, LinkError>, ProgramError>;

// `Single`: cgroup links always stack, whatever the mode says; other modes are refused by kernels
// from 5.7 on.

fn link_skb(program: &mut CgroupSkb, hook: Hook, root: &File) -> Linked {
    let way = if hook.name == "egress" {
        CgroupSkbAttachType::Egress
    } else {
        CgroupSkbAttachType::Ingress
    };
    let id = program.attach(root, way, CgroupAttachMode::Single)?;
    Ok(program.take_link(id)?.try_into())
}

fn link_sock(program: &mut CgroupSock, root: &File) -> Linked {
    let id = program.attach(root, CgroupAttachMode::Single)?;
    Ok(program.take_link(id)?.try_into())
}

fn link_sock_addr(program: &mut CgroupSockAddr, root: &File) -> Linked {
    let id = program.attach(root, CgroupAttachMode::Single)?;
    Ok(program.take_link(id)?.try_into())
}

fn link_tracepoint(program: &mut BtfTracePoint) -> Linked {
    let id = program.attach()?;
    Ok(Ok(program.take_link(id)?.into()))
}

/// Opens what another cordon pinned and [`inspect`](super::inspect) found whole.
///
/// # Errors
/// A map cannot be opened, or a program is not attached any more.
pub fn adopt(root: &Root, pins: &Pins) -> Result<Kernel, KernelError> {
    let maps = Maps::from(|name| MapData::from_pin(pins.map(name)).and_then(Map::from_map_data))?;
    let missing = HOOKS
        .into_iter()
        .filter(|hook| hook.attach == Attach::Tracepoint && !pins.link(hook.name).exists())
        .map(|hook| {
            (
                hook,
                "the cordon that loaded the programs could not attach it".to_owned(),
            )
        })
        .collect();
    check_links(root, pins)?;
    Ok(Kernel { maps, missing })
}

/// Asks the kernel whether every enforcing program is attached to this root, as it should be.
///
/// # Errors
/// One is not.
pub fn check_links(root: &Root, pins: &Pins) -> Result<(), KernelError> {
    for hook in HOOKS {
        let Attach::Cgroup(attach_type) = hook.attach else {
            continue;
        };
        let path = pins.link(hook.name);
        let link = bpf::open_pin(&path)?;
        let info =
            bpf::link_info(link.as_fd()).map_err(fs::FileError::on("ask about link", &path))?;
        let holds = info.kind == bpf::LINK_CGROUP
            && info.cgroup == root.cgroup.id()
            && info.attach_type == attach_type;
        if !holds {
            return Err(KernelError::Detached { program: hook.name });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_is_judged_before_anything_else_is_attached() {
        assert_eq!(HOOKS[0].name, "egress");
    }

    #[test]
    fn no_program_is_listed_twice() {
        let mut names: Vec<_> = HOOKS.map(|hook| hook.name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), HOOKS.len());
    }
}
