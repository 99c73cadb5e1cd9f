//! Which configuration files have been reconciled, and with what content.

use super::{CatalogTx, StoreError};

impl CatalogTx {
    /// The digest of a file's models when it was last reconciled. Holds the file's row, so that two replicas that start
    /// at once reconcile one after the other.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn owner_file_digest(&mut self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        // An advisory lock, because a first start has no row to hold.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('gatewright owner file ' || $1, 0))")
            .bind(path)
            .execute(self.connection())
            .await?;
        Ok(sqlx::query_scalar("SELECT digest FROM owner_files WHERE path = $1")
            .bind(path)
            .fetch_optional(self.connection())
            .await?)
    }

    /// Notes that a file was reconciled.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn set_owner_file_digest(&mut self, path: &str, digest: &[u8]) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO owner_files (path, digest) VALUES ($1, $2) \
             ON CONFLICT (path) DO UPDATE SET digest = excluded.digest, reconciled = now()",
        )
        .bind(path)
        .bind(digest)
        .execute(self.connection())
        .await?;
        Ok(())
    }
}
