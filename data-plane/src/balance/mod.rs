//! Which of a router's providers is tried next: one file for each strategy, none of them knows of requests.

mod least_busy;
mod shuffle;

use shared::catalog::BalanceStrategy;

use crate::vitals::ProviderVitals;

/// A strategy: the place of its choice among the candidates.
pub(crate) trait Strategy: Sync {
    /// Chooses; absent only when there is no candidate.
    fn pick(&self, candidates: &[&ProviderVitals]) -> Option<usize>;
}

/// The strategy of that name.
pub(crate) fn strategy(name: BalanceStrategy) -> &'static dyn Strategy {
    match name {
        BalanceStrategy::Shuffle => &shuffle::Shuffle,
        BalanceStrategy::LeastBusy => &least_busy::LeastBusy,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use std::sync::Arc;

    use super::*;

    #[test]
    fn shuffle_reaches_everyone() {
        let providers: Vec<ProviderVitals> = (0..3).map(|_| ProviderVitals::default()).collect();
        let candidates: Vec<&ProviderVitals> = providers.iter().collect();
        let mut seen = [0; 3];
        for _ in 0..600 {
            seen[strategy(BalanceStrategy::Shuffle).pick(&candidates).unwrap()] += 1;
        }
        assert!(seen.iter().all(|times| *times > 100), "{seen:?}");
        assert_eq!(strategy(BalanceStrategy::Shuffle).pick(&[]), None);
    }

    #[test]
    fn least_busy_takes_the_one_with_the_fewest_calls() {
        let providers: Vec<Arc<ProviderVitals>> = (0..3).map(|_| Arc::default()).collect();
        let candidates: Vec<&ProviderVitals> = providers.iter().map(AsRef::as_ref).collect();
        let pick = || strategy(BalanceStrategy::LeastBusy).pick(&candidates);
        assert_eq!(pick(), Some(0), "the first of equals");
        let first = providers[0].begin();
        let _second = [providers[1].begin(), providers[1].begin()];
        assert_eq!(pick(), Some(2));
        let _third = [providers[2].begin(), providers[2].begin()];
        assert_eq!(pick(), Some(0));
        drop(first);
        assert_eq!(strategy(BalanceStrategy::LeastBusy).pick(&[]), None);
    }
}
