//! Network and mount namespaces without names: a file descriptor each.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};

/// What a namespace isolates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Mount,
    Network,
}

impl Kind {
    fn flag(self) -> CloneFlags {
        match self {
            Self::Mount => CloneFlags::CLONE_NEWNS,
            Self::Network => CloneFlags::CLONE_NEWNET,
        }
    }

    /// The thread's own entry, not the process': only the calling thread moves.
    fn file(self) -> &'static str {
        match self {
            Self::Mount => "/proc/thread-self/ns/mnt",
            Self::Network => "/proc/thread-self/ns/net",
        }
    }
}

/// A namespace that lives as long as this value and the processes inside.
#[derive(Debug)]
pub struct Namespace {
    kind: Kind,
    file: File,
}

impl Namespace {
    /// An empty network namespace.
    pub fn network() -> Result<Self> {
        Self::new(Kind::Network, || Ok(()))
    }

    /// The network namespace a process is in now.
    pub fn network_of(process: i32) -> Result<Self> {
        let path = format!("/proc/{process}/ns/net");
        let file = File::open(&path).with_context(|| format!("open {path}"))?;
        Ok(Self {
            kind: Kind::Network,
            file,
        })
    }

    /// Whether a process is in this network namespace now.
    pub fn has(&self, process: i32) -> bool {
        let inode = |path: &Path| std::fs::metadata(path).map(|file| file.ino()).ok();
        let there = inode(Path::new(&format!("/proc/{process}/ns/net")));
        there.is_some() && there == inode(&self.path())
    }

    /// A copy of the mount namespace that shares no later mount with it; `prepare` runs inside.
    pub fn mount(prepare: impl FnOnce() -> Result<()> + Send) -> Result<Self> {
        Self::new(Kind::Mount, prepare)
    }

    fn new(kind: Kind, prepare: impl FnOnce() -> Result<()> + Send) -> Result<Self> {
        // A thread of its own: the caller stays where it is.
        let file = on_thread(|| {
            unshare(kind.flag()).context("unshare")?;
            prepare()?;
            File::open(kind.file()).context("open the new namespace")
        })
        .with_context(|| format!("make a {kind:?} namespace (root is needed)"))?;
        Ok(Self { kind, file })
    }

    /// Runs `act` inside, on a thread of its own. Sockets made there stay there; processes started
    /// there inherit the namespace.
    pub fn run<T: Send>(&self, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_thread(|| {
            if self.kind == Kind::Mount {
                // A thread that shares its root and working directory cannot change mounts.
                unshare(CloneFlags::CLONE_FS).context("unshare(CLONE_FS)")?;
            }
            setns(&self.file, self.kind.flag()).context("setns")?;
            act()
        })
    }

    /// A path by which another process of root can enter.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.file.as_raw_fd()
        ))
    }
}

fn on_thread<T: Send>(act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| scope.spawn(act).join())
        .unwrap_or_else(|_panic| Err(anyhow!("the thread inside a namespace panicked")))
}
