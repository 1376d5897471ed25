//! Leaving a process a few paths to write to.

#![expect(unsafe_code, reason = "one system call on a descriptor")]

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
};

/// Files that programs write to without changing anything.
const HARMLESS: [&str; 7] = [
    "/dev/full",
    "/dev/null",
    "/dev/ptmx",
    "/dev/random",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
];
/// Directories of the same kind: terminals, and the job's own processes.
const HARMLESS_BELOW: [&str; 2] = ["/dev/pts", "/proc"];

/// Rules of the kernel for one list of paths.
#[derive(Debug)]
pub struct Rules(OwnedFd);

/// Rules that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    /// The kernel has no Landlock, or an old one.
    #[error(
        "this kernel cannot limit where a job writes (Landlock, Linux 5.19 or later with `lsm=landlock,…`)"
    )]
    Unsupported(#[source] RulesetError),
    /// The library made no rules: a kernel without them, which the requirements above refuse first.
    #[error("this kernel made no rules for where a job writes")]
    Missing,
    /// A path cannot be opened.
    #[error("`{}`, which is to be writable, cannot be opened", path.display())]
    Path {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: landlock::PathFdError,
    },
    /// A rule was refused.
    #[error("a rule for a path was refused")]
    Rule(#[source] RulesetError),
}

/// What is judged: all that changes something, and linking and renaming from one directory to another.
fn judged() -> BitFlags<AccessFs> {
    AccessFs::from_write(ABI::V2)
}

/// The first step of any ruleset: what is judged. Truncating is, where the kernel can (Linux 6.2).
fn ruleset() -> Result<Ruleset, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(judged())?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::Truncate)
}

/// Whether the kernel can do it at all.
///
/// # Errors
/// It cannot.
pub fn probe() -> Result<(), LandlockError> {
    let created = ruleset().and_then(Ruleset::create);
    created.map(drop).map_err(LandlockError::Unsupported)
}

/// Whether the kernel judges truncating a file by its name, too.
#[must_use]
pub fn judges_truncating() -> bool {
    let strict = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Truncate);
    strict.and_then(Ruleset::create).is_ok()
}

impl Rules {
    /// For what is at these paths now, with all below.
    ///
    /// # Errors
    /// See [`LandlockError`].
    pub fn new(writable: &[PathBuf]) -> Result<Self, LandlockError> {
        let mut rules = ruleset()
            .and_then(Ruleset::create)
            .map_err(LandlockError::Unsupported)?;
        let harmless = AccessFs::WriteFile | AccessFs::Truncate;
        for path in HARMLESS.iter().chain(&HARMLESS_BELOW).map(Path::new) {
            // A host without one has nothing to write to.
            if let Ok(file) = PathFd::new(path) {
                rules = rules
                    .add_rule(PathBeneath::new(file, harmless))
                    .map_err(LandlockError::Rule)?;
            }
        }
        for path in writable {
            let file = PathFd::new(path).map_err(|source| LandlockError::Path {
                path: path.clone(),
                source,
            })?;
            // Of a file only some of it means anything; the crate leaves out the rest where that is allowed.
            let access = if path.is_dir() {
                judged() | AccessFs::Truncate
            } else {
                harmless
            };
            rules = rules
                .add_rule(PathBeneath::new(file, access))
                .map_err(LandlockError::Rule)?;
        }
        let file: Option<OwnedFd> = rules.into();
        file.map(Self).ok_or(LandlockError::Missing)
    }

    /// Puts the calling thread, and what it starts, under them for good. It needs `no_new_privs`. Allocates nothing.
    ///
    /// # Errors
    /// The kernel refuses; the process must not go on.
    pub fn apply(&self) -> io::Result<()> {
        // SAFETY: the call takes a descriptor and flags, and touches no memory.
        let result =
            unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.0.as_raw_fd(), 0) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}
