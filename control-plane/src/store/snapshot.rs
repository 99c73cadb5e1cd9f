//! Reads the catalog as resources, all of one moment: one repeatable-read transaction for each reader.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use serde_json::Value;
use shared::catalog::{
    CarbonFacts, Credential, Item, Kind, Limit, Organization, Permission, Provider, Ref, Resource, Role, Router,
    SecretPurpose, Setting, User, Verifier, VirtualKey,
};
use shared::kernel::clock::FleetTime;
use shared::kernel::ids::{ProviderId, RouterId, SecretId};
use shared::kernel::money::{Amount, Prices};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Postgres, Row, Transaction};
use uuid::Uuid;

use super::pool::{Head, read_head};
use super::{Store, StoreError};

/// Which rows of a kind to read.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// Every row.
    All,
    /// Only these; ids without a row are left out.
    Ids(&'a [Uuid]),
}

/// A resource that a commit changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The last revision that touched it.
    pub revision: u64,
    /// What it is.
    pub kind: Kind,
    /// Its id.
    pub id: Uuid,
    /// Whether it is gone.
    pub deleted: bool,
}

/// A provider's credential as it lies in the database.
#[derive(Debug, Clone)]
pub struct SealedSecret {
    /// Its id.
    pub id: SecretId,
    /// Rises with each change.
    pub version: u64,
    /// What it is for.
    pub purpose: SecretPurpose,
    /// Rises with each rotation.
    pub generation: u32,
    /// The envelope.
    pub sealed: Vec<u8>,
    /// The provider that it belongs to; bound into the envelope.
    pub provider: ProviderId,
    /// That provider's address; bound into the envelope.
    pub url: String,
}

impl SealedSecret {
    /// What the envelope was bound to.
    #[must_use]
    pub fn context(&self) -> Vec<u8> {
        seal_context(self.id, self.provider, &self.url)
    }
}

/// What a provider credential's envelope is bound to: exchanging row, provider or address makes it unopenable.
#[must_use]
pub fn seal_context(secret: SecretId, provider: ProviderId, url: &str) -> Vec<u8> {
    format!("secrets|{secret}|sealed|{provider}|{url}").into_bytes()
}

/// Resources that were read, and rows that this build does not understand.
#[derive(Debug)]
pub struct Batch<T = Resource> {
    /// What could be read.
    pub resources: Vec<T>,
    /// What could not, by id and reason; each is left out alone.
    pub unreadable: Vec<(Uuid, String)>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { resources: Vec::new(), unreadable: Vec::new() }
    }
}

/// A reader of one moment of the catalog.
#[derive(Debug)]
pub struct SnapshotReader {
    tx: Transaction<'static, Postgres>,
}

impl Store {
    /// Opens a reader; everything it returns is of the moment of its first read.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn snapshot_reader(&self) -> Result<SnapshotReader, StoreError> {
        let mut tx = self.pool().begin().await?;
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *tx).await?;
        // A million keys take longer than one request of the API may.
        sqlx::query("SET LOCAL statement_timeout = '120s'").execute(&mut *tx).await?;
        Ok(SnapshotReader { tx })
    }
}

/// The statement for every row, and the one for some: two, so that the second is always planned by its index.
macro_rules! statements {
    ($name:ident, $id:literal, $sql:literal) => {
        const $name: (&str, &str) = ($sql, concat!($sql, " WHERE ", $id, " = ANY($1)"));
    };
}

statements!(ORGANIZATIONS, "id", "SELECT id, version, blocked, name FROM organizations");
statements!(ROLES, "id", "SELECT id, version, name, permissions, all_routers FROM roles");
statements!(
    USERS,
    "id",
    "SELECT id, version, blocked, expires, email, name, priority, number, role_id, organization_id FROM users"
);
statements!(
    KEYS,
    "k.id",
    "SELECT k.id, k.version, k.blocked, k.expires, k.public_id, k.name, k.number, k.user_id, k.allowed_routers,
            v.schemes, v.peppers, v.digests, v.ends
     FROM keys k LEFT JOIN LATERAL (
         SELECT array_agg(scheme ORDER BY created, digest) AS schemes,
                array_agg(pepper_version ORDER BY created, digest) AS peppers,
                array_agg(digest ORDER BY created, digest) AS digests,
                array_agg(not_after ORDER BY created, digest) AS ends
         FROM key_verifiers WHERE key_id = k.id) v ON true"
);
statements!(
    ROUTERS,
    "r.id",
    "SELECT r.*, ARRAY(SELECT n.name FROM router_names n WHERE n.router_id = r.id AND n.alias ORDER BY n.position) AS aliases
     FROM routers r"
);
statements!(PROVIDERS, "id", "SELECT * FROM providers");
statements!(LIMITS, "id", "SELECT * FROM limits");
statements!(
    SECRETS,
    "s.id",
    "SELECT s.id, s.version, s.purpose, s.generation, s.sealed, p.id AS provider_id, p.url
     FROM secrets s JOIN providers p ON p.secret_id = s.id"
);
statements!(SETTINGS, "id", "SELECT id, version, name, value FROM settings");

impl SnapshotReader {
    /// Where the catalog stands at this moment.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer; so for every method here.
    pub async fn head(&mut self) -> Result<Head, StoreError> {
        read_head(&mut self.tx).await
    }

    /// What changed after a revision, each resource once; `None` when the log no longer reaches back that far.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::BadRow`] for a kind that this build does not know.
    pub async fn changes_since(&mut self, revision: u64) -> Result<Option<Vec<Change>>, StoreError> {
        let after = i64::try_from(revision).unwrap_or(i64::MAX);
        let head = self.head().await?.revision.0;
        if revision >= head {
            return Ok((revision == head).then(Vec::new));
        }
        let first: Option<i64> =
            sqlx::query_scalar("SELECT min(revision) FROM changes").fetch_one(&mut *self.tx).await?;
        if first.is_none_or(|first| first > after.saturating_add(1)) {
            return Ok(None);
        }
        let rows: Vec<(i64, String, Uuid, bool)> = sqlx::query_as(
            "SELECT DISTINCT ON (kind, id) revision, kind, id, content IS NULL
             FROM changes WHERE revision > $1 ORDER BY kind, id, revision DESC",
        )
        .bind(after)
        .fetch_all(&mut *self.tx)
        .await?;
        rows.into_iter()
            .map(|(revision, kind, id, deleted)| {
                let kind = kind.parse().map_err(|error| bad("changes", id, &error))?;
                Ok(Change { revision: u64::try_from(revision).unwrap_or(0), kind, id, deleted })
            })
            .collect::<Result<Vec<_>, StoreError>>()
            .map(Some)
    }

    /// Resources of a kind; kinds without rows of their own, and secrets, give none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn resources(&mut self, kind: Kind, scope: Scope<'_>) -> Result<Batch, StoreError> {
        match kind {
            Kind::Organization => self.read(ORGANIZATIONS, scope, organization).await,
            Kind::Role => self.read(ROLES, scope, role).await,
            Kind::User => self.read(USERS, scope, user).await,
            Kind::Key => self.read(KEYS, scope, key).await,
            Kind::Router => self.read(ROUTERS, scope, router).await,
            Kind::Provider => self.read(PROVIDERS, scope, provider).await,
            Kind::Limit => self.read(LIMITS, scope, limit).await,
            Kind::Setting => self.read(SETTINGS, scope, setting).await,
            Kind::Secret | Kind::Project | Kind::Budget | Kind::Guardrail => Ok(Batch::default()),
        }
    }

    /// Provider credentials, still sealed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn secrets(&mut self, scope: Scope<'_>) -> Result<Batch<SealedSecret>, StoreError> {
        self.read(SECRETS, scope, secret).await
    }

    /// Streams the rows, so that a million of them never stand in memory twice.
    async fn read<T>(
        &mut self,
        (all, some): (&'static str, &'static str),
        scope: Scope<'_>,
        convert: fn(&PgRow) -> Result<T, RowError>,
    ) -> Result<Batch<T>, StoreError> {
        let query = match scope {
            Scope::All => sqlx::query(all),
            Scope::Ids(ids) => sqlx::query(some).bind(ids.to_vec()),
        };
        let mut rows = query.fetch(&mut *self.tx);
        let mut batch = Batch::default();
        while let Some(row) = rows.try_next().await? {
            match convert(&row) {
                Ok(resource) => batch.resources.push(resource),
                Err(RowError(reason)) => batch.unreadable.push((row.try_get("id")?, reason)),
            }
        }
        Ok(batch)
    }
}

/// Why one row cannot be read.
struct RowError(String);

impl<E: std::error::Error> From<E> for RowError {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

fn bad(table: &'static str, id: Uuid, error: &dyn std::error::Error) -> StoreError {
    StoreError::BadRow { table, id: id.to_string(), reason: error.to_string() }
}

fn time(at: DateTime<Utc>) -> FleetTime {
    FleetTime::from_unix_micros(at.timestamp_micros())
}

fn count(value: Option<i64>) -> Option<u64> {
    value.and_then(|value| u64::try_from(value).ok())
}

/// Id, version and item in an envelope without parents.
fn resource(row: &PgRow, item: Item) -> Result<Resource, RowError> {
    let version: i64 = row.try_get("version")?;
    Ok(Resource {
        id: row.try_get("id")?,
        version: u64::try_from(version)?,
        parents: Vec::new(),
        blocked: false,
        expires: None,
        requires: Vec::new(),
        item,
    })
}

fn parents<const N: usize>(of: [(Kind, Option<Uuid>); N]) -> Vec<Ref> {
    of.into_iter().filter_map(|(kind, id)| id.map(|id| Ref { kind, id })).collect()
}

fn organization(row: &PgRow) -> Result<Resource, RowError> {
    let item = Item::Organization(Organization { name: row.try_get("name")? });
    Ok(Resource { blocked: row.try_get("blocked")?, ..resource(row, item)? })
}

fn role(row: &PgRow) -> Result<Resource, RowError> {
    let words: Vec<String> = row.try_get("permissions")?;
    let permissions = words.iter().map(|word| word.parse()).collect::<Result<Vec<Permission>, _>>()?;
    let item = Item::Role(Role { name: row.try_get("name")?, permissions, all_routers: row.try_get("all_routers")? });
    resource(row, item)
}

fn user(row: &PgRow) -> Result<Resource, RowError> {
    let item = Item::User(User {
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        priority: row.try_get("priority")?,
        number: row.try_get("number")?,
    });
    Ok(Resource {
        parents: parents([
            (Kind::Role, Some(row.try_get("role_id")?)),
            (Kind::Organization, row.try_get("organization_id")?),
        ]),
        blocked: row.try_get("blocked")?,
        expires: row.try_get::<Option<DateTime<Utc>>, _>("expires")?.map(time),
        ..resource(row, item)?
    })
}

fn key(row: &PgRow) -> Result<Resource, RowError> {
    let schemes: Option<Vec<String>> = row.try_get("schemes")?;
    let peppers: Option<Vec<i32>> = row.try_get("peppers")?;
    let digests: Option<Vec<Vec<u8>>> = row.try_get("digests")?;
    let ends: Option<Vec<Option<DateTime<Utc>>>> = row.try_get("ends")?;
    let rest = peppers.into_iter().flatten().zip(digests.into_iter().flatten()).zip(ends.into_iter().flatten());
    let verifiers = schemes
        .into_iter()
        .flatten()
        .zip(rest)
        .map(|(scheme, ((pepper, digest), end))| {
            Ok(Verifier {
                scheme: scheme.parse()?,
                pepper_version: u32::try_from(pepper)?,
                digest,
                not_after: end.map(time),
            })
        })
        .collect::<Result<Vec<_>, RowError>>()?;
    let allowed: Option<Vec<Uuid>> = row.try_get("allowed_routers")?;
    let item = Item::Key(VirtualKey {
        public_id: row.try_get::<Option<String>, _>("public_id")?.unwrap_or_default(),
        name: row.try_get("name")?,
        verifiers,
        allowed_routers: allowed.map(|ids| ids.into_iter().map(RouterId::from_uuid).collect()),
        master: false,
        compatibility: String::new(),
        number: row.try_get("number")?,
    });
    Ok(Resource {
        parents: parents([(Kind::User, Some(row.try_get("user_id")?))]),
        blocked: row.try_get("blocked")?,
        expires: row.try_get::<Option<DateTime<Utc>>, _>("expires")?.map(time),
        ..resource(row, item)?
    })
}

fn router(row: &PgRow) -> Result<Resource, RowError> {
    let price = |column: &str| -> Result<Option<Amount>, sqlx::Error> {
        Ok(row.try_get::<Option<i64>, _>(column)?.map(Amount::from_billionths))
    };
    let item = Item::Router(Router {
        name: row.try_get("name")?,
        kind: row.try_get::<&str, _>("kind")?.parse()?,
        aliases: row.try_get("aliases")?,
        strategy: row.try_get::<&str, _>("strategy")?.parse()?,
        prices: Prices {
            prompt: price("prompt_price")?,
            completion: price("completion_price")?,
            cached_prompt: price("cached_prompt_price")?,
            revision: u64::try_from(row.try_get::<i64, _>("price_revision")?)?,
        },
        owned_by: row.try_get("owned_by")?,
        created_unix_s: row.try_get::<DateTime<Utc>, _>("created")?.timestamp(),
        max_context_length: count(row.try_get("max_context_length")?),
        max_output_tokens: count(row.try_get("max_output_tokens")?),
        vector_size: count(row.try_get("vector_size")?),
        number: row.try_get("number")?,
    });
    Ok(Resource {
        parents: parents([(Kind::Organization, row.try_get("organization_id")?)]),
        blocked: row.try_get("blocked")?,
        ..resource(row, item)?
    })
}

fn provider(row: &PgRow) -> Result<Resource, RowError> {
    let secret: Option<Uuid> = row.try_get("secret_id")?;
    let reference: Option<String> = row.try_get("credential_reference")?;
    let credential = match (secret, reference) {
        (Some(id), _) => Credential::Sealed(SecretId::from_uuid(id)),
        (None, Some(reference)) => Credential::Reference(reference),
        (None, None) => Credential::None,
    };
    let item = Item::Provider(Provider {
        kind: row.try_get::<&str, _>("kind")?.parse()?,
        url: row.try_get("url")?,
        upstream_model: row.try_get("upstream_model")?,
        timeout: Duration::from_millis(u64::try_from(row.try_get::<i64, _>("timeout_ms")?)?),
        credential,
        carbon: CarbonFacts {
            zone: row.try_get("carbon_zone")?,
            total_params: row.try_get("total_params")?,
            active_params: row.try_get("active_params")?,
        },
        weight: row.try_get::<Option<i32>, _>("weight")?.map(u32::try_from).transpose()?,
        drain_on_disconnect: row.try_get("drain_on_disconnect")?,
        number: row.try_get("number")?,
    });
    Ok(Resource {
        parents: parents([(Kind::Router, Some(row.try_get("router_id")?)), (Kind::Secret, secret)]),
        blocked: row.try_get("blocked")?,
        ..resource(row, item)?
    })
}

fn limit(row: &PgRow) -> Result<Resource, RowError> {
    let item = Item::Limit(Limit {
        unit: row.try_get::<&str, _>("unit")?.parse()?,
        window: row.try_get::<&str, _>("period")?.parse()?,
        amount: row.try_get("amount")?,
        mode: row.try_get::<&str, _>("mode")?.parse()?,
        on_store_failure: row.try_get::<&str, _>("on_store_failure")?.parse()?,
    });
    Ok(Resource {
        parents: parents([
            (Kind::Role, Some(row.try_get("role_id")?)),
            (Kind::Router, Some(row.try_get("router_id")?)),
        ]),
        ..resource(row, item)?
    })
}

fn setting(row: &PgRow) -> Result<Resource, RowError> {
    let value: Value = row.try_get("value")?;
    resource(row, Item::Setting(Setting { name: row.try_get("name")?, value_json: value.to_string() }))
}

fn secret(row: &PgRow) -> Result<SealedSecret, RowError> {
    #[derive(FromRow)]
    struct Columns {
        id: Uuid,
        version: i64,
        purpose: String,
        generation: i32,
        sealed: Vec<u8>,
        provider_id: Uuid,
        url: String,
    }
    let columns = Columns::from_row(row)?;
    Ok(SealedSecret {
        id: SecretId::from_uuid(columns.id),
        version: u64::try_from(columns.version)?,
        purpose: columns.purpose.parse()?,
        generation: u32::try_from(columns.generation)?,
        sealed: columns.sealed,
        provider: ProviderId::from_uuid(columns.provider_id),
        url: columns.url,
    })
}
