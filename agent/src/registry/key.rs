//! The key of a host's fingerprints: a file of 32 random bytes that never leaves the host.
//!
//! Whoever has it can try guesses against the fingerprints in reports and the digests of known values.

use std::fs::File;
use std::io::{self, Read as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use cordon_secrets::FingerprintKey;
use zeroize::Zeroizing;

use super::{AccessError, check_access, lock, split};
use crate::sys::dir::Directory;
use crate::sys::fs::FileError;
use crate::sys::sensitive::Locked;

/// Bytes of a key.
const KEY_BYTES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(31);
/// One more, so that a longer file is noticed.
const ROOM: NonZeroUsize = KEY_BYTES.saturating_add(1);

/// Whether a key had to be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Made {
    /// It was there.
    Before,
    /// It is new: no report from before can be compared with later ones.
    Now,
}

/// A key that was not made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Others have their hands on it.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The kernel gave no random bytes.
    #[error("the kernel has no random bytes for a new key")]
    Entropy(#[source] io::Error),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no locked memory for it.
    #[error("no memory can be locked for the key; raise `ulimit -l`, or run cordon as root")]
    Memory(#[source] io::Error),
    /// The path leads to something else than a file.
    #[error("`{}` is not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Something else than a key is in it.
    #[error(
        "`{}` is not a key: it must have exactly 32 bytes; if no key is kept elsewhere, move it away, \
         and `cordon secrets init` makes a new one",
        path.display()
    )]
    Size {
        /// The file.
        path: PathBuf,
    },
}

impl KeyError {
    /// Whether there is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::File(error) if error.source.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads a key, if nobody but its owner can.
///
/// # Errors
/// See [`KeyError`].
pub fn load(path: &Path) -> Result<FingerprintKey, KeyError> {
    let (directory, name) = split(path)?;
    let file = Directory::open(directory)?.open_file(name)?;
    let metadata = file.metadata().map_err(FileError::on("examine", path))?;
    if !metadata.is_file() {
        return Err(KeyError::NotAFile { path: path.into() });
    }
    check_access(&metadata, path)?;
    let mut memory = Locked::new(ROOM).map_err(KeyError::Memory)?;
    let length = fill(file, memory.bytes_mut()).map_err(FileError::on("read", path))?;
    if length != KEY_BYTES.get() {
        return Err(KeyError::Size { path: path.into() });
    }
    Ok(take(&memory))
}

/// Reads a key, or makes one where there is none: whole or not at all, on disk when this returns, and
/// never over another.
///
/// # Errors
/// See [`KeyError`].
pub fn load_or_make(path: &Path) -> Result<(FingerprintKey, Made), KeyError> {
    match load(path) {
        Err(error) if error.is_missing() => {}
        found => return found.map(|key| (key, Made::Before)),
    }
    let (directory, name) = split(path)?;
    let directory = Directory::open_or_create(directory, 0o700)?;
    lock(&directory, path)?;
    // Another cordon may have made it by now.
    match load(path) {
        Err(error) if error.is_missing() => {}
        found => return found.map(|key| (key, Made::Before)),
    }
    let mut memory = Locked::new(KEY_BYTES).map_err(KeyError::Memory)?;
    memory.fill_random().map_err(KeyError::Entropy)?;
    directory.publish(name, memory.bytes(), 0o600)?;
    Ok((take(&memory), Made::Now))
}

/// Reads until the end, or until there is no room left; how many bytes.
fn fill(mut file: File, memory: &mut [u8]) -> io::Result<usize> {
    let mut length: usize = 0;
    while let Some(room) = memory.get_mut(length..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => break,
            Ok(count) => length = length.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// The key that begins there. The engine keeps its own copy, and zeroes it.
fn take(memory: &Locked) -> FingerprintKey {
    let mut bytes = Zeroizing::new([0; KEY_BYTES.get()]);
    for (to, from) in bytes.iter_mut().zip(memory.bytes()) {
        *to = *from;
    }
    FingerprintKey::new(*bytes)
}
