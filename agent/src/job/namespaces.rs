//! Network namespaces that processes of a job are in besides the one it was started in: each gets DNS
//! sockets of its own, served by the job's listener, for as long as somebody is there.
//!
//! The kernel tells of a namespace that has none when a program starts there and when a socket is made
//! there. Until the sockets are published, and where there are too many namespaces, DNS is denied.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cordon_ebpf::abi::record::Unserved;
use nix::sys::stat::{fstat, stat};

use crate::cgroup::Cgroup;
use crate::dns::{Bound, Counts, Listener};
use crate::enforce::chain;
use crate::enforce::maps::{Maps, MapsError};
use crate::sys::{fs, netns};

/// Namespaces of one job that have DNS at once, besides the first. Each costs four sockets.
const NAMESPACES: usize = 64;

/// How often room is looked for where there is none.
const SEARCH_EVERY: Duration = Duration::from_millis(250);

/// The job's listener, in all of the job's network namespaces.
#[derive(Debug)]
pub struct Namespaces {
    job: u64,
    /// Cookie of the namespace it was started in.
    home: u64,
    listener: Listener,
    served: BTreeMap<u64, Served>,
    /// When room was last looked for.
    searched: Option<Instant>,
}

/// One more namespace.
#[derive(Debug)]
struct Served {
    /// What identifies it among the files of processes.
    inode: u64,
    /// Whether nobody was found there when last looked.
    empty: bool,
    /// Its sockets; they hold the namespace, so they are kept only while others do.
    _listener: Listener,
}

/// Why a namespace has no DNS.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    /// A bound.
    #[error("the job has it in {NAMESPACES} others already")]
    TooMany,
    /// The process is gone, or may not be looked at.
    #[error(transparent)]
    File(#[from] fs::FileError),
    /// No sockets.
    #[error(transparent)]
    Bind(#[from] crate::dns::BindError),
    /// Not published.
    #[error(transparent)]
    Maps(#[from] MapsError),
    /// Anything else.
    #[error(transparent)]
    Other(#[from] std::io::Error),
}

impl Namespaces {
    /// Of a job whose listener serves the namespace with this cookie.
    #[must_use]
    pub fn new(job: u64, home: u64, listener: Listener) -> Self {
        Self {
            job,
            home,
            listener,
            served: BTreeMap::new(),
            searched: None,
        }
    }

    /// Serves DNS where the kernel says that processes of the job have none. Returns those where that
    /// cannot be done, and why.
    pub fn notice<'a>(
        &mut self,
        maps: &mut Maps,
        cgroup: &Cgroup,
        records: &'a [Unserved],
    ) -> Vec<(&'a Unserved, String)> {
        let mut failed = Vec::new();
        let mut left = Vec::new();
        for record in records {
            // Told more than once, or before the first listener was published.
            if record.netns == self.home || self.served.contains_key(&record.netns) {
                continue;
            }
            self.make_room(maps, cgroup);
            match self.serve_at(maps, record) {
                Ok(()) => {}
                Err(ServeError::File(error)) if is_gone(&error) => left.push(record),
                Err(error) => failed.push((record, chain(&error))),
            }
        }
        failed.extend(self.search(maps, cgroup, left));
        failed
    }

    /// Serves DNS where a container's first process is, before it runs.
    ///
    /// # Errors
    /// Why that cannot be done, in words.
    pub fn admit(&mut self, maps: &mut Maps, cgroup: &Cgroup, process: u32) -> Result<(), String> {
        let mut admitted = || -> Result<(), ServeError> {
            let namespace = fs::open(&place(process))?;
            let cookie = netns::cookie_of(&namespace)?;
            if cookie == self.home || self.served.contains_key(&cookie) {
                return Ok(());
            }
            self.make_room(maps, cgroup);
            self.serve(maps, namespace, cookie)
        };
        admitted().map_err(|error| chain(&error))
    }

    /// Serves namespaces whose messenger has gone since: one of the others may still be there. Where
    /// nobody is, nobody needs it.
    fn search<'a>(
        &mut self,
        maps: &mut Maps,
        cgroup: &Cgroup,
        mut wanted: Vec<&'a Unserved>,
    ) -> Vec<(&'a Unserved, String)> {
        let mut failed = Vec::new();
        let mut known: BTreeSet<u64> = self.served.values().map(|served| served.inode).collect();
        for process in self.processes(maps, cgroup) {
            if wanted.is_empty() {
                break;
            }
            let path = place(process);
            if !inode(&path).is_some_and(|inode| known.insert(inode)) {
                continue;
            }
            let Ok(namespace) = fs::open(&path) else {
                continue;
            };
            let Ok(cookie) = netns::cookie_of(&namespace) else {
                continue;
            };
            let Some(index) = wanted.iter().position(|record| record.netns == cookie) else {
                continue;
            };
            let record = wanted.swap_remove(index);
            if let Err(error) = self.serve(maps, namespace, cookie) {
                failed.push((record, chain(&error)));
            }
        }
        failed
    }

    /// Lets go of what is empty now. A job that makes namespaces all the time must not keep cordon busy
    /// with looking for it.
    fn make_room(&mut self, maps: &mut Maps, cgroup: &Cgroup) {
        let lately = |then: Instant| then.elapsed() < SEARCH_EVERY;
        if self.served.len() < NAMESPACES || self.searched.is_some_and(lately) {
            return;
        }
        self.searched = Some(Instant::now());
        // Twice: what is found empty once stays.
        self.collect(maps, cgroup);
        self.collect(maps, cgroup);
    }

    fn serve_at(&mut self, maps: &mut Maps, record: &Unserved) -> Result<(), ServeError> {
        if self.served.len() >= NAMESPACES {
            return Err(ServeError::TooMany);
        }
        let namespace = fs::open(&place(record.header.tid))?;
        self.serve(maps, namespace, record.netns)
    }

    fn serve(&mut self, maps: &mut Maps, namespace: File, cookie: u64) -> Result<(), ServeError> {
        if self.served.len() >= NAMESPACES {
            return Err(ServeError::TooMany);
        }
        let inode = fstat(&namespace).map_err(std::io::Error::from)?.st_ino;
        let bound = Bound::bind_in(namespace, cookie)?;
        maps.mark_resolvers(self.job, &bound)?;
        let ports = bound.ports();
        let listener = self.listener.serve_also(bound)?;
        // Last: until now questions are refused, from now on answered.
        maps.set_resolver(self.job, cookie, ports)?;
        tracing::debug!(netns = cookie, "DNS in one more network namespace");
        let served = Served {
            inode,
            empty: false,
            _listener: listener,
        };
        self.served.insert(cookie, served);
        Ok(())
    }

    /// Processes of the job, wherever they are. Whatever cannot be listed has nobody to ask for a name.
    fn processes(&self, maps: &Maps, cgroup: &Cgroup) -> Vec<u32> {
        let mut processes = maps.members(self.job).unwrap_or_default();
        processes.extend(cgroup.processes().unwrap_or_default());
        processes
    }

    /// Lets go of namespaces in which no process of the job is any more: found so twice, because one
    /// may just be on its way from one program to the next. Who comes back is noticed again.
    pub fn collect(&mut self, maps: &mut Maps, cgroup: &Cgroup) {
        if self.served.is_empty() {
            return;
        }
        let inhabited = self.inhabited(maps, cgroup);
        let job = self.job;
        self.served.retain(|cookie, served| {
            let empty = !inhabited.contains(&served.inode);
            let gone = empty && served.empty;
            served.empty = empty;
            if gone {
                maps.forget_resolver(job, *cookie);
                tracing::debug!(netns = cookie, "no DNS where nobody is");
            }
            !gone
        });
    }

    /// Namespaces in which some process of the job is: its first thread, or, where that does not
    /// account for all that is served, any thread.
    fn inhabited(&self, maps: &Maps, cgroup: &Cgroup) -> BTreeSet<u64> {
        let processes = self.processes(maps, cgroup);
        let places = processes.iter().map(|process| place(*process));
        let mut inhabited: BTreeSet<u64> = places.filter_map(|path| inode(&path)).collect();
        let accounted = |inhabited: &BTreeSet<u64>| {
            let mut served = self.served.values();
            served.all(|served| inhabited.contains(&served.inode))
        };
        if !accounted(&inhabited) {
            for process in processes {
                inhabited.extend(threads(process));
            }
        }
        inhabited
    }

    /// Ends all listeners; what they did not answer.
    pub async fn shutdown(self) -> Counts {
        drop(self.served);
        self.listener.shutdown().await
    }
}

/// Where the network namespace of a process or thread is found.
fn place(task: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{task}/ns/net"))
}

/// Whether it was about a process that ended.
fn is_gone(error: &fs::FileError) -> bool {
    let kind = error.source.kind();
    kind == std::io::ErrorKind::NotFound || error.source.raw_os_error() == Some(libc::ESRCH)
}

fn inode(path: &Path) -> Option<u64> {
    stat(path).ok().map(|stat| stat.st_ino)
}

fn threads(process: u32) -> Vec<u64> {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    let tasks = tasks.filter_map(Result::ok);
    tasks
        .filter_map(|task| inode(&task.path().join("ns/net")))
        .collect()
}
