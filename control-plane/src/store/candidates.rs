//! Candidates in the database: staged changes, and the rows as they will be.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use shared::catalog::Kind;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::providers::ProviderRow;
use super::routers::RouterRow;
use super::{CatalogTx, Listed, Rehearsed, StoreError};
use crate::domain::Lookup;

/// Set in the version of every row of a candidate, so that it differs from each version that a row will ever have.
const CANDIDATE_VERSION: i64 = 1 << 62;

/// A staged change.
#[derive(Debug, Clone, FromRow)]
pub struct CandidateRow {
    /// Its id.
    pub id: Uuid,
    /// The API's integer.
    pub number: i64,
    /// Rises with each change of its selector.
    pub version: i64,
    /// What a node's labels must hold.
    pub labels: Json<BTreeMap<String, String>>,
    /// What was asked for, without credentials.
    pub changes: Value,
    /// The revision that published it, or its present selector.
    pub revision: i64,
    /// Who staged it.
    pub author: String,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When it last changed.
    pub updated: DateTime<Utc>,
}

/// One row of a candidate, beside the row of the catalog that it will replace.
#[derive(Debug, Clone, FromRow)]
pub struct CandidateEntry {
    /// The candidate.
    pub candidate_id: Uuid,
    /// A word of `Kind`.
    pub kind: String,
    /// The row.
    pub id: Uuid,
    /// Its version when it was staged; absent: there was none.
    pub base_version: Option<i64>,
    /// What nodes are told as its version.
    pub version: i64,
    /// Its version in the catalog now; absent: it is gone.
    pub present: Option<i64>,
}

impl CandidateEntry {
    /// Whether the row was changed since it was staged.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.base_version != self.present
    }
}

/// Adds one, and what it will make of each row. The rows must be locked and as they were before the rehearsal.
///
/// # Errors
/// [`StoreError`], as everywhere in this room; a row that is part of another candidate is a [`StoreError::duplicate`].
pub async fn insert(
    tx: &mut CatalogTx,
    labels: &BTreeMap<String, String>,
    changes: &Value,
    rehearsed: Vec<Rehearsed>,
) -> Result<CandidateRow, StoreError> {
    let (id, author) = (Uuid::now_v7(), tx.actor().name.clone());
    let row = sqlx::query_as(
        "INSERT INTO candidates (id, version, labels, changes, author, revision)
         VALUES ($1, 1, $2, $3, $4, (SELECT revision + 1 FROM catalog_head FOR UPDATE)) RETURNING *",
    )
    .bind(id)
    .bind(Json(labels))
    .bind(changes)
    .bind(author)
    .fetch_one(tx.connection())
    .await?;
    for one in rehearsed {
        insert_entry(tx, id, one).await?;
    }
    Ok(row)
}

async fn insert_entry(tx: &mut CatalogTx, candidate: Uuid, one: Rehearsed) -> Result<(), StoreError> {
    let Rehearsed { kind, id, mut content } = one;
    let (base, prices) = base_of(tx.connection(), kind, id).await?.unzip();
    let sequence: i64 = sqlx::query_scalar("SELECT nextval('candidate_version')").fetch_one(tx.connection()).await?;
    let version = CANDIDATE_VERSION | sequence;
    if let Some(fields) = content.as_mut().and_then(Value::as_object_mut) {
        fields.insert("version".to_owned(), version.into());
        // Prices of a candidate are no prices that the row ever has: they may be withdrawn.
        if kind == Kind::Router && fields.get("price_revision").and_then(Value::as_i64) != prices.flatten() {
            fields.insert("price_revision".to_owned(), version.into());
        }
    }
    sqlx::query(
        "INSERT INTO candidate_resources (candidate_id, kind, id, base_version, version, content)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(candidate)
    .bind(kind.as_str())
    .bind(id)
    .bind(base)
    .bind(version)
    .bind(content)
    .execute(tx.connection())
    .await?;
    tx.touch(kind, id);
    Ok(())
}

/// The version of a row, and that of its prices.
async fn base_of(
    connection: &mut PgConnection,
    kind: Kind,
    id: Uuid,
) -> Result<Option<(i64, Option<i64>)>, StoreError> {
    let statement = match kind {
        Kind::Router => "SELECT version, price_revision FROM routers WHERE id = $1",
        Kind::Provider => "SELECT version, NULL::bigint FROM providers WHERE id = $1",
        Kind::Secret => "SELECT version, NULL::bigint FROM secrets WHERE id = $1",
        _ => return Ok(None),
    };
    Ok(sqlx::query_as(statement).bind(id).fetch_optional(connection).await?)
}

/// A page, newest first, and how many there are.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    connection: &mut PgConnection,
    (offset, limit): (i64, i64),
) -> Result<Listed<CandidateRow>, StoreError> {
    let total = sqlx::query_scalar("SELECT count(*) FROM candidates").fetch_one(&mut *connection).await?;
    let rows = sqlx::query_as("SELECT * FROM candidates ORDER BY number DESC OFFSET $1 LIMIT $2")
        .bind(offset)
        .bind(limit)
        .fetch_all(connection)
        .await?;
    Ok(Listed { total, rows })
}

/// Reads one.
///
/// # Errors
/// [`StoreError`].
pub async fn get(connection: &mut PgConnection, at: Lookup) -> Result<Option<CandidateRow>, StoreError> {
    Ok(sqlx::query_as("SELECT * FROM candidates WHERE number = $1 OR id = $2")
        .bind(at.number())
        .bind(at.id())
        .fetch_optional(connection)
        .await?)
}

/// Reads one and keeps others from changing it until the transaction ends.
///
/// # Errors
/// [`StoreError`].
pub async fn lock(tx: &mut CatalogTx, at: Lookup) -> Result<Option<CandidateRow>, StoreError> {
    Ok(sqlx::query_as("SELECT * FROM candidates WHERE number = $1 OR id = $2 FOR UPDATE")
        .bind(at.number())
        .bind(at.id())
        .fetch_optional(tx.connection())
        .await?)
}

/// The rows of these candidates, beside those of the catalog.
///
/// # Errors
/// [`StoreError`].
pub async fn entries(connection: &mut PgConnection, of: &[Uuid]) -> Result<Vec<CandidateEntry>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT c.candidate_id, c.kind, c.id, c.base_version, c.version, coalesce(
             (SELECT r.version FROM routers r WHERE c.kind = 'router' AND r.id = c.id),
             (SELECT p.version FROM providers p WHERE c.kind = 'provider' AND p.id = c.id),
             (SELECT s.version FROM secrets s WHERE c.kind = 'secret' AND s.id = c.id)) AS present
         FROM candidate_resources c WHERE c.candidate_id = ANY($1) ORDER BY c.candidate_id, c.version",
    )
    .bind(of)
    .fetch_all(connection)
    .await?)
}

/// The candidate that one of these rows is part of.
///
/// # Errors
/// [`StoreError`].
pub async fn holder(connection: &mut PgConnection, rows: &[Uuid]) -> Result<Option<(i64, Uuid)>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT c.number, e.id FROM candidate_resources e JOIN candidates c ON c.id = e.candidate_id
         WHERE e.id = ANY($1) ORDER BY c.number LIMIT 1",
    )
    .bind(rows)
    .fetch_optional(connection)
    .await?)
}

/// Gives it another selector.
///
/// # Errors
/// [`StoreError`].
pub async fn select(
    tx: &mut CatalogTx,
    id: Uuid,
    labels: &BTreeMap<String, String>,
) -> Result<CandidateRow, StoreError> {
    touch(tx, id).await?;
    Ok(sqlx::query_as(
        "UPDATE candidates SET labels = $2, version = version + 1, updated = now(),
             revision = (SELECT revision + 1 FROM catalog_head FOR UPDATE)
         WHERE id = $1 RETURNING *",
    )
    .bind(id)
    .bind(Json(labels))
    .fetch_one(tx.connection())
    .await?)
}

/// Takes it away: every node is told the rows of the catalog again.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(tx: &mut CatalogTx, id: Uuid) -> Result<(), StoreError> {
    touch(tx, id).await?;
    sqlx::query("DELETE FROM candidates WHERE id = $1").bind(id).execute(tx.connection()).await?;
    Ok(())
}

/// Its rows are news for the nodes that it was or is for, and so for the log.
async fn touch(tx: &mut CatalogTx, id: Uuid) -> Result<(), StoreError> {
    for entry in entries(tx.connection(), &[id]).await? {
        let kind = entry.kind.parse::<Kind>().map_err(|error| StoreError::BadRow {
            table: "candidate_resources",
            id: entry.id.to_string(),
            reason: error.to_string(),
        })?;
        tx.touch(kind, entry.id);
    }
    Ok(())
}

/// A router as a candidate will make it.
///
/// # Errors
/// [`StoreError`].
pub async fn router(tx: &mut CatalogTx, candidate: Uuid, id: Uuid) -> Result<Option<RouterRow>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT n.*, NULL::bigint AS user_number, NULL::bigint AS organization_number, 0::bigint AS providers,
                ARRAY(SELECT jsonb_array_elements_text(c.content->'aliases')) AS aliases
         FROM candidate_resources c JOIN routers r ON r.id = c.id
         CROSS JOIN LATERAL jsonb_populate_record(r, c.content) n
         WHERE c.candidate_id = $1 AND c.kind = 'router' AND c.id = $2 AND c.content IS NOT NULL",
    )
    .bind(candidate)
    .bind(id)
    .fetch_optional(tx.connection())
    .await?)
}

/// A provider as a candidate will make it.
///
/// # Errors
/// [`StoreError`].
pub async fn provider(tx: &mut CatalogTx, candidate: Uuid, id: Uuid) -> Result<Option<ProviderRow>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT n.*, r.number AS router_number, r.kind AS router_kind, r.name AS router_name, r.owner_file,
                NULL::bigint AS user_number
         FROM candidate_resources c JOIN providers p ON p.id = c.id JOIN routers r ON r.id = p.router_id
         CROSS JOIN LATERAL jsonb_populate_record(p, c.content) n
         WHERE c.candidate_id = $1 AND c.kind = 'provider' AND c.id = $2 AND c.content IS NOT NULL",
    )
    .bind(candidate)
    .bind(id)
    .fetch_optional(tx.connection())
    .await?)
}

/// The envelope that a candidate brings for a provider's credential.
///
/// # Errors
/// [`StoreError`].
pub async fn sealed(tx: &mut CatalogTx, candidate: Uuid, secret: Uuid) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT n.sealed FROM candidate_resources c CROSS JOIN LATERAL jsonb_populate_record(NULL::secrets, c.content) n
         WHERE c.candidate_id = $1 AND c.kind = 'secret' AND c.id = $2 AND c.content IS NOT NULL",
    )
    .bind(candidate)
    .bind(secret)
    .fetch_optional(tx.connection())
    .await?)
}
