//! Takes revisions back: their resources become what they were, in one new revision or not at all.

use std::collections::HashMap;

use shared::catalog::Kind;
use shared::kernel::ids::Revision;
use uuid::Uuid;

use super::plan::Plan;
use super::work::Work;
use super::{RevisionError, known};
use crate::domain::{self, FieldChange, Operation};
use crate::store::revisions::restore::{self, ORDER};
use crate::store::revisions::{Reach, reach};
use crate::store::{Actor, Store};
use crate::vault::KeyRing;

/// How many revisions are taken back at once.
const MOST_REVISIONS: usize = 1_000;
/// How many resources they may have touched.
const MOST_RESOURCES: i64 = 5_000;

/// Which revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// From the first to the last, both taken back; without a last one, to the newest.
    Range {
        /// The first.
        from: u64,
        /// The last.
        to: Option<u64>,
    },
    /// These.
    Each(Vec<u64>),
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Rollback {
    /// Which revisions to take back.
    pub selection: Selection,
    /// Also what later revisions changed again, and what was made below something that goes.
    pub force: bool,
    /// Tell what would happen, and do nothing.
    pub dry_run: bool,
    /// Why, for the audit table.
    pub reason: Option<String>,
}

/// A resource that is what it was.
#[derive(Debug)]
pub struct Reverted {
    /// Which sort.
    pub kind: Kind,
    /// Its id.
    pub id: Uuid,
    /// For people.
    pub name: String,
    /// What was done to it.
    pub operation: Operation,
    /// What differs from how it was until now, as it may be shown.
    pub fields: Vec<FieldChange>,
}

/// A resource that the revisions touched and that stays.
#[derive(Debug)]
pub struct LeftOut {
    /// Which sort, as the database has it.
    pub kind: String,
    /// Its id.
    pub id: Uuid,
    /// For people.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// A resource that later revisions changed, which is lost.
#[derive(Debug)]
pub struct Overridden {
    /// Which sort, as the database has it.
    pub kind: String,
    /// Its id.
    pub id: Uuid,
    /// For people.
    pub name: String,
    /// Some of those revisions.
    pub revisions: Vec<i64>,
}

/// What a rollback did, or would do.
#[derive(Debug)]
pub struct RolledBack {
    /// The new revision; absent when nothing was to do, and for a dry run.
    pub revision: Option<Revision>,
    /// The revisions that were taken back.
    pub revisions: Vec<i64>,
    /// What is what it was.
    pub reverted: Vec<Reverted>,
    /// What stays, and why.
    pub left_out: Vec<LeftOut>,
    /// What was lost by force.
    pub overridden: Vec<Overridden>,
}

/// Takes revisions back. The key ring, where it is given, is asked whether it can still open what comes back.
///
/// # Errors
/// [`RevisionError`]; nothing has been changed then.
pub async fn rollback(
    store: &Store,
    ring: Option<&KeyRing>,
    actor: Actor,
    wanted: &Rollback,
) -> Result<RolledBack, RevisionError> {
    let mut tx = store.begin(actor).await?;
    restore::take_turn(&mut tx).await?;
    let revisions = selected(&wanted.selection, &reach(tx.connection()).await?)?;
    // Locked first, read again then: nobody changes them any more.
    let ids = restore::touched(&mut tx, &revisions, MOST_RESOURCES + 1).await?;
    if i64::try_from(ids.len()).unwrap_or(i64::MAX) > MOST_RESOURCES {
        let detail = format!("These revisions touched more than {MOST_RESOURCES} resources: take back fewer at once.");
        return Err(domain::Error::refused("too_much", "revisions", detail).into());
    }
    for kind in ORDER {
        let of_kind: Vec<Uuid> = ids.iter().filter(|one| one.kind == kind.as_str()).map(|one| one.id).collect();
        restore::lock(&mut tx, kind, &of_kind).await?;
    }
    let touched = restore::touched(&mut tx, &revisions, MOST_RESOURCES).await?;
    let mut plan = Plan::of(touched, wanted.force)?;
    let mut work =
        Work { tx, ring, force: wanted.force, before: HashMap::new(), secrets: HashMap::new(), lost: Vec::new() };
    work.look(&mut plan).await?;
    work.refuse_files(&plan).await?;
    work.refuse_orphans(&mut plan).await?;
    work.apply(&plan).await?;
    let reverted = work.tell(&plan);
    work.note(&plan, &revisions, wanted);
    plan.overridden.append(&mut work.lost);
    let revision = if wanted.dry_run || plan.steps.is_empty() { None } else { work.tx.commit().await? };
    Ok(RolledBack { revision, revisions, reverted, left_out: plan.left_out, overridden: plan.overridden })
}

/// The numbers of the revisions, in order, each once.
fn selected(selection: &Selection, reach: &Reach) -> Result<Vec<i64>, domain::Error> {
    let too_many = |count: usize| {
        domain::Error::invalid("revisions", count, format!("at most {MOST_REVISIONS} at once are expected"))
    };
    let mut numbers = match selection {
        Selection::Range { from, to } => {
            let (first, last) = (known(*from, reach)?, known(to.unwrap_or(reach.head.revision.0), reach)?);
            if last < first {
                return Err(domain::Error::invalid("to", last, format!("{first} (`from`) or more is expected")));
            }
            let count = usize::try_from(last - first).unwrap_or(usize::MAX).saturating_add(1);
            if count > MOST_REVISIONS {
                return Err(too_many(count));
            }
            (first..=last).collect::<Vec<_>>()
        }
        Selection::Each(all) if all.is_empty() => {
            return Err(domain::Error::invalid("revisions", "[]", "at least one revision is expected"));
        }
        Selection::Each(all) if all.len() > MOST_REVISIONS => return Err(too_many(all.len())),
        Selection::Each(all) => all.iter().map(|one| known(*one, reach)).collect::<Result<_, _>>()?,
    };
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use shared::kernel::ids::Epoch;

    use super::*;
    use crate::store::Head;

    fn until(head: u64, start: i64) -> Reach {
        Reach { head: Head { epoch: Epoch::from_uuid(Uuid::nil()), revision: Revision(head) }, start }
    }

    #[test]
    fn revisions_are_named_or_ranged() {
        let range = |from, to| selected(&Selection::Range { from, to }, &until(9, 3));
        assert_eq!(range(7, None).unwrap(), [7, 8, 9]);
        assert_eq!(range(5, Some(5)).unwrap(), [5]);
        assert!(matches!(range(3, None), Err(domain::Error::Gone { .. })));
        assert!(matches!(range(5, Some(10)), Err(domain::Error::NotFound { .. })));
        assert!(matches!(range(6, Some(5)), Err(domain::Error::Invalid { .. })));
        let each = |all: &[u64]| selected(&Selection::Each(all.to_vec()), &until(9, 3));
        assert_eq!(each(&[8, 4, 8]).unwrap(), [4, 8]);
        assert!(each(&[]).is_err() && each(&[0]).is_err());
    }
}
