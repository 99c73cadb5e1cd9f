//! What a rollback asks before it changes anything: what revisions touched, who holds what now, what hangs on it.

use std::collections::HashMap;

use serde_json::Value;
use shared::catalog::Kind;
use shared::kernel::ids::OrganizationId;
use sqlx::FromRow;
use uuid::Uuid;

use super::kept;
use crate::domain::Kept;
use crate::store::{CatalogTx, StoreError, routers, tx};

/// Which resources are locked and changed, parents before children.
pub const ORDER: [Kind; 5] = [Kind::Organization, Kind::Role, Kind::Router, Kind::Provider, Kind::Limit];

/// A resource that revisions touched.
#[derive(Debug, Clone)]
pub struct Touched {
    /// The sort of resource, as the database has it.
    pub kind: String,
    /// Its id.
    pub id: Uuid,
    /// Which of the revisions touched it, in order.
    pub revisions: Vec<i64>,
    /// How it was before the first of them.
    pub before: Kept,
    /// How the first of them left it.
    pub first_after: Option<Value>,
    /// Some of the revisions after the first of them that touched it as well and are not among them.
    pub later: Vec<i64>,
}

#[derive(FromRow)]
struct RawTouched {
    kind: String,
    id: Uuid,
    revisions: Vec<i64>,
    base: Option<i64>,
    before: Option<Value>,
    first: Option<Value>,
    later: Vec<i64>,
}

/// Who stands in the way of a row.
#[derive(Debug, Clone, FromRow)]
pub struct Dependent {
    /// The sort of thing: a word of [`Kind`].
    pub kind: String,
    /// Its id.
    pub id: Uuid,
    /// For people.
    pub name: String,
}

/// Lets only one rollback at a time go on, until the transaction ends.
///
/// # Errors
/// [`StoreError`], as everywhere in this room.
pub async fn take_turn(tx: &mut CatalogTx) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('gatewright rollback', 0))")
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Every resource that these revisions touched, with how it was before them; at most `most` of them.
///
/// # Errors
/// [`StoreError`].
pub async fn touched(tx: &mut CatalogTx, revisions: &[i64], most: i64) -> Result<Vec<Touched>, StoreError> {
    let rows: Vec<RawTouched> = sqlx::query_as(
        "SELECT t.kind, t.id, t.revisions, b.revision AS base, b.content AS before, f.content AS first,
                ARRAY(SELECT c.revision FROM changes c
                      WHERE c.kind = t.kind AND c.id = t.id AND c.revision > t.first AND NOT c.revision = ANY($1)
                          -- A staged change is told by the log as well, and changes no row.
                          AND c.content->'version' IS DISTINCT FROM f.content->'version'
                      ORDER BY c.revision LIMIT 20) AS later
         FROM (SELECT kind, id, min(revision) AS first, array_agg(revision ORDER BY revision) AS revisions
               FROM changes WHERE revision = ANY($1) GROUP BY kind, id ORDER BY kind, id LIMIT $2) t
         JOIN changes f ON f.revision = t.first AND f.kind = t.kind AND f.id = t.id
         LEFT JOIN LATERAL (SELECT c.revision, c.content FROM changes c
             WHERE c.kind = t.kind AND c.id = t.id AND c.revision < t.first
             ORDER BY c.revision DESC LIMIT 1) b ON true
         ORDER BY t.kind, t.id",
    )
    .bind(revisions)
    .bind(most)
    .fetch_all(tx.connection())
    .await?;
    let rows = rows.into_iter().map(|raw| Touched {
        before: kept(raw.base, raw.before, raw.first.as_ref()),
        kind: raw.kind,
        id: raw.id,
        revisions: raw.revisions,
        first_after: raw.first,
        later: raw.later,
    });
    Ok(rows.collect())
}

/// Keeps others from changing these rows until the transaction ends.
///
/// # Errors
/// [`StoreError`].
pub async fn lock(tx: &mut CatalogTx, kind: Kind, ids: &[Uuid]) -> Result<(), StoreError> {
    let statement = match kind {
        Kind::Organization => "SELECT id FROM organizations WHERE id = ANY($1) ORDER BY id FOR UPDATE",
        Kind::Role => "SELECT id FROM roles WHERE id = ANY($1) ORDER BY id FOR UPDATE",
        Kind::Router => "SELECT id FROM routers WHERE id = ANY($1) ORDER BY id FOR UPDATE",
        Kind::Provider => "SELECT id FROM providers WHERE id = ANY($1) ORDER BY id FOR UPDATE",
        Kind::Limit => "SELECT id FROM limits WHERE id = ANY($1) ORDER BY id FOR UPDATE",
        _ => return Ok(()),
    };
    sqlx::query(statement).bind(ids).execute(tx.connection()).await?;
    Ok(())
}

/// Those of these rows that are there, as the log would tell them.
///
/// # Errors
/// [`StoreError`].
pub async fn present(tx: &mut CatalogTx, kind: Kind, ids: &[Uuid]) -> Result<HashMap<Uuid, Value>, StoreError> {
    tx::present(tx.connection(), kind, ids).await
}

/// The content of a credential's envelope before a revision.
///
/// # Errors
/// [`StoreError`].
pub async fn secret_before(tx: &mut CatalogTx, id: Uuid, revision: i64) -> Result<Option<Value>, StoreError> {
    let content: Option<Option<Value>> = sqlx::query_scalar(
        "SELECT content FROM changes WHERE kind = 'secret' AND id = $1 AND revision < $2
         ORDER BY revision DESC LIMIT 1",
    )
    .bind(id)
    .bind(revision)
    .fetch_optional(tx.connection())
    .await?;
    Ok(content.flatten())
}

/// Frees the names of roles and organizations that get others, so that names can move from one to another.
///
/// # Errors
/// [`StoreError`].
pub async fn park_names(tx: &mut CatalogTx, kind: Kind, ids: &[Uuid]) -> Result<(), StoreError> {
    let statement = match kind {
        Kind::Organization => "UPDATE organizations SET name = id::text WHERE id = ANY($1)",
        Kind::Role => "UPDATE roles SET name = id::text WHERE id = ANY($1)",
        Kind::Router => return tx.free_router_names(ids).await,
        _ => return Ok(()),
    };
    sqlx::query(statement).bind(ids).execute(tx.connection()).await?;
    Ok(())
}

/// Who else has the name that a content claims.
///
/// # Errors
/// [`StoreError`].
pub async fn holders(tx: &mut CatalogTx, kind: Kind, id: Uuid, content: &Value) -> Result<Vec<Dependent>, StoreError> {
    let text = |name: &str| content.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let reference = |name: &str| text(name).parse::<Uuid>().ok();
    let held = |name: String, id| Dependent { kind: kind.as_str().to_owned(), id, name };
    let statement = match kind {
        Kind::Organization => "SELECT name, id FROM organizations WHERE name = $1 AND id <> $2",
        Kind::Role => "SELECT name, id FROM roles WHERE name = $1 AND id <> $2",
        Kind::Router => {
            let aliases = content.get("aliases").and_then(Value::as_array).into_iter().flatten();
            let names = aliases.filter_map(Value::as_str).map(str::to_owned).chain([text("name")]).collect::<Vec<_>>();
            let organization = reference("organization_id").map(OrganizationId::from_uuid);
            let taken = routers::taken(tx.connection(), organization, &names, Some(id)).await?;
            return Ok(taken.into_iter().map(|(name, id)| held(name, id)).collect());
        }
        Kind::Provider => {
            let taken: Vec<Uuid> = sqlx::query_scalar(
                "SELECT id FROM providers WHERE router_id = $1 AND url = $2 AND upstream_model = $3 AND id <> $4",
            )
            .bind(reference("router_id"))
            .bind(text("url"))
            .bind(text("upstream_model"))
            .bind(id)
            .fetch_all(tx.connection())
            .await?;
            return Ok(taken.into_iter().map(|id| held(text("upstream_model"), id)).collect());
        }
        Kind::Limit => {
            let taken: Vec<Uuid> = sqlx::query_scalar(
                "SELECT id FROM limits
                 WHERE role_id = $1 AND router_id = $2 AND unit = $3 AND period = $4 AND id <> $5",
            )
            .bind(reference("role_id"))
            .bind(reference("router_id"))
            .bind(text("unit"))
            .bind(text("period"))
            .bind(id)
            .fetch_all(tx.connection())
            .await?;
            return Ok(taken
                .into_iter()
                .map(|id| held(format!("{} per {}", text("unit"), text("period")), id))
                .collect());
        }
        _ => return Ok(Vec::new()),
    };
    let rows: Vec<(String, Uuid)> =
        sqlx::query_as(statement).bind(text("name")).bind(id).fetch_all(tx.connection()).await?;
    Ok(rows.into_iter().map(|(name, id)| held(name, id)).collect())
}

/// What would lose its parent if these rows were deleted, but for these ids themselves; at most 20.
///
/// # Errors
/// [`StoreError`].
pub async fn dependents(tx: &mut CatalogTx, kind: Kind, id: Uuid, but: &[Uuid]) -> Result<Vec<Dependent>, StoreError> {
    let statement = match kind {
        Kind::Organization => {
            "SELECT 'user' AS kind, id, email AS name FROM users WHERE organization_id = $1
             UNION ALL SELECT 'router', id, name FROM routers WHERE organization_id = $1 AND NOT id = ANY($2) LIMIT 20"
        }
        Kind::Role => {
            "SELECT 'user' AS kind, id, email AS name FROM users WHERE role_id = $1
             UNION ALL SELECT 'limit', id, unit || ' per ' || period FROM limits
                 WHERE role_id = $1 AND NOT id = ANY($2) LIMIT 20"
        }
        Kind::Router => {
            "SELECT 'provider' AS kind, id, upstream_model || ' at ' || url AS name FROM providers
                 WHERE router_id = $1 AND NOT id = ANY($2)
             UNION ALL SELECT 'limit', id, unit || ' per ' || period FROM limits
                 WHERE router_id = $1 AND NOT id = ANY($2) LIMIT 20"
        }
        _ => return Ok(Vec::new()),
    };
    Ok(sqlx::query_as(statement).bind(id).bind(but).fetch_all(tx.connection()).await?)
}
