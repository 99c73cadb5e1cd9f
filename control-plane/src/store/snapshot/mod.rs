//! Reads the catalog as resources, all of one moment: one repeatable-read transaction for each reader.

mod candidates;
mod rows;
mod statements;

use futures_util::TryStreamExt;
use shared::catalog::{Kind, Resource, SecretPurpose};
use shared::kernel::ids::{ProviderId, SecretId};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, Row, Transaction};
use uuid::Uuid;

pub use self::candidates::{Candidate, Staged, StagedContent};
use self::rows::RowError;
use self::statements::Statements;
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
        // Both, because a program of the last version forgets without saying so.
        let whole: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM changes WHERE revision = $1 + 1)
                AND (SELECT log_start FROM catalog_head) <= $1",
        )
        .bind(after)
        .fetch_one(&mut *self.tx)
        .await?;
        if !whole {
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
                let kind = kind.parse().map_err(|error| rows::bad("changes", id, &error))?;
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
            Kind::Organization => self.read(statements::ORGANIZATIONS, scope, rows::organization).await,
            Kind::Role => self.read(statements::ROLES, scope, rows::role).await,
            Kind::User => self.read(statements::USERS, scope, rows::user).await,
            Kind::Key => self.read(statements::KEYS, scope, rows::key).await,
            Kind::Router => self.read(statements::ROUTERS, scope, rows::router).await,
            Kind::Provider => self.read(statements::PROVIDERS, scope, rows::provider).await,
            Kind::Limit => self.read(statements::LIMITS, scope, rows::limit).await,
            Kind::Setting => self.read(statements::SETTINGS, scope, rows::setting).await,
            Kind::Secret | Kind::Project | Kind::Budget | Kind::Guardrail => Ok(Batch::default()),
        }
    }

    /// The Groups that routers name; those that name none have an empty list.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn router_groups(&mut self, scope: Scope<'_>) -> Result<Vec<(Uuid, Vec<String>)>, StoreError> {
        let (all, some) = statements::ROUTER_GROUPS;
        let query = match scope {
            Scope::All => sqlx::query_as(all),
            Scope::Ids(ids) => sqlx::query_as(some).bind(ids.to_vec()),
        };
        Ok(query.fetch_all(&mut *self.tx).await?)
    }

    /// Provider credentials, still sealed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn secrets(&mut self, scope: Scope<'_>) -> Result<Batch<SealedSecret>, StoreError> {
        self.read(statements::SECRETS, scope, rows::secret).await
    }

    /// Streams the rows, so that a million of them never stand in memory twice.
    async fn read<T>(
        &mut self,
        (all, some): Statements,
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
