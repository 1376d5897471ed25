//! What the host knows of secrets without keeping any: the key of its fingerprints, and the values an
//! operator has registered, as digests under that key.
//!
//! **Invariants**: value and key bytes lie in locked memory that is zeroed at the end, and are neither
//! printed nor logged; a key is never written over; a list that cannot be read whole is not used, and
//! not written over either.
//!
//! **Not here**: looking for secrets. That is the engine's, in the crate `cordon-secrets`.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cordon_secrets::{FingerprintKey, KnownSet};

use crate::config::Config;
use crate::sys::dir::Directory;
use crate::sys::fs::FileError;

pub mod key;
pub mod known;
pub mod value;

pub use self::key::KeyError;
pub use self::known::KnownError;
pub use self::value::{Ending, Value, ValueError};

/// How long another cordon may take to change a file. It takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often is looked whether it has.
const PAUSE: Duration = Duration::from_millis(20);

/// Key and known values of a host.
pub struct Registry {
    /// The key of its fingerprints.
    pub key: FingerprintKey,
    /// Whether the key was made just now.
    pub made: key::Made,
    /// The registered values; none if nobody has registered any.
    pub known: KnownSet,
}

// Of the key, its name.
impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("key", &self.key.id())
            .field("values", &self.known.values().len())
            .finish_non_exhaustive()
    }
}

/// Why a job cannot be swept on this host.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The known values.
    #[error(transparent)]
    Known(#[from] KnownError),
}

impl Registry {
    /// Reads both, and makes a key if there is none.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn open(config: &Config) -> Result<Self, RegistryError> {
        let (key, made) = key::load_or_make(&config.fingerprint_key())?;
        let known = known::load(&config.known_values(), key.id())?;
        Ok(Self { key, made, known })
    }
}

/// A file that others have their hands on.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Another cordon changes it, and does not come to an end.
    #[error("another cordon is changing `{}` and does not finish; try again when it has", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// Its directory cannot be locked.
    #[error(transparent)]
    Lock(#[from] FileError),
    /// The path names no file.
    #[error("`{}` does not name a file", path.display())]
    NoFileName {
        /// The path.
        path: PathBuf,
    },
    /// Others may read it.
    #[error(
        "`{}` can be read by others (mode {mode:04o}); if nobody has copied it, run `chmod 0600 {}`, \
         else move it away and make a new one",
        path.display(), path.display()
    )]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else owns it.
    #[error(
        "`{}` belongs to user {owner}, who could replace it; it must belong to root or to the user who \
         runs cordon",
        path.display()
    )]
    StrangeOwner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
}

/// Checks that nobody but root or the caller can have read or changed a file.
fn check_access(metadata: &Metadata, path: &Path) -> Result<(), AccessError> {
    let owner = metadata.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        let path = path.into();
        return Err(AccessError::StrangeOwner { path, owner });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let path = path.into();
        return Err(AccessError::Readable { path, mode });
    }
    Ok(())
}

/// Takes the directory of a file that is to be made or changed, until the directory is dropped.
fn lock(directory: &Directory, path: &Path) -> Result<(), AccessError> {
    let start = Instant::now();
    while !directory.try_lock()? {
        if start.elapsed() > PATIENCE {
            return Err(AccessError::Busy { path: path.into() });
        }
        sleep(PAUSE);
    }
    Ok(())
}

/// A path as its directory and the name in it.
fn split(path: &Path) -> Result<(&Path, &str), AccessError> {
    let name = path.file_name().and_then(|name| name.to_str());
    match (path.parent(), name) {
        (Some(directory), Some(name)) => Ok((directory, name)),
        _ => Err(AccessError::NoFileName { path: path.into() }),
    }
}

#[cfg(test)]
mod tests;
