//! Files, with errors that name the operation and the path.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// 64 KiB: how much of a file is handed over at a time.
const PIECE: usize = 64 << 10;

/// An operation on a path that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} `{}`", path.display())]
pub struct FileError {
    /// What was tried, as a verb: `open`, `read`, `write`.
    pub operation: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`: `.map_err(FileError::on("open", path))`.
    pub fn on(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self {
            operation,
            path,
            source,
        }
    }
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// The file cannot be opened or read, or is larger than `limit`.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    read_at_most(open(path)?, path, limit)
}

/// Reads an open file of at most `limit` bytes, if it is a regular file. The path is for the error.
///
/// # Errors
/// It is a device, a pipe or a directory, cannot be read, or is larger than `limit`.
pub fn read_regular(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let metadata = file.metadata().map_err(FileError::on("examine", path))?;
    if !metadata.is_file() {
        return Err(irregular(path));
    }
    read_at_most(file, path, limit)
}

/// Hands over an open file of at most `limit` bytes, if it is a regular file, and says how long it is. The path
/// is for the error.
///
/// # Errors
/// As [`read_regular`]; pieces may have been handed over before.
pub fn stream_regular(
    mut file: File,
    path: &Path,
    limit: u64,
    take: &mut dyn FnMut(&[u8]),
) -> Result<u64, FileError> {
    let metadata = file.metadata().map_err(FileError::on("examine", path))?;
    if !metadata.is_file() {
        return Err(irregular(path));
    }
    let mut buffer = vec![0; PIECE];
    let mut length = 0_u64;
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(FileError::on("read", path))?;
        let bytes = buffer.get(..read).unwrap_or_default();
        length = length.saturating_add(bytes.len() as u64);
        if bytes.is_empty() {
            return Ok(length);
        }
        if length > limit {
            return Err(too_large(path, limit));
        }
        take(bytes);
    }
}

fn irregular(path: &Path) -> FileError {
    let irregular = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
    FileError::on("read", path)(irregular)
}

fn too_large(path: &Path, limit: u64) -> FileError {
    let too_large = io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("larger than the {limit} bytes it may have"),
    );
    FileError::on("read", path)(too_large)
}

fn read_at_most(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(FileError::on("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(too_large(path, limit));
    }
    Ok(bytes)
}

/// Reads a whole text file of at most `limit` bytes.
///
/// # Errors
/// As [`read`], and for text that is not UTF-8.
pub fn read_to_string(path: &Path, limit: u64) -> Result<String, FileError> {
    String::from_utf8(read(path, limit)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        .map_err(FileError::on("read as UTF-8 text", path))
}

/// SHA-256 of a file of any size.
///
/// # Errors
/// It cannot be opened or read.
pub fn sha256(path: &Path) -> Result<[u8; 32], FileError> {
    let mut file = open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(FileError::on("read", path))?;
        if read == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(buffer.get(..read).unwrap_or_default());
    }
}

/// Opens a file for reading.
///
/// # Errors
/// It cannot be opened.
pub fn open(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .read(true)
        .open(path)
        .map_err(FileError::on("open", path))
}

/// Writes to a file that exists already, as kernel files do: a typo cannot create one.
///
/// # Errors
/// It cannot be opened or written.
pub fn write_existing(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(FileError::on("open for writing", path))?;
    file.write_all(bytes).map_err(FileError::on("write", path))
}

/// Writes a file whole or not at all: a new file beside it, synced, then renamed over it.
///
/// # Errors
/// Any step failed; the old content, if there was any, is still there.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".new-{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = create_new(&temporary, mode).and_then(|mut file| {
        file.write_all(bytes)
            .map_err(FileError::on("write", &temporary))?;
        file.sync_all().map_err(FileError::on("sync", &temporary))?;
        std::fs::rename(&temporary, path).map_err(FileError::on("rename into place", path))
    });
    if written.is_err() {
        // The error that matters is the first one; a file that was never made cannot be removed.
        drop(std::fs::remove_file(&temporary));
    }
    written
}

/// Makes a new file with these permission bits; never follows a link or reuses a file.
///
/// # Errors
/// It exists or cannot be made.
pub fn create_new(path: &Path, mode: u32) -> Result<File, FileError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(FileError::on("create", path))
}

/// Makes a directory and its parents; one that exists is fine.
///
/// # Errors
/// One of them cannot be made.
pub fn create_dir_all(path: &Path) -> Result<(), FileError> {
    std::fs::create_dir_all(path).map_err(FileError::on("create directory", path))
}

/// Random numbers of the kernel.
///
/// # Errors
/// The device cannot be read.
pub fn random_words<const N: usize>() -> Result<[u32; N], FileError> {
    let path = Path::new("/dev/urandom");
    let mut file = open(path)?;
    let mut words = [0; N];
    for word in &mut words {
        let mut bytes = [0; 4];
        file.read_exact(&mut bytes)
            .map_err(FileError::on("read", path))?;
        *word = u32::from_ne_bytes(bytes);
    }
    Ok(words)
}

/// Random bytes of the kernel.
///
/// # Errors
/// The device cannot be read.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], FileError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; N];
    open(path)?
        .read_exact(&mut bytes)
        .map_err(FileError::on("read", path))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_over_its_limit_is_refused_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("profile.toml");
        write_atomic(&path, &[b'x'; 11], 0o600).unwrap();
        let error = read(&path, 10).unwrap_err();
        assert!(error.to_string().contains("profile.toml"), "{error}");
        assert_eq!(read(&path, 11).unwrap().len(), 11);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        write_atomic(&path, b"new", 0o600).unwrap_err();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
