//! Asks the kernel who is at the other end of a Unix socket.

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;

use crate::job::record::Worker;
use crate::sys::pidfd::Process;
use crate::sys::process;

/// The process that connected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Peer {
    /// User id, in the daemon's user namespace.
    pub uid: u32,
    /// It.
    pub process: Worker,
    /// Its cgroup v2 path.
    pub cgroup: String,
}

impl Peer {
    /// Who connected. The kernel noted the process when it did. Before 6.5 it gives only its number, which can
    /// mean another process by now.
    ///
    /// # Errors
    /// It is gone, or in another pid namespace.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let credentials = getsockopt(&socket.as_fd(), PeerCredentials)?;
        let held = Process::of_peer(socket)?;
        let pid = match &held {
            Some(process) => process.number().map_err(io::Error::other)?,
            None => u32::try_from(credentials.pid())
                .ok()
                .filter(|pid| *pid != 0),
        };
        let pid = pid.ok_or_else(|| {
            io::Error::other("it has ended, or is in a pid namespace that cannot be seen from here")
        })?;
        let process = Worker::find(pid)?;
        let cgroup = process::cgroup(pid).map_err(io::Error::other)?;
        let gone = match &held {
            Some(held) => held.has_ended()?,
            None => !process.is_still(),
        };
        if gone {
            return Err(io::Error::other("it has ended"));
        }
        Ok(Self {
            uid: credentials.uid(),
            process,
            cgroup,
        })
    }
}
