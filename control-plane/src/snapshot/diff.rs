//! What a node must be told to get from what it holds to a snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;

use shared::catalog::{Kind, Ref, Resource};
use shared::proto;
use shared::wire::encode;

use super::{Encoded, Snapshot, View};

/// One resource to tell.
#[derive(Clone)]
pub enum Upsert {
    /// Encoded once for all nodes.
    Shared(Arc<Encoded>),
    /// A secret, encoded for one node at the moment of sending.
    Secret(Arc<Resource>),
}

impl Upsert {
    /// In the form that travels.
    #[must_use]
    pub fn to_wire(&self) -> proto::Resource {
        match self {
            Self::Shared(encoded) => encoded.wire.clone(),
            Self::Secret(secret) => encode(secret),
        }
    }
}

/// What to tell.
#[derive(Default)]
pub struct Diff {
    /// New and changed resources.
    pub upserts: Vec<Upsert>,
    /// Resources that are gone.
    pub deletes: Vec<Ref>,
}

impl Diff {
    /// Everything of a snapshot.
    #[must_use]
    pub fn full(snapshot: &Snapshot, view: &View) -> Self {
        let references: Vec<Ref> = snapshot.references().collect();
        Self::of(snapshot, view, references)
    }

    /// From one snapshot to a later one. What both share costs nothing.
    #[must_use]
    pub fn between(old: &Snapshot, new: &Snapshot, view: &View) -> Self {
        let resources = new.resources().changes_since(old.resources(), |one, two| one.version == two.version);
        let secrets = new.secrets().changes_since(old.secrets(), |one, two| one.version == two.version);
        let changed: BTreeSet<Ref> = resources
            .map(|change| change.key)
            .chain(secrets.map(|change| Ref { kind: Kind::Secret, id: change.key }))
            .collect();
        Self::of(new, view, changed)
    }

    /// Of certain resources, as they are in a snapshot; what is not there is gone.
    #[must_use]
    pub fn of(snapshot: &Snapshot, view: &View, references: impl IntoIterator<Item = Ref>) -> Self {
        let mut diff = Self::default();
        for reference in references {
            let found = match reference.kind {
                Kind::Secret => snapshot.secrets().get(&reference.id).map(Arc::clone).map(Upsert::Secret),
                _ => snapshot.resources().get(&reference).map(Arc::clone).map(Upsert::Shared),
            };
            match found.filter(|_| view.includes(reference)) {
                Some(upsert) => diff.upserts.push(upsert),
                None => diff.deletes.push(reference),
            }
        }
        diff
    }

    /// How many resources it names.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.upserts.len() + self.deletes.len()
    }

    /// Whether there is nothing to tell.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Who lost access from one snapshot to the next: keys, users and organizations that are gone or were blocked.
#[must_use]
pub fn revoked(old: &Snapshot, new: &Snapshot) -> Vec<Ref> {
    new.resources()
        .changes_since(old.resources(), Arc::ptr_eq)
        .filter(|change| matches!(change.key.kind, Kind::Key | Kind::User | Kind::Organization))
        .filter(|change| change.old.is_some_and(|old| !old.blocked) && change.new.is_none_or(|new| new.blocked))
        .map(|change| change.key)
        .collect()
}
