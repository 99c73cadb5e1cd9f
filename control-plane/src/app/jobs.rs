//! What must be thrown away from time to time. Each job may run on several replicas at once.

use std::time::Duration;

use shared::runtime::shutdown::Shutdown;

use crate::config::RevisionRetention;
use crate::store::{Store, StoreError};

/// How often.
const INTERVAL: Duration = Duration::from_secs(3_600);

/// Throws away now, and each hour until the process stops.
pub(super) fn prune(store: Store, keep: RevisionRetention, shutdown: &Shutdown) {
    let ending = shutdown.clone();
    shutdown.spawn("pruning", async move {
        loop {
            if let Err(error) = once(&store, keep).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "what is out of date could not be removed");
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = ending.stopping() => return,
            }
        }
    });
}

async fn once(store: &Store, keep: RevisionRetention) -> Result<(), StoreError> {
    let changes = store.prune_changes(keep.count, keep.age).await?;
    let answers = store.prune_idempotency().await?;
    let standings = store.prune_standings().await?;
    tracing::debug!(changes, answers, standings, "removed what is out of date");
    Ok(())
}
