//! The current snapshot for whoever serves nodes, the last ones for those that come back, and the fast lane.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use shared::catalog::Ref;
use shared::kernel::ids::{Epoch, Revision};
use tokio::sync::{Notify, broadcast, watch};

use super::{Snapshot, revoked};

/// How many snapshots are kept for resuming nodes. They share nearly everything.
const HISTORY: usize = 128;
/// How many revocations may wait for one node before it is left to the next batch.
const FAST_LANE: usize = 256;
/// More at once gain nothing over the batch that follows.
const MOST_REVOKED: usize = 10_000;

/// Resources that lost access, told ahead of the revision that says so.
#[derive(Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Which.
    pub references: Vec<Ref>,
    /// The revision that says so.
    pub at: Revision,
}

/// Publishes snapshots. Clones share everything.
#[derive(Clone)]
pub struct Publisher {
    inner: Arc<Inner>,
}

struct Inner {
    current: watch::Sender<Option<Arc<Snapshot>>>,
    history: Mutex<VecDeque<Arc<Snapshot>>>,
    fast_lane: broadcast::Sender<Arc<Revocation>>,
    wake: Notify,
}

impl Default for Publisher {
    fn default() -> Self {
        Self::new()
    }
}

impl Publisher {
    /// Without a snapshot yet.
    #[must_use]
    pub fn new() -> Self {
        let inner = Inner {
            current: watch::Sender::new(None),
            history: Mutex::default(),
            fast_lane: broadcast::Sender::new(FAST_LANE),
            wake: Notify::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Makes a snapshot the current one.
    pub fn publish(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        let old = self.current();
        if let Some(old) = old.filter(|old| old.head().epoch == snapshot.head().epoch) {
            let references = revoked(&old, &snapshot);
            if (1..=MOST_REVOKED).contains(&references.len()) {
                // Without a connected node nobody listens.
                let _ = self.inner.fast_lane.send(Arc::new(Revocation { references, at: snapshot.head().revision }));
            }
        }
        let mut history = self.inner.history.lock();
        history.push_back(Arc::clone(&snapshot));
        let excess = history.len().saturating_sub(HISTORY);
        let dropped: Vec<_> = history.drain(..excess).collect();
        drop(history);
        metrics::gauge!(super::REVISION).set(precise(snapshot.head().revision.0));
        let (fresh, stale): (Vec<_>, Vec<_>) =
            snapshot.candidates().iter().partition(|candidate| candidate.is_fresh(&snapshot));
        metrics::gauge!(super::CANDIDATES, "state" => "fresh").set(precise(fresh.len() as u64));
        metrics::gauge!(super::CANDIDATES, "state" => "stale").set(precise(stale.len() as u64));
        self.inner.current.send_replace(Some(snapshot));
        drop(dropped);
    }

    /// The current snapshot; absent until the catalog was read once.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Snapshot>> {
        self.inner.current.borrow().clone()
    }

    /// Follows the current snapshot.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.inner.current.subscribe()
    }

    /// Follows revocations.
    #[must_use]
    pub fn fast_lane(&self) -> broadcast::Receiver<Arc<Revocation>> {
        self.inner.fast_lane.subscribe()
    }

    /// The snapshot of an earlier revision, if it is still kept.
    #[must_use]
    pub fn at(&self, epoch: Epoch, revision: Revision) -> Option<Arc<Snapshot>> {
        let history = self.inner.history.lock();
        let is_it = |snapshot: &&Arc<Snapshot>| snapshot.head().epoch == epoch && snapshot.head().revision == revision;
        history.iter().rev().find(is_it).map(Arc::clone)
    }

    /// Makes the watcher look at the head now; for the replica that just committed.
    pub fn wake(&self) {
        self.inner.wake.notify_one();
    }

    pub(super) async fn woken(&self) {
        self.inner.wake.notified().await;
    }
}

/// A count as a gauge's number.
#[expect(clippy::cast_precision_loss, reason = "display only")]
pub(super) const fn precise(number: u64) -> f64 {
    number as f64
}
