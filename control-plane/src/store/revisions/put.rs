//! Brings rows back to a content of the log: changed in place, or made anew with the id and number that they had.
//!
//! A row that comes back gets a version above all that it ever had, so that no node takes it for an older one.

use serde_json::Value;
use shared::catalog::Kind;
use uuid::Uuid;

use super::restore::present;
use crate::domain::{BOOKKEEPING, Lookup};
use crate::store::{CatalogTx, StoreError, organizations, providers, roles, routers};

/// Deletes a row with what hangs on it; no row is no error.
///
/// # Errors
/// [`StoreError`]; a [`StoreError::reference`] while something else points to it.
pub async fn delete(tx: &mut CatalogTx, kind: Kind, id: Uuid) -> Result<(), StoreError> {
    match kind {
        Kind::Organization => organizations::delete(tx, id).await,
        Kind::Role => roles::delete(tx, id).await,
        Kind::Router => routers::delete(tx, id).await,
        Kind::Provider => match providers::lock(tx, Lookup::Id(id)).await? {
            Some(row) => providers::delete(tx, &row).await,
            None => Ok(()),
        },
        Kind::Limit => {
            sqlx::query("DELETE FROM limits WHERE id = $1").bind(id).execute(tx.connection()).await?;
            tx.touch(Kind::Limit, id);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Makes a row what a content says, in place or anew; `secret` is the envelope that a provider's content names.
///
/// # Errors
/// [`StoreError`]; [`StoreError::duplicate`] for a name that is taken, [`StoreError::reference`] for a parent that is gone,
/// [`StoreError::BadRow`] when the row does not become what the content says.
pub async fn put(
    tx: &mut CatalogTx,
    kind: Kind,
    id: Uuid,
    content: &Value,
    secret: Option<&Value>,
) -> Result<(), StoreError> {
    let Some((revive, apply)) = statements(kind) else { return Ok(()) };
    let last = last_version(tx, kind, id).await?;
    sqlx::query(revive).bind(content).bind(last).execute(tx.connection()).await?;
    let old_secret = match kind {
        Kind::Provider => Some(put_secret(tx, id, secret).await?),
        _ => None,
    };
    sqlx::query(apply).bind(id).bind(content).execute(tx.connection()).await?;
    tx.touch(kind, id);
    if kind == Kind::Router {
        put_names(tx, id, content).await?;
    }
    if let Some(unused) = old_secret.flatten() {
        providers::remove_secret(tx, unused).await?;
    }
    check(tx, kind, id, content).await
}

/// Puts the envelope where a provider can point to it; returns the one that it points to no more.
async fn put_secret(tx: &mut CatalogTx, provider: Uuid, secret: Option<&Value>) -> Result<Option<Uuid>, StoreError> {
    let old: Option<Option<Uuid>> = sqlx::query_scalar("SELECT secret_id FROM providers WHERE id = $1")
        .bind(provider)
        .fetch_optional(tx.connection())
        .await?;
    let id = secret.and_then(|secret| secret.get("id")).and_then(Value::as_str).and_then(|id| id.parse::<Uuid>().ok());
    if let (Some(secret), Some(id)) = (secret, id) {
        let last = last_version(tx, Kind::Secret, id).await?;
        let changed: Option<Uuid> = sqlx::query_scalar(
            "INSERT INTO secrets AS s (id, version, purpose, generation, sealed)
             SELECT r.id, $2 + 1, r.purpose, coalesce((SELECT max((c.content->>'generation')::integer) FROM changes c
                                                WHERE c.kind = 'secret' AND c.id = r.id), 0) + 1, r.sealed
             FROM jsonb_populate_record(NULL::secrets, $1) r
             ON CONFLICT (id) DO UPDATE SET sealed = EXCLUDED.sealed, version = s.version + 1,
                 generation = s.generation + 1 WHERE s.sealed IS DISTINCT FROM EXCLUDED.sealed
             RETURNING id",
        )
        .bind(secret)
        .bind(last)
        .fetch_optional(tx.connection())
        .await?;
        if changed.is_some() {
            tx.touch(Kind::Secret, id);
        }
    }
    Ok(old.flatten().filter(|old| Some(*old) != id))
}

async fn put_names(tx: &mut CatalogTx, id: Uuid, content: &Value) -> Result<(), StoreError> {
    let aliases = content.get("aliases").and_then(Value::as_array).into_iter().flatten();
    let aliases: Vec<&str> = aliases.filter_map(Value::as_str).collect();
    sqlx::query("DELETE FROM router_names WHERE router_id = $1").bind(id).execute(tx.connection()).await?;
    sqlx::query(
        "INSERT INTO router_names (name, organization_id, router_id, alias, position)
         SELECT n.name, t.organization_id, t.id, n.position > 1, n.position - 1
         FROM routers t, unnest(ARRAY[t.name] || $2::text[]) WITH ORDINALITY AS n (name, position) WHERE t.id = $1",
    )
    .bind(id)
    .bind(aliases)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The highest version that a resource ever had.
async fn last_version(tx: &mut CatalogTx, kind: Kind, id: Uuid) -> Result<i64, StoreError> {
    let last: Option<i64> = sqlx::query_scalar(
        "SELECT max((content->>'version')::bigint) FROM changes WHERE kind = $1 AND id = $2 AND content IS NOT NULL",
    )
    .bind(kind.as_str())
    .bind(id)
    .fetch_one(tx.connection())
    .await?;
    Ok(last.unwrap_or(0))
}

/// The row must now be what the content says: a column that these statements forget would be lost silently.
async fn check(tx: &mut CatalogTx, kind: Kind, id: Uuid, content: &Value) -> Result<(), StoreError> {
    let now = present(tx, kind, &[id]).await?.remove(&id).unwrap_or_default();
    let content = content.as_object();
    let differs = content.into_iter().flatten().find(|(name, value)| {
        // Who made it may be gone; when it was made is not to the microsecond what the log says.
        let counted = BOOKKEEPING.contains(&name.as_str()) || matches!(name.as_str(), "user_id" | "created");
        !counted && now.get(name.as_str()) != Some(value)
    });
    match differs {
        None => Ok(()),
        Some((field, _)) => Err(StoreError::BadRow {
            table: "changes",
            id: format!("{kind} {id}"),
            reason: format!("its field {field} cannot be brought back"),
        }),
    }
}

/// What makes a missing row (content, last version), and what makes a row what the content says (id, content). Columns
/// that the content does not have, because it is older than they are, keep their value.
const fn statements(kind: Kind) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        Kind::Organization => (
            "INSERT INTO organizations (id, number, external_id, version, name, created)
             SELECT r.id, r.number, r.external_id, $2, r.name, r.created
             FROM jsonb_populate_record(NULL::organizations, $1) r ON CONFLICT (id) DO NOTHING",
            "UPDATE organizations t SET name = r.name, blocked = r.blocked, version = t.version + 1, updated = now()
             FROM organizations o, LATERAL jsonb_populate_record(o, $2) r WHERE o.id = $1 AND t.id = o.id",
        ),
        Kind::Role => (
            "INSERT INTO roles (id, number, external_id, version, name, created)
             SELECT r.id, r.number, r.external_id, $2, r.name, r.created
             FROM jsonb_populate_record(NULL::roles, $1) r ON CONFLICT (id) DO NOTHING",
            "UPDATE roles t SET name = r.name, permissions = r.permissions, all_routers = r.all_routers,
                 version = t.version + 1, updated = now()
             FROM roles o, LATERAL jsonb_populate_record(o, $2) r WHERE o.id = $1 AND t.id = o.id",
        ),
        Kind::Router => (
            "INSERT INTO routers (id, number, external_id, version, price_revision, name, kind, user_id, created)
             SELECT r.id, r.number, r.external_id, $2, $2, r.name, r.kind,
                    (SELECT u.id FROM users u WHERE u.id = r.user_id), r.created
             FROM jsonb_populate_record(NULL::routers, $1) r ON CONFLICT (id) DO NOTHING",
            "UPDATE routers t SET name = r.name, kind = r.kind, organization_id = r.organization_id,
                 owned_by = r.owned_by, strategy = r.strategy, prompt_price = r.prompt_price,
                 completion_price = r.completion_price, cached_prompt_price = r.cached_prompt_price,
                 max_context_length = r.max_context_length, max_output_tokens = r.max_output_tokens,
                 vector_size = r.vector_size, blocked = r.blocked, node_groups = r.node_groups,
                 version = t.version + 1, updated = now(),
                 price_revision = CASE WHEN (t.prompt_price, t.completion_price, t.cached_prompt_price)
                     IS NOT DISTINCT FROM (r.prompt_price, r.completion_price, r.cached_prompt_price)
                     THEN t.price_revision ELSE t.version + 1 END
             FROM routers o, LATERAL jsonb_populate_record(o, $2) r WHERE o.id = $1 AND t.id = o.id",
        ),
        Kind::Provider => (
            "INSERT INTO providers (id, number, external_id, version, router_id, user_id, kind, url, upstream_model,
                 timeout_ms, created)
             SELECT r.id, r.number, r.external_id, $2, r.router_id,
                    (SELECT u.id FROM users u WHERE u.id = r.user_id), r.kind, r.url, r.upstream_model, r.timeout_ms,
                    r.created
             FROM jsonb_populate_record(NULL::providers, $1) r ON CONFLICT (id) DO NOTHING",
            "UPDATE providers t SET router_id = r.router_id, kind = r.kind, url = r.url,
                 upstream_model = r.upstream_model, timeout_ms = r.timeout_ms, secret_id = r.secret_id,
                 credential_reference = r.credential_reference, carbon_zone = r.carbon_zone,
                 total_params = r.total_params, active_params = r.active_params, weight = r.weight,
                 drain_on_disconnect = r.drain_on_disconnect, blocked = r.blocked, version = t.version + 1,
                 updated = now()
             FROM providers o, LATERAL jsonb_populate_record(o, $2) r WHERE o.id = $1 AND t.id = o.id",
        ),
        Kind::Limit => (
            "INSERT INTO limits (id, version, role_id, router_id, unit, period)
             SELECT r.id, $2, r.role_id, r.router_id, r.unit, r.period
             FROM jsonb_populate_record(NULL::limits, $1) r ON CONFLICT (id) DO NOTHING",
            "UPDATE limits t SET role_id = r.role_id, router_id = r.router_id, unit = r.unit, period = r.period,
                 amount = r.amount, mode = r.mode, on_store_failure = r.on_store_failure, version = t.version + 1
             FROM limits o, LATERAL jsonb_populate_record(o, $2) r WHERE o.id = $1 AND t.id = o.id",
        ),
        _ => return None,
    })
}
