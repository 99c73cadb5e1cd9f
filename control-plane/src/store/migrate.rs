//! Brings the schema up to date; the only place that creates it, and it touches nothing outside.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection, Executor, PgConnection};

use super::{Store, StoreError};

static EMBEDDED: Migrator = sqlx::migrate!("../migrations");

/// Our own bookkeeping table, inside the schema so that another system's is neither read nor written.
const BOOKKEEPING: &str = "gatewright.schema_migrations";

/// Any number that no other program is likely to lock: "gatewrig" read as an integer.
const LOCK: i64 = 0x6761_7465_7772_6967;

impl Store {
    /// Creates the schema where it is missing and applies what is not applied yet, under an advisory lock.
    ///
    /// # Errors
    /// [`StoreError::NoRight`] with the SQL to run, [`StoreError::Newer`], or what the database said.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let mut session = self.session().await?;
        sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut session).await?;
        let outcome = self.apply(&mut session).await;
        // Closing the session gives the lock back, also after an error.
        session.close().await?;
        outcome
    }

    async fn apply(&self, session: &mut PgConnection) -> Result<(), StoreError> {
        let exists: bool =
            sqlx::query_scalar("SELECT to_regnamespace('gatewright') IS NOT NULL").fetch_one(&mut *session).await?;
        if !exists {
            let user = self.user().replace('"', "\"\"");
            session
                .execute("CREATE SCHEMA gatewright")
                .await
                .map_err(|error| no_right(error, format!("CREATE SCHEMA gatewright AUTHORIZATION \"{user}\";")))?;
        }
        let may: bool = sqlx::query_scalar("SELECT has_schema_privilege('gatewright', 'CREATE, USAGE')")
            .fetch_one(&mut *session)
            .await?;
        if !may {
            let user = self.user().replace('"', "\"\"");
            return Err(StoreError::NoRight {
                sql: format!("GRANT USAGE, CREATE ON SCHEMA gatewright TO \"{user}\";"),
            });
        }
        let mut migrator = Migrator { migrations: EMBEDDED.migrations.clone(), ..Migrator::DEFAULT };
        migrator.dangerous_set_table_name(BOOKKEEPING);
        migrator.set_locking(false);
        migrator.run_direct(None, session, false).await.map_err(|error| match error {
            MigrateError::VersionMissing(found) => {
                StoreError::Newer { found, known: EMBEDDED.iter().map(|known| known.version).max().unwrap_or(0) }
            }
            MigrateError::Execute(error) => error.into(),
            other => StoreError::Migration(other),
        })
    }
}

fn no_right(error: sqlx::Error, sql: String) -> StoreError {
    let code = error.as_database_error().and_then(|database| database.code().map(std::borrow::Cow::into_owned));
    if code.as_deref() == Some("42501") { StoreError::NoRight { sql } } else { error.into() }
}
