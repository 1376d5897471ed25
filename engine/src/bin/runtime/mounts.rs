//! Mounts of the host's files: opened without following a link, and mounted from what was opened.
//!
//! In a mount namespace of this process: what is mounted here is gone with it, and the container has its
//! own copy by then.

use std::fs::DirBuilder;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use cordon_engine::spec::HostMount;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use serde_json::{Value, json};

const NONE: Option<&str> = None;

/// Where they are mounted, in the container's bundle, and in the namespace of this process alone.
const PLACE: &str = "cordon-mounts";

/// Puts what was opened in the place of each path.
pub(crate) fn pin(mounts: &[HostMount], bundle: &Path, spec: &mut Value) -> Result<(), String> {
    if mounts.is_empty() {
        return Ok(());
    }
    // First: only what was opened in a namespace can be mounted there.
    let place = own_namespace(bundle)?;
    for host in mounts {
        let (index, file) = (host.index, find(host)?);
        let at = place.join(index.to_string());
        make(&at, kind(&stat(&file)?))?;
        let source = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(&source), &at, NONE, flags, NONE)
            .map_err(|errno| format!("a mount cannot be pinned: {errno}"))?;
        let mount = spec
            .pointer_mut(&format!("/mounts/{index}"))
            .and_then(Value::as_object_mut);
        mount
            .ok_or("its mounts have changed")?
            .insert("source".to_owned(), json!(at.to_string_lossy()));
    }
    Ok(())
}

/// Opens what a mount names.
fn find(mount: &HostMount) -> Result<OwnedFd, String> {
    let HostMount {
        beneath,
        workspace,
        rest,
        whole,
        ..
    } = mount;
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let top = open(
        Path::new(beneath),
        flags | OFlag::O_DIRECTORY,
        Mode::empty(),
    )
    .map_err(|errno| format!("`{beneath}` cannot be opened: {errno}"))?;
    if let Some(known) = workspace {
        let found = stat(&top)?;
        if (found.st_dev, found.st_ino) != (known.device, known.inode) {
            return Err(format!(
                "`{beneath}` is not the workspace that the job began with"
            ));
        }
    }
    if rest.is_empty() {
        return Ok(top);
    }
    let mut resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    if *whole {
        resolve |= ResolveFlag::RESOLVE_NO_XDEV;
    }
    let how = OpenHow::new().flags(flags).resolve(resolve);
    let file = openat2(top.as_fd(), Path::new(rest), how).map_err(|errno| {
        let why = match errno {
            nix::errno::Errno::ELOOP => {
                "it, or something on the way, is a symbolic link".to_owned()
            }
            nix::errno::Errno::EXDEV => "something else is mounted there".to_owned(),
            other => other.to_string(),
        };
        format!("`{beneath}/{rest}` cannot be mounted: {why}")
    })?;
    match kind(&stat(&file)?) {
        SFlag::S_IFDIR | SFlag::S_IFREG => Ok(file),
        _ => Err(format!(
            "`{beneath}/{rest}` is neither a directory nor a file"
        )),
    }
}

fn stat(file: &OwnedFd) -> Result<FileStat, String> {
    fstat(file.as_fd()).map_err(|errno| format!("a mount cannot be looked at: {errno}"))
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// An empty file system in a mount namespace of this process.
fn own_namespace(bundle: &Path) -> Result<PathBuf, String> {
    let refused = |errno| format!("a mount namespace cannot be made: {errno}");
    unshare(CloneFlags::CLONE_NEWNS).map_err(refused)?;
    // What the host mounts later is still seen; what is mounted here is not.
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SLAVE, NONE).map_err(refused)?;
    let place = bundle.join(PLACE);
    make(&place, SFlag::S_IFDIR)?;
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("cordon"), &place, Some("tmpfs"), flags, NONE).map_err(refused)?;
    Ok(place)
}

fn make(path: &Path, kind: SFlag) -> Result<(), String> {
    let made = if kind == SFlag::S_IFDIR {
        DirBuilder::new().create(path)
    } else {
        std::fs::File::create_new(path).map(drop)
    };
    made.map_err(|error| format!("{} cannot be made: {error}", path.display()))
}
