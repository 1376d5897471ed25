//! Where evidence is read from: a directory, an archive, a file of lines, or nothing at all.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use nix::errno::Errno;

use crate::gate::source::{Files, MAX_DEPTH, MAX_FILES, MAX_TOTAL, ReadError, Source, too_large};
use crate::gate::{lines, tar};
use crate::sys::dir::Directory;
use crate::sys::fs::{self, FileError};

/// What evidence turned out to be.
pub(in crate::cli) enum Place {
    /// A directory.
    Folder(Folder),
    /// An archive, or a file of lines.
    Archive(Files),
    /// Neither, and why.
    Nothing(ReadError),
}

/// A directory, held open.
pub(in crate::cli) struct Folder {
    directory: Directory,
    names: Vec<String>,
}

impl Place {
    /// Opens what the path leads to. That it is not there is for the gate to judge.
    pub(in crate::cli) fn open(path: &Path) -> Self {
        match open(path) {
            Ok(place) => place,
            Err(error) => Self::Nothing(error),
        }
    }
}

fn open(path: &Path) -> Result<Place, ReadError> {
    // The caller chose the path, links in it included.
    let real = std::fs::canonicalize(path).map_err(|error| refused(&error, MAX_TOTAL))?;
    let metadata = std::fs::metadata(&real).map_err(|error| refused(&error, MAX_TOTAL))?;
    if metadata.is_dir() {
        let directory = Directory::open(&real).map_err(|error| of_file(&error, MAX_TOTAL))?;
        let mut names = BTreeSet::new();
        list(&real, "", 1, &mut names)?;
        let names = names.into_iter().collect();
        return Ok(Place::Folder(Folder { directory, names }));
    }
    let file = fs::open(&real).map_err(|error| of_file(&error, MAX_TOTAL))?;
    let bytes = fs::read_regular(file, &real, MAX_TOTAL);
    let bytes = bytes.map_err(|error| of_file(&error, MAX_TOTAL))?;
    let files = if lines::are_lines(&bytes) {
        lines::read(&bytes).map_err(|error| ReadError::Refused(error.to_string()))?
    } else {
        tar::read(&bytes).map_err(|error| ReadError::Refused(error.to_string()))?
    };
    Ok(Place::Archive(files))
}

/// Names of all that is no directory, links among them: what they are is found out where they are
/// read.
fn list(
    path: &Path,
    prefix: &str,
    depth: usize,
    names: &mut BTreeSet<String>,
) -> Result<(), ReadError> {
    let failed = |error: io::Error| refused(&error, MAX_TOTAL);
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else {
            let text = "a name in it is no UTF-8 text".to_owned();
            return Err(ReadError::Refused(text));
        };
        let name = format!("{prefix}{name}");
        if entry.file_type().map_err(failed)?.is_dir() {
            if depth >= MAX_DEPTH {
                let text = format!("its directories are more than {MAX_DEPTH} deep");
                return Err(ReadError::Refused(text));
            }
            let deeper = depth.saturating_add(1);
            list(&entry.path(), &format!("{name}/"), deeper, names)?;
            continue;
        }
        names.insert(name);
        if names.len() > MAX_FILES {
            let text = format!("it has more than {MAX_FILES} files");
            return Err(ReadError::Refused(text));
        }
    }
    Ok(())
}

impl Source for Place {
    fn names(&self) -> Vec<String> {
        match self {
            Self::Folder(folder) => folder.names.clone(),
            Self::Archive(files) => files.names(),
            Self::Nothing(_) => Vec::new(),
        }
    }

    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, ReadError> {
        match self {
            Self::Folder(folder) => folder
                .directory
                .read_below(name, limit)
                .map_err(|error| of_file(&error, limit)),
            Self::Archive(files) => files.read(name, limit),
            Self::Nothing(error) => Err(error.clone()),
        }
    }

    fn stream(
        &self,
        name: &str,
        limit: u64,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<u64, ReadError> {
        match self {
            Self::Folder(folder) => folder
                .directory
                .stream_below(name, limit, take)
                .map_err(|error| of_file(&error, limit)),
            Self::Archive(files) => files.stream(name, limit, take),
            Self::Nothing(error) => Err(error.clone()),
        }
    }
}

fn of_file(error: &FileError, limit: u64) -> ReadError {
    refused(&error.source, limit)
}

/// What an error of the system means for the evidence.
fn refused(error: &io::Error, limit: u64) -> ReadError {
    // What a link gives where none is followed; it has no stable `ErrorKind`.
    if error.raw_os_error() == Some(Errno::ELOOP as i32) {
        return ReadError::Refused("it is a link, or behind one".to_owned());
    }
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ReadError::Missing,
        io::ErrorKind::FileTooLarge => too_large(limit),
        io::ErrorKind::InvalidInput => ReadError::Refused("it is no regular file".to_owned()),
        _ => ReadError::Failed(error.to_string()),
    }
}
