//! One revision of the catalog, ready to be sent: immutable, sharing what did not change with the revision before.

use std::sync::Arc;

use bytes::Bytes;
use shared::catalog::{Item, Kind, Ref, Resource};
use shared::kernel::shards::Shards;
use shared::proto;
use shared::wire::{encode, kind_to_wire, ref_to_wire};
use uuid::Uuid;

use super::candidate::{Candidate, StagedChange};
use super::places::{Held, Places};
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
    /// The router that it belongs to, of kinds that go where a router goes.
    pub(super) home: Option<Uuid>,
    /// The credential that it uses.
    pub(super) secret: Option<Uuid>,
}

impl Encoded {
    pub(super) fn of(resource: &Resource) -> Self {
        let home = match resource.kind() {
            Kind::Router => Some(resource.id),
            Kind::Provider | Kind::Limit => resource.parent(Kind::Router),
            _ => None,
        };
        let secret = resource.parent(Kind::Secret);
        Self { version: resource.version, blocked: resource.blocked, wire: encode(resource), home, secret }
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
        let (home, secret) = last.map_or((None, None), |last| (last.home, last.secret));
        Self { version, blocked: false, wire, home, secret }
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
    /// The Groups of the routers that were read.
    pub groups: Vec<(Uuid, Vec<String>)>,
    /// Every staged change that there is.
    pub staged: Vec<StagedChange>,
}

/// The catalog at one revision.
pub struct Snapshot {
    head: Head,
    /// Everything but secrets.
    resources: Shards<Ref, Arc<Encoded>>,
    /// Opened, and never encoded before they are sent.
    secrets: Shards<Uuid, Arc<Resource>>,
    places: Places,
    candidates: Arc<[Candidate]>,
}

impl Snapshot {
    /// A catalog of nothing, as the base of the first one.
    #[must_use]
    pub fn empty(head: Head) -> Self {
        Self {
            head,
            resources: Shards::new(12),
            secrets: Shards::new(8),
            places: Places::new(),
            candidates: Arc::new([]),
        }
    }

    /// The catalog after an edit.
    #[must_use]
    pub fn edited(&self, head: Head, edit: Edit) -> Self {
        let Edit { upserts, deletes, unreadable, groups, staged } = edit;
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
        let places = self.places.edited(self.held(), Held { resources: &resources, secrets: &secrets }, groups);
        Self { head, resources, secrets, places, candidates: staged.into_iter().map(Candidate::of).collect() }
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

    /// Whether it holds a resource.
    #[must_use]
    pub fn holds(&self, reference: Ref) -> bool {
        match reference.kind {
            Kind::Secret => self.secrets.get(&reference.id).is_some(),
            _ => self.resources.get(&reference).is_some(),
        }
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

    pub(super) const fn held(&self) -> Held<'_> {
        Held { resources: &self.resources, secrets: &self.secrets }
    }

    pub(super) const fn places(&self) -> &Places {
        &self.places
    }

    pub(super) fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("head", &self.head).field("resources", &self.len()).finish_non_exhaustive()
    }
}
