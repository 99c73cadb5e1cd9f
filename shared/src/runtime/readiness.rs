//! Named conditions that must all hold before a process takes traffic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// The conditions of one process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    conditions: Mutex<BTreeMap<&'static str, Arc<AtomicBool>>>,
    draining: AtomicBool,
}

/// One condition; not met until it is set.
#[derive(Debug, Clone)]
pub struct Condition {
    met: Arc<AtomicBool>,
}

impl Readiness {
    /// Without conditions: ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The condition of that name, created unmet on first use.
    #[must_use]
    pub fn condition(&self, name: &'static str) -> Condition {
        let met = Arc::clone(self.inner.conditions.lock().entry(name).or_default());
        Condition { met }
    }

    /// From now on never ready again: the process is going away.
    pub fn start_draining(&self) {
        self.inner.draining.store(true, Ordering::Release);
    }

    /// Whether the process is going away.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Acquire)
    }

    /// Everything that stands in the way; nothing when ready.
    #[must_use]
    pub fn unmet(&self) -> Vec<&'static str> {
        let conditions = self.inner.conditions.lock();
        let missing = conditions.iter().filter(|(_, met)| !met.load(Ordering::Acquire)).map(|(name, _)| *name);
        self.is_draining().then_some("draining").into_iter().chain(missing).collect()
    }
}

impl Condition {
    /// States whether the condition holds.
    pub fn set(&self, met: bool) {
        self.met.store(met, Ordering::Release);
    }

    /// Whether the condition holds.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.met.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unmet_condition_is_named() {
        let readiness = Readiness::new();
        assert!(readiness.unmet().is_empty());
        let catalog = readiness.condition("catalog");
        readiness.condition("database").set(true);
        assert_eq!(readiness.unmet(), ["catalog"]);
        catalog.set(true);
        assert!(readiness.condition("catalog").is_met() && readiness.unmet().is_empty());
        readiness.clone().start_draining();
        assert_eq!(readiness.unmet(), ["draining"]);
    }
}
