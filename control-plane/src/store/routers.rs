//! Routers and their names in the database.

use chrono::{DateTime, Utc};
use shared::catalog::Kind;
use shared::kernel::ids::{OrganizationId, UserId};
use shared::kernel::money::{Amount, Prices};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::page::{self, List, Listed, Page};
use super::{CatalogTx, StoreError};
use crate::domain::{Lookup, RouterSpec};

/// A row with its aliases, and how many providers it has.
#[derive(Debug, Clone, FromRow)]
pub struct RouterRow {
    /// Its id.
    pub id: Uuid,
    /// The API's integer.
    pub number: i64,
    /// Rises with each change of it or of its names.
    pub version: i64,
    /// Unique for its owner.
    pub name: String,
    /// A word of `RouterKind`.
    pub kind: String,
    /// In order.
    pub aliases: Vec<String>,
    /// A word of `BalanceStrategy`.
    pub strategy: String,
    /// The integer of who made it; null is the master or a file.
    pub user_number: Option<i64>,
    /// Whose name it is; null is global.
    pub organization_id: Option<Uuid>,
    /// The organization's integer.
    pub organization_number: Option<i64>,
    /// Empty for the title of the application.
    pub owned_by: String,
    prompt_price: Option<i64>,
    completion_price: Option<i64>,
    cached_prompt_price: Option<i64>,
    price_revision: i64,
    /// Tokens of prompt and answer together.
    pub max_context_length: Option<i64>,
    /// Tokens of an answer.
    pub max_output_tokens: Option<i64>,
    /// Dimensions of an embedding.
    pub vector_size: Option<i64>,
    /// The configuration file that owns it.
    pub owner_file: Option<String>,
    /// Switched off.
    pub blocked: bool,
    /// The Groups of data planes that serve it; none named means all of them.
    pub node_groups: Vec<String>,
    /// How many stand behind it.
    pub providers: i64,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// When it last changed.
    pub updated: DateTime<Utc>,
}

impl RouterRow {
    /// What it charges.
    #[must_use]
    pub fn prices(&self) -> Prices {
        Prices {
            prompt: self.prompt_price.map(Amount::from_billionths),
            completion: self.completion_price.map(Amount::from_billionths),
            cached_prompt: self.cached_prompt_price.map(Amount::from_billionths),
            revision: u64::try_from(self.price_revision).unwrap_or(0),
        }
    }
}

/// Who made a router.
#[derive(Debug, Clone, Default)]
pub struct RouterOrigin {
    /// A user; absent for the master and for files.
    pub user: Option<UserId>,
    /// The configuration file that owns it.
    pub owner_file: Option<String>,
}

/// Which routers to list.
#[derive(Debug, Clone, Default)]
pub struct RouterFilter {
    /// Part of the name.
    pub name: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// Of this organization.
    pub organization: Option<Lookup>,
    /// Owned by this configuration file.
    pub owner_file: Option<String>,
    /// Served by the data planes of this Group.
    pub group: Option<String>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT r.*, u.number AS user_number, o.number AS organization_number,
                    ARRAY(SELECT n.name FROM router_names n WHERE n.router_id = r.id AND n.alias ORDER BY n.position)
                        AS aliases,
                    (SELECT count(*) FROM providers p WHERE p.router_id = r.id) AS providers
             FROM routers r LEFT JOIN users u ON u.id = r.user_id
             LEFT JOIN organizations o ON o.id = r.organization_id ",
            $rest
        )
    };
}

/// Reads one.
///
/// # Errors
/// [`StoreError`], as everywhere in this room.
pub async fn get(connection: &mut PgConnection, at: Lookup) -> Result<Option<RouterRow>, StoreError> {
    Ok(sqlx::query_as(select!("WHERE r.number = $1 OR r.id = $2"))
        .bind(at.number())
        .bind(at.id())
        .fetch_optional(connection)
        .await?)
}

/// Reads one and keeps others from changing it, and from adding providers, until the transaction ends.
///
/// # Errors
/// [`StoreError`].
pub async fn lock(tx: &mut CatalogTx, at: Lookup) -> Result<Option<RouterRow>, StoreError> {
    // First the lock, then the read: the aliases must be those after whoever held it before.
    let id: Option<Uuid> = sqlx::query_scalar("SELECT id FROM routers WHERE number = $1 OR id = $2 FOR UPDATE")
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
    filter: &RouterFilter,
    page: Page,
) -> Result<Listed<RouterRow>, StoreError> {
    let parts = List {
        select: select!(""),
        from: "FROM routers r LEFT JOIN users u ON u.id = r.user_id LEFT JOIN organizations o ON o.id = r.organization_id",
        name: "r.name",
        table: "r",
    };
    page::list(connection, parts, page, |conditions| {
        conditions.contains("r.name", filter.name.as_deref());
        conditions.compare("r.kind", " = ", filter.kind.clone());
        conditions.compare("o.number", " = ", filter.organization.and_then(Lookup::number));
        conditions.compare("o.id", " = ", filter.organization.and_then(Lookup::id));
        conditions.compare("r.owner_file", " = ", filter.owner_file.clone());
        // A router that names no Group is served by all.
        conditions.among("r.node_groups", filter.group.clone());
    })
    .await
}

/// The ids of routers by their integers; integers without a router are left out.
///
/// # Errors
/// [`StoreError`].
pub async fn ids_of(connection: &mut PgConnection, at: &[Lookup]) -> Result<Vec<(Lookup, Uuid)>, StoreError> {
    let numbers: Vec<i64> = at.iter().filter_map(|at| at.number()).collect();
    let ids: Vec<Uuid> = at.iter().filter_map(|at| at.id()).collect();
    let rows: Vec<(Uuid, i64)> =
        sqlx::query_as("SELECT id, number FROM routers WHERE number = ANY($1) OR id = ANY($2)")
            .bind(&numbers)
            .bind(&ids)
            .fetch_all(connection)
            .await?;
    let same = |at: &Lookup, (id, number): &(Uuid, i64)| at.number() == Some(*number) || at.id() == Some(*id);
    Ok(at.iter().filter_map(|at| rows.iter().find(|row| same(at, row)).map(|row| (*at, row.0))).collect())
}

/// Every router that a configuration file owns.
///
/// # Errors
/// [`StoreError`].
pub async fn of_file(connection: &mut PgConnection, file: &str) -> Result<Vec<RouterRow>, StoreError> {
    Ok(sqlx::query_as(select!("WHERE r.owner_file = $1 ORDER BY r.number")).bind(file).fetch_all(connection).await?)
}

/// Which of these names another router of the same owner has, as its name or an alias, with that router.
///
/// # Errors
/// [`StoreError`].
pub async fn taken(
    connection: &mut PgConnection,
    organization: Option<OrganizationId>,
    names: &[String],
    but: Option<Uuid>,
) -> Result<Vec<(String, Uuid)>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT name, router_id FROM router_names
         WHERE name = ANY($1) AND organization_id IS NOT DISTINCT FROM $2 AND router_id IS DISTINCT FROM $3
         ORDER BY name",
    )
    .bind(names)
    .bind(organization.map(OrganizationId::uuid))
    .bind(but)
    .fetch_all(connection)
    .await?)
}

/// Adds one.
///
/// # Errors
/// [`StoreError`]; a name that is taken is a [`StoreError::duplicate`].
pub async fn insert(tx: &mut CatalogTx, spec: &RouterSpec, origin: &RouterOrigin) -> Result<RouterRow, StoreError> {
    let id = Uuid::now_v7();
    sqlx::query(
        "INSERT INTO routers (id, version, name, kind, user_id, organization_id, owned_by, strategy, prompt_price,
             completion_price, cached_prompt_price, price_revision, max_context_length, max_output_tokens,
             vector_size, owner_file, blocked, node_groups)
         VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1, $11, $12, $13, $14, $15, $16)",
    )
    .bind(id)
    .bind(&spec.name)
    .bind(spec.kind.as_str())
    .bind(origin.user.map(UserId::uuid))
    .bind(spec.organization.map(OrganizationId::uuid))
    .bind(&spec.owned_by)
    .bind(spec.strategy.as_str())
    .bind(spec.prices.prompt.map(Amount::billionths))
    .bind(spec.prices.completion.map(Amount::billionths))
    .bind(spec.prices.cached_prompt.map(Amount::billionths))
    .bind(size(spec.max_context_length))
    .bind(size(spec.max_output_tokens))
    .bind(size(spec.vector_size))
    .bind(&origin.owner_file)
    .bind(spec.blocked)
    .bind(&spec.groups)
    .execute(tx.connection())
    .await?;
    insert_names(tx, id, spec).await?;
    tx.touch(Kind::Router, id);
    reread(tx, id).await
}

/// Changes one. New prices carry the version that sets them.
///
/// # Errors
/// [`StoreError`], as [`insert`].
pub async fn update(tx: &mut CatalogTx, id: Uuid, spec: &RouterSpec) -> Result<RouterRow, StoreError> {
    sqlx::query(
        "UPDATE routers SET name = $2, kind = $3, organization_id = $4, owned_by = $5, strategy = $6,
             prompt_price = $7, completion_price = $8, cached_prompt_price = $9, max_context_length = $10,
             max_output_tokens = $11, vector_size = $12, blocked = $13, node_groups = $14, version = version + 1,
             updated = now(),
             price_revision = CASE WHEN (prompt_price, completion_price, cached_prompt_price)
                 IS NOT DISTINCT FROM ($7::bigint, $8::bigint, $9::bigint) THEN price_revision ELSE version + 1 END
         WHERE id = $1",
    )
    .bind(id)
    .bind(&spec.name)
    .bind(spec.kind.as_str())
    .bind(spec.organization.map(OrganizationId::uuid))
    .bind(&spec.owned_by)
    .bind(spec.strategy.as_str())
    .bind(spec.prices.prompt.map(Amount::billionths))
    .bind(spec.prices.completion.map(Amount::billionths))
    .bind(spec.prices.cached_prompt.map(Amount::billionths))
    .bind(size(spec.max_context_length))
    .bind(size(spec.max_output_tokens))
    .bind(size(spec.vector_size))
    .bind(spec.blocked)
    .bind(&spec.groups)
    .execute(tx.connection())
    .await?;
    sqlx::query("DELETE FROM router_names WHERE router_id = $1").bind(id).execute(tx.connection()).await?;
    insert_names(tx, id, spec).await?;
    tx.touch(Kind::Router, id);
    reread(tx, id).await
}

/// Removes one with its providers, their credentials, and the limits on it.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(tx: &mut CatalogTx, id: Uuid) -> Result<(), StoreError> {
    let providers: Vec<(Uuid, Option<Uuid>)> =
        sqlx::query_as("DELETE FROM providers WHERE router_id = $1 RETURNING id, secret_id")
            .bind(id)
            .fetch_all(tx.connection())
            .await?;
    let secrets: Vec<Uuid> = providers.iter().filter_map(|(_, secret)| *secret).collect();
    sqlx::query("DELETE FROM secrets WHERE id = ANY($1)").bind(&secrets).execute(tx.connection()).await?;
    let limits: Vec<Uuid> = sqlx::query_scalar("DELETE FROM limits WHERE router_id = $1 RETURNING id")
        .bind(id)
        .fetch_all(tx.connection())
        .await?;
    sqlx::query("DELETE FROM routers WHERE id = $1").bind(id).execute(tx.connection()).await?;
    tx.touch_all(Kind::Provider, providers.into_iter().map(|(id, _)| id));
    tx.touch_all(Kind::Secret, secrets);
    tx.touch_all(Kind::Limit, limits);
    tx.touch(Kind::Router, id);
    Ok(())
}

fn size(value: Option<u64>) -> Option<i64> {
    value.map(|value| i64::try_from(value).unwrap_or(i64::MAX))
}

async fn insert_names(tx: &mut CatalogTx, id: Uuid, spec: &RouterSpec) -> Result<(), StoreError> {
    let names: Vec<&str> = std::iter::once(&spec.name).chain(&spec.aliases).map(String::as_str).collect();
    sqlx::query(
        "INSERT INTO router_names (name, organization_id, router_id, alias, position)
         SELECT n.name, $2, $3, n.position > 1, n.position - 1
         FROM unnest($1::text[]) WITH ORDINALITY AS n (name, position)",
    )
    .bind(&names)
    .bind(spec.organization.map(OrganizationId::uuid))
    .bind(id)
    .execute(tx.connection())
    .await?;
    Ok(())
}

async fn reread(tx: &mut CatalogTx, id: Uuid) -> Result<RouterRow, StoreError> {
    get(tx.connection(), Lookup::Id(id)).await?.ok_or(StoreError::Query(sqlx::Error::RowNotFound))
}
