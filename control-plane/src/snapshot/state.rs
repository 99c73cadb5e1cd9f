//! One revision of the catalog, ready to be sent: immutable, sharing what did not change with the revision before.

use std::sync::Arc;

use bytes::Bytes;
use shared::catalog::{Digest, Item, Kind, Ref, Resource};
use shared::kernel::shards::Shards;
use shared::proto;
use shared::wire::{encode, kind_to_wire, ref_to_wire};
use uuid::Uuid;

use crate::store::Head;

/// A feature that no node has: a resource that requires it is closed wherever it arrives.
const UNREADABLE: &str = "a-row-that-the-control-plane-can-read";
/// Set in the version of a resource whose row cannot be read, so that it differs from every real version.
const UNREADABLE_VERSION: u64 = 1 << 63;

/// A resource in the form that travels.
pub struct Encoded {
    /// Rises with each change of it.
    pub version: u64,
    /// Switched off.
    pub blocked: bool,
    /// What travels; its body is shared by all copies.
    pub wire: proto::Resource,
}

impl Encoded {
    fn of(resource: &Resource) -> Self {
        Self { version: resource.version, blocked: resource.blocked, wire: encode(resource) }
    }

    /// Stands for a row that cannot be read: nodes cannot apply it, and close it.
    fn unreadable(reference: Ref, last: Option<&Self>) -> Self {
        let version = last.map_or(0, |last| last.version) | UNREADABLE_VERSION;
        let wire = proto::Resource {
            kind: kind_to_wire(reference.kind),
            id: ref_to_wire(reference).id,
            version,
            parents: last.map(|last| last.wire.parents.clone()).unwrap_or_default(),
            blocked: false,
            expires_unix_ms: None,
            requires: vec![UNREADABLE.to_owned()],
            body: Bytes::new(),
        };
        Self { version, blocked: false, wire }
    }
}

/// Everything that happened between two revisions.
#[derive(Default)]
pub struct Edit {
    /// Rows as they are now.
    pub upserts: Vec<Resource>,
    /// Rows that are gone.
    pub deletes: Vec<Ref>,
    /// Rows that are there but cannot be read.
    pub unreadable: Vec<Ref>,
}

/// The catalog at one revision.
pub struct Snapshot {
    head: Head,
    /// Everything but secrets.
    resources: Shards<Ref, Arc<Encoded>>,
    /// Opened, and never encoded before they are sent.
    secrets: Shards<Uuid, Arc<Resource>>,
    digest: Digest,
}

impl Snapshot {
    /// A catalog of nothing, as the base of the first one.
    #[must_use]
    pub fn empty(head: Head) -> Self {
        Self { head, resources: Shards::new(12), secrets: Shards::new(8), digest: Digest::default() }
    }

    /// The catalog after an edit.
    #[must_use]
    pub fn edited(&self, head: Head, edit: Edit) -> Self {
        let Edit { upserts, deletes, unreadable } = edit;
        let mut resources: Vec<(Ref, Option<Arc<Encoded>>)> = Vec::with_capacity(upserts.len());
        let mut secrets: Vec<(Uuid, Option<Arc<Resource>>)> = Vec::new();
        for resource in upserts {
            let reference = resource.reference();
            if matches!(resource.item, Item::Secret(_)) {
                if self.secrets.get(&resource.id).is_none_or(|old| old.version != resource.version) {
                    secrets.push((resource.id, Some(Arc::new(resource))));
                }
            } else if self.resources.get(&reference).is_none_or(|old| old.version != resource.version) {
                resources.push((reference, Some(Arc::new(Encoded::of(&resource)))));
            }
        }
        for reference in deletes {
            match reference.kind {
                Kind::Secret => secrets.push((reference.id, None)),
                _ => resources.push((reference, None)),
            }
        }
        for reference in unreadable.into_iter().filter(|reference| reference.kind.closes_on_reject()) {
            let last = self.resources.get(&reference).map(Arc::as_ref);
            resources.push((reference, Some(Arc::new(Encoded::unreadable(reference, last)))));
        }
        let resources = self.resources.edited(resources);
        let secrets = self.secrets.edited(secrets);
        let mut digest = self.digest.clone();
        for change in resources.changes_since(&self.resources, Arc::ptr_eq) {
            count(&mut digest, change.key, change.old.map(|old| old.version), change.new.map(|new| new.version));
        }
        for change in secrets.changes_since(&self.secrets, Arc::ptr_eq) {
            let reference = Ref { kind: Kind::Secret, id: change.key };
            count(&mut digest, reference, change.old.map(|old| old.version), change.new.map(|new| new.version));
        }
        Self { head, resources, secrets, digest }
    }

    /// The catalog as a complete reading says; what is neither read nor unreadable is gone.
    #[must_use]
    pub fn replaced(&self, head: Head, mut edit: Edit) -> Self {
        let told: std::collections::HashSet<Ref> =
            edit.upserts.iter().map(Resource::reference).chain(edit.unreadable.iter().copied()).collect();
        edit.deletes = self.references().filter(|reference| !told.contains(reference)).collect();
        self.edited(head, edit)
    }

    /// Lineage and revision.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// Over everything.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// How many resources there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.resources.len() + self.secrets.len()
    }

    /// Whether there is nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names of everything.
    pub fn references(&self) -> impl Iterator<Item = Ref> + '_ {
        let secrets = self.secrets.iter().map(|(id, _)| Ref { kind: Kind::Secret, id: *id });
        self.resources.iter().map(|(reference, _)| *reference).chain(secrets)
    }

    pub(super) const fn resources(&self) -> &Shards<Ref, Arc<Encoded>> {
        &self.resources
    }

    pub(super) const fn secrets(&self) -> &Shards<Uuid, Arc<Resource>> {
        &self.secrets
    }
}

fn count(digest: &mut Digest, reference: Ref, old: Option<u64>, new: Option<u64>) {
    if let Some(version) = old {
        digest.remove(reference.kind, reference.id, version);
    }
    if let Some(version) = new {
        digest.add(reference.kind, reference.id, version);
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("head", &self.head).field("resources", &self.len()).finish_non_exhaustive()
    }
}
