//! The pool of connections, each with our search path, handed out only while it can write.

use std::str::FromStr;
use std::time::Duration;

use shared::kernel::ids::{Epoch, Revision};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool, Postgres};
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use uuid::Uuid;

use super::StoreError;

/// The schema that holds everything of ours.
pub const SCHEMA: &str = "gatewright";

/// The channel on which a commit of the catalog is announced, with the revision as its text.
pub const CATALOG_CHANNEL: &str = "gatewright_catalog";

/// A connection that takes longer to answer the simplest question is given up: its other side may be gone without a word.
const LONGEST_CHECK: Duration = Duration::from_millis(700);
/// The same for one that somebody gave up in the middle of something, which may first have to be undone.
const LONGEST_RELEASE: Duration = Duration::from_secs(5);

/// How the pool behaves.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// Most connections at once.
    pub size: u32,
    /// After which the server gives up on one statement.
    pub statement_timeout: Duration,
    /// How long to wait for a connection before answering that the database is not available.
    pub acquire_timeout: Duration,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self { size: 10, statement_timeout: Duration::from_secs(10), acquire_timeout: Duration::from_millis(1_500) }
    }
}

/// Handle to the database; clones share one pool.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    options: PgConnectOptions,
}

/// Where the catalog stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The lineage of this database.
    pub epoch: Epoch,
    /// The last committed revision.
    pub revision: Revision,
}

impl Store {
    /// Opens the pool and one connection to see that it works.
    ///
    /// `url` may name SQLAlchemy's driver (`postgresql+asyncpg://`), as files of other systems do.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`], [`StoreError::Refused`] or [`StoreError::Unavailable`]; none of them holds the password.
    pub async fn connect(url: &str, options: PoolOptions) -> Result<Self, StoreError> {
        let connect = parse(url)?;
        let statement_timeout = options.statement_timeout.as_millis().to_string();
        let pool = PgPoolOptions::new()
            .max_connections(options.size.max(1))
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(Duration::from_secs(600))
            // The check below is a round trip already.
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                let statement_timeout = statement_timeout.clone();
                Box::pin(async move {
                    // Statements rather than startup parameters: poolers in front of Postgres refuse those.
                    sqlx::query(
                        "SELECT set_config('search_path', $1, false), set_config('statement_timeout', $2, false)",
                    )
                    .bind(SCHEMA)
                    .bind(statement_timeout)
                    .execute(connection)
                    .await?;
                    Ok(())
                })
            })
            // A primary that was demoted under us still answers pings.
            .before_acquire(|connection, _| {
                Box::pin(async move {
                    let question = sqlx::query_scalar("SHOW transaction_read_only").fetch_one(connection);
                    let read_only: String = timeout(LONGEST_CHECK, question).await.map_err(silent)??;
                    Ok(read_only != "on")
                })
            })
            .after_release(|connection, _| {
                Box::pin(async move {
                    timeout(LONGEST_RELEASE, connection.ping()).await.map_err(silent)??;
                    Ok(true)
                })
            })
            .connect_lazy_with(connect.clone());
        // Through a plain connection first: the pool retries a refused password until its timeout and then hides it.
        let first = timeout(options.acquire_timeout.max(Duration::from_secs(5)), PgConnection::connect_with(&connect))
            .await
            .map_err(|_| StoreError::Unavailable(sqlx::Error::PoolTimedOut))??;
        first.close().await?;
        Ok(Self { pool, options: connect })
    }

    /// A handle to a database that is never there, for tests of what comes before it.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(1);
        let pool = PgPoolOptions::new().acquire_timeout(Duration::from_millis(50)).connect_lazy_with(options.clone());
        Self { pool, options }
    }

    /// A connection for reading, or for one statement.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when none is had in time.
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        Ok(self.pool.acquire().await?)
    }

    /// The pool itself, for rooms of the store.
    pub(super) const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection of its own that hears [`CATALOG_CHANNEL`]; a hint only, since a pooler or a reconnect loses it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database is.
    pub async fn listener(&self) -> Result<PgListener, StoreError> {
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(self.options.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen(CATALOG_CHANNEL).await?;
        Ok(listener)
    }

    /// Where the catalog stands now.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn head(&self) -> Result<Head, StoreError> {
        let mut connection = self.acquire().await?;
        read_head(&mut connection).await
    }

    /// Begins a new lineage: for a database that was set back behind what nodes have already seen.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn open_epoch(&self, from: Epoch) -> Result<Head, StoreError> {
        let mut connection = self.acquire().await?;
        sqlx::query("UPDATE catalog_head SET epoch = gen_random_uuid() WHERE epoch = $1")
            .bind(from.uuid())
            .execute(&mut *connection)
            .await?;
        read_head(&mut connection).await
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A connection outside the pool, for work that keeps session state: migrations, advisory locks.
    pub(super) async fn session(&self) -> Result<PgConnection, StoreError> {
        let mut connection = PgConnection::connect_with(&self.options).await?;
        connection.execute("SET search_path = gatewright").await?;
        Ok(connection)
    }

    /// The user name that we connect as.
    pub(super) fn user(&self) -> &str {
        self.options.get_username()
    }
}

/// What a connection that says nothing is to the pool.
fn silent(_: Elapsed) -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}

/// Reads the head inside whatever transaction the connection is in.
pub(super) async fn read_head(connection: &mut PgConnection) -> Result<Head, StoreError> {
    let (epoch, revision): (Uuid, i64) =
        sqlx::query_as("SELECT epoch, revision FROM catalog_head").fetch_one(connection).await?;
    Ok(Head { epoch: Epoch::from_uuid(epoch), revision: Revision(u64::try_from(revision).unwrap_or(0)) })
}

fn parse(url: &str) -> Result<PgConnectOptions, StoreError> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| StoreError::BadUrl {
        reason: "it has no scheme; expected postgresql://user:password@host:5432/database".into(),
    })?;
    let scheme = scheme.split('+').next().unwrap_or_default();
    if !matches!(scheme, "postgres" | "postgresql") {
        return Err(StoreError::BadUrl { reason: format!("its scheme is `{scheme}`; expected postgresql") });
    }
    let options = PgConnectOptions::from_str(&format!("postgresql://{rest}"))
        .map_err(|_| StoreError::BadUrl { reason: "expected postgresql://user:password@host:5432/database".into() })?;
    Ok(options.application_name("gatewright"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn urls_of_other_systems_are_read_and_bad_ones_do_not_leak() {
        let options = parse("postgresql+asyncpg://me:secret@db:5433/app").unwrap();
        assert_eq!((options.get_host(), options.get_port(), options.get_database()), ("db", 5433, Some("app")));
        for bad in ["", "db:5432", "mysql://me:canary@db/x", "postgres://me:canary@db:notaport/x"] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
