//! Boot time, the kernel's clock for leases and records, and its place in the calendar.

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since boot (`CLOCK_BOOTTIME`), as `bpf_ktime_get_boot_ns` gives them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct BootTime(pub u64);

impl BootTime {
    /// Now.
    ///
    /// # Errors
    /// The kernel has no such clock.
    pub fn now() -> io::Result<Self> {
        let now = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?);
        Ok(Self(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// This time plus whole seconds.
    #[must_use]
    pub fn plus_seconds(self, seconds: u32) -> Self {
        Self(
            self.0
                .saturating_add(u64::from(seconds).saturating_mul(1_000_000_000)),
        )
    }
}

/// Turns boot times into calendar times. One reading for a whole report, so that a clock step in
/// the middle of a run cannot reorder its events.
#[derive(Clone, Copy, Debug)]
pub struct Calendar {
    boot: BootTime,
    wall: Timestamp,
}

impl Calendar {
    /// Reads both clocks.
    ///
    /// # Errors
    /// The kernel has no boot clock.
    pub fn now() -> io::Result<Self> {
        Ok(Self {
            boot: BootTime::now()?,
            wall: Timestamp::now(),
        })
    }

    /// When it was read.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        self.wall
    }

    /// The calendar time of a boot time.
    #[must_use]
    pub fn at(&self, time: BootTime) -> Timestamp {
        let nanoseconds = i128::from(time.0).saturating_sub(i128::from(self.boot.0));
        let nanoseconds = i64::try_from(nanoseconds).unwrap_or_default();
        self.wall
            .checked_add(jiff::SignedDuration::from_nanos(nanoseconds))
            .unwrap_or(self.wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_time_in_the_past_is_a_time_in_the_past() {
        let calendar = Calendar::now().unwrap();
        let before = BootTime(calendar.boot.0 - 5_000_000_000);
        assert_eq!(
            calendar.wall.duration_since(calendar.at(before)).as_secs(),
            5
        );
    }
}
