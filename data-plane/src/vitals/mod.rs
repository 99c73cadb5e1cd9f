//! Live observations of providers: what changes with every call and outlives every table.
//!
//! Keyed by provider id, so that a swap of the table resets nothing. Balancing reads the numbers, the exchange feeds
//! them. Nothing in here decides anything.

pub(crate) mod retry_budget;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use shared::kernel::ids::ProviderId;
use shared::kernel::quick_map::QuickMap;

/// How much the newest observation counts: one eighth, so that about the last twenty are felt.
const WEIGHT: u64 = 8;

/// The observations of every provider that was ever called.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    providers: RwLock<QuickMap<ProviderId, Arc<ProviderVitals>>>,
}

/// The observations of one provider.
#[derive(Debug, Default)]
pub(crate) struct ProviderVitals {
    in_flight: AtomicU32,
    latency_micros: AtomicU64,
    first_event_micros: AtomicU64,
    failures_in_a_row: AtomicU32,
    /// Since they were last taken.
    successes: AtomicU64,
    failures: AtomicU64,
}

/// What happened at a provider since it was last asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Which.
    pub(crate) provider: ProviderId,
    /// Calls under way.
    pub(crate) in_flight: u32,
    /// Calls that were answered.
    pub(crate) successes: u64,
    /// Calls that failed through its fault.
    pub(crate) failures: u64,
}

/// One call in flight at a provider; counts until it is dropped, whatever the end.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<ProviderVitals>);

impl Vitals {
    /// The observations of a provider.
    pub(crate) fn of(&self, provider: ProviderId) -> Arc<ProviderVitals> {
        if let Some(known) = self.providers.read().get(&provider) {
            return Arc::clone(known);
        }
        Arc::clone(self.providers.write().entry(provider).or_default())
    }

    /// What happened at each provider since the last time this was asked.
    pub(crate) fn take_tallies(&self) -> Vec<Tally> {
        let tally = |(id, vitals): (&ProviderId, &Arc<ProviderVitals>)| Tally {
            provider: *id,
            in_flight: vitals.in_flight(),
            successes: vitals.successes.swap(0, Ordering::Relaxed),
            failures: vitals.failures.swap(0, Ordering::Relaxed),
        };
        self.providers.read().iter().map(tally).collect()
    }

    /// Calls under way and failures in a row at each provider.
    pub(crate) fn health(&self) -> Vec<(ProviderId, u32, u32)> {
        let health =
            |(id, vitals): (&ProviderId, &Arc<ProviderVitals>)| (*id, vitals.in_flight(), vitals.failures_in_a_row());
        self.providers.read().iter().map(health).collect()
    }

    /// Forgets providers that are no longer in the table and have no call in flight.
    pub(crate) fn keep(&self, is_current: impl Fn(ProviderId) -> bool) {
        self.providers.write().retain(|id, vitals| is_current(*id) || vitals.in_flight() > 0);
    }
}

impl ProviderVitals {
    /// Counts a call in.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Calls under way.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Calls that failed since the last that did not.
    pub(crate) fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row.load(Ordering::Relaxed)
    }

    /// A call was answered: when its first event came, and when its last.
    pub(crate) fn succeeded(&self, first_event: Duration, latency: Duration) {
        self.failures_in_a_row.store(0, Ordering::Relaxed);
        self.successes.fetch_add(1, Ordering::Relaxed);
        average(&self.first_event_micros, first_event);
        average(&self.latency_micros, latency);
    }

    /// A call failed through the provider's fault.
    pub(crate) fn failed(&self) {
        self.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// The moving average of whole calls; zero before the first.
    #[cfg(test)]
    pub(crate) fn latency(&self) -> Duration {
        Duration::from_micros(self.latency_micros.load(Ordering::Relaxed))
    }
}

/// Moves an exponential average. A lost update among concurrent ones costs one observation.
fn average(cell: &AtomicU64, observed: Duration) {
    let observed = u64::try_from(observed.as_micros()).unwrap_or(u64::MAX / WEIGHT);
    let before = cell.load(Ordering::Relaxed);
    let after = if before == 0 { observed } else { (before * (WEIGHT - 1) + observed) / WEIGHT };
    cell.store(after.max(1), Ordering::Relaxed);
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_back_and_averages_move() {
        let vitals = Vitals::default();
        let id = ProviderId::generate();
        let (one, two) = (vitals.of(id).begin(), vitals.of(id).begin());
        assert_eq!(vitals.of(id).in_flight(), 2);
        vitals.keep(|_| false);
        drop((one, two));
        assert_eq!(vitals.of(id).in_flight(), 0);
        let provider = vitals.of(id);
        provider.failed();
        provider.failed();
        assert_eq!(provider.failures_in_a_row(), 2);
        provider.succeeded(Duration::from_millis(1), Duration::from_millis(80));
        provider.succeeded(Duration::from_millis(1), Duration::from_millis(160));
        assert_eq!((provider.failures_in_a_row(), provider.latency()), (0, Duration::from_millis(90)));
        let tally = Tally { provider: id, in_flight: 0, successes: 2, failures: 2 };
        assert_eq!(vitals.take_tallies(), [tally]);
        assert_eq!(vitals.take_tallies(), [Tally { successes: 0, failures: 0, ..tally }]);
        vitals.keep(|_| false);
        assert_eq!(vitals.of(id).latency(), Duration::ZERO);
    }
}
