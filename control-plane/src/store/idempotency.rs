//! Answers of creates that carried an `Idempotency-Key`, for one day.

use sqlx::PgConnection;

use super::{CatalogTx, Store, StoreError};

/// An answer that was given before.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct StoredAnswer {
    /// Digest of the request that it answered.
    pub request: Vec<u8>,
    /// Its status.
    pub status: i32,
    /// Its body, sealed.
    pub body: Vec<u8>,
}

/// What a first look gives.
#[derive(Debug)]
pub enum Claim {
    /// Nobody used the key: it is ours until the transaction ends.
    Fresh,
    /// It was used.
    Used(StoredAnswer),
}

/// Takes a key for this transaction; waits for another one that holds it at this moment.
///
/// # Errors
/// [`StoreError`].
pub async fn claim(tx: &mut CatalogTx, actor: &str, key: &str, request: &[u8]) -> Result<Claim, StoreError> {
    sqlx::query("DELETE FROM idempotency_keys WHERE actor = $1 AND key = $2 AND created < now() - interval '1 day'")
        .bind(actor)
        .bind(key)
        .execute(tx.connection())
        .await?;
    let claimed = sqlx::query(
        "INSERT INTO idempotency_keys (actor, key, request, status, body) VALUES ($1, $2, $3, 0, '')
         ON CONFLICT (actor, key) DO NOTHING",
    )
    .bind(actor)
    .bind(key)
    .bind(request)
    .execute(tx.connection())
    .await?;
    if claimed.rows_affected() == 1 {
        return Ok(Claim::Fresh);
    }
    match find(tx.connection(), actor, key).await? {
        Some(answer) => Ok(Claim::Used(answer)),
        // It ran out and was removed between the two statements.
        None => Err(StoreError::Unavailable(sqlx::Error::RowNotFound)),
    }
}

/// Keeps the answer beside the change that it reports.
///
/// # Errors
/// [`StoreError`].
pub async fn fill(tx: &mut CatalogTx, actor: &str, key: &str, status: u16, body: &[u8]) -> Result<(), StoreError> {
    sqlx::query("UPDATE idempotency_keys SET status = $3, body = $4 WHERE actor = $1 AND key = $2")
        .bind(actor)
        .bind(key)
        .bind(i32::from(status))
        .bind(body)
        .execute(tx.connection())
        .await?;
    Ok(())
}

async fn find(connection: &mut PgConnection, actor: &str, key: &str) -> Result<Option<StoredAnswer>, StoreError> {
    Ok(sqlx::query_as("SELECT request, status, body FROM idempotency_keys WHERE actor = $1 AND key = $2")
        .bind(actor)
        .bind(key)
        .fetch_optional(connection)
        .await?)
}

impl Store {
    /// Forgets answers older than a day; for a job.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prune_idempotency(&self) -> Result<u64, StoreError> {
        let mut connection = self.acquire().await?;
        let done = sqlx::query("DELETE FROM idempotency_keys WHERE created < now() - interval '1 day'")
            .execute(&mut *connection)
            .await?;
        Ok(done.rows_affected())
    }
}
