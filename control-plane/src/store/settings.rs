//! The fleet's settings in the database.

use serde_json::Value;
use shared::catalog::Kind;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{CatalogTx, StoreError};

/// Every setting by name.
///
/// # Errors
/// [`StoreError`].
pub async fn all(connection: &mut PgConnection) -> Result<Vec<(String, Value)>, StoreError> {
    Ok(sqlx::query_as("SELECT name, value FROM settings ORDER BY name").fetch_all(connection).await?)
}

/// Sets one; returns whether that changed anything.
///
/// # Errors
/// [`StoreError`].
pub async fn put(tx: &mut CatalogTx, name: &str, value: &Value) -> Result<bool, StoreError> {
    let changed: Option<Uuid> = sqlx::query_scalar(
        "INSERT INTO settings AS s (id, version, name, value) VALUES ($1, 1, $2, $3)
         ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value, version = s.version + 1
             WHERE s.value IS DISTINCT FROM EXCLUDED.value
         RETURNING s.id",
    )
    .bind(Uuid::now_v7())
    .bind(name)
    .bind(value)
    .fetch_optional(tx.connection())
    .await?;
    if let Some(id) = changed {
        tx.touch(Kind::Setting, id);
    }
    Ok(changed.is_some())
}
