//! Keeps the ledger's partitions ahead of time and its past within retention.

use std::time::Duration;

use chrono::Utc;
use shared::runtime::shutdown::Shutdown;

use crate::store::usage::Retention;
use crate::store::{Store, StoreError};

/// How often; one of all replicas does it.
const INTERVAL: Duration = Duration::from_secs(3600);

/// Does it once now, so that the running month has its partition, then each hour until the process stops.
///
/// # Errors
/// [`StoreError`] when the first time fails.
pub async fn keep_house(store: Store, retention: Retention, shutdown: &Shutdown) -> Result<(), StoreError> {
    store.keep_usage_house(Utc::now(), &retention).await?;
    let ending = shutdown.clone();
    shutdown.spawn("usage housekeeping", async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = ending.stopping() => return,
            }
            if let Err(error) = store.keep_usage_house(Utc::now(), &retention).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "the usage ledger could not be kept in order");
            }
        }
    });
    Ok(())
}
