//! Join tokens: what lets a data plane in.

use chrono::{DateTime, Utc};
use shared::kernel::ids::JoinTokenId;
use sqlx::FromRow;
use uuid::Uuid;

use super::{CatalogTx, Store, StoreError};

/// A join token without what it is shown by.
#[derive(Debug, Clone, FromRow)]
pub struct JoinTokenRow {
    /// Its id.
    pub id: Uuid,
    /// Chosen by whoever made it.
    pub name: String,
    /// The Group that its nodes belong to.
    pub node_group: String,
    /// Whether it lets in one node alone.
    pub single_use: bool,
    /// When a node first showed it.
    pub used: Option<DateTime<Utc>>,
    /// Until when it lets nodes in.
    pub expires: DateTime<Utc>,
    /// When it was revoked.
    pub revoked: Option<DateTime<Utc>>,
    /// When it was made.
    pub created: DateTime<Utc>,
}

impl CatalogTx {
    /// Adds a token under the digest of its text.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn insert_join_token(
        &mut self,
        id: JoinTokenId,
        name: &str,
        group: &str,
        single_use: bool,
        digest: &[u8; 32],
        expires: DateTime<Utc>,
    ) -> Result<JoinTokenRow, StoreError> {
        let statement = "INSERT INTO join_tokens (id, name, node_group, digest, expires, single_use) VALUES ($1, $2, $3, $4, $5, $6) \
                         RETURNING id, name, node_group, single_use, used, expires, revoked, created";
        Ok(sqlx::query_as(statement)
            .bind(id.uuid())
            .bind(name)
            .bind(group)
            .bind(digest.as_slice())
            .bind(expires)
            .bind(single_use)
            .fetch_one(self.connection())
            .await?)
    }

    /// The token of that digest, whatever its state, held until the transaction ends: nobody else enrols with it meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn hold_join_token(&mut self, digest: &[u8; 32]) -> Result<Option<JoinTokenRow>, StoreError> {
        let statement = "SELECT id, name, node_group, single_use, used, expires, revoked, created FROM join_tokens \
                         WHERE digest = $1 FOR UPDATE";
        Ok(sqlx::query_as(statement).bind(digest.as_slice()).fetch_optional(self.connection()).await?)
    }

    /// Notes the use of a token.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn use_join_token(&mut self, id: Uuid) -> Result<(), StoreError> {
        sqlx::query("UPDATE join_tokens SET used = coalesce(used, now()) WHERE id = $1")
            .bind(id)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Revokes a token; the row stays. Revoking again keeps the first time.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn revoke_join_token(&mut self, id: Uuid) -> Result<Option<JoinTokenRow>, StoreError> {
        let statement = "UPDATE join_tokens SET revoked = coalesce(revoked, now()) WHERE id = $1 \
                         RETURNING id, name, node_group, single_use, used, expires, revoked, created";
        Ok(sqlx::query_as(statement).bind(id).fetch_optional(self.connection()).await?)
    }
}

impl Store {
    /// A page of tokens, newest first, and how many there are in all.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn join_tokens(&self, offset: i64, limit: i64) -> Result<(i64, Vec<JoinTokenRow>), StoreError> {
        let mut connection = self.acquire().await?;
        let total = sqlx::query_scalar("SELECT count(*) FROM join_tokens").fetch_one(&mut *connection).await?;
        let rows = sqlx::query_as(
            "SELECT id, name, node_group, single_use, used, expires, revoked, created FROM join_tokens ORDER BY id DESC OFFSET $1 LIMIT $2",
        )
        .bind(offset)
        .bind(limit)
        .fetch_all(&mut *connection)
        .await?;
        Ok((total, rows))
    }

    /// One token.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn join_token(&self, id: Uuid) -> Result<Option<JoinTokenRow>, StoreError> {
        let mut connection = self.acquire().await?;
        let statement =
            "SELECT id, name, node_group, single_use, used, expires, revoked, created FROM join_tokens WHERE id = $1";
        Ok(sqlx::query_as(statement).bind(id).fetch_optional(&mut *connection).await?)
    }

    /// The token of that digest, whatever its state; its first use is noted.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn show_join_token(&self, digest: &[u8; 32]) -> Result<Option<JoinTokenRow>, StoreError> {
        let mut connection = self.acquire().await?;
        let found: Option<JoinTokenRow> = sqlx::query_as(
            "SELECT id, name, node_group, single_use, used, expires, revoked, created FROM join_tokens WHERE digest = $1",
        )
        .bind(digest.as_slice())
        .fetch_optional(&mut *connection)
        .await?;
        let first = found
            .as_ref()
            .filter(|row| row.used.is_none() && !row.single_use && row.revoked.is_none() && row.expires > Utc::now());
        if let Some(row) = first {
            sqlx::query("UPDATE join_tokens SET used = now() WHERE id = $1 AND used IS NULL")
                .bind(row.id)
                .execute(&mut *connection)
                .await?;
        }
        Ok(found)
    }
}
