//! Where the gate reads evidence from: a directory, an archive, or bytes of a test.

use std::collections::BTreeMap;

/// Most files of a bundle: evidence has ten, and a release some hundred more.
pub const MAX_FILES: usize = 4096;

/// Most directories one within the other.
pub const MAX_DEPTH: usize = 8;

/// 256 MiB: the largest report that is read.
pub const MAX_FILE: u64 = 256 << 20;

/// 1 GiB: all files that are read, together.
pub const MAX_TOTAL: u64 = 1 << 30;

/// A piece that could not be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// There is none of this name.
    #[error("it is not there")]
    Missing,
    /// It is not what evidence is made of, or larger than it may be.
    #[error("{0}")]
    Refused(String),
    /// Nobody knows what it is: the system did not give it.
    #[error("it could not be read: {0}")]
    Failed(String),
}

/// The files of a release's bundle.
pub trait Source {
    /// The names of all files, relative to the bundle, in order; at most [`MAX_FILES`].
    fn names(&self) -> Vec<String>;

    /// The content of a file of at most `limit` bytes.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, ReadError>;

    /// Hands over the content of a file of at most `limit` bytes, piece by piece, and says how long it is.
    ///
    /// # Errors
    /// See [`ReadError`]; pieces may have been handed over before.
    fn stream(
        &self,
        name: &str,
        limit: u64,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<u64, ReadError> {
        let bytes = self.read(name, limit)?;
        take(&bytes);
        Ok(bytes.len() as u64)
    }
}

/// Files in memory.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Files(pub BTreeMap<String, Vec<u8>>);

impl Files {
    fn find(&self, name: &str, limit: u64) -> Result<&Vec<u8>, ReadError> {
        let bytes = self.0.get(name).ok_or(ReadError::Missing)?;
        if bytes.len() as u64 > limit {
            return Err(too_large(limit));
        }
        Ok(bytes)
    }
}

impl Source for Files {
    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, ReadError> {
        self.find(name, limit).cloned()
    }

    fn stream(
        &self,
        name: &str,
        limit: u64,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<u64, ReadError> {
        let bytes = self.find(name, limit)?;
        take(bytes);
        Ok(bytes.len() as u64)
    }
}

/// The error for a file above a limit.
#[must_use]
pub fn too_large(limit: u64) -> ReadError {
    ReadError::Refused(format!("it is larger than the {limit} bytes it may have"))
}
