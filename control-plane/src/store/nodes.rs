//! The fleet's certificate authority and the nodes that it issued certificates to.

use chrono::{DateTime, Utc};
use shared::kernel::ids::NodeId;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};
use std::collections::BTreeMap;
use uuid::Uuid;

use super::{CatalogTx, Store, StoreError};

/// The authority as it is kept: its key is sealed.
#[derive(Debug, Clone, FromRow)]
pub struct AuthorityRow {
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// Its key, PKCS #8, in an envelope of the key ring.
    pub sealed_key: Vec<u8>,
}

/// A node that was issued a certificate.
#[derive(Debug, Clone, FromRow)]
pub struct NodeRow {
    /// Its id.
    pub id: Uuid,
    /// The Group that its certificate is for.
    pub node_group: String,
    /// What it said of itself.
    pub facts: Json<BTreeMap<String, String>>,
    /// When its last certificate ends.
    pub not_after: DateTime<Utc>,
    /// When it enrolled.
    pub enrolled: DateTime<Utc>,
    /// When it was last let in.
    pub last_seen: DateTime<Utc>,
    /// Since when it is shut out.
    pub revoked: Option<DateTime<Utc>>,
}

/// A certificate that was issued.
#[derive(Debug, Clone)]
pub struct IssuedRow<'a> {
    /// To whom.
    pub node: NodeId,
    /// For which Group.
    pub group: &'a str,
    /// Its serial number.
    pub serial: &'a [u8],
    /// When it ends.
    pub not_after: DateTime<Utc>,
}

/// The join token of one enrolment and the digest of the key that asked.
#[derive(Debug, Clone, Copy)]
pub struct EnrolmentRow<'a> {
    /// The token.
    pub token: Uuid,
    /// SHA-256 of the node's public key.
    pub key: &'a [u8; 32],
    /// What the node said of itself.
    pub facts: &'a BTreeMap<String, String>,
}

/// The authority's certificate; nothing before the first control plane started.
///
/// # Errors
/// [`StoreError`].
pub async fn authority_certificate(connection: &mut PgConnection) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(sqlx::query_scalar("SELECT certificate FROM node_authority").fetch_optional(connection).await?)
}

impl Store {
    /// The authority, if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn node_authority(&self) -> Result<Option<AuthorityRow>, StoreError> {
        let mut connection = self.acquire().await?;
        Ok(sqlx::query_as("SELECT certificate, sealed_key FROM node_authority")
            .fetch_optional(&mut *connection)
            .await?)
    }

    /// Keeps a new authority, unless another replica was first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_node_authority(&self, authority: &AuthorityRow) -> Result<(), StoreError> {
        let mut connection = self.acquire().await?;
        sqlx::query("INSERT INTO node_authority (certificate, sealed_key) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(&authority.certificate)
            .bind(&authority.sealed_key)
            .execute(&mut *connection)
            .await?;
        Ok(())
    }

    /// Replaces the envelope of the authority's key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rewrap_node_authority(&self, old: &[u8], new: &[u8]) -> Result<(), StoreError> {
        let mut connection = self.acquire().await?;
        sqlx::query("UPDATE node_authority SET sealed_key = $2 WHERE sealed_key = $1")
            .bind(old)
            .bind(new)
            .execute(&mut *connection)
            .await?;
        Ok(())
    }

    /// One node, whatever its state.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn node(&self, id: NodeId) -> Result<Option<NodeRow>, StoreError> {
        let mut connection = self.acquire().await?;
        let statement =
            "SELECT id, node_group, facts, not_after, enrolled, last_seen, revoked FROM nodes WHERE id = $1";
        Ok(sqlx::query_as(statement).bind(id.uuid()).fetch_optional(&mut *connection).await?)
    }

    /// Every node that may still come back, and those that were lately shut out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn enrolled_nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        let mut connection = self.acquire().await?;
        let statement = "SELECT id, node_group, facts, not_after, enrolled, last_seen, revoked FROM nodes
             WHERE not_after > now() - interval '31 days' ORDER BY id LIMIT 10000";
        Ok(sqlx::query_as(statement).fetch_all(&mut *connection).await?)
    }

    /// Notes that a node was there; returns whether it is shut out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn see_node(&self, id: NodeId) -> Result<bool, StoreError> {
        let mut connection = self.acquire().await?;
        let revoked: Option<bool> =
            sqlx::query_scalar("UPDATE nodes SET last_seen = now() WHERE id = $1 RETURNING revoked IS NOT NULL")
                .bind(id.uuid())
                .fetch_optional(&mut *connection)
                .await?;
        Ok(revoked.unwrap_or(false))
    }

    /// Every node that is shut out and whose certificate could still be shown or renewed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoked_nodes(&self) -> Result<Vec<Uuid>, StoreError> {
        let mut connection = self.acquire().await?;
        let statement = "SELECT id FROM nodes WHERE revoked IS NOT NULL AND not_after > now() - interval '31 days'";
        Ok(sqlx::query_scalar(statement).fetch_all(&mut *connection).await?)
    }

    /// Notes a renewal; a node that the database has forgotten is added again. False when it is shut out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn renew_node(&self, issued: &IssuedRow<'_>) -> Result<bool, StoreError> {
        let mut connection = self.acquire().await?;
        let done = sqlx::query(
            "INSERT INTO nodes AS n (id, node_group, serial, not_after) VALUES ($1, $2, $3, $4)
             ON CONFLICT (id) DO UPDATE SET serial = $3, not_after = $4, renewed = now(), last_seen = now()
                 WHERE n.revoked IS NULL",
        )
        .bind(issued.node.uuid())
        .bind(issued.group)
        .bind(issued.serial)
        .bind(issued.not_after)
        .execute(&mut *connection)
        .await?;
        Ok(done.rows_affected() > 0)
    }
}

impl CatalogTx {
    /// The node that enrolled with this token and this key, when it has: its answer may have been lost.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn enrolled_with(&mut self, token: Uuid, key: &[u8; 32]) -> Result<Option<Uuid>, StoreError> {
        let statement = "SELECT id FROM nodes WHERE join_token = $1 AND first_key = $2 AND revoked IS NULL";
        Ok(sqlx::query_scalar(statement).bind(token).bind(key.as_slice()).fetch_optional(self.connection()).await?)
    }

    /// Adds a node with its first certificate, or notes another one after an answer that was lost.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn insert_node(&mut self, issued: &IssuedRow<'_>, by: EnrolmentRow<'_>) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO nodes (id, node_group, facts, serial, not_after, join_token, first_key)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (id) DO UPDATE SET serial = $4, not_after = $5, last_seen = now()",
        )
        .bind(issued.node.uuid())
        .bind(issued.group)
        .bind(Json(by.facts))
        .bind(issued.serial)
        .bind(issued.not_after)
        .bind(by.token)
        .bind(by.key.as_slice())
        .execute(self.connection())
        .await?;
        Ok(())
    }

    /// Shuts a node out; the row stays. Doing it again keeps the first time.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoke_node(&mut self, id: Uuid) -> Result<Option<NodeRow>, StoreError> {
        let statement = "UPDATE nodes SET revoked = coalesce(revoked, now()) WHERE id = $1 \
                         RETURNING id, node_group, facts, not_after, enrolled, last_seen, revoked";
        Ok(sqlx::query_as(statement).bind(id).fetch_optional(self.connection()).await?)
    }
}
