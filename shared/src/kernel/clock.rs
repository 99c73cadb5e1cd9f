//! Fleet time: the control plane's clock, carried forward on this machine's monotonic one.
//!
//! Expiry, windows and record ids use it, so a node whose wall clock is wrong or jumps decides like the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A point in fleet time: microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FleetTime(i64);

impl FleetTime {
    /// From microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_unix_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_unix_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Time from `earlier` to this point; zero if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// Handle to fleet time; clones share one state.
#[derive(Debug, Clone)]
pub struct FleetClock {
    start: Instant,
    /// Fleet time at `start`, in microseconds since the Unix epoch.
    at_start: Arc<AtomicI64>,
}

impl FleetClock {
    /// Starts from this machine's wall clock until the control plane says better.
    #[must_use]
    pub fn from_wall_clock() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            start: Instant::now(),
            at_start: Arc::new(AtomicI64::new(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))),
        }
    }

    /// Now, in fleet time.
    #[must_use]
    pub fn now(&self) -> FleetTime {
        FleetTime(self.at_start.load(Ordering::Relaxed).saturating_add(self.elapsed()))
    }

    /// Takes over the time that a control plane just stated.
    pub fn adjust(&self, control: FleetTime) {
        self.at_start.store(control.0.saturating_sub(self.elapsed()), Ordering::Relaxed);
    }

    fn elapsed(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fleet_time_follows_the_control_plane() {
        let clock = FleetClock::from_wall_clock();
        let copy = clock.clone();
        copy.adjust(FleetTime::from_unix_millis(5_000));
        assert!(clock.now() >= FleetTime::from_unix_millis(5_000));
        assert!(clock.now().since(FleetTime::from_unix_millis(5_000)) < Duration::from_secs(5));
        assert_eq!(FleetTime(0).since(FleetTime(9)), Duration::ZERO);
    }
}
