//! What this process may do.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// Whether the effective user is root: the kernel makes it the owner of `/proc/self`.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}
