//! What is kept of each resource: no more than calls need, since there may be a million of them.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use shared::catalog::{
    Compatibility, Kind, Limit, LimitMode, LimitUnit, Permission, Provider, Ref, Resource, Role, Router, SecretValue,
    Setting, User, Verifier, VerifierScheme, VirtualKey, Window,
};
use shared::kernel::clock::FleetTime;
use shared::kernel::ids::{RouterId, VirtualKeyId};
use uuid::Uuid;

use super::routing::ProviderEntry;

/// A row knows the version that was delivered last, even when an older one is in use.
pub(super) trait Versioned {
    fn version(&self) -> u64;
}

macro_rules! versioned {
    ($($row:ident)*) => {$(impl Versioned for $row {
        fn version(&self) -> u64 {
            self.version
        }
    })*};
}
versioned!(KeyRow UserRow OrganizationRow RoleRow RouterRow ProviderRow LimitRow SecretRow SettingRow Stray);

/// One live secret of a key.
#[derive(Debug, Clone)]
pub(super) struct Check {
    pub(super) scheme: VerifierScheme,
    pub(super) pepper: u32,
    pub(super) digest: [u8; 32],
    pub(super) not_after: Option<FleetTime>,
}

#[derive(Debug, Clone)]
pub(super) struct KeyRow {
    pub(super) version: u64,
    pub(super) id: VirtualKeyId,
    /// The place of its public id; absent for a key that is found by its digests.
    pub(super) public_id: Option<Uuid>,
    pub(super) name: Arc<str>,
    pub(super) user: Option<Uuid>,
    pub(super) expires: Option<FleetTime>,
    pub(super) check: Option<Check>,
    /// Only for a key that has any of it.
    rare: Option<Box<Rare>>,
    pub(super) master: bool,
    pub(super) blocked: bool,
    pub(super) closed: bool,
}

/// What most keys do not have.
#[derive(Debug, Clone, Default)]
struct Rare {
    organization: Option<Uuid>,
    project: Option<Uuid>,
    /// While a rotated secret lives on.
    checks: Vec<Check>,
    allowed: Option<Arc<[RouterId]>>,
    compatibility: Option<Compatibility>,
}

impl KeyRow {
    pub(super) fn read(resource: &Resource, key: VirtualKey) -> Result<Self, String> {
        let compatibility = match key.compatibility.as_str() {
            "" => None,
            word => Some(word.parse().map_err(|error| format!("compatibility: {error}"))?),
        };
        let mut checks = key.verifiers.into_iter().map(Check::read).collect::<Result<Vec<_>, _>>()?.into_iter();
        let check = checks.next();
        let rare = Rare {
            organization: resource.parent(Kind::Organization),
            project: resource.parent(Kind::Project),
            checks: checks.collect(),
            allowed: key.allowed_routers.map(Into::into),
            compatibility,
        };
        Ok(Self {
            version: resource.version,
            id: VirtualKeyId::from_uuid(resource.id),
            public_id: (!key.public_id.is_empty()).then(|| place_of_public_id(&key.public_id)),
            name: key.name.into(),
            user: resource.parent(Kind::User),
            expires: resource.expires,
            check,
            rare: rare.is_any().then(|| Box::new(rare)),
            master: key.master,
            blocked: resource.blocked,
            closed: false,
        })
    }

    pub(super) fn organization(&self) -> Option<Uuid> {
        self.rare.as_ref().and_then(|rare| rare.organization)
    }

    pub(super) fn project(&self) -> Option<Uuid> {
        self.rare.as_ref().and_then(|rare| rare.project)
    }

    pub(super) fn allowed(&self) -> Option<Arc<[RouterId]>> {
        self.rare.as_ref().and_then(|rare| rare.allowed.clone())
    }

    pub(super) fn compatibility(&self) -> Option<Compatibility> {
        self.rare.as_ref().and_then(|rare| rare.compatibility)
    }

    pub(super) fn checks(&self) -> impl Iterator<Item = &Check> {
        self.check.iter().chain(self.rare.iter().flat_map(|rare| &rare.checks))
    }

    /// Where it is found when it has no public id.
    pub(super) fn digest_places(&self) -> impl Iterator<Item = Uuid> {
        let by_digest = self.public_id.is_none();
        self.checks().filter(move |_| by_digest).map(|check| place_of_digest(&check.digest))
    }
}

impl Rare {
    const fn is_any(&self) -> bool {
        self.organization.is_some()
            || self.project.is_some()
            || !self.checks.is_empty()
            || self.allowed.is_some()
            || self.compatibility.is_some()
    }
}

impl Check {
    fn read(verifier: Verifier) -> Result<Self, String> {
        let digest = verifier
            .digest
            .try_into()
            .map_err(|digest: Vec<u8>| format!("verifiers.digest: 32 bytes are expected, got {}", digest.len()))?;
        Ok(Self { scheme: verifier.scheme, pepper: verifier.pepper_version, digest, not_after: verifier.not_after })
    }
}

/// Public ids of up to 16 bytes stand for themselves, longer ones for half of their SHA-256.
pub(super) fn place_of_public_id(public_id: &str) -> Uuid {
    let mut place = [0; 16];
    let hashed = (public_id.len() > place.len()).then(|| digest(&SHA256, public_id.as_bytes()));
    let bytes = hashed.as_ref().map_or(public_id.as_bytes(), AsRef::as_ref);
    place.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    Uuid::from_bytes(place)
}

/// The first half of a digest.
pub(super) fn place_of_digest(digest: &[u8; 32]) -> Uuid {
    let mut place = [0; 16];
    place.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    Uuid::from_bytes(place)
}

#[derive(Debug, Clone, Default)]
pub(super) struct UserRow {
    pub(super) version: u64,
    pub(super) email: Arc<str>,
    pub(super) priority: i32,
    pub(super) role: Option<Uuid>,
    pub(super) organization: Option<Uuid>,
    pub(super) expires: Option<FleetTime>,
    pub(super) blocked: bool,
    pub(super) closed: bool,
}

impl UserRow {
    pub(super) fn read(resource: &Resource, user: &User) -> Self {
        Self {
            version: resource.version,
            email: user.email.as_str().into(),
            priority: user.priority,
            role: resource.parent(Kind::Role),
            organization: resource.parent(Kind::Organization),
            expires: resource.expires,
            blocked: resource.blocked,
            closed: false,
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OrganizationRow {
    pub(super) version: u64,
    pub(super) expires: Option<FleetTime>,
    pub(super) blocked: bool,
    pub(super) closed: bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RoleRow {
    pub(super) version: u64,
    /// Every router without a limit for each.
    pub(super) every_router: bool,
    pub(super) expires: Option<FleetTime>,
    pub(super) blocked: bool,
    pub(super) closed: bool,
}

impl RoleRow {
    pub(super) fn read(resource: &Resource, role: &Role) -> Self {
        Self {
            version: resource.version,
            every_router: role.all_routers || role.permissions.contains(&Permission::Admin),
            expires: resource.expires,
            blocked: resource.blocked,
            closed: false,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct RouterRow {
    pub(super) version: u64,
    pub(super) organization: Option<Uuid>,
    pub(super) blocked: bool,
    pub(super) noun: Arc<Router>,
}

#[derive(Debug, Clone)]
pub(super) struct ProviderRow {
    pub(super) version: u64,
    pub(super) router: Option<Uuid>,
    pub(super) blocked: bool,
    pub(super) noun: Arc<Provider>,
    /// The last good form; absent until its address and credential were good once.
    pub(super) entry: Option<Arc<ProviderEntry>>,
}

#[derive(Debug, Clone)]
pub(super) struct LimitRow {
    pub(super) version: u64,
    /// The scope that this build knows: a role's calls of a router, counted for each user.
    pub(super) scope: Option<(Uuid, Uuid)>,
    pub(super) blocked: bool,
    /// Absent: it could not be read, and its scope is closed.
    pub(super) noun: Option<Limit>,
}

impl LimitRow {
    pub(super) fn scope_of(parents: &[Ref]) -> Option<(Uuid, Uuid)> {
        let parent = |kind| parents.iter().find(|parent| parent.kind == kind).map(|parent| parent.id);
        parent(Kind::Role).zip(parent(Kind::Router))
    }
}

#[derive(Debug, Clone)]
pub(super) struct SecretRow {
    pub(super) version: u64,
    pub(super) value: SecretValue,
}

#[derive(Debug, Clone)]
pub(super) struct SettingRow {
    pub(super) version: u64,
    pub(super) noun: Setting,
}

/// A resource that was delivered but of which nothing can be used.
#[derive(Debug, Clone)]
pub(super) struct Stray {
    pub(super) kind: Kind,
    pub(super) version: u64,
    /// What it closes, being rejected.
    pub(super) closes: Vec<Ref>,
}

/// What a role may do with a router.
#[derive(Debug, Clone, Default)]
pub(super) struct Grant {
    pub(super) limits: Vec<(Uuid, Arc<LimitRow>)>,
}

impl Grant {
    /// One of its limits could not be read.
    pub(super) fn is_closed(&self) -> bool {
        self.limits.iter().any(|(_, limit)| limit.noun.is_none())
    }

    /// Requests and tokens, per minute and per day: each must be there, and none of the limits may be zero.
    pub(super) fn is_open(&self) -> bool {
        use LimitUnit::{Requests, Tokens};
        let live =
            || self.limits.iter().filter(|(_, limit)| !limit.blocked).filter_map(|(_, limit)| limit.noun.as_ref());
        let has = |unit, window| live().any(|limit| limit.unit == unit && limit.window == window);
        let all =
            [(Requests, Window::Minute), (Requests, Window::Day), (Tokens, Window::Minute), (Tokens, Window::Day)];
        all.into_iter().all(|(unit, window)| has(unit, window))
            && live().all(|limit| limit.mode == LimitMode::Shadow || limit.amount.is_none_or(|amount| amount > 0))
    }
}
