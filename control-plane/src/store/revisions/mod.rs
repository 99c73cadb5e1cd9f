//! The log of changes: which revisions there are, what each of them changed, and how a resource stood before.
//!
//! The log is whole after `catalog_head.log_start`. Of what is older, the last content of each resource is left, so that
//! what changed since can still be told; of users and keys, which are never rolled back, nothing.

mod prune;
pub mod put;
pub mod restore;

use chrono::{DateTime, Utc};
use serde_json::Value;
use shared::catalog::Kind;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::{Head, Listed, StoreError};
use crate::domain::{BOOKKEEPING, Kept};

/// How far the log reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// Where the catalog stands.
    pub head: Head,
    /// The log is whole after this revision.
    pub start: i64,
}

impl Reach {
    /// The newest revision as a number of the database.
    #[must_use]
    pub fn newest(&self) -> i64 {
        i64::try_from(self.head.revision.0).unwrap_or(i64::MAX)
    }
}

/// One revision, and who made it.
#[derive(Debug, Clone, FromRow)]
pub struct RevisionRow {
    /// Its number.
    pub revision: i64,
    /// The lineage that it was made in, where that is known.
    pub epoch: Option<Uuid>,
    /// When.
    pub made: DateTime<Utc>,
    /// How many resources it touched.
    pub changes: i64,
    /// A word of `ActorKind`.
    pub actor_kind: Option<String>,
    /// The user, where it was one.
    pub actor_id: Option<Uuid>,
    /// For people.
    pub actor_name: Option<String>,
    /// The request that asked for it.
    pub request_id: Option<String>,
}

/// Which revisions to list.
#[derive(Debug, Clone, Default)]
pub struct RevisionFilter {
    /// That touched a resource of this kind.
    pub kind: Option<Kind>,
    /// That touched this one.
    pub id: Option<Uuid>,
}

/// What a revision did to one resource.
#[derive(Debug, Clone)]
pub struct ChangeRow {
    /// The revision.
    pub revision: i64,
    /// The sort of resource, as the database has it.
    pub kind: String,
    /// Its id.
    pub id: Uuid,
    /// The name in the audit table, where there is one.
    pub subject: Option<String>,
    /// How it was.
    pub before: Kept,
    /// How it became; absent: it was deleted.
    pub after: Option<Value>,
}

/// How one resource differs between two revisions.
#[derive(Debug, Clone)]
pub struct SpanRow {
    /// The sort of resource, as the database has it.
    pub kind: String,
    /// Its id.
    pub id: Uuid,
    /// The last revision that touched it.
    pub last: i64,
    /// How it was.
    pub before: Kept,
    /// How it is; absent: it is gone.
    pub after: Option<Value>,
}

/// A content before the first change of a span: what stands in the log before it, else what the change itself tells.
pub(super) fn kept(base: Option<i64>, content: Option<Value>, first: Option<&Value>) -> Kept {
    match (base, content) {
        (Some(_), Some(content)) => Kept::Content(content),
        (Some(_), None) => Kept::Absent,
        (None, _) => {
            let version = first.and_then(|first| first.get("version")).and_then(Value::as_i64);
            if version == Some(1) { Kept::Absent } else { Kept::Unknown }
        }
    }
}

/// How far the log reaches.
///
/// # Errors
/// [`StoreError`], as everywhere in this room.
pub async fn reach(connection: &mut PgConnection) -> Result<Reach, StoreError> {
    let head = super::pool::read_head(connection).await?;
    let start = sqlx::query_scalar("SELECT log_start FROM catalog_head").fetch_one(connection).await?;
    Ok(Reach { head, start })
}

/// A page of the revisions of which the log is whole, newest first.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    connection: &mut PgConnection,
    filter: &RevisionFilter,
    (offset, limit): (i64, i64),
) -> Result<Listed<RevisionRow>, StoreError> {
    let kind = filter.kind.map(Kind::as_str);
    let total: i64 = sqlx::query_scalar(
        "SELECT count(DISTINCT c.revision) FROM changes c, catalog_head h
         WHERE c.revision > h.log_start AND ($1::text IS NULL OR c.kind = $1) AND ($2::uuid IS NULL OR c.id = $2)",
    )
    .bind(kind)
    .bind(filter.id)
    .fetch_one(&mut *connection)
    .await?;
    let rows = sqlx::query_as(
        "SELECT r.revision, r.epoch, r.made, r.changes, a.actor_kind, a.actor_id, a.actor_name, a.request_id
         FROM (SELECT c.revision, (array_agg(c.epoch))[1] AS epoch, min(c.made) AS made, count(*) AS changes
               FROM changes c
               WHERE c.revision > (SELECT log_start FROM catalog_head)
                 AND ($1::text IS NULL OR c.kind = $1) AND ($2::uuid IS NULL OR c.id = $2)
               GROUP BY c.revision ORDER BY c.revision DESC OFFSET $3 LIMIT $4) r
         LEFT JOIN LATERAL (SELECT * FROM audit a WHERE a.revision = r.revision ORDER BY a.id LIMIT 1) a ON true
         ORDER BY r.revision DESC",
    )
    .bind(kind)
    .bind(filter.id)
    .bind(offset)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    Ok(Listed { total, rows })
}

/// One revision, if the log has it.
///
/// # Errors
/// [`StoreError`].
pub async fn get(connection: &mut PgConnection, revision: i64) -> Result<Option<RevisionRow>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT r.revision, r.epoch, r.made, r.changes, a.actor_kind, a.actor_id, a.actor_name, a.request_id
         FROM (SELECT c.revision, (array_agg(c.epoch))[1] AS epoch, min(c.made) AS made, count(*) AS changes
               FROM changes c WHERE c.revision = $1 GROUP BY c.revision) r
         LEFT JOIN LATERAL (SELECT * FROM audit a WHERE a.revision = r.revision ORDER BY a.id LIMIT 1) a ON true",
    )
    .bind(revision)
    .fetch_optional(connection)
    .await?)
}

#[derive(FromRow)]
struct RawChange {
    revision: i64,
    kind: String,
    id: Uuid,
    subject: Option<String>,
    base: Option<i64>,
    before: Option<Value>,
    after: Option<Value>,
}

impl From<RawChange> for ChangeRow {
    fn from(raw: RawChange) -> Self {
        let RawChange { revision, kind, id, subject, base, before, after } = raw;
        Self { revision, kind, id, subject, before: kept(base, before, after.as_ref()), after }
    }
}

/// What these revisions changed, of each at most `most` resources.
///
/// # Errors
/// [`StoreError`].
pub async fn changes(
    connection: &mut PgConnection,
    revisions: &[i64],
    most: i64,
) -> Result<Vec<ChangeRow>, StoreError> {
    let rows: Vec<RawChange> = sqlx::query_as(
        "SELECT c.revision, c.kind, c.id, s.subject, b.revision AS base, b.content AS before, c.content AS after
         FROM (SELECT *, row_number() OVER (PARTITION BY revision ORDER BY kind, id) AS place
               FROM changes WHERE revision = ANY($1)) c
         LEFT JOIN LATERAL (SELECT p.revision, p.content FROM changes p
             WHERE p.kind = c.kind AND p.id = c.id AND p.revision < c.revision
             ORDER BY p.revision DESC LIMIT 1) b ON true
         LEFT JOIN LATERAL (SELECT a.subject FROM audit a
             WHERE a.revision = c.revision AND a.subject_id = c.id AND a.subject <> '' LIMIT 1) s ON true
         WHERE c.place <= $2 ORDER BY c.revision DESC, c.kind, c.id",
    )
    .bind(revisions)
    .bind(most)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(ChangeRow::from).collect())
}

#[derive(FromRow)]
struct RawSpan {
    kind: String,
    id: Uuid,
    last: i64,
    base: Option<i64>,
    before: Option<Value>,
    first: Option<Value>,
    after: Option<Value>,
    total: i64,
}

/// How the catalog at one revision differs from the one at another, a page of it.
///
/// # Errors
/// [`StoreError`].
pub async fn between(
    connection: &mut PgConnection,
    (from, to): (i64, i64),
    (offset, limit): (i64, i64),
) -> Result<Listed<SpanRow>, StoreError> {
    let counted: Vec<&str> = BOOKKEEPING.to_vec();
    let rows: Vec<RawSpan> = sqlx::query_as(
        "SELECT t.kind, t.id, l.revision AS last, b.revision AS base, b.content AS before, f.content AS first,
                l.content AS after, count(*) OVER () AS total
         FROM (SELECT DISTINCT kind, id FROM changes WHERE revision > $1 AND revision <= $2) t
         LEFT JOIN LATERAL (SELECT c.revision, c.content FROM changes c
             WHERE c.kind = t.kind AND c.id = t.id AND c.revision <= $1 ORDER BY c.revision DESC LIMIT 1) b ON true
         JOIN LATERAL (SELECT c.content FROM changes c
             WHERE c.kind = t.kind AND c.id = t.id AND c.revision > $1 ORDER BY c.revision LIMIT 1) f ON true
         JOIN LATERAL (SELECT c.revision, c.content FROM changes c
             WHERE c.kind = t.kind AND c.id = t.id AND c.revision <= $2 ORDER BY c.revision DESC LIMIT 1) l ON true
         WHERE b.content - $3::text[] IS DISTINCT FROM l.content - $3::text[]
         ORDER BY t.kind, t.id OFFSET $4 LIMIT $5",
    )
    .bind(from)
    .bind(to)
    .bind(counted)
    .bind(offset)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    let total = rows.first().map_or(0, |row| row.total);
    let rows = rows.into_iter().map(|raw| SpanRow {
        before: kept(raw.base, raw.before, raw.first.as_ref()),
        kind: raw.kind,
        id: raw.id,
        last: raw.last,
        after: raw.after,
    });
    Ok(Listed { total, rows: rows.collect() })
}
