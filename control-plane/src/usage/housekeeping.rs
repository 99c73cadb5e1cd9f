//! Keeps the ledger's partitions ahead of time and its past within retention.

use std::time::Duration;

use chrono::Utc;
use shared::runtime::shutdown::Shutdown;

use crate::store::Store;
use crate::store::usage::Retention;

/// How often; one of all replicas does it.
const INTERVAL: Duration = Duration::from_secs(3600);

/// Does it now, so that the running month has its partition, then each hour until the process stops.
pub async fn keep_house(store: Store, retention: Retention, shutdown: &Shutdown) {
    once(&store, &retention).await;
    let ending = shutdown.clone();
    shutdown.spawn("usage housekeeping", async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => once(&store, &retention).await,
                () = ending.stopping() => return,
            }
        }
    });
}

/// A failure can wait: without a partition of its own, a month's records lie in the default one until the next time.
async fn once(store: &Store, retention: &Retention) {
    if let Err(error) = store.keep_usage_house(Utc::now(), retention).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "the usage ledger could not be kept in order");
    }
}
