//! Numbers from samples, and how they are printed.

use std::time::Duration;

/// In order.
pub(super) fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The value in the middle.
pub(super) fn median(sorted: &[f64]) -> f64 {
    part(sorted, 1, 2)
}

/// The value that so many of so many are below.
pub(super) fn part(sorted: &[f64], below: usize, of: usize) -> f64 {
    let index = (sorted.len() * below / of).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// Microseconds.
pub(super) fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// What one round of one side gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// Of each operation, in microseconds.
    pub(super) p50: f64,
    /// See `p50`.
    pub(super) p99: f64,
    /// Operations a second.
    pub(super) rate: f64,
}

impl Round {
    /// From the time of each operation and of all of them.
    pub(super) fn new(nanoseconds: &[u64], whole: Duration) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "times far below 2^52 ns")]
        let times = sorted(nanoseconds.iter().map(|&time| time as f64 / 1e3));
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let count = times.len() as f64;
        Self {
            p50: median(&times),
            p99: part(&times, 99, 100),
            rate: count / whole.as_secs_f64(),
        }
    }
}

/// The median of one figure of all rounds.
pub(super) fn over(rounds: &[Round], figure: fn(&Round) -> f64) -> f64 {
    median(&sorted(rounds.iter().map(figure)))
}

/// The median of the ratios of two sides, round by round.
pub(super) fn ratio(rounds: &[Round], base: &[Round], figure: fn(&Round) -> f64) -> f64 {
    let pairs = rounds.iter().zip(base);
    median(&sorted(pairs.map(|(one, base)| figure(one) / figure(base))))
}

/// A ratio for a table.
pub(super) fn times(ratio: f64) -> String {
    format!("x{ratio:.2}")
}
