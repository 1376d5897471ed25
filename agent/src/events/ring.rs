//! The pump: from a job's ring to a consumer, without waiting for it.

use std::io;

use aya::maps::{MapData, RingBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::decode::{DecodeError, Event, decode};

/// A job's ring.
#[derive(Debug)]
pub struct Pump {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl Pump {
    /// Starts to listen to a ring. Needs a tokio runtime.
    ///
    /// # Errors
    /// The descriptor cannot be polled.
    pub fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        Ok(Self { ring: AsyncFd::with_interest(ring, Interest::READABLE)? })
    }

    /// Waits until there is something, then hands over all there is.
    ///
    /// # Errors
    /// The descriptor cannot be polled.
    pub async fn next(
        &mut self,
        take: &mut impl FnMut(Result<Event, DecodeError>),
    ) -> io::Result<()> {
        let mut ready = self.ring.readable_mut().await?;
        while let Some(item) = ready.get_inner_mut().next() {
            take(decode(&item));
        }
        // Only after the ring was empty: the kernel wakes again for what comes now.
        ready.clear_ready();
        Ok(())
    }

    /// Hands over what is there now.
    pub fn drain(&mut self, take: &mut impl FnMut(Result<Event, DecodeError>)) {
        while let Some(item) = self.ring.get_mut().next() {
            take(decode(&item));
        }
    }
}
