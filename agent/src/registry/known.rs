//! The file of known values: read whole or not at all, changed by one cordon at a time.

use std::io;
use std::path::{Path, PathBuf};

use cordon_secrets::{FileError as FormError, KeyId, KnownSet, RegisterError};

use super::{AccessError, check_access, lock, split};
use crate::sys::dir::Directory;
use crate::sys::fs::{FileError, read_regular};

/// 16 MiB: a hundred thousand lines.
const LIMIT: u64 = 16 << 20;

/// A list of known values that was not read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KnownError {
    /// Others have their hands on it.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A line is not as it should be.
    #[error("`{}` is damaged and was left as it is; repair the line, or move the file away", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which line, and what is wrong with it.
        #[source]
        source: FormError,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not text.
    #[error("line {line} of `{}` is not text; the file was left as it is: repair it, or move it away", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first such line, from 1.
        line: usize,
    },
    /// It was made under another key, with which alone its values are found.
    #[error(
        "`{}` was made under the key {set}, and the host's key is {key}: none of its values would be \
         found; bring the key back, or move the file away and register the values again",
        path.display()
    )]
    OtherKey {
        /// The file.
        path: PathBuf,
        /// The host's key.
        key: KeyId,
        /// The key of the file.
        set: KeyId,
    },
    /// The value is refused.
    #[error(transparent)]
    Register(#[from] RegisterError),
}

/// The registered values: none, if there is no such file.
///
/// # Errors
/// There is one, and it is of no use under this key.
pub fn load(path: &Path, key: KeyId) -> Result<KnownSet, KnownError> {
    let set = read(path)?.unwrap_or_else(|| KnownSet::new(key));
    same_key(path, set, key)
}

/// The registered values, under whatever key; `None` if there is no such file.
///
/// # Errors
/// There is one, and it is not whole.
pub fn read(path: &Path) -> Result<Option<KnownSet>, KnownError> {
    let (directory, name) = split(path)?;
    match Directory::open(directory) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
        directory => read_in(&directory?, name, path),
    }
}

/// Changes the registered values and writes them, unless the change fails or another cordon is at it
/// for long.
///
/// # Errors
/// Nothing was changed.
pub fn change<T, E: From<KnownError>>(
    path: &Path,
    key: KeyId,
    change: impl FnOnce(&mut KnownSet) -> Result<T, E>,
) -> Result<T, E> {
    let (directory, name) = split(path).map_err(KnownError::from)?;
    let directory = Directory::open_or_create(directory, 0o700).map_err(KnownError::from)?;
    lock(&directory, path).map_err(KnownError::from)?;
    let set = read_in(&directory, name, path)?.unwrap_or_else(|| KnownSet::new(key));
    let mut set = same_key(path, set, key)?;
    let made = change(&mut set)?;
    directory
        .replace(name, set.to_string().as_bytes(), 0o600)
        .map_err(KnownError::from)?;
    Ok(made)
}

fn same_key(path: &Path, set: KnownSet, key: KeyId) -> Result<KnownSet, KnownError> {
    if set.key() == key {
        return Ok(set);
    }
    let path = path.into();
    let set = set.key();
    Err(KnownError::OtherKey { path, key, set })
}

fn read_in(directory: &Directory, name: &str, path: &Path) -> Result<Option<KnownSet>, KnownError> {
    let file = match directory.open_file(name) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let metadata = file.metadata().map_err(FileError::on("examine", path))?;
    check_access(&metadata, path)?;
    let bytes = read_regular(file, path, LIMIT)?;
    let text = str::from_utf8(&bytes).map_err(|error| KnownError::NotText {
        path: path.into(),
        line: line_of(&bytes, error.valid_up_to()),
    })?;
    let set = KnownSet::parse(text).map_err(|source| KnownError::Damaged {
        path: path.into(),
        source,
    })?;
    Ok(Some(set))
}

/// The line of a byte, from 1.
fn line_of(bytes: &[u8], at: usize) -> usize {
    let before = bytes.iter().take(at).filter(|byte| **byte == b'\n');
    before.count().saturating_add(1)
}
