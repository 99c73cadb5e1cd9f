//! Users in the database.

use chrono::{DateTime, Utc};
use shared::catalog::Kind;
use shared::kernel::money::Amount;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::page::{self, List, Listed, Page, Sort};
use super::{CatalogTx, StoreError};
use crate::domain::{Lookup, UserSpec};

/// A row without its password.
#[derive(Debug, Clone, FromRow)]
pub struct UserRow {
    /// Its id.
    pub id: Uuid,
    /// The API's integer.
    pub number: i64,
    /// Rises with each change.
    pub version: i64,
    /// Unique without regard to case.
    pub email: String,
    /// For display.
    pub name: String,
    /// Subject at an identity provider.
    pub sub: Option<String>,
    /// The identity provider.
    pub iss: Option<String>,
    /// The role's id.
    pub role_id: Uuid,
    /// The role's integer.
    pub role_number: i64,
    /// The organization's id.
    pub organization_id: Option<Uuid>,
    /// The organization's integer.
    pub organization_number: Option<i64>,
    /// In billionths; null is no bound.
    budget: Option<i64>,
    /// Place in a queue.
    pub priority: i32,
    /// Switched off.
    pub blocked: bool,
    /// When they stop being valid.
    pub expires: Option<DateTime<Utc>>,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When it last changed.
    pub updated: DateTime<Utc>,
}

impl UserRow {
    /// What they may spend; absent is no bound.
    #[must_use]
    pub fn budget(&self) -> Option<Amount> {
        self.budget.map(Amount::from_billionths)
    }
}

/// What a login needs to know.
#[derive(Debug, Clone, FromRow)]
pub struct LoginRow {
    /// Whose login.
    pub id: Uuid,
    /// As stored.
    pub email: String,
    /// The hash; null is no password.
    pub password: Option<String>,
    /// Switched off.
    pub blocked: bool,
    /// Their organization is switched off.
    pub organization_blocked: bool,
    /// When they stop being valid.
    pub expires: Option<DateTime<Utc>>,
}

/// Which users to list.
#[derive(Debug, Clone, Default)]
pub struct UserFilter {
    /// Part of the e-mail address.
    pub email: Option<String>,
    /// Part of the name.
    pub name: Option<String>,
    /// Of this role.
    pub role: Option<Lookup>,
    /// Of this organization.
    pub organization: Option<Lookup>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT u.id, u.number, u.version, u.email, u.name, u.sub, u.iss, u.role_id, r.number AS role_number,
                    u.organization_id, o.number AS organization_number, u.budget, u.priority, u.blocked, u.expires,
                    u.created, u.updated
             FROM users u JOIN roles r ON r.id = u.role_id LEFT JOIN organizations o ON o.id = u.organization_id ",
            $rest
        )
    };
}

/// Reads one.
///
/// # Errors
/// [`StoreError`], as everywhere in this room.
pub async fn get(connection: &mut PgConnection, at: Lookup) -> Result<Option<UserRow>, StoreError> {
    Ok(sqlx::query_as(select!("WHERE u.number = $1 OR u.id = $2"))
        .bind(at.number())
        .bind(at.id())
        .fetch_optional(connection)
        .await?)
}

/// Reads one and keeps others from changing it until the transaction ends.
///
/// # Errors
/// [`StoreError`].
pub async fn lock(tx: &mut CatalogTx, at: Lookup) -> Result<Option<UserRow>, StoreError> {
    Ok(sqlx::query_as(select!("WHERE u.number = $1 OR u.id = $2 FOR UPDATE OF u"))
        .bind(at.number())
        .bind(at.id())
        .fetch_optional(tx.connection())
        .await?)
}

/// Reads what a login needs to know.
///
/// # Errors
/// [`StoreError`].
pub async fn by_email(connection: &mut PgConnection, email: &str) -> Result<Option<LoginRow>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT u.id, u.email, u.password, u.blocked, coalesce(o.blocked, false) AS organization_blocked, u.expires
         FROM users u LEFT JOIN organizations o ON o.id = u.organization_id WHERE lower(u.email) = lower($1)",
    )
    .bind(email)
    .fetch_optional(connection)
    .await?)
}

/// The hash of a user's password.
///
/// # Errors
/// [`StoreError`].
pub async fn password(connection: &mut PgConnection, id: Uuid) -> Result<Option<String>, StoreError> {
    let found: Option<Option<String>> =
        sqlx::query_scalar("SELECT password FROM users WHERE id = $1").bind(id).fetch_optional(connection).await?;
    Ok(found.flatten())
}

/// Reads a page.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    connection: &mut PgConnection,
    filter: &UserFilter,
    page: Page,
) -> Result<Listed<UserRow>, StoreError> {
    let parts = List {
        select: select!(""),
        from: "FROM users u JOIN roles r ON r.id = u.role_id LEFT JOIN organizations o ON o.id = u.organization_id",
        name: if page.sort == Sort::Email { "u.email" } else { "u.name" },
        table: "u",
    };
    page::list(connection, parts, page, |conditions| {
        conditions.contains("u.email", filter.email.as_deref());
        conditions.contains("u.name", filter.name.as_deref());
        conditions.compare("r.number", " = ", filter.role.and_then(Lookup::number));
        conditions.compare("r.id", " = ", filter.role.and_then(Lookup::id));
        conditions.compare("o.number", " = ", filter.organization.and_then(Lookup::number));
        conditions.compare("o.id", " = ", filter.organization.and_then(Lookup::id));
    })
    .await
}

/// Adds one; `password` is a hash.
///
/// # Errors
/// [`StoreError`]; an e-mail address that is taken is a [`StoreError::duplicate`].
pub async fn insert(tx: &mut CatalogTx, spec: &UserSpec, password: Option<&str>) -> Result<UserRow, StoreError> {
    let id = Uuid::now_v7();
    sqlx::query(
        "INSERT INTO users (id, version, email, name, password, sub, iss, role_id, organization_id, budget, priority,
                            blocked, expires)
         VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(id)
    .bind(&spec.email)
    .bind(&spec.name)
    .bind(password)
    .bind(&spec.sub)
    .bind(&spec.iss)
    .bind(spec.role.uuid())
    .bind(spec.organization.map(shared::kernel::ids::OrganizationId::uuid))
    .bind(spec.budget.map(Amount::billionths))
    .bind(spec.priority)
    .bind(spec.blocked)
    .bind(spec.expires)
    .execute(tx.connection())
    .await?;
    tx.touch(Kind::User, id);
    reread(tx, id).await
}

/// Changes one, but for the password.
///
/// # Errors
/// [`StoreError`], as [`insert`].
pub async fn update(tx: &mut CatalogTx, id: Uuid, spec: &UserSpec) -> Result<UserRow, StoreError> {
    sqlx::query(
        "UPDATE users SET email = $2, name = $3, sub = $4, iss = $5, role_id = $6, organization_id = $7, budget = $8,
                          priority = $9, blocked = $10, expires = $11, version = version + 1, updated = now()
         WHERE id = $1",
    )
    .bind(id)
    .bind(&spec.email)
    .bind(&spec.name)
    .bind(&spec.sub)
    .bind(&spec.iss)
    .bind(spec.role.uuid())
    .bind(spec.organization.map(shared::kernel::ids::OrganizationId::uuid))
    .bind(spec.budget.map(Amount::billionths))
    .bind(spec.priority)
    .bind(spec.blocked)
    .bind(spec.expires)
    .execute(tx.connection())
    .await?;
    tx.touch(Kind::User, id);
    reread(tx, id).await
}

/// Sets the hash of the password, or removes it. Nodes do not know passwords, so the catalog does not change.
///
/// # Errors
/// [`StoreError`].
pub async fn set_password(tx: &mut CatalogTx, id: Uuid, password: Option<&str>) -> Result<(), StoreError> {
    sqlx::query("UPDATE users SET password = $2, updated = now() WHERE id = $1")
        .bind(id)
        .bind(password)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Removes one with their keys.
///
/// # Errors
/// [`StoreError`]; while routers or providers are theirs, a [`StoreError::reference`].
pub async fn delete(tx: &mut CatalogTx, id: Uuid) -> Result<(), StoreError> {
    let keys: Vec<Uuid> = sqlx::query_scalar("DELETE FROM keys WHERE user_id = $1 RETURNING id")
        .bind(id)
        .fetch_all(tx.connection())
        .await?;
    sqlx::query("DELETE FROM users WHERE id = $1").bind(id).execute(tx.connection()).await?;
    tx.touch_all(Kind::Key, keys);
    tx.touch(Kind::User, id);
    Ok(())
}

async fn reread(tx: &mut CatalogTx, id: Uuid) -> Result<UserRow, StoreError> {
    get(tx.connection(), Lookup::Id(id)).await?.ok_or(StoreError::Query(sqlx::Error::RowNotFound))
}
