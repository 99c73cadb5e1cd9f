//! The provider with the fewest calls in flight; the first of equals.

use super::Strategy;
use crate::vitals::ProviderVitals;

/// The provider with the fewest calls in flight.
pub(super) struct LeastBusy;

impl Strategy for LeastBusy {
    fn pick(&self, candidates: &[&ProviderVitals]) -> Option<usize> {
        candidates.iter().enumerate().min_by_key(|(_, vitals)| vitals.in_flight()).map(|(place, _)| place)
    }
}
