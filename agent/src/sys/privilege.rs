//! What cordon may do, and what a job may not.

use std::collections::BTreeSet;

use caps::{CapSet, Capability, CapsHashSet};

/// What cordon needs to enforce, each with its use; beside [`READING`].
const ENFORCING: [(Capability, &str); 4] = [
    (Capability::CAP_BPF, "loads the programs"),
    (Capability::CAP_NET_ADMIN, "attaches them to network hooks"),
    (Capability::CAP_PERFMON, "reads process events"),
    (
        Capability::CAP_SYS_ADMIN,
        "attaches at the cgroup root, mounts bpffs",
    ),
];

/// What it needs to sweep processes for secrets, a job's or others.
const READING: [(Capability, &str); 2] = [
    (Capability::CAP_IPC_LOCK, "keeps what it reads out of swap"),
    (
        Capability::CAP_SYS_PTRACE,
        "reads what processes of other users carry",
    ),
];

/// What no process of a job keeps in its bounding set, so that no set-uid program and no root shell
/// inside a job can have it.
const WITHHELD: [Capability; 12] = [
    Capability::CAP_BPF,
    Capability::CAP_MAC_ADMIN,
    Capability::CAP_MAC_OVERRIDE,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_RAW,
    Capability::CAP_PERFMON,
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_SYS_BOOT,
    Capability::CAP_SYS_MODULE,
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_SYS_RAWIO,
    Capability::CAP_SYS_RESOURCE,
];

/// The capability of this name, in small letters and without `cap_`.
fn named(name: &str) -> Option<Capability> {
    format!("CAP_{}", name.to_ascii_uppercase()).parse().ok()
}

/// Whether a job may be left the capability of this name, which is written in small letters and without `cap_`.
/// `None`: there is none.
#[must_use]
pub fn is_left(name: &str) -> Option<bool> {
    named(name).map(|capability| !WITHHELD.contains(&capability))
}

/// The names of all that a job may be left.
#[must_use]
pub fn names() -> Vec<String> {
    let all = caps::all().into_iter();
    let left = all.filter(|capability| !WITHHELD.contains(capability));
    let mut names: Vec<String> = left
        .map(|capability| capability.to_string().to_ascii_lowercase())
        .map(|name| name.strip_prefix("cap_").unwrap_or(&name).to_owned())
        .collect();
    names.sort();
    names
}

/// Capabilities of these names, as bits of a capability set. What is no name is no capability.
#[must_use]
pub fn bits(names: &BTreeSet<&str>) -> u64 {
    let known = names.iter().filter_map(|name| named(name));
    known.fold(0, |bits, capability| bits | capability.bitmask())
}

/// The names of these, as [`bits`] reads them.
#[must_use]
pub fn words(bits: u64) -> String {
    let names = names().into_iter();
    let held = names.filter(|name| named(name).is_some_and(|known| bits & known.bitmask() != 0));
    held.collect::<Vec<_>>().join(", ")
}

/// What no process of a job keeps, as bits of a capability set.
#[must_use]
pub fn withheld_bits() -> u64 {
    WITHHELD
        .into_iter()
        .fold(0, |bits, capability| bits | capability.bitmask())
}

/// A capability cordon needs and does not have.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// One or more are missing.
    #[error("missing {missing}; run cordon as root")]
    Missing {
        /// Names and uses, joined.
        missing: String,
    },
    /// They could not be read or changed.
    #[error("cannot handle capabilities")]
    Call(#[from] caps::errors::CapsError),
}

/// Checks that cordon has what it needs to run jobs, and names what it has not.
///
/// # Errors
/// Something is missing.
pub fn require() -> Result<(), PrivilegeError> {
    hold(&[&ENFORCING[..], &READING].concat())
}

/// The same for what a sweep of processes needs.
///
/// # Errors
/// Something is missing.
pub fn require_for_reading() -> Result<(), PrivilegeError> {
    hold(&READING)
}

fn hold(needed: &[(Capability, &str)]) -> Result<(), PrivilegeError> {
    let held = caps::read(None, CapSet::Effective)?;
    let missing: Vec<String> = needed
        .iter()
        .filter(|(capability, _)| !held.contains(capability))
        .map(|(capability, why)| format!("{capability} ({why})"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(PrivilegeError::Missing {
        missing: missing.join(", "),
    })
}

/// What the daemon keeps once it has started, beside what [`require`] asks for.
const DAEMON: [Capability; 4] = [
    // Opens state and evidence that belong to others, in directories of others.
    Capability::CAP_DAC_OVERRIDE,
    // Ends processes of any user.
    Capability::CAP_KILL,
    // Limits the files that processes of other users have open.
    Capability::CAP_SYS_RESOURCE,
    // Reads in the kernel's log whom the kernel killed for want of memory.
    Capability::CAP_SYSLOG,
];

/// What starting the mediator of a container engine as another user needs beside.
const MEDIATED: [Capability; 2] = [Capability::CAP_SETUID, Capability::CAP_SETGID];

/// Whether this process may start another as another user.
#[must_use]
pub fn may_change_user() -> bool {
    let held = caps::read(None, CapSet::Effective).unwrap_or_default();
    MEDIATED.iter().all(|capability| held.contains(capability))
}

/// Leaves the calling thread, and all it makes from now on, what a daemon needs and no more: not to be had again by
/// any program it might execute. `engines`: its jobs may have container engines.
///
/// # Errors
/// A set could not be changed.
pub fn keep_for_daemon(engines: bool) -> Result<(), PrivilegeError> {
    let needed = ENFORCING
        .iter()
        .chain(&READING)
        .map(|(capability, _)| *capability);
    let mediated = MEDIATED.into_iter().filter(|_| engines);
    let keep: CapsHashSet = needed.chain(DAEMON).chain(mediated).collect();
    for capability in caps::all() {
        if !keep.contains(&capability) && caps::has_cap(None, CapSet::Bounding, capability)? {
            caps::drop(None, CapSet::Bounding, capability)?;
        }
    }
    let held = caps::read(None, CapSet::Permitted)?;
    let keep: CapsHashSet = keep.intersection(&held).copied().collect();
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &keep)?;
    caps::set(None, CapSet::Permitted, &keep)?;
    Ok(())
}

/// Whether this process runs as root.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The user this process runs as.
#[must_use]
pub fn uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Takes from the calling process, for good, what a job must not have. Called between fork and
/// exec: no allocation beyond what the `caps` crate makes, no locks. `left` are the only ones that programs it
/// executes can have, as bits; what itself holds of others is for [`keep_only`] to take, once the user is changed.
///
/// # Errors
/// A set could not be changed; the process must not go on.
pub fn withhold(left: Option<u64>) -> Result<(), caps::errors::CapsError> {
    let is_left = |capability: Capability| {
        !WITHHELD.contains(&capability) && left.is_none_or(|left| left & capability.bitmask() != 0)
    };
    for capability in caps::all() {
        if is_left(capability) {
            continue;
        }
        if caps::has_cap(None, CapSet::Bounding, capability)? {
            caps::drop(None, CapSet::Bounding, capability)?;
        }
    }
    let keep = |set| -> Result<CapsHashSet, caps::errors::CapsError> {
        let mut held = caps::read(None, set)?;
        held.retain(|capability| !WITHHELD.contains(capability));
        Ok(held)
    };
    let (inheritable, effective, permitted) = (
        keep(CapSet::Inheritable)?,
        keep(CapSet::Effective)?,
        keep(CapSet::Permitted)?,
    );
    caps::clear(None, CapSet::Ambient)?;
    caps::set(None, CapSet::Inheritable, &inheritable)?;
    caps::set(None, CapSet::Effective, &effective)?;
    caps::set(None, CapSet::Permitted, &permitted)
}

/// Leaves the calling process these capabilities, as bits, and no more. Called between fork and exec.
///
/// # Errors
/// A set could not be changed; the process must not go on.
pub fn keep_only(left: u64) -> Result<(), caps::errors::CapsError> {
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        let mut held = caps::read(None, set)?;
        held.retain(|capability| left & capability.bitmask() != 0);
        caps::set(None, set, &held)?;
    }
    Ok(())
}

/// Leaves the calling process nothing but the right to signal processes of any user. For good, as
/// long as it executes nothing.
///
/// # Errors
/// A set could not be changed.
pub fn keep_only_kill() -> Result<(), caps::errors::CapsError> {
    let kill = CapsHashSet::from([Capability::CAP_KILL]);
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &kill)?;
    caps::set(None, CapSet::Permitted, &kill)
}
