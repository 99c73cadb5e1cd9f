//! One revision on its way into use: read and built on a thread of its own, checked at its commit, handed back whole.

use std::sync::Arc;
use std::time::Instant;

use shared::catalog::Digest;
use shared::kernel::clock::FleetTime;
use shared::kernel::ids::{Epoch, Revision};
use shared::proto::{self, Begin, Chunk, Commit, SyncMode};
use shared::wire::{decode, digest_from_wire, kind_from_wire, ref_from_wire};
use tokio::sync::{mpsc, oneshot};

use super::last_good::{LastGood, Recording};
use crate::table::{Draft, Table};

/// Chunks that wait to be read.
const QUEUE: usize = 2;
/// Fewer routers or keys than this may vanish without a word.
const GUARDED: usize = 20;

/// What this node holds, as it says when it comes back: the last commit, word for word.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Held {
    pub(super) epoch: Epoch,
    pub(super) revision: Revision,
    pub(super) digest: proto::Digest,
    pub(super) seal: Vec<u8>,
}

impl Held {
    pub(super) fn to_resume(&self) -> proto::Resume {
        proto::Resume {
            epoch: self.epoch.to_bytes(),
            revision: self.revision.0,
            digest: Some(self.digest.clone()),
            seal: self.seal.clone(),
        }
    }
}

/// Why a revision is not taken: all of it, not one resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("a message cannot be read: {0}")]
    Undecodable(&'static str),
    #[error("revision {offered} is older than revision {held} of the same epoch")]
    Backwards { offered: u64, held: u64 },
    #[error("a change from revision {base} was sent, and revision {held} is held")]
    WrongBase { base: u64, held: u64 },
    #[error("the digest of what was sent differs from the one it was committed with")]
    Digest,
    #[error("it would leave {after} of {before} {what}; an operator must confirm that")]
    Guard { what: &'static str, before: usize, after: usize },
}

/// A revision that can be put in place.
pub(super) struct Built {
    pub(super) table: Table,
    pub(super) held: Held,
    pub(super) full: bool,
    pub(super) began: Instant,
    /// Of what was told, for the copy on disk.
    pub(super) recording: Option<Recording>,
}

enum Step {
    Chunk(Chunk),
    Commit(Commit),
}

/// A revision that is arriving.
pub(super) struct Transfer {
    revision: u64,
    steps: mpsc::Sender<Step>,
    done: oneshot::Receiver<Result<Built, Refusal>>,
}

impl Transfer {
    /// Begins one on top of the table in use; what is told is recorded for the copy on disk.
    pub(super) fn begin(base: Arc<Table>, begin: Begin, copy: Option<(LastGood, FleetTime)>) -> Self {
        let (steps, receiver) = mpsc::channel(QUEUE);
        let (answer, done) = oneshot::channel();
        let revision = begin.revision;
        tokio::task::spawn_blocking(move || {
            if let Some(result) = build(base, &begin, receiver, copy) {
                // Nobody waits any more when the stream broke.
                let _ = answer.send(result);
            }
        });
        Self { revision, steps, done }
    }

    pub(super) const fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) async fn chunk(&self, chunk: Chunk) {
        // A builder that gave up answers through `done`.
        let _ = self.steps.send(Step::Chunk(chunk)).await;
    }

    pub(super) async fn commit(&self, commit: Commit) {
        let _ = self.steps.send(Step::Commit(commit)).await;
    }

    /// The table, once the commit was read. May be dropped and asked again until it answered.
    pub(super) async fn built(&mut self) -> Result<Built, Refusal> {
        (&mut self.done).await.unwrap_or(Err(Refusal::Undecodable("the builder of the table failed")))
    }
}

/// Reads until the commit; nothing when the stream breaks before it.
fn build(
    base: Arc<Table>,
    begin: &Begin,
    mut steps: mpsc::Receiver<Step>,
    copy: Option<(LastGood, FleetTime)>,
) -> Option<Result<Built, Refusal>> {
    let began = Instant::now();
    let mut draft = draft(&base, begin);
    let mut recording = copy.filter(|_| draft.is_ok()).map(|(copy, at)| copy.record(begin, at));
    loop {
        match steps.blocking_recv()? {
            Step::Chunk(chunk) => {
                if let Some(recording) = &mut recording {
                    recording.chunk(&chunk);
                }
                if let Ok(open) = &mut draft
                    && let Err(refusal) = take(open, chunk)
                {
                    draft = Err(refusal);
                }
            }
            Step::Commit(commit) => {
                if let Some(recording) = &mut recording {
                    recording.commit(&commit);
                }
                let built = draft.and_then(|draft| finish(&base, draft, begin, commit));
                return Some(built.map(|(table, held)| Built {
                    table,
                    held,
                    full: begin.mode() == SyncMode::Full,
                    began,
                    recording,
                }));
            }
        }
    }
}

/// Opens the draft, unless the revision does not fit to what is held.
pub(super) fn draft(base: &Arc<Table>, begin: &Begin) -> Result<Draft, Refusal> {
    let epoch = Epoch::from_bytes(&begin.epoch).map_err(|_| Refusal::Undecodable("begin.epoch"))?;
    let held = base.revision().0;
    let same_lineage = base.epoch() == Some(epoch);
    if same_lineage && begin.revision < held {
        return Err(Refusal::Backwards { offered: begin.revision, held });
    }
    match begin.mode() {
        SyncMode::Full => Ok(Draft::full(Arc::clone(base), epoch, Revision(begin.revision))),
        SyncMode::Delta if same_lineage && begin.base_revision == held => {
            Draft::delta(Arc::clone(base), Revision(begin.revision)).ok_or(Refusal::Undecodable("begin.mode"))
        }
        SyncMode::Delta => Err(Refusal::WrongBase { base: begin.base_revision, held }),
        SyncMode::Unspecified => Err(Refusal::Undecodable("begin.mode")),
    }
}

pub(super) fn take(draft: &mut Draft, chunk: Chunk) -> Result<(), Refusal> {
    for resource in &chunk.upserts {
        draft.upsert(decode(resource));
    }
    for reference in &chunk.deletes {
        match (ref_from_wire(reference), kind_from_wire(reference.kind)) {
            (Some(reference), _) => draft.delete(reference),
            // What this build does not know it does not hold.
            (None, None) => {}
            (None, Some(_)) => return Err(Refusal::Undecodable("chunk.deletes.id")),
        }
    }
    Ok(())
}

pub(super) fn finish(base: &Table, draft: Draft, begin: &Begin, commit: Commit) -> Result<(Table, Held), Refusal> {
    if commit.revision != begin.revision {
        return Err(Refusal::Undecodable("commit.revision"));
    }
    let epoch = Epoch::from_bytes(&begin.epoch).map_err(|_| Refusal::Undecodable("begin.epoch"))?;
    let digest = commit.digest.unwrap_or_default();
    let stated = known(&digest).ok_or(Refusal::Undecodable("commit.digest"))?;
    let table = draft.finish();
    if *table.digest() != stated {
        return Err(Refusal::Digest);
    }
    if !begin.confirmed {
        guard("routers", base.router_count(), table.router_count())?;
        guard("keys", base.key_count(), table.key_count())?;
    }
    Ok((table, Held { epoch, revision: Revision(commit.revision), digest, seal: commit.seal }))
}

/// The part of a digest that this build can compute: a newer control plane may know more kinds.
fn known(digest: &proto::Digest) -> Option<Digest> {
    let kinds = digest.kinds.iter().filter(|entry| kind_from_wire(entry.kind).is_some()).cloned().collect();
    digest_from_wire(&proto::Digest { kinds })
}

const fn guard(what: &'static str, before: usize, after: usize) -> Result<(), Refusal> {
    if before > GUARDED && after < before.div_ceil(2) { Err(Refusal::Guard { what, before, after }) } else { Ok(()) }
}
