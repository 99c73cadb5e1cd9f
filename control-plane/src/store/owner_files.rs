//! Which configuration files have been reconciled, and with what content.

use uuid::Uuid;

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

    /// Frees the names of routers that are about to be changed or removed, so that a name can move from one to another.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn free_router_names(&mut self, routers: &[Uuid]) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM router_names WHERE router_id = ANY($1)")
            .bind(routers)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Gives a router to a file, or to the operators.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn set_router_owner(&mut self, router: Uuid, file: Option<&str>) -> Result<(), StoreError> {
        sqlx::query("UPDATE routers SET owner_file = $2 WHERE id = $1")
            .bind(router)
            .bind(file)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Forgets that a file was reconciled: what it owned is now another's, so it is to be read anew should it come back.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn forget_owner_file(&mut self, path: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM owner_files WHERE path = $1").bind(path).execute(self.connection()).await?;
        Ok(())
    }

    /// The envelope of a credential.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn sealed_credential(&mut self, secret: Uuid) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(sqlx::query_scalar("SELECT sealed FROM secrets WHERE id = $1")
            .bind(secret)
            .fetch_optional(self.connection())
            .await?)
    }
}
