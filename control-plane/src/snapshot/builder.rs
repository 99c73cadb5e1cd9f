//! Reads the catalog into a snapshot: what changed since the last one where the log says, else everything.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use shared::catalog::{Item, Kind, Ref, Resource, SecretValue};
use uuid::Uuid;

use super::publisher::precise;
use super::{Edit, Roots, Snapshot, StagedChange, StagedVersion};
use crate::store::snapshot::{Batch, Scope, SealedSecret, SnapshotReader, StagedContent};
use crate::store::{Store, StoreError};
use crate::vault::KeyRing;

/// Why there is no new snapshot.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The database does not answer, or not as it should.
    #[error("the catalog cannot be read")]
    Store(#[from] StoreError),
}

/// Reads snapshots.
pub struct Builder {
    store: Store,
    vault: Arc<KeyRing>,
    roots: Roots,
}

impl Builder {
    /// Over the database, with what opens its secrets.
    #[must_use]
    pub const fn new(store: Store, vault: Arc<KeyRing>, roots: Roots) -> Self {
        Self { store, vault, roots }
    }

    /// The catalog as it is now; `None` when that is what `base` says.
    ///
    /// # Errors
    /// [`BuildError`] when the database does not answer.
    pub async fn build(&self, base: Option<&Snapshot>) -> Result<Option<Snapshot>, BuildError> {
        let mut reader = self.store.snapshot_reader().await?;
        let head = reader.head().await?;
        if base.is_some_and(|base| base.head() == head) {
            return Ok(None);
        }
        let same_lineage = base.filter(|base| base.head().epoch == head.epoch && base.head().revision < head.revision);
        if let Some(base) = same_lineage
            && let Some(changes) = reader.changes_since(base.head().revision.0).await?
        {
            let references = changes.into_iter().map(|change| Ref { kind: change.kind, id: change.id });
            let edit = self.read_some(&mut reader, references).await?;
            return Ok(Some(base.edited(head, edit)));
        }
        let edit = self.read_all(&mut reader).await?;
        let empty = Snapshot::empty(head);
        // Of another lineage the same version may hide another content, so nothing is taken over from it.
        let base = base.filter(|base| base.head().epoch == head.epoch).unwrap_or(&empty);
        Ok(Some(base.replaced(head, edit)))
    }

    async fn read_all(&self, reader: &mut SnapshotReader) -> Result<Edit, StoreError> {
        let mut edit = Edit { upserts: self.roots.resources(), ..Edit::default() };
        edit.groups = reader.router_groups(Scope::All).await?;
        edit.staged = self.staged(reader).await?;
        for kind in Kind::ALL.iter().copied() {
            take(&mut edit, kind, reader.resources(kind, Scope::All).await?);
        }
        self.open(&mut edit, reader.secrets(Scope::All).await?);
        metrics::gauge!(super::UNREADABLE).set(precise(edit.unreadable.len() as u64));
        Ok(edit)
    }

    async fn read_some(
        &self,
        reader: &mut SnapshotReader,
        references: impl Iterator<Item = Ref>,
    ) -> Result<Edit, StoreError> {
        let mut by_kind: BTreeMap<Kind, Vec<Uuid>> = BTreeMap::new();
        for reference in references {
            by_kind.entry(reference.kind).or_default().push(reference.id);
        }
        let mut edit = Edit { staged: self.staged(reader).await?, ..Edit::default() };
        if let Some(ids) = by_kind.get(&Kind::Router) {
            edit.groups = reader.router_groups(Scope::Ids(ids)).await?;
        }
        for (kind, ids) in &by_kind {
            match kind {
                Kind::Secret => self.open(&mut edit, reader.secrets(Scope::Ids(ids)).await?),
                kind => take(&mut edit, *kind, reader.resources(*kind, Scope::Ids(ids)).await?),
            }
        }
        let found: HashSet<Ref> =
            edit.upserts.iter().map(Resource::reference).chain(edit.unreadable.iter().copied()).collect();
        let asked = by_kind.into_iter().flat_map(|(kind, ids)| ids.into_iter().map(move |id| Ref { kind, id }));
        edit.deletes = asked.filter(|reference| !found.contains(reference)).collect();
        if !edit.unreadable.is_empty() {
            metrics::gauge!(super::UNREADABLE).set(precise(edit.unreadable.len() as u64));
        }
        Ok(edit)
    }

    /// A secret that does not open stays at its last good version; its provider is reported by the nodes.
    fn open(&self, edit: &mut Edit, secrets: Batch<SealedSecret>) {
        for secret in secrets.resources {
            match self.opened(&secret) {
                Some(resource) => edit.upserts.push(resource),
                None => edit.unreadable.push(Ref { kind: Kind::Secret, id: secret.id.uuid() }),
            }
        }
        note_unreadable(edit, Kind::Secret, secrets.unreadable);
    }

    fn opened(&self, secret: &SealedSecret) -> Option<Resource> {
        match self.vault.open(&secret.context(), &secret.sealed) {
            Ok(value) => Some(Resource {
                id: secret.id.uuid(),
                version: secret.version,
                parents: Vec::new(),
                blocked: false,
                expires: None,
                requires: Vec::new(),
                item: Item::Secret(SecretValue { purpose: secret.purpose, generation: secret.generation, value }),
            }),
            Err(error) => {
                tracing::error!(secret = %secret.id, provider = %secret.provider, %error, "a provider credential cannot be opened");
                None
            }
        }
    }

    /// Every staged change; one with a credential that does not open is left out, and its nodes stay with the catalog.
    async fn staged(&self, reader: &mut SnapshotReader) -> Result<Vec<StagedChange>, StoreError> {
        let changes = reader.candidates().await?.into_iter().filter_map(|candidate| {
            let versions = candidate.rows.into_iter().map(|row| {
                let resource = match row.content {
                    None => None,
                    Some(StagedContent::Resource(resource)) => Some(*resource),
                    Some(StagedContent::Sealed(secret)) => Some(self.opened(&secret)?),
                };
                Some(StagedVersion { reference: row.reference, base: row.base, resource })
            });
            let versions = versions.collect::<Option<Vec<_>>>();
            if versions.is_none() {
                tracing::error!(candidate = candidate.number, "a candidate cannot be read; it is told to nobody");
            }
            Some(StagedChange { selector: candidate.selector, versions: versions? })
        });
        Ok(changes.collect())
    }
}

fn take(edit: &mut Edit, kind: Kind, batch: Batch) {
    edit.upserts.extend(batch.resources);
    note_unreadable(edit, kind, batch.unreadable);
}

fn note_unreadable(edit: &mut Edit, kind: Kind, rows: Vec<(Uuid, String)>) {
    for (id, reason) in rows {
        tracing::error!(%kind, %id, reason, "a row of the catalog cannot be read");
        edit.unreadable.push(Ref { kind, id });
    }
}
