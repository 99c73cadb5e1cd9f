//! What of the catalog one node is told: what its Group serves, and of staged changes those that its labels choose.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use shared::catalog::{Digest, Kind, Ref};

use super::Snapshot;
use super::candidate::{Candidate, Staged};
use super::diff::Upsert;
use crate::vault::ViewMark;

/// The part of the catalog that a node of a Group with these labels is told. Nodes that are alike in both are told the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    group: String,
    labels: BTreeMap<String, String>,
}

impl View {
    /// Of a node.
    #[must_use]
    pub const fn of(group: String, labels: BTreeMap<String, String>) -> Self {
        Self { group, labels }
    }

    /// Whose view it is.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Tells it from others: a node that comes back with another Group or other labels holds what it is not told any more.
    #[must_use]
    pub fn mark(&self) -> ViewMark {
        let mut context = Context::new(&SHA256);
        let labels = self.labels.iter().flat_map(|(name, value)| [name, value]);
        for part in std::iter::once(&self.group).chain(labels) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        context.finish().as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// Over everything that it is told.
    #[must_use]
    pub fn digest(&self, snapshot: &Snapshot) -> Digest {
        self.at(snapshot).digest()
    }

    /// What it shows of a snapshot.
    pub(super) fn at<'a>(&'a self, snapshot: &'a Snapshot) -> Seen<'a> {
        let mut staged = BTreeMap::new();
        let chosen = |candidate: &&Candidate| candidate.selector.chooses(&self.labels) && candidate.is_fresh(snapshot);
        for candidate in snapshot.candidates().iter().filter(chosen) {
            for one in &candidate.staged {
                if home_of(snapshot, candidate, one).is_some_and(|home| snapshot.places().serves(home, &self.group)) {
                    staged.insert(one.reference, one);
                }
            }
        }
        Seen { snapshot, group: &self.group, staged }
    }
}

/// The router that decides who is told of a staged resource: that of the catalog's. A credential that the catalog does not
/// have goes with the provider that names it.
fn home_of(snapshot: &Snapshot, candidate: &Candidate, staged: &Staged) -> Option<uuid::Uuid> {
    let (places, held) = (snapshot.places(), snapshot.held());
    places.home(held, staged.reference).or_else(|| {
        let names = |other: &&Staged| other.secret() == Some(staged.reference.id);
        let provider = candidate.staged.iter().find(names).filter(|_| staged.reference.kind == Kind::Secret)?;
        places.home(held, provider.reference)
    })
}

/// A snapshot as one view shows it.
pub(super) struct Seen<'a> {
    snapshot: &'a Snapshot,
    group: &'a str,
    /// What stands in the place of the catalog's.
    staged: BTreeMap<Ref, &'a Staged>,
}

impl Seen<'_> {
    /// The version of a resource that is told.
    pub(super) fn version(&self, reference: Ref) -> Option<u64> {
        match self.staged.get(&reference) {
            Some(staged) => staged.version(),
            None => self.base_version(reference),
        }
    }

    fn base_version(&self, reference: Ref) -> Option<u64> {
        let (places, held) = (self.snapshot.places(), self.snapshot.held());
        held.version(reference).filter(|_| places.tells(held, reference, self.group))
    }

    /// A resource that is told.
    pub(super) fn get(&self, reference: Ref) -> Option<Upsert> {
        if let Some(staged) = self.staged.get(&reference) {
            return staged.upsert();
        }
        let held = self.snapshot.held();
        let found = match reference.kind {
            Kind::Secret => held.secrets.get(&reference.id).map(|secret| Upsert::Secret(Arc::clone(secret))),
            _ => held.resources.get(&reference).map(|encoded| Upsert::Shared(Arc::clone(encoded))),
        };
        found.filter(|_| self.snapshot.places().tells(held, reference, self.group))
    }

    /// Names of everything that may be told.
    pub(super) fn references(&self) -> impl Iterator<Item = Ref> + '_ {
        let held = self.snapshot.held();
        let added = self.staged.keys().copied().filter(move |staged| held.version(*staged).is_none());
        self.snapshot.references().chain(added)
    }

    /// Names of what stands in the place of the catalog's.
    pub(super) fn staged(&self) -> impl Iterator<Item = Ref> + '_ {
        self.staged.keys().copied()
    }

    /// Over everything that is told.
    pub(super) fn digest(&self) -> Digest {
        let mut digest = self.snapshot.places().digest(self.group);
        for (reference, staged) in &self.staged {
            if let Some(version) = self.base_version(*reference) {
                digest.remove(reference.kind, reference.id, version);
            }
            if let Some(version) = staged.version() {
                digest.add(reference.kind, reference.id, version);
            }
        }
        digest
    }
}
