//! What a node that comes back holds, and whether it may be told only what changed since.

use std::cmp::Ordering;
use std::sync::Arc;

use shared::catalog::{Digest, Kind, Ref};
use shared::kernel::ids::{Epoch, Revision};

use super::{Log, LogError, Publisher, Snapshot, View};
use crate::vault::KeyRing;

/// Proof that this fleet's control plane once stated a state.
#[derive(Debug, Clone)]
pub struct Seals {
    ring: Arc<KeyRing>,
}

impl Seals {
    /// By a key ring.
    #[must_use]
    pub const fn new(ring: Arc<KeyRing>) -> Self {
        Self { ring }
    }

    /// The seal of what a node is told.
    #[must_use]
    pub fn of(&self, snapshot: &Snapshot, view: &View) -> Vec<u8> {
        let head = snapshot.head();
        self.ring.seal_of_commit(head.epoch, head.revision, &view.digest(snapshot), view.mark())
    }
}

/// What a node says that it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The lineage.
    pub epoch: Epoch,
    /// The last commit.
    pub revision: Revision,
    /// Its digest.
    pub digest: Digest,
    /// Its seal.
    pub seal: Vec<u8>,
}

/// From where a node is brought up to date.
#[derive(Clone)]
pub enum Base {
    /// From nothing.
    Nothing,
    /// From nothing, since the node now belongs to another Group or has other labels: it may lose much by that.
    OtherView,
    /// From a snapshot that is still kept.
    Snapshot(Arc<Snapshot>),
    /// From a revision that only the log knows: these resources changed since.
    Log(Revision, Vec<Ref>),
    /// Cannot be said yet: this replica or the database is behind. Ask again when the snapshot changed.
    Undecided,
}

/// Decides for nodes that come back.
#[derive(Clone)]
pub struct Resumes {
    seals: Seals,
    publisher: Publisher,
    log: Arc<dyn Log>,
}

impl Resumes {
    /// Over the published snapshots and the log behind them.
    #[must_use]
    pub fn new(seals: Seals, publisher: Publisher, log: Arc<dyn Log>) -> Self {
        Self { seals, publisher, log }
    }

    /// From where a node is brought to `current`.
    pub async fn base(&self, held: &Held, view: &View, current: &Arc<Snapshot>) -> Base {
        let head = current.head();
        let Held { epoch, revision, digest, seal } = held;
        let mark = self.seals.ring.verify_commit(*epoch, *revision, digest, seal);
        if mark.is_none() || *epoch != head.epoch {
            tracing::info!(%epoch, revision = revision.0, sealed = mark.is_some(), "a node resumes from another lineage, or without proof");
            return Base::Nothing;
        }
        if mark != Some(view.mark()) {
            tracing::info!(
                revision = revision.0,
                group = view.group(),
                "a node comes back with another Group or other labels"
            );
            return match revision.cmp(&head.revision) {
                Ordering::Greater => self.beyond(*epoch, *revision).await.unwrap_or(Base::Undecided),
                _ => Base::OtherView,
            };
        }
        let decided = match revision.cmp(&head.revision) {
            Ordering::Greater => self.beyond(*epoch, *revision).await,
            Ordering::Equal if *digest == view.digest(current) => Ok(Base::Snapshot(Arc::clone(current))),
            // The roots and secrets come from files of each replica: a difference there alone is no other lineage.
            Ordering::Equal if same_rows(digest, &view.digest(current)) => Ok(Base::Nothing),
            Ordering::Equal => self.end_epoch(*epoch).await,
            Ordering::Less => match self.publisher.at(*epoch, *revision) {
                Some(kept) if *digest == view.digest(&kept) => Ok(Base::Snapshot(kept)),
                Some(kept) if same_rows(digest, &view.digest(&kept)) => Ok(Base::Nothing),
                Some(_) => self.end_epoch(*epoch).await,
                None => self.log.changes_since(*revision).await.map(|changes| match changes {
                    Some(changes) => Base::Log(*revision, with_roots(changes)),
                    None => Base::Nothing,
                }),
            },
        };
        decided.unwrap_or_else(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "a resuming node waits for the database");
            Base::Undecided
        })
    }

    /// A node is ahead of what this replica publishes: either the replica is behind, or the database was set back.
    async fn beyond(&self, epoch: Epoch, revision: Revision) -> Result<Base, LogError> {
        let head = self.log.head().await?;
        if head.epoch == epoch && head.revision < revision {
            tracing::error!(
                head = head.revision.0,
                held = revision.0,
                "a node holds a sealed revision beyond the head"
            );
            return self.end_epoch(epoch).await;
        }
        self.publisher.wake();
        Ok(Base::Undecided)
    }

    async fn end_epoch(&self, epoch: Epoch) -> Result<Base, LogError> {
        let head = self.log.end_epoch(epoch).await?;
        tracing::error!(old = %epoch, new = %head.epoch, revision = head.revision.0, "the database was set back: a new epoch begins");
        self.publisher.wake();
        Ok(Base::Undecided)
    }
}

/// Whether two digests agree on everything that comes from rows of the database as they are.
fn same_rows(one: &Digest, two: &Digest) -> bool {
    let rows = |digest: &Digest| -> Vec<_> {
        digest.sums().filter(|(kind, _)| !matches!(kind, Kind::Key | Kind::Secret)).collect()
    };
    rows(one) == rows(two)
}

/// Pepper and master key are not in the log.
fn with_roots(mut changes: Vec<Ref>) -> Vec<Ref> {
    use shared::catalog::{MASTER_KEY_ID, PEPPER_ID};
    changes.push(Ref { kind: Kind::Secret, id: PEPPER_ID });
    changes.push(Ref { kind: Kind::Key, id: MASTER_KEY_ID });
    changes.sort_unstable();
    changes.dedup();
    changes
}
