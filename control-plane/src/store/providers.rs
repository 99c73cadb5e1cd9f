//! Providers and their sealed credentials in the database.

use chrono::{DateTime, Utc};
use shared::catalog::{Kind, SecretPurpose};
use shared::kernel::ids::{ProviderId, RouterId, SecretId, UserId};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::page::{self, List, Listed, Page};
use super::{CatalogTx, StoreError};
use crate::domain::{Lookup, ProviderSpec};

/// A row without its credential.
#[derive(Debug, Clone, FromRow)]
pub struct ProviderRow {
    /// Its id.
    pub id: Uuid,
    /// The API's integer.
    pub number: i64,
    /// Rises with each change.
    pub version: i64,
    /// The router that it serves.
    pub router_id: Uuid,
    /// That router's integer.
    pub router_number: i64,
    /// That router's kind, a word of `RouterKind`.
    pub router_kind: String,
    /// That router's name.
    pub router_name: String,
    /// The configuration file that owns that router, and it.
    pub owner_file: Option<String>,
    /// The integer of who made it; null is the master or a file.
    pub user_number: Option<i64>,
    /// A word of `ProviderKind`.
    pub kind: String,
    /// Its address.
    pub url: String,
    /// The name that the upstream knows.
    pub upstream_model: String,
    /// For one attempt.
    pub timeout_ms: i64,
    /// Its sealed credential.
    pub secret_id: Option<Uuid>,
    /// Or where the data plane finds it.
    pub credential_reference: Option<String>,
    /// For the carbon estimate.
    pub carbon_zone: String,
    /// Billions of parameters.
    pub total_params: Option<f64>,
    /// Billions of parameters active for one token.
    pub active_params: Option<f64>,
    /// Share among its siblings.
    pub weight: Option<i32>,
    /// Read the answer to its end when the client leaves.
    pub drain_on_disconnect: bool,
    /// Switched off.
    pub blocked: bool,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When it last changed.
    pub updated: DateTime<Utc>,
}

/// What to do with the credential of a provider.
#[derive(Debug, Clone)]
pub enum CredentialChange {
    /// Leave it as it is.
    Keep,
    /// Have none.
    Remove,
    /// `env:NAME` or `file:/path`.
    Reference(String),
    /// An envelope, bound by [`super::snapshot::seal_context`] to this secret id, the provider and its address.
    Sealed {
        /// The secret's id; that of the present one for a rotation, else a new one.
        id: SecretId,
        /// The envelope.
        sealed: Vec<u8>,
    },
}

/// Which providers to list.
#[derive(Debug, Clone, Default)]
pub struct ProviderFilter {
    /// Of this router.
    pub router: Option<Lookup>,
    /// Part of the upstream's model name.
    pub upstream_model: Option<String>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT p.*, r.number AS router_number, r.kind AS router_kind, r.name AS router_name, r.owner_file,
                    u.number AS user_number
             FROM providers p JOIN routers r ON r.id = p.router_id LEFT JOIN users u ON u.id = p.user_id ",
            $rest
        )
    };
}

/// Reads one.
///
/// # Errors
/// [`StoreError`], as everywhere in this room.
pub async fn get(connection: &mut PgConnection, at: Lookup) -> Result<Option<ProviderRow>, StoreError> {
    Ok(sqlx::query_as(select!("WHERE p.number = $1 OR p.id = $2"))
        .bind(at.number())
        .bind(at.id())
        .fetch_optional(connection)
        .await?)
}

/// Reads one and keeps others from changing it until the transaction ends.
///
/// # Errors
/// [`StoreError`].
pub async fn lock(tx: &mut CatalogTx, at: Lookup) -> Result<Option<ProviderRow>, StoreError> {
    Ok(sqlx::query_as(select!("WHERE p.number = $1 OR p.id = $2 FOR UPDATE OF p"))
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
    filter: &ProviderFilter,
    page: Page,
) -> Result<Listed<ProviderRow>, StoreError> {
    let parts = List {
        select: select!(""),
        from: "FROM providers p JOIN routers r ON r.id = p.router_id LEFT JOIN users u ON u.id = p.user_id",
        name: "p.upstream_model",
        table: "p",
    };
    page::list(connection, parts, page, |conditions| {
        conditions.compare("r.number", " = ", filter.router.and_then(Lookup::number));
        conditions.compare("r.id", " = ", filter.router.and_then(Lookup::id));
        conditions.contains("p.upstream_model", filter.upstream_model.as_deref());
    })
    .await
}

/// Every provider of a router.
///
/// # Errors
/// [`StoreError`].
pub async fn of_router(connection: &mut PgConnection, router: RouterId) -> Result<Vec<ProviderRow>, StoreError> {
    Ok(sqlx::query_as(select!("WHERE p.router_id = $1 ORDER BY p.number"))
        .bind(router.uuid())
        .fetch_all(connection)
        .await?)
}

/// Adds one; its id is made by the caller, who bound the credential to it.
///
/// # Errors
/// [`StoreError`]; a second one with the same address and model is a [`StoreError::duplicate`].
pub async fn insert(
    tx: &mut CatalogTx,
    id: ProviderId,
    spec: &ProviderSpec,
    credential: &CredentialChange,
    user: Option<UserId>,
) -> Result<ProviderRow, StoreError> {
    let (secret, reference) = place(tx, credential).await?;
    sqlx::query(
        "INSERT INTO providers (id, version, router_id, user_id, kind, url, upstream_model, timeout_ms, secret_id,
             credential_reference, carbon_zone, total_params, active_params, weight, drain_on_disconnect, blocked)
         VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
    )
    .bind(id.uuid())
    .bind(spec.router.uuid())
    .bind(user.map(UserId::uuid))
    .bind(spec.kind.as_str())
    .bind(&spec.url)
    .bind(&spec.upstream_model)
    .bind(i64::try_from(spec.timeout.as_millis()).unwrap_or(i64::MAX))
    .bind(secret)
    .bind(reference)
    .bind(&spec.carbon.zone)
    .bind(spec.carbon.total_params)
    .bind(spec.carbon.active_params)
    .bind(weight(spec))
    .bind(spec.drain_on_disconnect)
    .bind(spec.blocked)
    .execute(tx.connection())
    .await?;
    tx.touch(Kind::Provider, id.uuid());
    reread(tx, id.uuid()).await
}

/// Changes one. A credential that is no longer used is removed with its envelope.
///
/// # Errors
/// [`StoreError`], as [`insert`].
pub async fn update(
    tx: &mut CatalogTx,
    present: &ProviderRow,
    spec: &ProviderSpec,
    credential: &CredentialChange,
) -> Result<ProviderRow, StoreError> {
    let (secret, reference) = match credential {
        CredentialChange::Keep => (present.secret_id, present.credential_reference.clone()),
        _ => place(tx, credential).await?,
    };
    sqlx::query(
        "UPDATE providers SET router_id = $2, kind = $3, url = $4, upstream_model = $5, timeout_ms = $6,
             secret_id = $7, credential_reference = $8, carbon_zone = $9, total_params = $10, active_params = $11,
             weight = $12, drain_on_disconnect = $13, blocked = $14, version = version + 1, updated = now()
         WHERE id = $1",
    )
    .bind(present.id)
    .bind(spec.router.uuid())
    .bind(spec.kind.as_str())
    .bind(&spec.url)
    .bind(&spec.upstream_model)
    .bind(i64::try_from(spec.timeout.as_millis()).unwrap_or(i64::MAX))
    .bind(secret)
    .bind(reference)
    .bind(&spec.carbon.zone)
    .bind(spec.carbon.total_params)
    .bind(spec.carbon.active_params)
    .bind(weight(spec))
    .bind(spec.drain_on_disconnect)
    .bind(spec.blocked)
    .execute(tx.connection())
    .await?;
    if let Some(unused) = present.secret_id.filter(|present| Some(*present) != secret) {
        remove_secret(tx, unused).await?;
    }
    tx.touch(Kind::Provider, present.id);
    reread(tx, present.id).await
}

/// Removes one with its credential.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(tx: &mut CatalogTx, row: &ProviderRow) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM providers WHERE id = $1").bind(row.id).execute(tx.connection()).await?;
    tx.touch(Kind::Provider, row.id);
    match row.secret_id {
        Some(secret) => remove_secret(tx, secret).await,
        None => Ok(()),
    }
}

fn weight(spec: &ProviderSpec) -> Option<i32> {
    spec.weight.map(|weight| i32::try_from(weight).unwrap_or(i32::MAX))
}

/// Puts a credential where the row can point to it.
async fn place(
    tx: &mut CatalogTx,
    credential: &CredentialChange,
) -> Result<(Option<Uuid>, Option<String>), StoreError> {
    match credential {
        CredentialChange::Keep | CredentialChange::Remove => Ok((None, None)),
        CredentialChange::Reference(reference) => Ok((None, Some(reference.clone()))),
        CredentialChange::Sealed { id, sealed } => {
            sqlx::query(
                "INSERT INTO secrets (id, version, purpose, sealed) VALUES ($1, 1, $2, $3)
                 ON CONFLICT (id) DO UPDATE SET sealed = EXCLUDED.sealed, version = secrets.version + 1,
                     generation = secrets.generation + 1",
            )
            .bind(id.uuid())
            .bind(SecretPurpose::ProviderCredential.as_str())
            .bind(sealed)
            .execute(tx.connection())
            .await?;
            tx.touch(Kind::Secret, id.uuid());
            Ok((Some(id.uuid()), None))
        }
    }
}

pub(super) async fn remove_secret(tx: &mut CatalogTx, id: Uuid) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM secrets WHERE id = $1").bind(id).execute(tx.connection()).await?;
    tx.touch(Kind::Secret, id);
    Ok(())
}

async fn reread(tx: &mut CatalogTx, id: Uuid) -> Result<ProviderRow, StoreError> {
    get(tx.connection(), Lookup::Id(id)).await?.ok_or(StoreError::Query(sqlx::Error::RowNotFound))
}
