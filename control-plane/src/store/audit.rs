//! Reads the audit table; it is written by the commit of a change alone.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::StoreError;
use super::page::Listed;

/// One line.
#[derive(Debug, Clone, FromRow)]
pub struct AuditRow {
    /// Rises with time.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// The revision that it made; null when the catalog did not change.
    pub revision: Option<i64>,
    /// A word of `ActorKind`.
    pub actor_kind: String,
    /// The user, where it was one.
    pub actor_id: Option<Uuid>,
    /// For people.
    pub actor_name: String,
    /// What was done.
    pub operation: String,
    /// To which sort of thing.
    pub kind: String,
    /// To which one.
    pub subject_id: Option<Uuid>,
    /// For people.
    pub subject: String,
    /// How it was.
    pub before: Option<Value>,
    /// How it became.
    pub after: Option<Value>,
    /// The request that asked for it.
    pub request_id: String,
    /// Where that came from.
    pub address: String,
}

/// Which lines to list.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Of this sort of thing.
    pub kind: Option<String>,
    /// Of this one.
    pub subject_id: Option<Uuid>,
    /// Done by this one, by exact name.
    pub actor: Option<String>,
    /// Of this operation.
    pub operation: Option<String>,
    /// Of this request.
    pub request_id: Option<String>,
    /// From then on.
    pub start: Option<DateTime<Utc>>,
    /// Until before then.
    pub end: Option<DateTime<Utc>>,
}

macro_rules! statement {
    ($what:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $what,
            " FROM audit
              WHERE ($1::text IS NULL OR kind = $1) AND ($2::uuid IS NULL OR subject_id = $2)
                AND ($3::text IS NULL OR actor_name = $3) AND ($4::text IS NULL OR operation = $4)
                AND ($5::text IS NULL OR request_id = $5) AND ($6::timestamptz IS NULL OR at >= $6)
                AND ($7::timestamptz IS NULL OR at < $7) ",
            $rest
        )
    };
}

/// Reads a page, newest first unless told otherwise.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    connection: &mut PgConnection,
    filter: &AuditFilter,
    offset: i64,
    limit: i64,
    oldest_first: bool,
) -> Result<Listed<AuditRow>, StoreError> {
    let total: i64 = sqlx::query_scalar(statement!("count(*)", ""))
        .bind(&filter.kind)
        .bind(filter.subject_id)
        .bind(&filter.actor)
        .bind(&filter.operation)
        .bind(&filter.request_id)
        .bind(filter.start)
        .bind(filter.end)
        .fetch_one(&mut *connection)
        .await?;
    let statement = if oldest_first {
        statement!("*", "ORDER BY id ASC OFFSET $8 LIMIT $9")
    } else {
        statement!("*", "ORDER BY id DESC OFFSET $8 LIMIT $9")
    };
    let rows = sqlx::query_as(statement)
        .bind(&filter.kind)
        .bind(filter.subject_id)
        .bind(&filter.actor)
        .bind(&filter.operation)
        .bind(&filter.request_id)
        .bind(filter.start)
        .bind(filter.end)
        .bind(offset)
        .bind(limit)
        .fetch_all(connection)
        .await?;
    Ok(Listed { total, rows })
}
