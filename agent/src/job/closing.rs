//! Connections that showed a name they may not: nothing of them leaves any more, and here they are
//! closed, so that their client fails at once instead of waiting.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use cordon_ebpf::abi::record::NameRefused;
use cordon_ebpf::abi::verdict::Verdict;

use crate::sys::fs;
use crate::sys::sock_diag::{DestroyError, Destroyed, Ends, SocketDestroyer};

/// Closes connections of one job.
#[derive(Debug, Default)]
pub struct Closing {
    /// For the network namespace cordon is in; opened when it is first needed.
    here: Option<SocketDestroyer>,
}

impl Closing {
    /// Closes the connection a record is about, if it was refused. That it cannot be closed opens
    /// nothing: its client then waits until it gives up by itself.
    pub fn close(&mut self, record: &NameRefused) {
        if record.verdict != Verdict::DENY {
            return;
        }
        let ends = ends(record);
        match self.close_ends(&ends, record.header.tgid) {
            Ok(closed) => tracing::debug!(?closed, ?ends, "refused connection"),
            Err(error) => {
                let error = crate::enforce::chain(&error);
                tracing::warn!(%error, remote = %ends.remote, "a refused connection stays open");
            }
        }
    }

    fn close_ends(&mut self, ends: &Ends, process: u32) -> Result<Destroyed, DestroyError> {
        let here = match &self.here {
            Some(here) => here,
            None => self.here.insert(SocketDestroyer::here()?),
        };
        if here.destroy(ends)? == Destroyed::Closed {
            return Ok(Destroyed::Closed);
        }
        // In the network namespace of its process, if that is another one and still there.
        match fs::open(&PathBuf::from(format!("/proc/{process}/ns/net"))) {
            Ok(namespace) => SocketDestroyer::in_namespace(namespace)?.destroy(ends),
            Err(_gone) => Ok(Destroyed::Gone),
        }
    }
}

fn ends(record: &NameRefused) -> Ends {
    let end = |address, port| SocketAddr::new(IpAddr::from(address), port);
    Ends {
        cookie: Some(record.cookie),
        ..Ends::new(
            end(record.near, record.near_port),
            end(record.address, record.port),
        )
    }
}
