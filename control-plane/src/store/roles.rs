//! Roles and their limits in the database.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use shared::catalog::Kind;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::page::{self, List, Listed, Page};
use super::{CatalogTx, StoreError};
use crate::domain::{LimitSpec, LimitType, Lookup, RoleSpec};

/// A row with its limits, and how many users it has.
#[derive(Debug, Clone, FromRow)]
pub struct RoleRow {
    /// Its id.
    pub id: Uuid,
    /// The API's integer.
    pub number: i64,
    /// Rises with each change of it or of its limits.
    pub version: i64,
    /// Unique.
    pub name: String,
    /// Words of `Permission`.
    pub permissions: Vec<String>,
    /// Every router, without limits.
    pub all_routers: bool,
    /// In order of router and type.
    pub limits: Json<Vec<LimitRow>>,
    /// How many have it.
    pub users: i64,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When it last changed.
    pub updated: DateTime<Utc>,
}

/// A limit as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LimitRow {
    /// The router's id.
    pub router: Uuid,
    /// The router's integer.
    pub router_number: i64,
    /// A word of `LimitUnit`.
    pub unit: String,
    /// A word of `Window`.
    pub period: String,
    /// Null is unlimited, 0 is no access.
    pub amount: Option<i64>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT r.id, r.number, r.version, r.name, r.permissions, r.all_routers, r.created, r.updated,
                    (SELECT count(*) FROM users u WHERE u.role_id = r.id) AS users,
                    (SELECT coalesce(jsonb_agg(jsonb_build_object('router', t.id, 'router_number', t.number,
                         'unit', l.unit, 'period', l.period, 'amount', l.amount)
                         ORDER BY t.number, l.unit, l.period), '[]')
                     FROM limits l JOIN routers t ON t.id = l.router_id WHERE l.role_id = r.id) AS limits
             FROM roles r ",
            $rest
        )
    };
}

/// Reads one.
///
/// # Errors
/// [`StoreError`], as everywhere in this room.
pub async fn get(connection: &mut PgConnection, at: Lookup) -> Result<Option<RoleRow>, StoreError> {
    Ok(sqlx::query_as(select!("WHERE r.number = $1 OR r.id = $2"))
        .bind(at.number())
        .bind(at.id())
        .fetch_optional(connection)
        .await?)
}

/// Reads one and keeps others from changing it until the transaction ends.
///
/// # Errors
/// [`StoreError`].
pub async fn lock(tx: &mut CatalogTx, at: Lookup) -> Result<Option<RoleRow>, StoreError> {
    // First the lock, then the read: the limits must be those after whoever held it before.
    let id: Option<Uuid> = sqlx::query_scalar("SELECT id FROM roles WHERE number = $1 OR id = $2 FOR UPDATE")
        .bind(at.number())
        .bind(at.id())
        .fetch_optional(tx.connection())
        .await?;
    match id {
        Some(id) => get(tx.connection(), Lookup::Id(id)).await,
        None => Ok(None),
    }
}

/// Reads a page.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    connection: &mut PgConnection,
    name: Option<&str>,
    page: Page,
) -> Result<Listed<RoleRow>, StoreError> {
    let parts = List { select: select!(""), from: "FROM roles r", name: "r.name", table: "r" };
    page::list(connection, parts, page, |conditions| conditions.contains("r.name", name)).await
}

/// Adds one.
///
/// # Errors
/// [`StoreError`]; a name that is taken is a [`StoreError::duplicate`].
pub async fn insert(tx: &mut CatalogTx, spec: &RoleSpec) -> Result<RoleRow, StoreError> {
    let id = Uuid::now_v7();
    sqlx::query("INSERT INTO roles (id, version, name, permissions, all_routers) VALUES ($1, 1, $2, $3, $4)")
        .bind(id)
        .bind(&spec.name)
        .bind(words(spec))
        .bind(spec.all_routers)
        .execute(tx.connection())
        .await?;
    tx.touch(Kind::Role, id);
    replace_limits(tx, id, &spec.limits).await?;
    reread(tx, id).await
}

/// Changes one. Limits that did not change keep their row and version, so that only what changed travels.
///
/// # Errors
/// [`StoreError`], as [`insert`].
pub async fn update(tx: &mut CatalogTx, id: Uuid, spec: &RoleSpec) -> Result<RoleRow, StoreError> {
    sqlx::query(
        "UPDATE roles SET name = $2, permissions = $3, all_routers = $4, version = version + 1, updated = now()
         WHERE id = $1",
    )
    .bind(id)
    .bind(&spec.name)
    .bind(words(spec))
    .bind(spec.all_routers)
    .execute(tx.connection())
    .await?;
    tx.touch(Kind::Role, id);
    replace_limits(tx, id, &spec.limits).await?;
    reread(tx, id).await
}

/// Removes one with its limits.
///
/// # Errors
/// [`StoreError`]; while users have it, a [`StoreError::reference`].
pub async fn delete(tx: &mut CatalogTx, id: Uuid) -> Result<(), StoreError> {
    let limits: Vec<Uuid> = sqlx::query_scalar("DELETE FROM limits WHERE role_id = $1 RETURNING id")
        .bind(id)
        .fetch_all(tx.connection())
        .await?;
    sqlx::query("DELETE FROM roles WHERE id = $1").bind(id).execute(tx.connection()).await?;
    tx.touch_all(Kind::Limit, limits);
    tx.touch(Kind::Role, id);
    Ok(())
}

fn words(spec: &RoleSpec) -> Vec<&'static str> {
    spec.permissions.iter().map(|permission| permission.as_str()).collect()
}

async fn replace_limits(tx: &mut CatalogTx, role: Uuid, wanted: &[LimitSpec]) -> Result<(), StoreError> {
    let rows: Vec<(Uuid, Uuid, String, String, Option<i64>)> =
        sqlx::query_as("SELECT id, router_id, unit, period, amount FROM limits WHERE role_id = $1")
            .bind(role)
            .fetch_all(tx.connection())
            .await?;
    // Limits of a sort that the API has no word for are left alone.
    let mut present: HashMap<(Uuid, LimitType), (Uuid, Option<i64>)> = rows
        .into_iter()
        .filter_map(|(id, router, unit, period, amount)| Some(((router, LimitType::of(&unit, &period)?), (id, amount))))
        .collect();
    for limit in wanted {
        let router = limit.router.uuid();
        let id = match present.remove(&(router, limit.limit)) {
            Some((_, amount)) if amount == limit.amount => continue,
            Some((id, _)) => {
                sqlx::query("UPDATE limits SET amount = $2, version = version + 1 WHERE id = $1")
                    .bind(id)
                    .bind(limit.amount)
                    .execute(tx.connection())
                    .await?;
                id
            }
            None => {
                let id = Uuid::now_v7();
                sqlx::query(
                    "INSERT INTO limits (id, version, role_id, router_id, unit, period, amount)
                     VALUES ($1, 1, $2, $3, $4, $5, $6)",
                )
                .bind(id)
                .bind(role)
                .bind(router)
                .bind(limit.limit.unit().as_str())
                .bind(limit.limit.window().as_str())
                .bind(limit.amount)
                .execute(tx.connection())
                .await?;
                id
            }
        };
        tx.touch(Kind::Limit, id);
    }
    let gone: Vec<Uuid> = present.into_values().map(|(id, _)| id).collect();
    sqlx::query("DELETE FROM limits WHERE id = ANY($1)").bind(&gone).execute(tx.connection()).await?;
    tx.touch_all(Kind::Limit, gone);
    Ok(())
}

async fn reread(tx: &mut CatalogTx, id: Uuid) -> Result<RoleRow, StoreError> {
    get(tx.connection(), Lookup::Id(id)).await?.ok_or(StoreError::Query(sqlx::Error::RowNotFound))
}
