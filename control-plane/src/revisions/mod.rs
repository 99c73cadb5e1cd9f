//! Looking back over the catalog, and going back: what each revision changed, what lies between two, and rollback.
//!
//! A rollback is a new revision: the resources that the named revisions touched become what they were before, and nothing
//! else does. Users, keys, their revocations and what was spent are never rolled back. Credentials come back in the
//! envelopes that the log holds; nobody opens them here but to see that the key ring still can.
//!
//! Used by the management API and by the command line; knows the store, not who asks.

mod plan;
mod rollback;
mod work;

pub use rollback::{LeftOut, Overridden, Reverted, Rollback, RolledBack, Selection, rollback};

use shared::catalog::Kind;

use crate::domain::{self, FieldChange, Kept, Noun, Operation, differences, name_of};
use crate::store::revisions::{self, ChangeRow, Reach, RevisionFilter, RevisionRow, SpanRow};
use crate::store::{Listed, Store, StoreError};
use crate::vault::VaultError;

/// Of how many resources of a revision a list tells.
const NAMED: i64 = 100;
/// Of how many resources of a revision everything is told.
const TOLD: i64 = 1_000;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RevisionError {
    /// What was asked for is not there, no longer kept, or collides with what is.
    #[error(transparent)]
    Domain(#[from] domain::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key ring.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// A revision with what it changed.
#[derive(Debug)]
pub struct Revision {
    /// When, who, how much.
    pub row: RevisionRow,
    /// What; not all of it when there is very much.
    pub changes: Vec<ChangeRow>,
}

/// How the catalog differs between two revisions.
#[derive(Debug)]
pub struct Difference {
    /// The earlier one.
    pub from: u64,
    /// The later one.
    pub to: u64,
    /// A page of it.
    pub spans: Listed<SpanRow>,
}

/// A page of the revisions that the log has, newest first.
///
/// # Errors
/// [`RevisionError`], as everywhere in this room.
pub async fn list(
    store: &Store,
    filter: &RevisionFilter,
    window: (i64, i64),
) -> Result<Listed<Revision>, RevisionError> {
    let mut connection = store.acquire().await?;
    let Listed { total, rows } = revisions::list(&mut connection, filter, window).await?;
    let numbers: Vec<i64> = rows.iter().map(|row| row.revision).collect();
    let mut changes = revisions::changes(&mut connection, &numbers, NAMED).await?;
    let rows = rows.into_iter().map(|row| {
        let of_it = changes.extract_if(.., |change| change.revision == row.revision).collect();
        Revision { row, changes: of_it }
    });
    Ok(Listed { total, rows: rows.collect() })
}

/// One revision with what was before and after it.
///
/// # Errors
/// [`RevisionError::Domain`] when it was never made or is no longer kept.
pub async fn get(store: &Store, revision: u64) -> Result<Revision, RevisionError> {
    let mut connection = store.acquire().await?;
    let number = known(revision, &revisions::reach(&mut connection).await?)?;
    let row = revisions::get(&mut connection, number).await?;
    let row = row.ok_or_else(|| domain::Error::not_found(Noun::Revision, revision))?;
    let changes = revisions::changes(&mut connection, &[number], TOLD).await?;
    Ok(Revision { row, changes })
}

/// A page of how the catalog at `to`, the newest revision unless named, differs from the one at `from`.
///
/// # Errors
/// [`RevisionError::Domain`] when one of them was never made or the log no longer reaches back to it.
pub async fn diff(store: &Store, from: u64, to: Option<u64>, window: (i64, i64)) -> Result<Difference, RevisionError> {
    let mut connection = store.acquire().await?;
    let reach = revisions::reach(&mut connection).await?;
    let (newest, to) = (reach.head.revision.0, to.unwrap_or(reach.head.revision.0));
    if from > newest || to > newest {
        return Err(unknown(from.max(to), newest).into());
    }
    if to < from {
        return Err(domain::Error::invalid("to", to, format!("{from} (`from`) or more is expected")).into());
    }
    let number = |revision: u64| i64::try_from(revision).unwrap_or(i64::MAX);
    // What the log begins with is how the catalog stood there.
    if number(from) < reach.start {
        return Err(gone(from, &reach).into());
    }
    let spans = revisions::between(&mut connection, (number(from), number(to)), window).await?;
    Ok(Difference { from, to, spans })
}

impl ChangeRow {
    /// What was done.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        Operation::between(&self.before, self.after.as_ref())
    }

    /// What people call it.
    #[must_use]
    pub fn name(&self) -> String {
        self.subject.clone().unwrap_or_else(|| named(&self.kind, self.after.as_ref(), &self.before))
    }
}

impl SpanRow {
    /// What was done.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        Operation::between(&self.before, self.after.as_ref())
    }

    /// What people call it.
    #[must_use]
    pub fn name(&self) -> String {
        named(&self.kind, self.after.as_ref(), &self.before)
    }

    /// What differs, as it may be shown.
    #[must_use]
    pub fn fields(&self) -> Vec<FieldChange> {
        differences(self.before.content(), self.after.as_ref())
    }
}

/// What people call a resource that was or is like this.
fn named(kind: &str, after: Option<&serde_json::Value>, before: &Kept) -> String {
    let Ok(kind) = kind.parse::<Kind>() else { return String::new() };
    name_of(kind, after.or_else(|| before.content()))
}

/// The number of a revision that the log has.
fn known(revision: u64, reach: &Reach) -> Result<i64, domain::Error> {
    if revision == 0 || revision > reach.head.revision.0 {
        return Err(unknown(revision, reach.head.revision.0));
    }
    let number = i64::try_from(revision).unwrap_or(i64::MAX);
    if number <= reach.start { Err(gone(revision, reach)) } else { Ok(number) }
}

fn unknown(revision: u64, newest: u64) -> domain::Error {
    domain::Error::NotFound { detail: format!("Revision {revision} not found: the newest is {newest}.") }
}

fn gone(revision: u64, reach: &Reach) -> domain::Error {
    let detail = format!("Revision {revision} is no longer kept: the log begins after revision {}.", reach.start);
    domain::Error::Gone { code: "revision_not_kept", detail }
}
