//! Loading, attaching and pinning the programs; adopting them when they are there already.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use aya::maps::{Map, MapData, MapError};
use aya::programs::links::FdLink;
use aya::programs::{Program, ProgramError};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader};

use super::btf::Types;
use super::hooks::{
    Attach, FOR_SPLICE, HOOKS, Hook, LSM_OFFSETS, LSM_REMEDY, NAMESPACE_OFFSETS, OFFSETS, is_lsm,
    is_optional,
};
use super::layout::LayoutError;
use super::maps::{self, Maps};
use super::object;
use super::pins::Pins;
use crate::cgroup::Cgroup;
use crate::cgroup::hierarchy::Root;
use crate::sys::{bpf, fs};

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
    #[error("the kernel refuses program {program}: {}", tail(.refusal))]
    Load {
        /// Its name.
        program: &'static str,
        /// What the kernel said. All of it is in this error's own words.
        refusal: Box<ProgramError>,
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
    #[error("program {program} is not attached where it was any more")]
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
            let end = lines.get(from..).unwrap_or_default().join(" | ");
            if end.is_empty() {
                io_error.to_string()
            } else {
                format!("{io_error}: {end}")
            }
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
    /// Whether the LSM programs are there, all of them; why not.
    pub lsm: Result<(), String>,
    /// LSM programs this kernel has no need of.
    pub unneeded: Vec<&'static str>,
}

/// The object, opened for this kernel.
#[derive(Debug)]
pub struct Object {
    /// Its programs and maps.
    pub ebpf: Ebpf,
    /// Whether the kernel's BTF has what the LSM programs need.
    pub lsm: Result<(), KernelError>,
    /// LSM programs this kernel has no need of.
    pub unneeded: Vec<&'static str>,
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
    let Object {
        mut ebpf,
        lsm,
        unneeded,
    } = open_object(slice.id(), root.level.saturating_add(1), None)?;
    for name in maps::NAMES {
        let path = pins.map(name);
        let map = ebpf.map_mut(name).ok_or(KernelError::NoMap { map: name })?;
        map.pin(&path)
            .map_err(io::Error::other)
            .map_err(fs::FileError::on("pin map", &path))?;
    }
    let key = ebpf
        .map_mut("KEPT_KEY")
        .ok_or(KernelError::NoMap { map: "KEPT_KEY" })?;
    maps::set_kept_key(key, fs::random_words()?)?;
    let directory = fs::open(root.cgroup.path())?;
    let btf = Btf::from_sys_fs()
        .map_err(EbpfError::BtfError)
        .map_err(Box::new)
        .map_err(KernelError::Object)?;
    let mut missing = Vec::new();
    for hook in HOOKS.into_iter().filter(|hook| !is_lsm(hook)) {
        match attach(&mut ebpf, hook, &directory, &btf, pins) {
            Err(error) if is_optional(&hook) => missing.push((hook, error.to_string())),
            attached => attached?,
        }
    }
    let lsm = lsm.and_then(|()| attach_lsm(&mut ebpf, &unneeded, &directory, &btf, pins));
    if lsm.is_err() {
        unpin_lsm(pins)?;
    }
    pins.mark_loaded(&object::sha256())?;
    // Only now: the programs name maps by their descriptors until they are loaded.
    let maps = Maps::from(|name| {
        ebpf.take_map(name).ok_or_else(|| MapError::InvalidName {
            name: name.to_owned(),
        })
    })?;
    Ok(Kernel {
        maps,
        missing,
        lsm: lsm.map_err(|error| format!("{}; {LSM_REMEDY}", super::chain(&error))),
        unneeded,
    })
}

/// Attaches the LSM programs, up to the first that is refused.
fn attach_lsm(
    ebpf: &mut Ebpf,
    unneeded: &[&str],
    root: &File,
    btf: &Btf,
    pins: &Pins,
) -> Result<(), KernelError> {
    HOOKS
        .into_iter()
        .filter(|hook| is_lsm(hook) && !unneeded.contains(&hook.name))
        .try_for_each(|hook| attach(ebpf, hook, root, btf, pins))
}

/// A part of the LSM programs would be a promise that nobody can put into words.
fn unpin_lsm(pins: &Pins) -> Result<(), KernelError> {
    let marked = pins.hooks()?;
    for hook in HOOKS.iter().filter(|hook| is_lsm(hook)) {
        if marked.iter().any(|name| name == hook.name) {
            pins.forget_hook(hook.name)?;
        }
        let path = pins.link(hook.name);
        // Attached, and not marked yet.
        if path.exists() {
            std::fs::remove_file(&path).map_err(fs::FileError::on("unpin", &path))?;
        }
    }
    Ok(())
}

/// Before Linux 6.5 sockets have an operation of their own for pages that are spliced into them, and
/// what goes that way reaches no hook of sockets.
fn splices_past_hooks(types: &Types) -> bool {
    types.offset("proto_ops", "sendpage").is_some()
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
) -> Result<Object, KernelError> {
    let object = object::bytes().ok_or(KernelError::NoObject)?;
    let btf =
        fs::read("/sys/kernel/btf/vmlinux".as_ref(), 256 << 20).map_err(KernelError::NoBtf)?;
    let types = Types::parse(btf);
    let find = |(constant, structure, member)| {
        types
            .as_ref()
            .and_then(|types| types.offset(structure, member))
            .map(|offset| (constant, offset))
            .ok_or(KernelError::NoOffset { structure, member })
    };
    let mut offsets = OFFSETS
        .into_iter()
        .map(find)
        .collect::<Result<Vec<_>, _>>()?;
    let namespace: Result<Vec<_>, _> = NAMESPACE_OFFSETS.into_iter().map(find).collect();
    match namespace {
        Ok(found) => offsets.extend(found),
        Err(error) => tracing::info!(%error, "network namespaces are noticed by their sockets"),
    }
    let lsm = LSM_OFFSETS
        .into_iter()
        .map(find)
        .collect::<Result<Vec<_>, _>>()
        .map(|found| offsets.extend(found));
    let mut unneeded = Vec::new();
    if !types.as_ref().is_some_and(splices_past_hooks) {
        unneeded.push(FOR_SPLICE);
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
    let ebpf = loader
        .load(object)
        .map_err(Box::new)
        .map_err(KernelError::Object)?;
    Ok(Object {
        ebpf,
        lsm,
        unneeded,
    })
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
    let loaded = match (program, hook.attach) {
        (Program::CgroupSkb(program), _) => program.load(),
        (Program::CgroupSock(program), _) => program.load(),
        (Program::CgroupSockAddr(program), _) => program.load(),
        (Program::CgroupSockopt(program), _) => program.load(),
        (Program::BtfTracePoint(program), _) => program.load(name, btf),
        (Program::Lsm(program), Attach::Lsm(hook)) => program.load(hook, btf),
        _ => return Err(KernelError::NoProgram { program: name }),
    };
    loaded.map_err(|source| KernelError::Load {
        program: name,
        refusal: Box::new(source),
    })?;
    ebpf.program_mut(name)
        .ok_or(KernelError::NoProgram { program: name })
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
    let refused = |source: io::Error| KernelError::Attach {
        program: name,
        remedy: attach_remedy(&source),
        why: source.to_string(),
    };
    let failed = |source| KernelError::Pin {
        program: name,
        source,
    };
    let link: FdLink = match (hook.attach, program) {
        // Linked by hand: aya hands out the links of only some kinds of cgroup programs.
        (Attach::Cgroup(attach_type), program) => {
            let program = program.fd().map_err(io::Error::other).map_err(refused)?;
            let link =
                bpf::link_to_cgroup(program.as_fd(), root.as_fd(), attach_type).map_err(refused)?;
            return bpf::pin(link.as_fd(), pin).map_err(failed);
        }
        (Attach::Tracepoint, Program::BtfTracePoint(program)) => program
            .attach()
            .and_then(|id| program.take_link(id))
            .map_err(|error| refused(io_error(error)))?
            .into(),
        (Attach::Lsm(_), Program::Lsm(program)) => program
            .attach()
            .and_then(|id| program.take_link(id))
            .map_err(|error| refused(io_error(error)))?
            .into(),
        (Attach::Tracepoint | Attach::Lsm(_), _) => {
            return Err(KernelError::NoProgram { program: name });
        }
    };
    link.pin(pin)
        .map(drop)
        .map_err(io::Error::other)
        .map_err(failed)
}

/// What the kernel said, where it said anything.
fn io_error(error: ProgramError) -> io::Error {
    match error {
        ProgramError::SyscallError(call) => call.io_error,
        other => io::Error::other(other),
    }
}

/// What to do about a program that loads and cannot be attached.
fn attach_remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        // BPF_CGROUP_MAX_PROGS
        Some(libc::E2BIG) => {
            "64 programs are attached to this hook already, which is all the kernel takes: find \
             them with `bpftool cgroup tree`, detach what nobody needs"
        }
        Some(libc::EPERM | libc::EACCES) => "run cordon as root, with CAP_BPF and CAP_NET_ADMIN",
        _ => "`cordon doctor` says what this kernel can do",
    }
}

/// Opens what another cordon pinned and [`inspect`](super::inspect) found whole.
///
/// # Errors
/// A map cannot be opened, or a program is not attached any more.
pub fn adopt(root: &Root, pins: &Pins) -> Result<Kernel, KernelError> {
    let maps = Maps::from(|name| MapData::from_pin(pins.map(name)).and_then(Map::from_map_data))?;
    let missing = HOOKS
        .into_iter()
        .filter(|hook| is_optional(hook) && !pins.link(hook.name).exists())
        .map(|hook| {
            (
                hook,
                "the cordon that loaded the programs could not attach it".to_owned(),
            )
        })
        .collect();
    let pinned = |hook: &Hook| pins.link(hook.name).exists();
    let lsm = if HOOKS.iter().any(|hook| is_lsm(hook) && pinned(hook)) {
        Ok(())
    } else {
        Err(format!(
            "the cordon that loaded the programs could not attach them; {LSM_REMEDY}"
        ))
    };
    let unneeded = HOOKS
        .iter()
        .filter(|hook| hook.name == FOR_SPLICE && !pinned(hook))
        .map(|hook| hook.name)
        .collect();
    let kernel = Kernel {
        maps,
        missing,
        lsm,
        unneeded,
    };
    check_links(root, pins, &kernel)?;
    Ok(kernel)
}

/// Asks the kernel whether every enforcing program is attached as it should be: to this root, or to
/// its security hook.
///
/// # Errors
/// One is not.
pub fn check_links(root: &Root, pins: &Pins, kernel: &Kernel) -> Result<(), KernelError> {
    for hook in HOOKS {
        let path = pins.link(hook.name);
        let holds: bool = match hook.attach {
            Attach::Cgroup(attach_type) => {
                let info = link_info(&path)?;
                info.kind == bpf::LINK_CGROUP
                    && info.cgroup == root.cgroup.id()
                    && info.attach_type == attach_type
            }
            Attach::Lsm(_) if kernel.lsm.is_ok() && !kernel.unneeded.contains(&hook.name) => {
                // A link of this kind is attached as long as it is there.
                path.exists() && link_info(&path)?.kind == bpf::LINK_TRACING
            }
            Attach::Tracepoint | Attach::Lsm(_) => true,
        };
        if !holds {
            return Err(KernelError::Detached { program: hook.name });
        }
    }
    Ok(())
}

fn link_info(path: &Path) -> Result<bpf::LinkInfo, fs::FileError> {
    let link = bpf::open_pin(path)?;
    bpf::link_info(link.as_fd()).map_err(fs::FileError::on("ask about link", path))
}
