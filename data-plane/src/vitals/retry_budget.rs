//! How many retries live traffic pays for.
//!
//! A fixed number of tries multiplies load exactly when upstreams are weakest. Here every first try pays a fifth of a
//! retry into a purse of limited depth: during an outage at most 1.2 times the traffic goes out. A small allowance per
//! second keeps retries possible where there is little traffic.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

/// A retry costs this much; a first try pays [`DEPOSIT`].
const RETRY: i64 = 10;
/// A fifth of a retry.
const DEPOSIT: i64 = 2;
/// The purse holds a hundred retries.
const DEPTH: i64 = 100 * RETRY;
/// Retries per second that need no traffic.
const ALLOWANCE: i64 = 10;

/// The purse of a process. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct RetryBudget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    balance: AtomicI64,
    allowed: Mutex<(Instant, i64)>,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { inner: Arc::new(Inner { balance: AtomicI64::new(0), allowed: Mutex::new((Instant::now(), ALLOWANCE)) }) }
    }
}

impl RetryBudget {
    /// A first try.
    pub(crate) fn deposit(&self) {
        if self.inner.balance.load(Ordering::Relaxed) < DEPTH {
            self.inner.balance.fetch_add(DEPOSIT, Ordering::Relaxed);
        }
    }

    /// Asks for a retry.
    pub(crate) fn withdraw(&self) -> bool {
        let paid = |balance: i64| (balance >= RETRY).then(|| balance - RETRY);
        self.inner.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid).is_ok() || self.allowance()
    }

    fn allowance(&self) -> bool {
        let mut allowed = self.inner.allowed.lock();
        if allowed.0.elapsed().as_secs() >= 1 {
            *allowed = (Instant::now(), ALLOWANCE);
        }
        let granted = allowed.1 > 0;
        allowed.1 -= i64::from(granted);
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_traffic() {
        let budget = RetryBudget::default();
        let free = std::iter::repeat_with(|| budget.withdraw()).take(1000).filter(|granted| *granted).count();
        assert_eq!(free, 10);
        for _ in 0..100 {
            budget.deposit();
        }
        let paid = std::iter::repeat_with(|| budget.withdraw()).take(1000).filter(|granted| *granted).count();
        assert!((20..=30).contains(&paid), "{paid}");
        for _ in 0..100_000 {
            budget.deposit();
        }
        let deep = std::iter::repeat_with(|| budget.withdraw()).take(1000).filter(|granted| *granted).count();
        assert!((100..=120).contains(&deep), "{deep}");
    }
}
