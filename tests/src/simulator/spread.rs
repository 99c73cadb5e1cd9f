//! How durations are spread: what half, what ninety-nine of a hundred, and what all of them stayed under.

use std::fmt;
use std::time::Duration;

/// Durations, in order.
#[derive(Clone, Debug, Default)]
pub struct Spread {
    sorted: Vec<Duration>,
}

impl Spread {
    /// Adds more of them.
    pub fn add(&mut self, more: impl IntoIterator<Item = Duration>) {
        self.sorted.extend(more);
        self.sorted.sort_unstable();
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.sorted.len()
    }

    /// What so many of a hundred stayed under.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.sorted.len() * percent).div_ceil(100).max(1) - 1;
        self.sorted.get(rank).copied().unwrap_or_default()
    }

    /// The longest.
    #[must_use]
    pub fn slowest(&self) -> Duration {
        self.sorted.last().copied().unwrap_or_default()
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
        write!(
            f,
            "p50 {:.1} ms, p99 {:.1} ms, slowest {:.1} ms of {}",
            millis(self.percentile(50)),
            millis(self.percentile(99)),
            millis(self.slowest()),
            self.count()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks() {
        let mut spread = Spread::default();
        spread.add((1..=200).rev().map(Duration::from_millis));
        let of = |percent| spread.percentile(percent).as_millis();
        assert_eq!((of(50), of(99), of(100), spread.slowest().as_millis()), (100, 198, 200, 200));
        assert_eq!(Spread::default().percentile(99), Duration::ZERO);
    }
}
