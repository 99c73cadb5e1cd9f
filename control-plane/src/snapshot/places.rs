//! Which Groups are told which resources, and a digest for each Group: kept by edits, never by looking at everything.
//!
//! A router may name its Groups; providers, limits and credentials go where their router goes; all else goes everywhere.
//! A thousand nodes of ten Groups then share ten digests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shared::catalog::{Digest, Kind, PEPPER_ID, Ref, Resource};
use shared::kernel::shards::Shards;
use uuid::Uuid;

use super::Encoded;

/// Everything of one snapshot.
#[derive(Clone, Copy)]
pub(super) struct Held<'a> {
    pub(super) resources: &'a Shards<Ref, Arc<Encoded>>,
    pub(super) secrets: &'a Shards<Uuid, Arc<Resource>>,
}

impl Held<'_> {
    /// The version of a resource that is there.
    pub(super) fn version(&self, reference: Ref) -> Option<u64> {
        match reference.kind {
            Kind::Secret => self.secrets.get(&reference.id).map(|secret| secret.version),
            _ => self.resources.get(&reference).map(|encoded| encoded.version),
        }
    }
}

/// Who is told a resource.
enum Place<'a> {
    Everywhere,
    Groups(&'a [String]),
    /// Nobody is known to need it.
    Nowhere,
}

/// Digests under change.
struct Sums {
    everywhere: Digest,
    restricted: BTreeMap<String, Digest>,
}

impl Sums {
    fn leave(&mut self, reference: Ref, told: Option<(u64, Place<'_>)>) {
        if let Some((version, place)) = told {
            self.change(&place, |sum| sum.remove(reference.kind, reference.id, version));
        }
    }

    fn join(&mut self, reference: Ref, told: Option<(u64, Place<'_>)>) {
        if let Some((version, place)) = told {
            self.change(&place, |sum| sum.add(reference.kind, reference.id, version));
        }
    }

    fn change(&mut self, place: &Place<'_>, change: impl Fn(&mut Digest)) {
        match place {
            Place::Everywhere => change(&mut self.everywhere),
            Place::Groups(groups) => {
                for group in *groups {
                    change(self.restricted.entry(group.clone()).or_default());
                }
            }
            Place::Nowhere => {}
        }
    }
}

/// Who is told what.
#[derive(Clone)]
pub(super) struct Places {
    /// The Groups of the routers that name any.
    groups: Shards<Uuid, Arc<[String]>>,
    /// What hangs on each router.
    families: Shards<Uuid, Arc<BTreeSet<Ref>>>,
    /// The router whose provider uses a secret.
    homes: Shards<Uuid, Uuid>,
    /// Over what every Group is told.
    everywhere: Digest,
    /// Over what only certain Groups are told.
    restricted: Arc<BTreeMap<String, Digest>>,
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            groups: Shards::new(8),
            families: Shards::new(8),
            homes: Shards::new(8),
            everywhere: Digest::default(),
            restricted: Arc::default(),
        }
    }

    /// After the snapshot changed from one state to another, and routers named other Groups.
    pub(super) fn edited(&self, old: Held<'_>, new: Held<'_>, told: Vec<(Uuid, Vec<String>)>) -> Self {
        let groups = self.groups.edited(self.regrouped(old, new, told));
        let homes = self.homes.edited(rehomed(old, new));
        let families = self.families.edited(self.married(old, new, &homes));
        let mut next = Self { groups, families, homes, ..self.clone() };
        let moved: BTreeSet<Ref> = next.moved_since(self).into_iter().collect();
        let mut sums = Sums { everywhere: self.everywhere.clone(), restricted: BTreeMap::clone(&self.restricted) };
        for change in new.resources.changes_since(old.resources, Arc::ptr_eq) {
            if !moved.contains(&change.key) {
                let home = |encoded: &Arc<Encoded>| encoded.home;
                sums.leave(change.key, change.old.map(|old| (old.version, self.place(change.key, home(old)))));
                sums.join(change.key, change.new.map(|new| (new.version, next.place(change.key, home(new)))));
            }
        }
        for change in new.secrets.changes_since(old.secrets, Arc::ptr_eq) {
            let reference = secret(change.key);
            if !moved.contains(&reference) {
                let home = next.homes.get(&change.key).copied();
                sums.leave(reference, change.old.map(|old| (old.version, self.place(reference, home))));
                sums.join(reference, change.new.map(|new| (new.version, next.place(reference, home))));
            }
        }
        for reference in moved {
            let (from, to) = (self.home(old, reference), next.home(new, reference));
            sums.leave(reference, old.version(reference).map(|version| (version, self.place(reference, from))));
            sums.join(reference, new.version(reference).map(|version| (version, next.place(reference, to))));
        }
        sums.restricted.retain(|_, digest| *digest != Digest::default());
        (next.everywhere, next.restricted) = (sums.everywhere, Arc::new(sums.restricted));
        next
    }

    /// The Groups of routers that changed; routers that are gone have none.
    fn regrouped(
        &self,
        old: Held<'_>,
        new: Held<'_>,
        told: Vec<(Uuid, Vec<String>)>,
    ) -> Vec<(Uuid, Option<Arc<[String]>>)> {
        let mut edits: Vec<(Uuid, Option<Arc<[String]>>)> = new
            .resources
            .changes_since(old.resources, Arc::ptr_eq)
            .filter(|change| change.key.kind == Kind::Router && change.new.is_none())
            .filter(|change| self.groups.get(&change.key.id).is_some())
            .map(|change| (change.key.id, None))
            .collect();
        let differs = |(id, groups): &(Uuid, Vec<String>)| {
            self.groups.get(id).map_or(&[][..], |groups| &**groups) != groups.as_slice()
        };
        let told = told.into_iter().filter(differs);
        edits.extend(told.map(|(id, groups)| (id, (!groups.is_empty()).then(|| groups.into()))));
        edits
    }

    /// What joined and left the families of routers.
    fn married(
        &self,
        old: Held<'_>,
        new: Held<'_>,
        homes: &Shards<Uuid, Uuid>,
    ) -> Vec<(Uuid, Option<Arc<BTreeSet<Ref>>>)> {
        let mut moves: BTreeMap<Uuid, Vec<(Ref, bool)>> = BTreeMap::new();
        let mut moved = |reference: Ref, from: Option<Uuid>, to: Option<Uuid>| {
            if from != to {
                from.into_iter().for_each(|router| moves.entry(router).or_default().push((reference, false)));
                to.into_iter().for_each(|router| moves.entry(router).or_default().push((reference, true)));
            }
        };
        for change in new.resources.changes_since(old.resources, Arc::ptr_eq) {
            if change.key.kind != Kind::Router {
                let home = |encoded: &Arc<Encoded>| encoded.home;
                moved(change.key, change.old.and_then(home), change.new.and_then(home));
            }
        }
        for change in homes.changes_since(&self.homes, |one, two| one == two) {
            moved(secret(change.key), change.old.copied(), change.new.copied());
        }
        let edited = moves.into_iter().map(|(router, moves)| {
            let mut family = self.families.get(&router).map(|family| BTreeSet::clone(family)).unwrap_or_default();
            for (reference, joins) in moves {
                if joins {
                    family.insert(reference);
                } else {
                    family.remove(&reference);
                }
            }
            (router, (!family.is_empty()).then(|| Arc::new(family)))
        });
        edited.collect()
    }

    /// Who is told a resource that belongs to this router, or to none.
    fn place(&self, reference: Ref, home: Option<Uuid>) -> Place<'_> {
        match (reference.kind, home) {
            (_, Some(router)) => self.groups.get(&router).map_or(Place::Everywhere, |groups| Place::Groups(groups)),
            (Kind::Secret, None) if reference.id == PEPPER_ID => Place::Everywhere,
            // A credential that no provider is known to use is nobody's business.
            (Kind::Secret | Kind::Provider, None) => Place::Nowhere,
            _ => Place::Everywhere,
        }
    }

    /// The router that decides where a resource goes; absent where no router does.
    pub(super) fn home(&self, held: Held<'_>, reference: Ref) -> Option<Uuid> {
        match reference.kind {
            Kind::Router => Some(reference.id),
            Kind::Secret => self.homes.get(&reference.id).copied(),
            Kind::Provider | Kind::Limit => held.resources.get(&reference).and_then(|encoded| encoded.home),
            _ => None,
        }
    }

    /// Whether the nodes of a Group are told of what hangs on a router.
    pub(super) fn serves(&self, router: Uuid, group: &str) -> bool {
        self.groups.get(&router).is_none_or(|groups| groups.iter().any(|one| one == group))
    }

    /// Whether the nodes of a Group are told of a resource.
    pub(super) fn tells(&self, held: Held<'_>, reference: Ref, group: &str) -> bool {
        match self.place(reference, self.home(held, reference)) {
            Place::Everywhere => true,
            Place::Groups(groups) => groups.iter().any(|one| one == group),
            Place::Nowhere => false,
        }
    }

    /// Over everything that the nodes of a Group are told.
    pub(super) fn digest(&self, group: &str) -> Digest {
        match self.restricted.get(group) {
            Some(restricted) => self.everywhere.plus(restricted),
            None => self.everywhere.clone(),
        }
    }

    /// What hangs on a router.
    pub(super) fn family(&self, router: Uuid) -> impl Iterator<Item = Ref> + '_ {
        self.families.get(&router).into_iter().flat_map(|family| family.iter().copied())
    }

    /// What may be told to others than before, though it is itself as it was: with its router, or with its provider.
    pub(super) fn moved_since(&self, older: &Self) -> Vec<Ref> {
        let mut moved = Vec::new();
        for change in self.groups.changes_since(&older.groups, |one, two| one == two) {
            moved.push(Ref { kind: Kind::Router, id: change.key });
            moved.extend(self.family(change.key));
            moved.extend(older.family(change.key));
        }
        moved.extend(self.homes.changes_since(&older.homes, |one, two| one == two).map(|change| secret(change.key)));
        moved
    }
}

const fn secret(id: Uuid) -> Ref {
    Ref { kind: Kind::Secret, id }
}

/// Which secrets providers came to use and ceased to use; whoever takes one over comes last.
fn rehomed(old: Held<'_>, new: Held<'_>) -> Vec<(Uuid, Option<Uuid>)> {
    let changes = || {
        let changes = new.resources.changes_since(old.resources, Arc::ptr_eq);
        changes.filter(|change| change.key.kind == Kind::Provider)
    };
    let left = changes().filter_map(|change| Some((change.old?.secret?, None)));
    let taken = changes().filter_map(|change| {
        let provider = change.new?;
        Some((provider.secret?, provider.home))
    });
    left.chain(taken).collect()
}
