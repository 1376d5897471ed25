//! Names of jobs.

use std::fmt;
use std::path::Path;

use crate::sys::fs;

/// Names one job of this host, and its cgroup: twelve hexadecimal digits, by chance.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct JobId(String);

impl JobId {
    /// A new one.
    ///
    /// # Errors
    /// The kernel's random source cannot be read.
    pub fn random() -> Result<Self, fs::FileError> {
        let uuid = fs::read_to_string(Path::new("/proc/sys/kernel/random/uuid"), 64)?;
        let digits = uuid.chars().filter(char::is_ascii_hexdigit);
        Ok(Self(digits.take(12).collect()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_jobs_have_two_names() {
        let (one, other) = (JobId::random().unwrap(), JobId::random().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.as_str().len(), 12);
    }
}
