//! Waiting longer after each failure, each node a little differently, so that a fleet does not come back as one.

use std::time::Duration;

use rand::Rng;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// The time to wait before the next try.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Half of 0.1 s, 0.2 s, 0.4 s … 5 s, and a random part of the other half.
    pub(super) fn next(&mut self) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(rand::rng().random_range(0.5..1.0))
    }

    /// Things went well.
    pub(super) const fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_its_bound() {
        let mut backoff = Backoff::default();
        assert!(backoff.next() <= FIRST);
        let last = (0..100).map(|_| backoff.next()).last();
        assert!(last.is_some_and(|last| last >= LONGEST / 2 && last <= LONGEST));
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
