//! Uniformly at random.

use rand::Rng;

use super::Strategy;
use crate::vitals::ProviderVitals;

/// Uniformly at random.
pub(super) struct Shuffle;

impl Strategy for Shuffle {
    fn pick(&self, candidates: &[&ProviderVitals]) -> Option<usize> {
        match candidates.len() {
            0 => None,
            1 => Some(0),
            many => Some(rand::rng().random_range(0..many)),
        }
    }
}
