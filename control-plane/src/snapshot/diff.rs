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
        let seen = view.at(snapshot);
        Self { upserts: seen.references().filter_map(|one| seen.get(one)).collect(), deletes: Vec::new() }
    }

    /// From one snapshot to a later one. What both share costs nothing.
    #[must_use]
    pub fn between(old: &Snapshot, new: &Snapshot, view: &View) -> Self {
        let resources = new.resources().changes_since(old.resources(), |one, two| one.version == two.version);
        let secrets = new.secrets().changes_since(old.secrets(), |one, two| one.version == two.version);
        let mut changed: BTreeSet<Ref> = resources
            .map(|change| change.key)
            .chain(secrets.map(|change| Ref { kind: Kind::Secret, id: change.key }))
            .collect();
        let (before, after) = (view.at(old), view.at(new));
        changed.extend(new.places().moved_since(old.places()));
        changed.extend(before.staged().chain(after.staged()));
        let mut diff = Self::default();
        for reference in changed {
            let (held, told) = (before.version(reference), after.version(reference));
            if held == told {
                continue;
            }
            match after.get(reference) {
                Some(upsert) => diff.upserts.push(upsert),
                None => diff.deletes.push(reference),
            }
        }
        diff
    }

    /// Of certain resources, as they are in a snapshot, and of what goes where they go; what is not there, or not told
    /// any more, is gone.
    #[must_use]
    pub fn of(snapshot: &Snapshot, view: &View, references: impl IntoIterator<Item = Ref>) -> Self {
        let seen = view.at(snapshot);
        let mut all = BTreeSet::new();
        for reference in references {
            match reference.kind {
                // Where it is told may have changed, and with it all that hangs on it.
                Kind::Router => all.extend(snapshot.places().family(reference.id)),
                Kind::Provider => {
                    let secret = snapshot.resources().get(&reference).and_then(|provider| provider.secret);
                    all.extend(secret.map(|id| Ref { kind: Kind::Secret, id }));
                }
                _ => {}
            }
            all.insert(reference);
        }
        // A change of one resource ends a candidate with all of its resources.
        all.extend(snapshot.candidates().iter().flat_map(|candidate| candidate.staged.iter().map(|one| one.reference)));
        let mut diff = Self::default();
        for reference in all {
            match seen.get(reference) {
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
