//! Changing what is mounted, where `nix` has no words for it.

#![expect(unsafe_code, reason = "mount_setattr(2) has no safe form")]

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Makes a mount and all below it read-only, for who sees this mount. Linux 5.12.
///
/// # Errors
/// It is no mount, or the kernel refuses.
pub fn seal_tree(mount: &Path) -> io::Result<()> {
    let path = CString::new(mount.as_os_str().as_bytes())?;
    let change = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = libc::AT_RECURSIVE.unsigned_abs() | libc::AT_SYMLINK_NOFOLLOW.unsigned_abs();
    // SAFETY: the path ends with a zero byte, the structure has the size that is told, and the kernel only reads
    // both.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
