//! The pump: from a job's ring to a consumer, without waiting for it.

use std::os::fd::{AsRawFd, RawFd};
use std::{fmt, io};

use aya::maps::{MapData, RingBuf};
use tokio::io::unix::AsyncFd;

use super::decode::{DecodeError, Event, decode};
use crate::sys::readiness;

/// A job's ring, as the kernel fills it.
pub struct Ring(pub RingBuf<MapData>);

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").finish_non_exhaustive()
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Ring {
    /// Hands over what is there now.
    pub fn drain(&mut self, take: &mut impl FnMut(Result<Event, DecodeError>)) {
        while let Some(item) = self.0.next() {
            take(decode(&item));
        }
    }
}

/// A ring that is listened to.
#[derive(Debug)]
pub struct Pump {
    ring: AsyncFd<Ring>,
}

impl Pump {
    /// Starts to listen to a ring. Needs a tokio runtime.
    ///
    /// # Errors
    /// The descriptor cannot be polled.
    pub fn new(ring: Ring) -> io::Result<Self> {
        Ok(Self {
            ring: readiness::records(ring)?,
        })
    }

    /// Waits until there is something to drain.
    ///
    /// # Errors
    /// The descriptor cannot be polled.
    pub async fn ready(&mut self) -> io::Result<()> {
        // Cleared before the drain: what comes while draining wakes once more, for nothing perhaps,
        // but nothing is left lying.
        self.ring.readable_mut().await?.clear_ready();
        Ok(())
    }

    /// Hands over what is there now.
    pub fn drain(&mut self, take: &mut impl FnMut(Result<Event, DecodeError>)) {
        self.ring.get_mut().drain(take);
    }
}
