//! The file of telemetry: whole lines or none, on disk when a job is over.
//!
//! Several cordons write to one file: each opens it anew, so that it can be rotated by renaming, and holds its lock for
//! one line. A line that a crash tore is taken away by the next who writes, or starts: nobody was told that it is there.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, access};

use crate::sys::fs::FileError;

/// Bytes of the longest line.
pub const LARGEST: usize = 1 << 20;
/// Times the lock is tried, and how long to wait between: a shipper of logs that holds it holds no job up.
const TRIES: u32 = 50;
const WAIT: Duration = Duration::from_millis(20);
/// Times the file may be replaced while it is being opened.
const REPLACED: u32 = 8;
const MODE: u32 = 0o640;

/// Why a line was not written.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is no regular file.
    #[error("`{}` is no regular file; name one in `[telemetry] file`", .0.display())]
    Irregular(PathBuf),
    /// Somebody else has it.
    #[error("`{}` is locked by another program for more than a second", .0.display())]
    Locked(PathBuf),
    /// It is replaced all the time.
    #[error("`{}` is replaced again and again", .0.display())]
    Replaced(PathBuf),
    /// The line is too long.
    #[error("the line has {0} bytes, and may have {LARGEST}")]
    Large(usize),
    /// It has no JSON form.
    #[error("the line cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
}

/// Appends a line, and is on disk when this returns. A line that could not be written whole is not there.
///
/// # Errors
/// See [`TelemetryError`].
pub fn append(path: &Path, line: &str) -> Result<(), TelemetryError> {
    if line.len() > LARGEST {
        return Err(TelemetryError::Large(line.len()));
    }
    let (mut file, new) = open(path)?;
    mend_open(&file, path)?;
    let before = length(&file, path)?;
    // One call: who reads while this writes sees all of it or nothing.
    let written = match file.write(line.as_bytes()) {
        Ok(count) if count == line.len() => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(
            nix::errno::Errno::ENOSPC as i32,
        )),
        Err(error) => Err(error),
    };
    let written = written.and_then(|()| file.sync_data());
    if let Err(error) = written {
        // What is left of it is no line; if it cannot be taken away, the next who writes does that.
        drop(file.set_len(before));
        return Err(FileError::on("append a line to", path)(error).into());
    }
    if new {
        sync_directory(path)?;
    }
    Ok(())
}

/// Takes away a line that was torn. Returns its bytes. A file that is not there has none.
///
/// # Errors
/// See [`TelemetryError`].
pub fn mend(path: &Path) -> Result<u64, TelemetryError> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        _ => mend_open(&open(path)?.0, path),
    }
}

/// Whether lines could be appended, as far as can be told without writing one. A file that is not there is not made.
///
/// # Errors
/// See [`TelemetryError`].
pub fn examine(path: &Path) -> Result<(), TelemetryError> {
    if path.symlink_metadata().is_ok() {
        return open(path).map(drop);
    }
    let directory = path.parent().unwrap_or_else(|| Path::new("/"));
    access(directory, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|error| FileError::on("make a file in", directory)(error.into()).into())
}

/// The file, locked, and whether it was made.
fn open(path: &Path) -> Result<(File, bool), TelemetryError> {
    for _ in 0..REPLACED {
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let new = path.symlink_metadata().is_err();
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(MODE)
            .custom_flags(flags.bits())
            .open(path)
            .map_err(FileError::on("open", path))?;
        let here = file.metadata().map_err(FileError::on("examine", path))?;
        if !here.is_file() {
            return Err(TelemetryError::Irregular(path.to_owned()));
        }
        lock(&file, path)?;
        // Rotated since it was opened: what is written to it now might be compressed away.
        let there = path.symlink_metadata();
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (here.dev(), here.ino())) {
            return Ok((file, new));
        }
    }
    Err(TelemetryError::Replaced(path.to_owned()))
}

fn lock(file: &File, path: &Path) -> Result<(), TelemetryError> {
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => sleep(WAIT),
            Err(TryLockError::Error(error)) => {
                return Err(FileError::on("lock", path)(error).into());
            }
        }
    }
    Err(TelemetryError::Locked(path.to_owned()))
}

fn length(file: &File, path: &Path) -> Result<u64, FileError> {
    let metadata = file.metadata().map_err(FileError::on("examine", path))?;
    Ok(metadata.len())
}

/// Takes away what follows the last newline.
fn mend_open(file: &File, path: &Path) -> Result<u64, TelemetryError> {
    let length = length(file, path)?;
    let reach = length.min(LARGEST as u64);
    let from = length.saturating_sub(reach);
    let mut last = [0];
    if length == 0 {
        return Ok(0);
    }
    file.read_exact_at(&mut last, length.saturating_sub(1))
        .map_err(FileError::on("read", path))?;
    if last == *b"\n" {
        return Ok(0);
    }
    let mut end = vec![0; usize::try_from(reach).unwrap_or(LARGEST)];
    file.read_exact_at(&mut end, from)
        .map_err(FileError::on("read", path))?;
    let kept = end.iter().rposition(|byte| *byte == b'\n');
    let kept = match kept {
        Some(at) => from.saturating_add(at as u64).saturating_add(1),
        None if from == 0 => 0,
        // No line of ours is that long: what is there is somebody else's, and stays.
        None => return Err(TelemetryError::Irregular(path.to_owned())),
    };
    file.set_len(kept)
        .and_then(|()| file.sync_data())
        .map_err(FileError::on("mend", path))?;
    let torn = length.saturating_sub(kept);
    tracing::warn!(file = %path.display(), bytes = torn, "a torn line of telemetry was taken away");
    Ok(torn)
}

fn sync_directory(path: &Path) -> Result<(), FileError> {
    let directory = path.parent().unwrap_or(path);
    crate::sys::fs::open(directory)?
        .sync_all()
        .map_err(FileError::on("sync", directory))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn put(path: &Path, bytes: &[u8]) {
        crate::sys::fs::write_atomic(path, bytes, 0o600).unwrap();
    }

    fn read(path: &Path) -> String {
        crate::sys::fs::read_to_string(path, 2 << 20).unwrap()
    }

    #[test]
    fn lines_follow_each_other_and_a_torn_one_is_taken_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("telemetry.ndjson");
        assert_eq!(mend(&path).unwrap(), 0);
        assert!(!path.exists());
        append(&path, "{}\n").unwrap();
        append(&path, "[]\n").unwrap();
        for torn in ["{\"schema\"", "x", "\u{0}\u{0}\u{0}"] {
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(torn.as_bytes()).unwrap();
            append(&path, "{}\n").unwrap();
        }
        assert_eq!(read(&path), "{}\n[]\n{}\n{}\n{}\n");
        put(&path, "torn".as_bytes());
        assert_eq!(mend(&path).unwrap(), 4);
        assert_eq!(read(&path), "");
    }

    #[test]
    fn what_is_no_file_of_lines_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("telemetry.ndjson");
        let other = directory.path().join("other");
        put(&other, "kept".as_bytes());
        symlink(&other, &path).unwrap();
        append(&path, "{}\n").unwrap_err();
        assert_eq!(read(&other), "kept");
        put(&other, &vec![b'x'; LARGEST + 1]);
        assert!(matches!(
            append(&other, "{}\n"),
            Err(TelemetryError::Irregular(_))
        ));
        assert_eq!(read(&other).len(), LARGEST + 1);
        append(directory.path(), "{}\n").unwrap_err();
        assert!(matches!(
            append(Path::new("/dev/null"), "{}\n"),
            Err(TelemetryError::Irregular(_))
        ));
        assert!(matches!(
            append(&other, &"x".repeat(LARGEST + 1)),
            Err(TelemetryError::Large(_))
        ));
    }

    #[test]
    fn who_holds_the_lock_holds_a_job_up_for_a_second_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("telemetry.ndjson");
        let file = File::create(&path).unwrap();
        file.lock().unwrap();
        assert!(matches!(
            append(&path, "{}\n"),
            Err(TelemetryError::Locked(_))
        ));
        drop(file);
        append(&path, "{}\n").unwrap();
    }

    #[test]
    fn many_who_write_at_once_write_whole_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("telemetry.ndjson");
        std::thread::scope(|scope| {
            for name in 'a'..='h' {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..20 {
                        let line = format!("{}\n", name.to_string().repeat(5000));
                        append(path, &line).unwrap();
                    }
                });
            }
        });
        let text = read(&path);
        assert_eq!(text.lines().count(), 160);
        assert!(text.lines().all(|line| {
            line.len() == 5000
                && line
                    .bytes()
                    .all(|byte| Some(&byte) == line.as_bytes().first())
        }));
    }
}
