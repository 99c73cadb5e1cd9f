//! A small catalog for tests: one organization, two roles, two users, a key each, three routers.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use shared::catalog::*;
use shared::kernel::clock::FleetTime;
use shared::kernel::ids::{Epoch, Revision, SecretId};
use shared::kernel::money::Prices;
use shared::kernel::secret::SecretBytes;
use shared::kernel::virtual_key::{NewKey, generate, hmac_digest, sha256_digest};
use shared::wire::{self, encode};
use uuid::Uuid;

use super::{Draft, Table};

pub(crate) const PEPPER: &[u8] = b"a pepper of thirty-two characters";
pub(crate) const EPOCH: Epoch = Epoch::from_uuid(Uuid::from_u128(0xe));

pub(crate) const ORGANIZATION: Uuid = Uuid::from_u128(0x10);
pub(crate) const ADMINS: Uuid = Uuid::from_u128(0x20);
pub(crate) const MEMBERS: Uuid = Uuid::from_u128(0x21);
pub(crate) const ADMIN: Uuid = Uuid::from_u128(0x30);
pub(crate) const MEMBER: Uuid = Uuid::from_u128(0x31);
pub(crate) const ADMIN_KEY: Uuid = Uuid::from_u128(0x40);
pub(crate) const MEMBER_KEY: Uuid = Uuid::from_u128(0x41);
pub(crate) const GLOBAL: Uuid = Uuid::from_u128(0x50);
pub(crate) const OWNED: Uuid = Uuid::from_u128(0x51);
pub(crate) const OTHER: Uuid = Uuid::from_u128(0x52);
pub(crate) const PROVIDER: Uuid = Uuid::from_u128(0x60);
pub(crate) const SECRET: Uuid = Uuid::from_u128(0x70);

pub(crate) fn at(unix_ms: i64) -> FleetTime {
    FleetTime::from_unix_millis(unix_ms)
}

pub(crate) fn parent(kind: Kind, id: Uuid) -> Ref {
    Ref { kind, id }
}

pub(crate) fn resource(id: Uuid, parents: Vec<Ref>, item: Item) -> Resource {
    Resource { id, version: 1, parents, blocked: false, expires: None, requires: vec![], item }
}

pub(crate) fn verifier(scheme: VerifierScheme, digest: [u8; 32]) -> Verifier {
    Verifier { scheme, pepper_version: 1, digest: digest.to_vec(), not_after: None }
}

pub(crate) fn key(id: Uuid, user: Uuid, key: &NewKey) -> Resource {
    let item = VirtualKey {
        public_id: key.public_id.clone(),
        name: "k".into(),
        verifiers: vec![verifier(VerifierScheme::HmacSha256, hmac_digest(PEPPER, key.text.expose()))],
        allowed_routers: None,
        master: false,
        compatibility: String::new(),
        number: 1,
    };
    resource(id, vec![parent(Kind::User, user)], Item::Key(item))
}

/// A key that is found by the digest of its text.
pub(crate) fn foreign_key(id: Uuid, user: Option<Uuid>, text: &str) -> Resource {
    let item = VirtualKey {
        public_id: String::new(),
        name: "foreign".into(),
        verifiers: vec![verifier(VerifierScheme::Sha256, sha256_digest(text))],
        allowed_routers: None,
        master: user.is_none(),
        compatibility: String::new(),
        number: 0,
    };
    resource(id, user.map(|user| parent(Kind::User, user)).into_iter().collect(), Item::Key(item))
}

pub(crate) fn user(id: Uuid, role: Uuid, organization: Option<Uuid>) -> Resource {
    let parents =
        std::iter::once(parent(Kind::Role, role)).chain(organization.map(|id| parent(Kind::Organization, id)));
    let item = User { email: format!("{id}@example.org"), name: String::new(), priority: 0, number: 1 };
    resource(id, parents.collect(), Item::User(item))
}

pub(crate) fn router(id: Uuid, owner: Option<Uuid>, name: &str, aliases: &[&str]) -> Resource {
    let item = Router {
        name: name.into(),
        kind: RouterKind::TextGeneration,
        aliases: aliases.iter().map(|alias| (*alias).into()).collect(),
        strategy: BalanceStrategy::Shuffle,
        prices: Prices::default(),
        owned_by: String::new(),
        created_unix_s: 0,
        max_context_length: None,
        max_output_tokens: None,
        vector_size: None,
        number: 1,
    };
    resource(id, owner.map(|owner| parent(Kind::Organization, owner)).into_iter().collect(), Item::Router(item))
}

pub(crate) fn provider(id: Uuid, router: Uuid, credential: Credential) -> Resource {
    let mut parents = vec![parent(Kind::Router, router)];
    if let Credential::Sealed(secret) = &credential {
        parents.push(parent(Kind::Secret, secret.uuid()));
    }
    let item = Provider {
        kind: ProviderKind::Vllm,
        url: "http://127.0.0.1:9/base".into(),
        upstream_model: "m".into(),
        timeout: Duration::from_secs(3),
        credential,
        carbon: CarbonFacts { zone: "WOR".into(), total_params: None, active_params: None },
        weight: None,
        drain_on_disconnect: false,
        number: 1,
    };
    resource(id, parents, Item::Provider(item))
}

pub(crate) fn secret(id: Uuid, purpose: SecretPurpose, value: &[u8]) -> Resource {
    let item = SecretValue { purpose, generation: 1, value: SecretBytes::new(value.to_vec()) };
    resource(id, vec![], Item::Secret(item))
}

pub(crate) fn limit(
    id: Uuid,
    role: Uuid,
    router: Uuid,
    unit: LimitUnit,
    window: Window,
    amount: Option<i64>,
) -> Resource {
    let item = Limit { unit, window, amount, mode: LimitMode::Enforce, on_store_failure: OnStoreFailure::LocalShare };
    resource(id, vec![parent(Kind::Role, role), parent(Kind::Router, router)], Item::Limit(item))
}

/// The four limits that give a role access to a router; ids count from `first`.
pub(crate) fn grant(first: u128, role: Uuid, router: Uuid, amount: Option<i64>) -> Vec<Resource> {
    let each = [LimitUnit::Requests, LimitUnit::Tokens]
        .into_iter()
        .flat_map(|unit| [(unit, Window::Minute), (unit, Window::Day)]);
    (first..)
        .zip(each)
        .map(|(id, (unit, window))| limit(Uuid::from_u128(id), role, router, unit, window, amount))
        .collect()
}

pub(crate) struct World {
    pub(crate) admin_key: NewKey,
    pub(crate) member_key: NewKey,
    pub(crate) resources: Vec<Resource>,
}

/// `global` (alias `g`) is global; `mine` belongs to the organization; `other` is global and nobody's but the admin's.
pub(crate) fn world() -> World {
    let (admin_key, member_key) = (generate().unwrap(), generate().unwrap());
    let role = |id, permissions| {
        resource(id, vec![], Item::Role(Role { name: format!("{id}"), permissions, all_routers: false }))
    };
    let mut resources = vec![
        resource(ORGANIZATION, vec![], Item::Organization(Organization { name: "o".into() })),
        role(ADMINS, vec![Permission::Admin]),
        role(MEMBERS, vec![]),
        user(ADMIN, ADMINS, None),
        user(MEMBER, MEMBERS, Some(ORGANIZATION)),
        key(ADMIN_KEY, ADMIN, &admin_key),
        key(MEMBER_KEY, MEMBER, &member_key),
        router(GLOBAL, None, "global", &["g"]),
        router(OWNED, Some(ORGANIZATION), "mine", &[]),
        router(OTHER, None, "other", &[]),
        provider(PROVIDER, GLOBAL, Credential::Sealed(SecretId::from_uuid(SECRET))),
        provider(Uuid::from_u128(0x61), OWNED, Credential::None),
        provider(Uuid::from_u128(0x62), OTHER, Credential::None),
        secret(SECRET, SecretPurpose::ProviderCredential, b"sk-upstream"),
        secret(Uuid::from_u128(1), SecretPurpose::Pepper, PEPPER),
    ];
    resources.extend(grant(0x80, MEMBERS, GLOBAL, None));
    resources.extend(grant(0x90, MEMBERS, OWNED, Some(5)));
    World { admin_key, member_key, resources }
}

impl World {
    pub(crate) fn table(&self) -> Arc<Table> {
        full(Arc::new(Table::empty()), 1, &self.resources)
    }

    pub(crate) fn get(&self, id: Uuid) -> Resource {
        self.resources.iter().find(|resource| resource.id == id).unwrap().clone()
    }
}

pub(crate) fn full(base: Arc<Table>, revision: u64, resources: &[Resource]) -> Arc<Table> {
    let mut draft = Draft::full(base, EPOCH, Revision(revision));
    resources.iter().for_each(|resource| draft.upsert(wire::decode(&encode(resource))));
    Arc::new(draft.finish())
}

pub(crate) fn delta(base: &Arc<Table>, upserts: &[Resource], deletes: &[Ref]) -> Arc<Table> {
    let mut draft = Draft::delta(Arc::clone(base), Revision(base.revision().0 + 1)).unwrap();
    upserts.iter().for_each(|resource| draft.upsert(wire::decode(&encode(resource))));
    deletes.iter().for_each(|reference| draft.delete(*reference));
    Arc::new(draft.finish())
}

/// The same with one resource whose body cannot be read.
pub(crate) fn delta_with_bad(base: &Arc<Table>, resource: &Resource) -> Arc<Table> {
    let mut wire = encode(resource);
    wire.body = vec![0xff; 5].into();
    let mut draft = Draft::delta(Arc::clone(base), Revision(base.revision().0 + 1)).unwrap();
    draft.upsert(wire::decode(&wire));
    Arc::new(draft.finish())
}
