//! Virtual keys and their verifiers in the database.

use chrono::{DateTime, Utc};
use shared::catalog::{Kind, VerifierScheme};
use shared::kernel::ids::{RouterId, UserId};
use shared::kernel::virtual_key::{NewKey, hmac_digest, masked};
use sqlx::{FromRow, PgConnection, Row};
use uuid::Uuid;

use super::page::{self, List, Listed, Page};
use super::{CatalogTx, StoreError};
use crate::domain::{KeySpec, Lookup};

/// A row as it may be shown.
#[derive(Debug, Clone, FromRow)]
pub struct KeyRow {
    /// Its id.
    pub id: Uuid,
    /// The API's integer.
    pub number: i64,
    /// Rises with each change of it or of its verifiers.
    pub version: i64,
    /// Chosen by its owner.
    pub name: String,
    /// What may be shown of its text.
    pub masked: String,
    /// The owner's id.
    pub user_id: Uuid,
    /// The owner's integer.
    pub user_number: i64,
    /// Null is all that the owner may use.
    pub allowed_routers: Option<Vec<Uuid>>,
    /// The integers of those that still exist.
    pub allowed_router_numbers: Vec<i64>,
    /// Made by a login.
    pub session: bool,
    /// Switched off.
    pub blocked: bool,
    /// When it stops being valid.
    pub expires: Option<DateTime<Utc>>,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When it last changed.
    pub updated: DateTime<Utc>,
}

/// How the text of a new key is checked; the text itself is not kept.
#[derive(Debug, Clone)]
pub struct NewVerifier {
    public_id: String,
    masked: String,
    digest: [u8; 32],
}

impl NewVerifier {
    /// For a native key, under the pepper.
    #[must_use]
    pub fn native(key: &NewKey, pepper: &[u8]) -> Self {
        Self {
            public_id: key.public_id.clone(),
            masked: masked(key.text.expose()),
            digest: hmac_digest(pepper, key.text.expose()),
        }
    }
}

/// Who stands behind a key.
#[derive(Debug, Clone, FromRow)]
pub struct KeyOwner {
    /// The key.
    pub key_id: Uuid,
    /// It is switched off.
    pub key_blocked: bool,
    /// Its time is over, by the clock of the database.
    pub key_expired: bool,
    /// It was made by a login.
    pub session: bool,
    /// When its time is over.
    pub key_expires: Option<DateTime<Utc>>,
    /// The routers that it is narrowed to.
    pub allowed_routers: Option<Vec<Uuid>>,
    /// The user.
    pub user_id: Uuid,
    /// Their e-mail address.
    pub email: String,
    /// They are switched off.
    pub user_blocked: bool,
    /// Their time is over.
    pub user_expired: bool,
    /// Their role.
    pub role_id: Uuid,
    /// What it allows.
    pub permissions: Vec<String>,
    /// Their organization.
    pub organization_id: Option<Uuid>,
    /// It is switched off.
    pub organization_blocked: bool,
}

/// Which keys to list.
#[derive(Debug, Clone, Default)]
pub struct KeyFilter {
    /// Of this user.
    pub user: Option<Lookup>,
    /// Part of the name.
    pub name: Option<String>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT k.id, k.number, k.version, k.name, k.masked, k.user_id, u.number AS user_number, k.allowed_routers,
                    ARRAY(SELECT r.number FROM routers r WHERE r.id = ANY(k.allowed_routers) ORDER BY r.number)
                        AS allowed_router_numbers,
                    k.session, k.blocked, k.expires, k.created, k.updated
             FROM keys k JOIN users u ON u.id = k.user_id ",
            $rest
        )
    };
}

macro_rules! owners {
    ($rest:literal) => {
        concat!(
            "SELECT v.scheme, v.digest, k.id AS key_id, k.blocked AS key_blocked,
                    coalesce(k.expires <= now(), false) AS key_expired, k.session,
                    k.expires AS key_expires, k.allowed_routers,
                    u.id AS user_id, u.email, u.blocked AS user_blocked,
                    coalesce(u.expires <= now(), false) AS user_expired,
                    r.id AS role_id, r.permissions,
                    u.organization_id, coalesce(o.blocked, false) AS organization_blocked
             FROM keys k
             JOIN key_verifiers v ON v.key_id = k.id AND (v.not_after IS NULL OR v.not_after > now())
             JOIN users u ON u.id = k.user_id
             JOIN roles r ON r.id = u.role_id
             LEFT JOIN organizations o ON o.id = u.organization_id ",
            $rest
        )
    };
}

/// The verifiers of the key with this public id, each with its owner.
///
/// # Errors
/// [`StoreError`], as everywhere in this room.
pub async fn owners_by_public_id(
    connection: &mut PgConnection,
    public_id: &str,
) -> Result<Vec<(VerifierScheme, Vec<u8>, KeyOwner)>, StoreError> {
    let rows = sqlx::query(owners!("WHERE k.public_id = $1")).bind(public_id).fetch_all(connection).await?;
    owners(&rows)
}

/// The verifiers with one of these digests, for keys that carry no public id.
///
/// # Errors
/// [`StoreError`].
pub async fn owners_by_digest(
    connection: &mut PgConnection,
    digests: &[&[u8]],
) -> Result<Vec<(VerifierScheme, Vec<u8>, KeyOwner)>, StoreError> {
    let rows = sqlx::query(owners!("WHERE v.digest = ANY($1)")).bind(digests).fetch_all(connection).await?;
    owners(&rows)
}

fn owners(rows: &[sqlx::postgres::PgRow]) -> Result<Vec<(VerifierScheme, Vec<u8>, KeyOwner)>, StoreError> {
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        // A scheme that this build does not know opens nothing.
        if let Ok(scheme) = row.try_get::<&str, _>("scheme")?.parse() {
            found.push((scheme, row.try_get("digest")?, KeyOwner::from_row(row)?));
        }
    }
    Ok(found)
}

/// Reads one, of this user alone where one is named.
///
/// # Errors
/// [`StoreError`].
pub async fn get(connection: &mut PgConnection, at: Lookup, of: Option<UserId>) -> Result<Option<KeyRow>, StoreError> {
    Ok(sqlx::query_as(select!("WHERE (k.number = $1 OR k.id = $2) AND ($3::uuid IS NULL OR k.user_id = $3)"))
        .bind(at.number())
        .bind(at.id())
        .bind(of.map(UserId::uuid))
        .fetch_optional(connection)
        .await?)
}

/// As [`get`], and keeps others from changing it until the transaction ends.
///
/// # Errors
/// [`StoreError`].
pub async fn lock(tx: &mut CatalogTx, at: Lookup, of: Option<UserId>) -> Result<Option<KeyRow>, StoreError> {
    Ok(sqlx::query_as(select!(
        "WHERE (k.number = $1 OR k.id = $2) AND ($3::uuid IS NULL OR k.user_id = $3) FOR UPDATE OF k"
    ))
    .bind(at.number())
    .bind(at.id())
    .bind(of.map(UserId::uuid))
    .fetch_optional(tx.connection())
    .await?)
}

/// Reads a page.
///
/// # Errors
/// [`StoreError`].
pub async fn list(connection: &mut PgConnection, filter: &KeyFilter, page: Page) -> Result<Listed<KeyRow>, StoreError> {
    let parts =
        List { select: select!(""), from: "FROM keys k JOIN users u ON u.id = k.user_id", name: "k.name", table: "k" };
    page::list(connection, parts, page, |conditions| {
        conditions.contains("k.name", filter.name.as_deref());
        conditions.compare("u.number", " = ", filter.user.and_then(Lookup::number));
        conditions.compare("u.id", " = ", filter.user.and_then(Lookup::id));
    })
    .await
}

/// Adds one; `session` marks the key of a login.
///
/// # Errors
/// [`StoreError`].
pub async fn insert(
    tx: &mut CatalogTx,
    spec: &KeySpec,
    verifier: &NewVerifier,
    session: bool,
) -> Result<KeyRow, StoreError> {
    let id = Uuid::now_v7();
    sqlx::query(
        "INSERT INTO keys (id, version, public_id, name, masked, user_id, allowed_routers, session, blocked, expires)
         VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(id)
    .bind(&verifier.public_id)
    .bind(&spec.name)
    .bind(&verifier.masked)
    .bind(spec.user.uuid())
    .bind(allowed(spec))
    .bind(session)
    .bind(spec.blocked)
    .bind(spec.expires)
    .execute(tx.connection())
    .await?;
    sqlx::query("INSERT INTO key_verifiers (key_id, scheme, digest) VALUES ($1, $2, $3)")
        .bind(id)
        .bind(VerifierScheme::HmacSha256.as_str())
        .bind(verifier.digest.as_slice())
        .execute(tx.connection())
        .await?;
    tx.touch(Kind::Key, id);
    reread(tx, id).await
}

/// Changes one, but for its secret.
///
/// # Errors
/// [`StoreError`].
pub async fn update(tx: &mut CatalogTx, id: Uuid, spec: &KeySpec) -> Result<KeyRow, StoreError> {
    sqlx::query(
        "UPDATE keys SET name = $2, user_id = $3, allowed_routers = $4, blocked = $5, expires = $6,
                         version = version + 1, updated = now()
         WHERE id = $1",
    )
    .bind(id)
    .bind(&spec.name)
    .bind(spec.user.uuid())
    .bind(allowed(spec))
    .bind(spec.blocked)
    .bind(spec.expires)
    .execute(tx.connection())
    .await?;
    tx.touch(Kind::Key, id);
    reread(tx, id).await
}

/// Removes one with its verifiers.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(tx: &mut CatalogTx, id: Uuid) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM keys WHERE id = $1").bind(id).execute(tx.connection()).await?;
    tx.touch(Kind::Key, id);
    Ok(())
}

/// Removes the keys that logins of a user made, but for one that may be kept. The user's row is locked first, so that
/// two logins at once leave one key.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_sessions(tx: &mut CatalogTx, user: UserId, but: Option<Uuid>) -> Result<(), StoreError> {
    sqlx::query("SELECT id FROM users WHERE id = $1 FOR UPDATE").bind(user.uuid()).execute(tx.connection()).await?;
    let gone: Vec<Uuid> = sqlx::query_scalar(
        "DELETE FROM keys WHERE user_id = $1 AND session AND ($2::uuid IS NULL OR id <> $2) RETURNING id",
    )
    .bind(user.uuid())
    .bind(but)
    .fetch_all(tx.connection())
    .await?;
    tx.touch_all(Kind::Key, gone);
    Ok(())
}

fn allowed(spec: &KeySpec) -> Option<Vec<Uuid>> {
    spec.allowed_routers.as_ref().map(|routers| routers.iter().copied().map(RouterId::uuid).collect())
}

async fn reread(tx: &mut CatalogTx, id: Uuid) -> Result<KeyRow, StoreError> {
    get(tx.connection(), Lookup::Id(id), None).await?.ok_or(StoreError::Query(sqlx::Error::RowNotFound))
}
