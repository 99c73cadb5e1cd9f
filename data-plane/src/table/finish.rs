//! A finished draft: rows merged, references checked, routers compiled, the digest brought up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_lc_rs::hmac;
use shared::catalog::{Credential, Digest, FleetSettings, Kind, Ref, SecretPurpose};
use shared::kernel::ids::{Epoch, Revision};
use shared::kernel::shards::Shards;
use shared::wire::{RejectCode, Rejection, kind_to_wire};
use uuid::Uuid;

use super::draft::{Changes, Draft};
use super::routing::{Routing, compile};
use super::rows::{Grant, KeyRow, LimitRow, ProviderRow, SecretRow, SettingRow, Stray, Versioned};
use super::{Rows, Table};

/// Words of the text of a rejection are for operators; it never holds a secret.
pub(super) fn rejection(reference: Ref, version: u64, code: RejectCode, text: String) -> Rejection {
    Rejection { kind: kind_to_wire(reference.kind), id: reference.id, version, code, text }
}

/// Merges rows and counts them in the digest.
struct Merge {
    full: bool,
    digest: Digest,
}

impl Merge {
    fn rows<V: Versioned>(&mut self, kind: Kind, old: &Rows<V>, changes: Changes<V>) -> (Rows<V>, Rows<V>) {
        let base = if self.full { old.emptied() } else { old.clone() };
        let new = base.edited(changes);
        for change in new.changes_since(&base, Arc::ptr_eq) {
            if let Some(row) = change.old {
                self.digest.remove(kind, change.key, row.version());
            }
            if let Some(row) = change.new {
                self.digest.add(kind, change.key, row.version());
            }
        }
        (base, new)
    }

    fn strays(&mut self, old: &Rows<Stray>, changes: Changes<Stray>) -> Rows<Stray> {
        let base = if self.full { old.emptied() } else { old.clone() };
        let new = base.edited(changes);
        for change in new.changes_since(&base, Arc::ptr_eq) {
            if let Some(row) = change.old {
                self.digest.remove(row.kind, change.key, row.version);
            }
            if let Some(row) = change.new {
                self.digest.add(row.kind, change.key, row.version);
            }
        }
        new
    }
}

impl Draft {
    /// The next table. Takes time with the size of the draft: off the hot path.
    #[must_use]
    pub fn finish(mut self) -> Table {
        let base = Arc::clone(&self.base);
        let digest = if self.full { Digest::default() } else { base.digest.clone() };
        let mut merge = Merge { full: self.full, digest };
        let touched_keys: Vec<Uuid> = self.keys.iter().map(|(id, _)| *id).collect();
        let (old_keys, keys) = merge.rows(Kind::Key, &base.keys, std::mem::take(&mut self.keys));
        let (by_public_id, by_digest) = self.key_indexes(&old_keys, &keys);
        let touched_users: Vec<Uuid> = self.users.iter().map(|(id, _)| *id).collect();
        let (_, users) = merge.rows(Kind::User, &base.users, std::mem::take(&mut self.users));
        let (_, organizations) =
            merge.rows(Kind::Organization, &base.organizations, std::mem::take(&mut self.organizations));
        let (_, roles) = merge.rows(Kind::Role, &base.roles, std::mem::take(&mut self.roles));
        let (old_secrets, secrets) = merge.rows(Kind::Secret, &base.secrets, std::mem::take(&mut self.secrets));
        let (_, setting_rows) = merge.rows(Kind::Setting, &base.setting_rows, std::mem::take(&mut self.settings));
        let (old_limits, limits) = merge.rows(Kind::Limit, &base.limits, std::mem::take(&mut self.limits));
        let (_, routers) = merge.rows(Kind::Router, &base.routers, std::mem::take(&mut self.routers));
        let compiled = self.compile_providers(&old_secrets, &secrets);
        let (_, providers) = merge.rows(Kind::Provider, &base.providers, compiled);
        let strays = merge.strays(&base.strays, std::mem::take(&mut self.strays));
        let routing_stays = routers.unshared_with(&base.routers) == 0 && providers.unshared_with(&base.providers) == 0;
        let mut table = Table {
            epoch: Some(self.epoch),
            revision: self.revision,
            digest: merge.digest,
            by_public_id,
            by_digest,
            grants: self.grants(&old_limits, &limits),
            routing: Arc::clone(&base.routing),
            settings: settings(&setting_rows),
            peppers: peppers(&secrets),
            closed: Arc::new(
                strays.iter().flat_map(|(_, stray)| stray.closes.iter().copied()).collect::<BTreeSet<_>>(),
            ),
            revoked: still_revoked(&base, self.epoch, self.revision),
            rejections: Arc::default(),
            stale: false,
            keys,
            users,
            organizations,
            roles,
            routers,
            providers,
            limits,
            secrets,
            setting_rows,
            strays,
        };
        if !routing_stays {
            self.rejections.retain(|reference, old| reference.kind != Kind::Router || old.code != RejectCode::Conflict);
            let (routing, conflicts) = Routing::build(&table.routers, &table.providers, &base.routing);
            table.routing = Arc::new(routing);
            self.rejections.extend(conflicts.into_iter().map(|one| (Ref { kind: Kind::Router, id: one.id }, one)));
        }
        self.check_references(&table, &touched_keys, &touched_users);
        table.rejections = Arc::new(self.rejections);
        table
    }

    fn key_indexes(&mut self, old: &Rows<KeyRow>, new: &Rows<KeyRow>) -> (Rows<KeyRow>, Rows<KeyRow>) {
        let (mut public, mut digests) = (Changes::new(), Changes::new());
        for row in new.changes_since(old, Arc::ptr_eq).filter_map(|change| change.old) {
            public.extend(row.public_id.map(|place| (place, None)));
            digests.extend(row.digest_places().map(|place| (place, None)));
        }
        for row in new.changes_since(old, Arc::ptr_eq).filter_map(|change| change.new) {
            public.extend(row.public_id.map(|place| (place, Some(Arc::clone(row)))));
            digests.extend(row.digest_places().map(|place| (place, Some(Arc::clone(row)))));
        }
        let base = |rows: &Rows<KeyRow>| if self.full { rows.emptied() } else { rows.clone() };
        let public = base(&self.base.by_public_id).edited(public);
        let digests = base(&self.base.by_digest).edited(digests);
        for row in new.changes_since(old, Arc::ptr_eq).filter_map(|change| change.new) {
            let holder = row.public_id.and_then(|place| public.get(&place));
            if let Some(holder) = holder.filter(|holder| holder.id != row.id) {
                let text = format!("its public id belongs to key {}", holder.id);
                let reference = Ref { kind: Kind::Key, id: row.id.uuid() };
                self.rejections.insert(reference, rejection(reference, row.version, RejectCode::Conflict, text));
            }
        }
        (public, digests)
    }

    /// Compiles the providers that came, those whose secret came, and those that could not be compiled before.
    fn compile_providers(&mut self, old_secrets: &Rows<SecretRow>, secrets: &Rows<SecretRow>) -> Changes<ProviderRow> {
        let waiting = self.rejections.values().any(|rejected| rejected.code == RejectCode::SecretUnavailable);
        if !self.full && !waiting && self.providers.is_empty() && secrets.unshared_with(old_secrets) == 0 {
            return vec![];
        }
        let base = if self.full { self.base.providers.emptied() } else { self.base.providers.clone() };
        let touched = base.edited(std::mem::take(&mut self.providers));
        let new_secrets: BTreeSet<Uuid> =
            secrets.changes_since(old_secrets, Arc::ptr_eq).map(|change| change.key).collect();
        let names_new_secret = |row: &ProviderRow| matches!(&row.noun.credential, Credential::Sealed(secret) if new_secrets.contains(&secret.uuid()));
        let mut changes = Changes::new();
        for (id, row) in touched.iter() {
            let reference = Ref { kind: Kind::Provider, id: *id };
            let rejected = self.rejections.get(&reference).map(|rejected| rejected.code);
            let same = base.get(id).is_some_and(|old| Arc::ptr_eq(old, row));
            if same && !names_new_secret(row) && rejected != Some(RejectCode::SecretUnavailable) {
                continue;
            }
            if rejected.is_some_and(|code| code != RejectCode::SecretUnavailable) {
                // Its new form cannot be read: the last good one stays as it is.
                changes.push((*id, Some(Arc::clone(row))));
                continue;
            }
            match compile(*id, &row.noun, secrets) {
                Ok(entry) => {
                    self.rejections.remove(&reference);
                    changes.push((
                        *id,
                        Some(Arc::new(ProviderRow { entry: Some(Arc::new(entry)), ..ProviderRow::clone(row) })),
                    ));
                }
                Err((code, text)) => {
                    self.rejections.insert(reference, rejection(reference, row.version, code, text));
                    changes.push((*id, Some(Arc::clone(row))));
                }
            }
        }
        changes.extend(base.iter().filter(|(id, _)| touched.get(id).is_none()).map(|(id, _)| (*id, None)));
        changes
    }

    fn grants(&self, old: &Rows<LimitRow>, new: &Rows<LimitRow>) -> Shards<(Uuid, Uuid), Arc<Grant>> {
        let base = if self.full { self.base.grants.emptied() } else { self.base.grants.clone() };
        let mut edited: BTreeMap<(Uuid, Uuid), Grant> = BTreeMap::new();
        let mut edit = |scope: (Uuid, Uuid), change: &mut dyn FnMut(&mut Grant)| {
            let current = || base.get(&scope).map(|grant| Grant::clone(grant)).unwrap_or_default();
            change(edited.entry(scope).or_insert_with(current));
        };
        for change in new.changes_since(old, Arc::ptr_eq) {
            if let Some(scope) = change.old.and_then(|row| row.scope) {
                edit(scope, &mut |grant| grant.limits.retain(|(id, _)| *id != change.key));
            }
            if let Some((row, scope)) = change.new.and_then(|row| row.scope.map(|scope| (row, scope))) {
                edit(scope, &mut |grant| grant.limits.push((change.key, Arc::clone(row))));
            }
        }
        let changes =
            edited.into_iter().map(|(scope, grant)| (scope, (!grant.limits.is_empty()).then(|| Arc::new(grant))));
        base.edited(changes)
    }

    /// Reports resources that name a parent which is not there. Look-ups find the same by themselves and refuse, so that
    /// a parent that comes later heals without being told.
    fn check_references(&mut self, table: &Table, keys: &[Uuid], users: &[Uuid]) {
        let told = keys.iter().map(|id| (Kind::Key, *id)).chain(users.iter().map(|id| (Kind::User, *id)));
        let mut suspects: Vec<Ref> = told.map(|(kind, id)| Ref { kind, id }).collect();
        suspects.extend(
            table.limits.changes_since(&self.base.limits, Arc::ptr_eq).map(|it| Ref { kind: Kind::Limit, id: it.key }),
        );
        suspects.extend(
            table
                .providers
                .changes_since(&self.base.providers, Arc::ptr_eq)
                .map(|it| Ref { kind: Kind::Provider, id: it.key }),
        );
        suspects.extend(
            table
                .routers
                .changes_since(&self.base.routers, Arc::ptr_eq)
                .map(|it| Ref { kind: Kind::Router, id: it.key }),
        );
        let missing = |(_, rejected): &(&Ref, &Rejection)| rejected.code == RejectCode::MissingParent;
        suspects.extend(self.rejections.iter().filter(missing).map(|(reference, _)| *reference));
        for suspect in suspects {
            let standing = self.rejections.get(&suspect).map(|rejected| rejected.code);
            match (table.missing_parent(suspect), standing) {
                (Some((version, parent)), None | Some(RejectCode::MissingParent)) => {
                    let text = format!("{} {} was not delivered", parent.kind, parent.id);
                    self.rejections.insert(suspect, rejection(suspect, version, RejectCode::MissingParent, text));
                }
                (None, Some(RejectCode::MissingParent)) => {
                    self.rejections.remove(&suspect);
                }
                _ => {}
            }
        }
    }
}

impl Table {
    /// The version of a resource and the first parent that it names and that is not there.
    fn missing_parent(&self, child: Ref) -> Option<(u64, Ref)> {
        let is_there = |parent: &Ref| match parent.kind {
            Kind::User => self.users.get(&parent.id).is_some(),
            Kind::Organization => self.organizations.get(&parent.id).is_some(),
            Kind::Role => self.roles.get(&parent.id).is_some(),
            Kind::Router => self.routers.get(&parent.id).is_some(),
            _ => true,
        };
        let one = |kind, id: Option<Uuid>| id.map(|id| Ref { kind, id });
        // A parent that must be named and is not, is missing as well.
        let must = |kind, id: Option<Uuid>| Some(Ref { kind, id: id.unwrap_or_default() });
        let (version, parents) = match child.kind {
            Kind::Key => self.keys.get(&child.id).map(|row| {
                let user = if row.master { one(Kind::User, row.user) } else { must(Kind::User, row.user) };
                (row.version, [user, one(Kind::Organization, row.organization())])
            }),
            Kind::User => self
                .users
                .get(&child.id)
                .map(|row| (row.version, [must(Kind::Role, row.role), one(Kind::Organization, row.organization)])),
            Kind::Limit => self.limits.get(&child.id).map(|row| {
                let (role, router) = row.scope.unzip();
                (row.version, [one(Kind::Role, role), one(Kind::Router, router)])
            }),
            Kind::Provider => {
                self.providers.get(&child.id).map(|row| (row.version, [must(Kind::Router, row.router), None]))
            }
            Kind::Router => {
                self.routers.get(&child.id).map(|row| (row.version, [one(Kind::Organization, row.organization), None]))
            }
            _ => None,
        }?;
        parents.into_iter().flatten().find(|parent| !is_there(parent)).map(|parent| (version, parent))
    }
}

fn settings(rows: &Rows<SettingRow>) -> Arc<FleetSettings> {
    let mut settings = FleetSettings::default();
    for (id, row) in rows.iter() {
        if let Err(error) = settings.apply(&row.noun) {
            tracing::warn!(%id, %error, "a setting that was accepted does not apply");
        }
    }
    Arc::new(settings)
}

fn peppers(secrets: &Rows<SecretRow>) -> Arc<BTreeMap<u32, hmac::Key>> {
    let peppers = secrets.iter().filter(|(_, row)| row.value.purpose == SecretPurpose::Pepper);
    let keyed =
        peppers.map(|(_, row)| (row.value.generation, hmac::Key::new(hmac::HMAC_SHA256, row.value.value.expose())));
    Arc::new(keyed.collect())
}

/// Revocations that the new table does not contain yet.
fn still_revoked(base: &Table, epoch: Epoch, revision: Revision) -> Arc<BTreeMap<Ref, Revision>> {
    if base.epoch.is_some_and(|old| old != epoch) {
        return Arc::default();
    }
    Arc::new(base.revoked.iter().filter(|(_, at)| **at > revision).map(|(reference, at)| (*reference, *at)).collect())
}
