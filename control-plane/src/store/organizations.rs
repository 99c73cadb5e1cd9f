//! Organizations in the database.

use chrono::{DateTime, Utc};
use shared::catalog::Kind;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::page::{self, List, Listed, Page};
use super::{CatalogTx, StoreError};
use crate::domain::{Lookup, OrganizationSpec};

/// A row, and how many users it has.
#[derive(Debug, Clone, FromRow)]
pub struct OrganizationRow {
    /// Its id.
    pub id: Uuid,
    /// The API's integer.
    pub number: i64,
    /// Rises with each change.
    pub version: i64,
    /// Unique.
    pub name: String,
    /// Switched off.
    pub blocked: bool,
    /// How many belong to it.
    pub users: i64,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When it last changed.
    pub updated: DateTime<Utc>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT o.id, o.number, o.version, o.name, o.blocked, o.created, o.updated,
                    (SELECT count(*) FROM users u WHERE u.organization_id = o.id) AS users
             FROM organizations o ",
            $rest
        )
    };
}

/// Reads one.
///
/// # Errors
/// [`StoreError`], as everywhere in this room.
pub async fn get(connection: &mut PgConnection, at: Lookup) -> Result<Option<OrganizationRow>, StoreError> {
    Ok(sqlx::query_as(select!("WHERE o.number = $1 OR o.id = $2"))
        .bind(at.number())
        .bind(at.id())
        .fetch_optional(connection)
        .await?)
}

/// Reads one and keeps others from changing it until the transaction ends.
///
/// # Errors
/// [`StoreError`].
pub async fn lock(tx: &mut CatalogTx, at: Lookup) -> Result<Option<OrganizationRow>, StoreError> {
    Ok(sqlx::query_as(select!("WHERE o.number = $1 OR o.id = $2 FOR UPDATE OF o"))
        .bind(at.number())
        .bind(at.id())
        .fetch_optional(tx.connection())
        .await?)
}

/// Reads a page.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    connection: &mut PgConnection,
    name: Option<&str>,
    page: Page,
) -> Result<Listed<OrganizationRow>, StoreError> {
    let parts = List { select: select!(""), from: "FROM organizations o", name: "o.name", table: "o" };
    page::list(connection, parts, page, |conditions| conditions.contains("o.name", name)).await
}

/// Adds one.
///
/// # Errors
/// [`StoreError`]; a name that is taken is a [`StoreError::duplicate`].
pub async fn insert(tx: &mut CatalogTx, spec: &OrganizationSpec) -> Result<OrganizationRow, StoreError> {
    let id = Uuid::now_v7();
    sqlx::query("INSERT INTO organizations (id, version, name, blocked) VALUES ($1, 1, $2, $3)")
        .bind(id)
        .bind(&spec.name)
        .bind(spec.blocked)
        .execute(tx.connection())
        .await?;
    tx.touch(Kind::Organization, id);
    reread(tx, id).await
}

/// Changes one.
///
/// # Errors
/// [`StoreError`], as [`insert`].
pub async fn update(tx: &mut CatalogTx, id: Uuid, spec: &OrganizationSpec) -> Result<OrganizationRow, StoreError> {
    sqlx::query(
        "UPDATE organizations SET name = $2, blocked = $3, version = version + 1, updated = now() WHERE id = $1",
    )
    .bind(id)
    .bind(&spec.name)
    .bind(spec.blocked)
    .execute(tx.connection())
    .await?;
    tx.touch(Kind::Organization, id);
    reread(tx, id).await
}

/// Removes one.
///
/// # Errors
/// [`StoreError`]; while users or routers belong to it, a [`StoreError::reference`].
pub async fn delete(tx: &mut CatalogTx, id: Uuid) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM organizations WHERE id = $1").bind(id).execute(tx.connection()).await?;
    tx.touch(Kind::Organization, id);
    Ok(())
}

async fn reread(tx: &mut CatalogTx, id: Uuid) -> Result<OrganizationRow, StoreError> {
    get(tx.connection(), Lookup::Id(id)).await?.ok_or(StoreError::Query(sqlx::Error::RowNotFound))
}
