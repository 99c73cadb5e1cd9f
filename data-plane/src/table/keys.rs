//! Who a credential stands for, and who is let in.

use std::sync::Arc;

use aws_lc_rs::hmac;
use shared::catalog::{Compatibility, Kind, Ref, VerifierScheme};
use shared::kernel::clock::FleetTime;
use shared::kernel::ids::{OrganizationId, ProjectId, RoleId, RouterId, UserId, VirtualKeyId};
use shared::kernel::virtual_key::{digests_match, public_id, sha256_digest};
use uuid::Uuid;

use super::Table;
use super::rows::{Check, KeyRow, place_of_digest, place_of_public_id};

/// Compared with when there is nothing to compare with, so that an unknown key takes as long as a wrong one.
const DUMMY: [u8; 32] = [0x5a; 32];

/// Why a credential is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthRefusal {
    /// Nobody's, or no longer anybody's.
    #[error("the key is not known")]
    Unknown,
    /// The key's own time is over.
    #[error("the key has expired")]
    KeyExpired,
    /// The time of its user or organization is over.
    #[error("the account of the key has expired")]
    AccountExpired,
    /// The key, its user, role or organization is blocked.
    #[error("the key or its account is blocked")]
    Blocked,
    /// It is known, but something that decides about it could not be applied on this node.
    #[error("a policy of this key cannot be applied on this node")]
    Closed,
}

/// Who is calling.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The key used.
    pub key: VirtualKeyId,
    /// Its name.
    pub key_name: Arc<str>,
    /// The operator's master key.
    pub master: bool,
    /// Its user.
    pub user: Option<UserId>,
    /// The user's e-mail; empty for the master key.
    pub user_email: Arc<str>,
    /// The key's organization, else the user's.
    pub organization: Option<OrganizationId>,
    /// The key's project.
    pub project: Option<ProjectId>,
    /// The user's role.
    pub role: Option<RoleId>,
    /// Place in a queue; higher goes first.
    pub priority: i32,
    /// The key's own profile; absent: the fleet's.
    pub compatibility: Option<Compatibility>,
    /// Only these; absent: all that the role may use.
    pub(super) allowed: Option<Arc<[RouterId]>>,
}

/// What stands above a key and may be blocked, expired or closed with it.
struct Standing {
    blocked: bool,
    closed: bool,
    expires: Option<FleetTime>,
}

impl Table {
    /// Who a credential stands for.
    ///
    /// # Errors
    /// [`AuthRefusal`]; anything but `Unknown` is only said to whoever holds the right secret.
    pub fn authenticate(&self, token: &str, now: FleetTime) -> Result<Principal, AuthRefusal> {
        if self.stale {
            return Err(AuthRefusal::Closed);
        }
        let key = match public_id(token) {
            Some(public_id) => self.find_by_public_id(public_id, token, now),
            None => self.find_by_digest(token, now),
        }?;
        let revoked = |kind, id: Option<Uuid>| id.is_some_and(|id| self.revoked.contains_key(&Ref { kind, id }));
        if revoked(Kind::Key, Some(key.id.uuid())) {
            return Err(AuthRefusal::Unknown);
        }
        let user = key.user.and_then(|id| self.users.get(&id));
        let role = user.and_then(|user| user.role);
        let organizations = [key.organization(), user.and_then(|user| user.organization)];
        if revoked(Kind::User, key.user)
            || revoked(Kind::Role, role)
            || organizations.iter().any(|id| revoked(Kind::Organization, *id))
        {
            return Err(AuthRefusal::Blocked);
        }
        self.stand(key, user.map(Arc::as_ref), now)?;
        Ok(Principal {
            key: key.id,
            key_name: Arc::clone(&key.name),
            master: key.master,
            user: key.user.map(UserId::from_uuid),
            user_email: user.map(|user| Arc::clone(&user.email)).unwrap_or_default(),
            organization: organizations.into_iter().flatten().next().map(OrganizationId::from_uuid),
            project: key.project().map(ProjectId::from_uuid),
            role: role.map(RoleId::from_uuid),
            priority: user.map_or(0, |user| user.priority),
            compatibility: key.compatibility(),
            allowed: key.allowed(),
        })
    }

    /// Whether everything above the key lets it in. What is not there closes.
    fn stand(&self, key: &KeyRow, user: Option<&super::UserRow>, now: FleetTime) -> Result<(), AuthRefusal> {
        let own = Standing { blocked: key.blocked, closed: key.closed, expires: key.expires };
        let missing = || Standing { blocked: false, closed: true, expires: None };
        let above_user = (key.user.is_some() || !key.master).then(|| {
            user.map_or_else(missing, |user| Standing {
                blocked: user.blocked,
                closed: user.closed,
                expires: user.expires,
            })
        });
        let role = user.map(|user| user.role.and_then(|id| self.roles.get(&id))).map(|role| {
            role.map_or_else(missing, |role| Standing {
                blocked: role.blocked,
                closed: role.closed,
                expires: role.expires,
            })
        });
        let organizations =
            [key.organization(), user.and_then(|user| user.organization)].into_iter().flatten().map(|id| {
                self.organizations.get(&id).map_or_else(missing, |row| Standing {
                    blocked: row.blocked,
                    closed: row.closed,
                    expires: row.expires,
                })
            });
        let (mut expired, mut closed) = (false, self.is_closed_by_child(key, user));
        for standing in [Some(own), above_user, role].into_iter().flatten().chain(organizations) {
            if standing.blocked {
                return Err(AuthRefusal::Blocked);
            }
            expired |= standing.expires.is_some_and(|end| end <= now);
            closed |= standing.closed;
        }
        match (expired, closed) {
            (true, _) if key.expires.is_some_and(|end| end <= now) => Err(AuthRefusal::KeyExpired),
            (true, _) => Err(AuthRefusal::AccountExpired),
            (_, true) => Err(AuthRefusal::Closed),
            _ => Ok(()),
        }
    }

    fn is_closed_by_child(&self, key: &KeyRow, user: Option<&super::UserRow>) -> bool {
        let above = [
            (Kind::Key, Some(key.id.uuid())),
            (Kind::User, key.user),
            (Kind::Project, key.project()),
            (Kind::Organization, key.organization()),
            (Kind::Organization, user.and_then(|user| user.organization)),
            (Kind::Role, user.and_then(|user| user.role)),
        ];
        !self.closed.is_empty()
            && above
                .into_iter()
                .filter_map(|(kind, id)| id.map(|id| Ref { kind, id }))
                .any(|above| self.closed.contains(&above))
    }

    fn find_by_public_id(&self, public_id: &str, token: &str, now: FleetTime) -> Result<&KeyRow, AuthRefusal> {
        match self.by_public_id.get(&place_of_public_id(public_id)) {
            Some(key) => self.verify(key, token, now),
            None => {
                match self.peppers.values().next_back() {
                    Some(pepper) => digests_match(hmac::sign(pepper, token.as_bytes()).as_ref(), &DUMMY),
                    None => digests_match(&sha256_digest(token), &DUMMY),
                };
                Err(AuthRefusal::Unknown)
            }
        }
    }

    fn find_by_digest(&self, token: &str, now: FleetTime) -> Result<&KeyRow, AuthRefusal> {
        let peppered = self.peppers.values().map(|pepper| bytes(hmac::sign(pepper, token.as_bytes()).as_ref()));
        let found = peppered.chain(std::iter::once_with(|| sha256_digest(token))).find_map(|digest| {
            let key = self.by_digest.get(&place_of_digest(&digest))?;
            self.verify(key, token, now).ok()
        });
        found.ok_or(AuthRefusal::Unknown)
    }

    fn verify<'a>(&self, key: &'a KeyRow, token: &str, now: FleetTime) -> Result<&'a KeyRow, AuthRefusal> {
        let (mut right, mut checkable) = (false, true);
        let is_live = |check: &&Check| check.not_after.is_none_or(|end| end > now);
        for check in key.checks().filter(is_live) {
            match (check.scheme, self.peppers.get(&check.pepper)) {
                (VerifierScheme::HmacSha256, Some(pepper)) => {
                    right |= digests_match(hmac::sign(pepper, token.as_bytes()).as_ref(), &check.digest);
                }
                (VerifierScheme::HmacSha256, None) => checkable = false,
                (VerifierScheme::Sha256, _) => right |= digests_match(&sha256_digest(token), &check.digest),
            }
        }
        match (right, checkable) {
            (true, _) => Ok(key),
            (false, true) => Err(AuthRefusal::Unknown),
            // Without its pepper nobody can say that the key is wrong.
            (false, false) => Err(AuthRefusal::Closed),
        }
    }
}

fn bytes(digest: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    out
}
