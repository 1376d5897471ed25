//! Other programs on the same maps, under way: nothing is ever detached.
//!
//! The order matters. All new programs are loaded before the first link changes, so that a kernel
//! that refuses one changes nothing. Then a marker says that programs of two objects run; both
//! enforce, on the same maps. Then link by link, each in one step. An upgrade that is killed is
//! finished by the next agent that starts, whatever its object is.

use std::fs::File;
use std::os::fd::AsFd as _;

use aya::programs::Program;
use aya::{Btf, Ebpf, EbpfError};

use super::hooks::{Attach, HOOKS, Hook, is_lsm};
use super::kernel::{KernelError, Object, attach_to, load_program, open_object};
use super::object;
use super::pins::Pins;
use crate::cgroup::Cgroup;
use crate::cgroup::hierarchy::Root;
use crate::sys::{bpf, fs};

/// Replaces the programs of all links by those of this agent's object.
///
/// # Errors
/// A program is refused: nothing was changed. Or a link cannot be updated: the hooks run old and
/// new programs, and all of them enforce.
pub fn upgrade(root: &Root, slice: &Cgroup, pins: &Pins) -> Result<(), KernelError> {
    let level = root.level.saturating_add(1);
    let Object { mut ebpf, lsm, .. } = open_object(slice.id(), level, Some(pins))?;
    let btf = Btf::from_sys_fs()
        .map_err(EbpfError::BtfError)
        .map_err(Box::new)
        .map_err(KernelError::Object)?;
    let mut loaded = Vec::new();
    let there = pins.hooks()?;
    // LSM programs are there as a set or not at all; a job that runs keeps what it was proved with.
    let wanted =
        |hook: &Hook| !is_lsm(hook) || (lsm.is_ok() && there.iter().any(|name| name == hook.name));
    for hook in HOOKS.into_iter().filter(wanted) {
        match load_program(&mut ebpf, hook, &btf) {
            Err(error) if keeps_its_own(&hook) => {
                tracing::warn!(%error, "a hook keeps its old program");
            }
            program => {
                program?;
                loaded.push(hook);
            }
        }
    }
    let directory = fs::open(root.cgroup.path())?;
    let object = object::sha256();
    pins.begin_upgrade(&object)?;
    for hook in loaded {
        match replace(&mut ebpf, hook, &directory, pins) {
            Err(error) if keeps_its_own(&hook) => {
                tracing::warn!(%error, "a hook keeps its old program");
            }
            replaced => replaced?,
        }
    }
    for gone in pins.hooks()? {
        // Of an object that had more hooks than this one.
        if HOOKS.iter().all(|hook| hook.name != gone) {
            pins.forget_hook(&gone)?;
        }
    }
    Ok(pins.end_upgrade(&object)?)
}

/// Whether its link cannot be updated: where the new program is refused, the old one goes on.
fn keeps_its_own(hook: &Hook) -> bool {
    !matches!(hook.attach, Attach::Cgroup(_))
}

fn replace(ebpf: &mut Ebpf, hook: Hook, root: &File, pins: &Pins) -> Result<(), KernelError> {
    let name = hook.name;
    let program = ebpf
        .program_mut(name)
        .ok_or(KernelError::NoProgram { program: name })?;
    let path = pins.link(name);
    if !path.exists() {
        attach_to(program, hook, root, &path)?;
        return Ok(pins.mark_hook(name)?);
    }
    match hook.attach {
        Attach::Cgroup(_) => update(program, hook, pins)?,
        // These links cannot be updated. Both programs run for a moment; the old one goes when its
        // pin does.
        Attach::Tracepoint | Attach::Lsm(_) => {
            pins.forget_next_link(name)?;
            attach_to(program, hook, root, &pins.next_link(name))?;
            pins.swap_link(name)?;
        }
    }
    Ok(pins.mark_hook(name)?)
}

fn update(program: &Program, hook: Hook, pins: &Pins) -> Result<(), KernelError> {
    let path = pins.link(hook.name);
    let link = bpf::open_pin(&path)?;
    let program = program.fd().map_err(|source| KernelError::Load {
        program: hook.name,
        refusal: Box::new(source),
    })?;
    bpf::update_link(link.as_fd(), program.as_fd())
        .map_err(fs::FileError::on("replace the program of link", path))?;
    Ok(())
}
