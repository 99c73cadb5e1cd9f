//! What can go wrong at the database, told apart by what the caller must do about it.

use sqlx::error::ErrorKind;
use sqlx::migrate::MigrateError;

/// A failed dealing with the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address cannot be read. The text never holds the password.
    #[error("the database URL cannot be read: {reason}")]
    BadUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// The server cannot be reached, is starting, is read-only, or has no room for us: try again later.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// The server refused the user, the password or the database name: trying again does not help.
    #[error("the database refused to let us in; check the user, the password and the database name of its URL")]
    Refused(#[source] sqlx::Error),
    /// A right is missing that an administrator of the database must give.
    #[error(
        "the database user may not create the schema `gatewright`; let an administrator of the database run: {sql}"
    )]
    NoRight {
        /// What to run.
        sql: String,
    },
    /// The schema was made by a later version of this program.
    #[error(
        "the database schema is newer than this program: it holds migration {found}, this program knows them up to {known}; start the newer program"
    )]
    Newer {
        /// The unknown migration.
        found: i64,
        /// The last one that is known.
        known: i64,
    },
    /// Changing the schema failed.
    #[error("the database schema could not be brought up to date")]
    Migration(#[source] MigrateError),
    /// A rule that the tables themselves keep: a unique name, a row that others point to.
    #[error("the database refused the change: {constraint}")]
    Constraint {
        /// Name of the constraint or index.
        constraint: String,
        /// Which sort of rule.
        kind: ConstraintKind,
    },
    /// A row holds what this build does not understand.
    #[error("row {id} of {table} cannot be read: {reason}")]
    BadRow {
        /// The table.
        table: &'static str,
        /// The row.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Anything else.
    #[error("a statement failed")]
    Query(#[source] sqlx::Error),
}

/// Which sort of rule a table kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConstraintKind {
    /// Two rows would be alike.
    Unique,
    /// Something still points to the row, or the row points to nothing.
    Reference,
    /// A value is out of its range.
    Check,
}

impl StoreError {
    /// What a caller gave up waiting for.
    #[must_use]
    pub const fn timed_out() -> Self {
        Self::Unavailable(sqlx::Error::PoolTimedOut)
    }

    /// Whether trying again later can help.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// Whether the database objects to a value that it was given: trying again cannot help, leaving it out can.
    #[must_use]
    pub fn blames_value(&self) -> bool {
        match self {
            Self::Constraint { kind, .. } => *kind == ConstraintKind::Check,
            // SQLSTATE class 22: data exception.
            Self::Query(sqlx::Error::Database(error)) => error.code().is_some_and(|code| code.starts_with("22")),
            _ => false,
        }
    }

    /// The unique constraint or index that refused, if that was the reason.
    #[must_use]
    pub fn duplicate(&self) -> Option<&str> {
        match self {
            Self::Constraint { constraint, kind: ConstraintKind::Unique } => Some(constraint),
            _ => None,
        }
    }

    /// The foreign key that refused, if that was the reason.
    #[must_use]
    pub fn reference(&self) -> Option<&str> {
        match self {
            Self::Constraint { constraint, kind: ConstraintKind::Reference } => Some(constraint),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_) => Self::Unavailable(error),
            sqlx::Error::Configuration(reason) => Self::BadUrl { reason: reason.to_string() },
            sqlx::Error::Database(database) => {
                let constraint = || database.constraint().unwrap_or("unnamed").to_owned();
                match database.kind() {
                    ErrorKind::UniqueViolation => {
                        Self::Constraint { constraint: constraint(), kind: ConstraintKind::Unique }
                    }
                    ErrorKind::ForeignKeyViolation => {
                        Self::Constraint { constraint: constraint(), kind: ConstraintKind::Reference }
                    }
                    ErrorKind::CheckViolation => {
                        Self::Constraint { constraint: constraint(), kind: ConstraintKind::Check }
                    }
                    _ => {
                        let code = database.code().unwrap_or_default().into_owned();
                        classify(&code, error)
                    }
                }
            }
            _ => Self::Query(error),
        }
    }
}

/// By the SQLSTATE of the server (Postgres manual, appendix A).
fn classify(code: &str, error: sqlx::Error) -> StoreError {
    match code {
        // Deletes that RESTRICT refuses since Postgres 18.
        "23001" => StoreError::Constraint { constraint: "restrict".into(), kind: ConstraintKind::Reference },
        "28000" | "28P01" | "3D000" => StoreError::Refused(error),
        // Read-only, deadlock, serialization, statement timeout, shutting down or starting.
        "25006" | "40001" | "40P01" | "55P03" | "57014" | "57P01" | "57P02" | "57P03" => StoreError::Unavailable(error),
        _ if code.starts_with("08") || code.starts_with("53") || code.starts_with("58") => {
            StoreError::Unavailable(error)
        }
        _ => StoreError::Query(error),
    }
}
