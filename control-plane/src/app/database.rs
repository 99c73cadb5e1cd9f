//! The way to the database at the start.

use std::time::{Duration, Instant};

use crate::app::StartError;
use crate::config::DatabaseConfig;
use crate::store::{PoolOptions, Store};

/// How long to wait between two tries.
const RETRY: Duration = Duration::from_secs(1);

/// Opens the database, waiting for one that is not up yet.
///
/// # Errors
/// [`StartError::Store`] when it refuses us, or patience is over.
pub async fn connect(database: &DatabaseConfig) -> Result<Store, StartError> {
    let began = Instant::now();
    loop {
        let options = PoolOptions {
            size: database.connections,
            statement_timeout: database.statement_timeout,
            ..PoolOptions::default()
        };
        match Store::connect(database.url.expose(), options).await {
            Ok(store) => return Ok(store),
            Err(error) if error.is_unavailable() && began.elapsed() < database.patience => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    waited_seconds = began.elapsed().as_secs(),
                    patience_seconds = database.patience.as_secs(),
                    "the database is not available yet"
                );
                tokio::time::sleep(RETRY).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
