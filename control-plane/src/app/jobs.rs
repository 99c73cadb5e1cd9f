//! What must be thrown away from time to time. Each job is one statement that may run on several replicas at once.

use std::time::Duration;

use shared::runtime::shutdown::Shutdown;

use crate::store::{Store, StoreError};

/// How often.
const INTERVAL: Duration = Duration::from_secs(3_600);
/// Revisions whose changes are kept, for nodes that come back and for looking back.
const KEEP_REVISIONS: u64 = 100_000;

/// Starts throwing away.
pub(super) fn prune(store: Store, shutdown: &Shutdown) {
    let ending = shutdown.clone();
    shutdown.spawn("pruning", async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = ending.stopping() => return,
            }
            if let Err(error) = once(&store).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "what is out of date could not be removed");
            }
        }
    });
}

async fn once(store: &Store) -> Result<(), StoreError> {
    let changes = store.prune_changes(KEEP_REVISIONS).await?;
    let answers = store.prune_idempotency().await?;
    tracing::debug!(changes, answers, "removed what is out of date");
    Ok(())
}
