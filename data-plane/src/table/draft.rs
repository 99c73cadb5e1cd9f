//! The next table while its resources arrive: nothing of it is seen before [`Draft::finish`].

use std::collections::BTreeMap;
use std::sync::Arc;

use shared::catalog::{FleetSettings, Item, Kind, Limit, Provider, Ref, Resource, Setting, VirtualKey};
use shared::kernel::ids::{Epoch, Revision};
use shared::wire::{Envelope, RejectCode, Rejection, kind_from_wire};
use uuid::Uuid;

use super::finish::rejection;
use super::rows::{
    KeyRow, LimitRow, OrganizationRow, ProviderRow, RoleRow, RouterRow, SecretRow, SettingRow, Stray, UserRow,
    Versioned,
};
use super::{Rows, Table};

/// A resource as it came, or why it cannot be read.
pub type Incoming = Result<Resource, Box<(Rejection, Option<Envelope>)>>;

pub(super) type Changes<V> = Vec<(Uuid, Option<Arc<V>>)>;

/// Changes to a table, collected until they are finished into the next one.
#[derive(Debug)]
pub struct Draft {
    pub(super) base: Arc<Table>,
    /// Everything anew; otherwise changes to `base`.
    pub(super) full: bool,
    pub(super) epoch: Epoch,
    pub(super) revision: Revision,
    pub(super) keys: Changes<KeyRow>,
    pub(super) users: Changes<UserRow>,
    pub(super) organizations: Changes<OrganizationRow>,
    pub(super) roles: Changes<RoleRow>,
    pub(super) routers: Changes<RouterRow>,
    pub(super) providers: Changes<ProviderRow>,
    pub(super) limits: Changes<LimitRow>,
    pub(super) secrets: Changes<SecretRow>,
    pub(super) settings: Changes<SettingRow>,
    pub(super) strays: Changes<Stray>,
    pub(super) rejections: BTreeMap<Ref, Rejection>,
}

impl Draft {
    /// A table of everything that will be told; of `base` only last good versions are used.
    #[must_use]
    pub fn full(base: Arc<Table>, epoch: Epoch, revision: Revision) -> Self {
        Self::new(base, true, epoch, revision)
    }

    /// `base` with changes. Absent when `base` never was told anything.
    #[must_use]
    pub fn delta(base: Arc<Table>, revision: Revision) -> Option<Self> {
        let epoch = base.epoch?;
        Some(Self::new(base, false, epoch, revision))
    }

    fn new(base: Arc<Table>, full: bool, epoch: Epoch, revision: Revision) -> Self {
        let rejections = if full { BTreeMap::new() } else { BTreeMap::clone(&base.rejections) };
        Self {
            base,
            full,
            epoch,
            revision,
            keys: vec![],
            users: vec![],
            organizations: vec![],
            roles: vec![],
            routers: vec![],
            providers: vec![],
            limits: vec![],
            secrets: vec![],
            settings: vec![],
            strays: vec![],
            rejections,
        }
    }

    /// Takes a resource in, or closes or keeps what it would have replaced.
    pub fn upsert(&mut self, incoming: Incoming) {
        match incoming {
            Ok(resource) => {
                self.rejections.remove(&resource.reference());
                self.forget_stray(resource.id);
                self.accept(resource);
            }
            Err(rejected) => {
                let (rejection, envelope) = *rejected;
                self.reject(rejection, envelope);
            }
        }
    }

    /// Takes a resource out, whether or not it could ever be read.
    pub fn delete(&mut self, reference: Ref) {
        let id = reference.id;
        self.rejections.remove(&reference);
        self.forget_stray(id);
        match reference.kind {
            Kind::Key => self.keys.push((id, None)),
            Kind::User => self.users.push((id, None)),
            Kind::Organization => self.organizations.push((id, None)),
            Kind::Role => self.roles.push((id, None)),
            Kind::Router => self.routers.push((id, None)),
            Kind::Provider => self.providers.push((id, None)),
            Kind::Limit => self.limits.push((id, None)),
            Kind::Secret => self.secrets.push((id, None)),
            Kind::Setting => self.settings.push((id, None)),
            Kind::Project | Kind::Budget | Kind::Guardrail => {}
        }
    }

    fn forget_stray(&mut self, id: Uuid) {
        if !self.strays.is_empty() || self.base.strays.get(&id).is_some() {
            self.strays.push((id, None));
        }
    }

    fn accept(&mut self, resource: Resource) {
        let (id, version, blocked) = (resource.id, resource.version, resource.blocked);
        let mut shell = resource;
        // The noun is taken out; what is left is the envelope.
        let item = std::mem::replace(
            &mut shell.item,
            Item::Setting(Setting { name: String::new(), value_json: String::new() }),
        );
        match item {
            Item::Key(key) => self.accept_key(&shell, key),
            Item::User(user) => {
                let row = reused(self, &self.base.users, id, version, |row| !row.closed);
                self.users.push((id, Some(row.unwrap_or_else(|| Arc::new(UserRow::read(&shell, &user))))));
            }
            Item::Organization(_) => {
                let row = OrganizationRow { version, expires: shell.expires, blocked, closed: false };
                self.organizations.push((id, Some(Arc::new(row))));
            }
            Item::Role(role) => self.roles.push((id, Some(Arc::new(RoleRow::read(&shell, &role))))),
            Item::Router(router) => {
                let row = RouterRow {
                    version,
                    organization: shell.parent(Kind::Organization),
                    blocked,
                    noun: Arc::new(router),
                };
                self.routers.push((id, Some(Arc::new(row))));
            }
            Item::Provider(provider) => self.accept_provider(&shell, provider),
            Item::Limit(limit) => self.accept_limit(&shell, limit),
            Item::Secret(value) => self.secrets.push((id, Some(Arc::new(SecretRow { version, value })))),
            Item::Setting(setting) => match FleetSettings::default().apply(&setting) {
                Ok(()) => self.settings.push((id, Some(Arc::new(SettingRow { version, noun: setting })))),
                Err(error) => self.refuse(&shell, Kind::Setting, RejectCode::UnknownValue, error.to_string()),
            },
        }
    }

    fn accept_key(&mut self, shell: &Resource, key: VirtualKey) {
        if let Some(row) = reused(self, &self.base.keys, shell.id, shell.version, |row| !row.closed) {
            self.keys.push((shell.id, Some(row)));
            return;
        }
        match KeyRow::read(shell, key) {
            Ok(row) => self.keys.push((shell.id, Some(Arc::new(row)))),
            Err(text) => self.refuse(shell, Kind::Key, RejectCode::UnknownValue, text),
        }
    }

    fn accept_provider(&mut self, shell: &Resource, provider: Provider) {
        // Compiled when it is finished: its secret may still be on the way.
        let row = ProviderRow {
            version: shell.version,
            router: shell.parent(Kind::Router),
            blocked: shell.blocked,
            noun: Arc::new(provider),
            entry: self.base.providers.get(&shell.id).and_then(|row| row.entry.clone()),
        };
        self.providers.push((shell.id, Some(Arc::new(row))));
    }

    fn accept_limit(&mut self, shell: &Resource, limit: Limit) {
        match LimitRow::scope_of(&shell.parents) {
            Some(scope) => {
                let row =
                    LimitRow { version: shell.version, scope: Some(scope), blocked: shell.blocked, noun: Some(limit) };
                self.limits.push((shell.id, Some(Arc::new(row))));
            }
            None => {
                let text =
                    "a limit of this scope is not known to this build: a role and a router are expected as parents";
                self.refuse(shell, Kind::Limit, RejectCode::MissingFeature, text.to_owned());
            }
        }
    }

    fn refuse(&mut self, shell: &Resource, kind: Kind, code: RejectCode, text: String) {
        let reference = Ref { kind, id: shell.id };
        let envelope = Envelope {
            reference,
            version: shell.version,
            parents: shell.parents.clone(),
            blocked: shell.blocked,
            expires: shell.expires,
        };
        self.reject(rejection(reference, shell.version, code, text), Some(envelope));
    }

    /// Routers, providers, settings and secrets stay at their last good version; the others are closed.
    fn reject(&mut self, rejection: Rejection, envelope: Option<Envelope>) {
        let Some(kind) = kind_from_wire(rejection.kind) else {
            // Nothing of this build can depend on a kind that it does not know.
            tracing::warn!(kind = rejection.kind, id = %rejection.id, "a resource of an unknown kind was left out");
            return;
        };
        let (id, version) = (rejection.id, rejection.version);
        let base = Arc::clone(&self.base);
        let kept = match kind {
            Kind::Key => amended(&base.keys, id, &mut self.keys, |row: &mut KeyRow| {
                (row.version, row.closed) = (version, true);
                if let Some(envelope) = &envelope {
                    (row.blocked, row.expires) = (envelope.blocked, envelope.expires);
                }
            }),
            Kind::User => {
                let mut row = base.users.get(&id).map(|row| UserRow::clone(row)).unwrap_or_default();
                (row.version, row.closed) = (version, true);
                if let Some(envelope) = &envelope {
                    (row.blocked, row.expires) = (envelope.blocked, envelope.expires);
                }
                self.users.push((id, Some(Arc::new(row))));
                true
            }
            Kind::Organization => {
                let (blocked, expires) = envelope.as_ref().map_or((false, None), |it| (it.blocked, it.expires));
                let row = OrganizationRow { version, expires, blocked, closed: true };
                self.organizations.push((id, Some(Arc::new(row))));
                true
            }
            Kind::Role => {
                let (blocked, expires) = envelope.as_ref().map_or((false, None), |it| (it.blocked, it.expires));
                let row = RoleRow { version, every_router: false, expires, blocked, closed: true };
                self.roles.push((id, Some(Arc::new(row))));
                true
            }
            Kind::Limit => {
                let known = base.limits.get(&id).and_then(|row| row.scope);
                let scope = envelope.as_ref().and_then(|it| LimitRow::scope_of(&it.parents)).or(known);
                let row = scope.map(|_| Arc::new(LimitRow { version, scope, blocked: false, noun: None }));
                let kept = row.is_some();
                self.limits.push((id, row));
                kept
            }
            Kind::Router => amended(&base.routers, id, &mut self.routers, |row: &mut RouterRow| {
                row.version = version;
                row.blocked = envelope.as_ref().map_or(row.blocked, |it| it.blocked);
            }),
            Kind::Provider => amended(&base.providers, id, &mut self.providers, |row: &mut ProviderRow| {
                row.version = version;
                row.blocked = envelope.as_ref().map_or(row.blocked, |it| it.blocked);
            }),
            Kind::Secret => amended(&base.secrets, id, &mut self.secrets, |row: &mut SecretRow| row.version = version),
            Kind::Setting => {
                amended(&base.setting_rows, id, &mut self.settings, |row: &mut SettingRow| row.version = version)
            }
            Kind::Project | Kind::Budget | Kind::Guardrail => false,
        };
        if kept {
            self.forget_stray(id);
        } else {
            let mut closes = Vec::new();
            if kind.closes_on_reject() {
                closes.push(Ref { kind, id });
                if matches!(kind, Kind::Limit | Kind::Budget | Kind::Guardrail) {
                    closes.extend(envelope.into_iter().flat_map(|envelope| envelope.parents));
                }
            }
            self.strays.push((id, Some(Arc::new(Stray { kind, version, closes }))));
        }
        self.rejections.insert(Ref { kind, id }, rejection);
    }
}

/// The row that the base has already at this version: a FULL after a reconnect then shares nearly everything.
fn reused<V: Versioned>(
    draft: &Draft,
    base: &Rows<V>,
    id: Uuid,
    version: u64,
    good: impl Fn(&V) -> bool,
) -> Option<Arc<V>> {
    let same_lineage = draft.full && draft.base.epoch == Some(draft.epoch);
    let row = base.get(&id).filter(|row| same_lineage && row.version() == version && good(row))?;
    Some(Arc::clone(row))
}

/// Changes a copy of the row that the base has; false when it has none.
fn amended<V: Clone>(base: &Rows<V>, id: Uuid, changes: &mut Changes<V>, amend: impl FnOnce(&mut V)) -> bool {
    let row = base.get(&id).map(|row| {
        let mut row = V::clone(row);
        amend(&mut row);
        Arc::new(row)
    });
    let kept = row.is_some();
    changes.push((id, row));
    kept
}
