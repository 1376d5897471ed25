//! The pump: from a job's ring to a consumer, without waiting for it.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;
use std::{fmt, io};

use aya::maps::{Map, MapData, MapError, RingBuf};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

use super::decode::{DecodeError, Event, decode};
use crate::sys::readiness;

/// How long records may lie there that nobody waits for.
///
/// A program that starts others would wake the agent for each, which costs it more than all that the
/// programs of cordon do meanwhile: two interrupts and a change of process.
const PAUSE: Duration = Duration::from_millis(3);

/// A job's ring, as the kernel fills it.
///
/// It is in the agent's memory only while records come: mapped, it counts there twice its size, and of many jobs
/// most are quiet.
pub struct Ring {
    /// The map, whether it is mapped or not.
    map: OwnedFd,
    mapped: Option<RingBuf<MapData>>,
    /// Whether something was looked for since it was asked to rest.
    used: bool,
    /// Whether the first record was handed over already, and lies there still.
    first_taken: bool,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").finish_non_exhaustive()
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.map.as_raw_fd()
    }
}

impl Ring {
    /// A ring from which nothing was taken.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn new(records: RingBuf<MapData>) -> io::Result<Self> {
        Ok(Self {
            map: records.as_fd().try_clone_to_owned()?,
            mapped: Some(records),
            used: true,
            first_taken: false,
        })
    }

    /// Hands over what is there now.
    ///
    /// # Errors
    /// It cannot be mapped. Nothing of it is lost.
    pub fn drain(&mut self, take: &mut impl FnMut(Result<Event, DecodeError>)) -> io::Result<()> {
        let records = mapped(&mut self.mapped, &self.map)?;
        self.used = true;
        while let Some(item) = records.next() {
            if !std::mem::take(&mut self.first_taken) {
                take(decode(&item));
            }
        }
        Ok(())
    }

    /// Hands over the first record and leaves it there: as long as it lies there, the kernel wakes nobody
    /// for those behind it, unless one says so. Returns whether there is one.
    fn take_first(
        &mut self,
        take: &mut impl FnMut(Result<Event, DecodeError>),
    ) -> io::Result<bool> {
        let records = mapped(&mut self.mapped, &self.map)?;
        self.used = true;
        if !self.first_taken
            && let Some(item) = records.next()
        {
            // Dropped, it would be gone from the ring.
            take(decode(&ManuallyDrop::new(item)));
            self.first_taken = true;
        }
        Ok(self.first_taken)
    }

    /// Gives its memory back, if nothing was looked for since this was asked last. What the ring holds is the
    /// kernel's, and stays.
    fn rest(&mut self) {
        if !std::mem::take(&mut self.used) {
            self.mapped = None;
        }
    }
}

/// The ring's records, mapped if they are not.
fn mapped<'a>(
    mapped: &'a mut Option<RingBuf<MapData>>,
    map: &OwnedFd,
) -> io::Result<&'a mut RingBuf<MapData>> {
    let records = match mapped.take() {
        Some(records) => records,
        None => open(map.try_clone()?).map_err(io::Error::other)?,
    };
    Ok(mapped.insert(records))
}

fn open(map: OwnedFd) -> Result<RingBuf<MapData>, MapError> {
    MapData::from_fd(map)
        .and_then(Map::from_map_data)?
        .try_into()
}

/// A ring that is listened to.
#[derive(Debug)]
pub struct Pump {
    ring: AsyncFd<Ring>,
    pace: Pace,
    /// Until when records may lie there.
    resting: Option<Instant>,
    /// Whether only the first record is taken.
    first_only: bool,
}

/// How soon records are handed over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pace {
    /// Each at once: processes stand still until theirs was.
    AtOnce,
    /// The first of several at once, the others 3 ms later, or as soon as one comes that is urgent.
    Together,
}

impl Pump {
    /// Starts to listen to a ring. Needs a tokio runtime.
    ///
    /// # Errors
    /// The descriptor cannot be polled.
    pub fn new(ring: Ring, pace: Pace) -> io::Result<Self> {
        Ok(Self {
            ring: readiness::records(ring)?,
            pace,
            resting: None,
            first_only: false,
        })
    }

    /// Waits until there is something to [take](Self::take). Nothing is lost if nobody waits any more.
    ///
    /// # Errors
    /// The descriptor cannot be polled.
    pub async fn ready(&mut self) -> io::Result<()> {
        // Cleared before anything is taken: what comes meanwhile wakes once more, for nothing perhaps, but
        // nothing is left lying.
        match self.resting {
            None => self.ring.readable_mut().await?.clear_ready(),
            Some(until) => {
                tokio::select! {
                    urgent = self.ring.readable_mut() => urgent?.clear_ready(),
                    () = sleep_until(until) => {}
                }
            }
        }
        self.first_only = self.resting.take().is_none() && self.pace == Pace::Together;
        Ok(())
    }

    /// Hands over what is due.
    ///
    /// # Errors
    /// The ring cannot be mapped. Nothing of it is lost.
    pub fn take(&mut self, take: &mut impl FnMut(Result<Event, DecodeError>)) -> io::Result<()> {
        let ring = self.ring.get_mut();
        if !std::mem::take(&mut self.first_only) {
            self.resting = None;
            ring.drain(take)?;
        } else if ring.take_first(take)? {
            self.resting = Instant::now().checked_add(PAUSE);
        }
        Ok(())
    }

    /// Gives back memory that nothing needed since this was asked last.
    pub fn rest(&mut self) {
        self.ring.get_mut().rest();
    }

    /// Makes the next [`take`](Self::take) hand over all that is there.
    pub fn hurry(&mut self) {
        self.first_only = false;
    }
}
