//! From a key to a caller: the master, or a user with the permissions of their role.

use std::collections::BTreeSet;
use std::net::IpAddr;

use chrono::{DateTime, Utc};
use shared::catalog::{Permission, VerifierScheme};
use shared::kernel::ids::{OrganizationId, RoleId, RouterId, UserId, VirtualKeyId};
use shared::kernel::virtual_key::{digests_match, hmac_digest, public_id, sha256_digest};

use super::{Access, AccessError};
use crate::store::keys::{self, KeyOwner};
use crate::store::{Actor, ActorKind};

/// Somebody who showed a valid credential.
#[derive(Debug, Clone)]
pub struct Caller {
    user: Option<CallerUser>,
    permissions: BTreeSet<Permission>,
    name: String,
}

/// The user behind a caller; the master key has none.
#[derive(Debug, Clone)]
pub struct CallerUser {
    /// Who.
    pub id: UserId,
    /// By which key.
    pub key: VirtualKeyId,
    /// Whether that key came from a login.
    pub session: bool,
    /// The routers that the key is narrowed to.
    pub allowed_routers: Option<Vec<RouterId>>,
    /// When the key's time is over.
    pub key_expires: Option<DateTime<Utc>>,
    /// For people.
    pub email: String,
    /// What they may do.
    pub role: RoleId,
    /// Whom they belong to.
    pub organization: Option<OrganizationId>,
    /// Whether the user's time is over: all they may still do is look at their account.
    pub expired: bool,
}

impl CallerUser {
    /// The expiry of a key that this caller makes for themselves. A key cannot make one that outlives it; the key of a
    /// login can, since the password is what made it.
    ///
    /// # Errors
    /// [`AccessError::WiderKey`].
    pub fn expiry_of_new_key(
        &self,
        wanted: Option<DateTime<Utc>>,
        named: bool,
    ) -> Result<Option<DateTime<Utc>>, AccessError> {
        match (self.key_expires.filter(|_| !self.session), wanted) {
            (None, wanted) => Ok(wanted),
            (Some(own), Some(wanted)) if wanted <= own => Ok(Some(wanted)),
            (Some(_), _) if named => Err(AccessError::WiderKey),
            (Some(own), _) => Ok(Some(own)),
        }
    }
}

impl Caller {
    /// The user, if it is one.
    #[must_use]
    pub const fn user(&self) -> Option<&CallerUser> {
        self.user.as_ref()
    }

    /// The user; the master key has none.
    ///
    /// # Errors
    /// [`AccessError::NoUser`].
    pub fn require_user(&self) -> Result<&CallerUser, AccessError> {
        self.user.as_ref().ok_or(AccessError::NoUser)
    }

    /// What the caller may do.
    pub fn permissions(&self) -> impl Iterator<Item = Permission> + '_ {
        self.permissions.iter().copied()
    }

    /// The e-mail address, or the master's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Insists on a permission. Administrators have every one.
    ///
    /// # Errors
    /// [`AccessError::Forbidden`].
    pub fn require(&self, permission: Permission) -> Result<(), AccessError> {
        let may = self.permissions.contains(&permission) || self.permissions.contains(&Permission::Admin);
        if may { Ok(()) } else { Err(AccessError::Forbidden) }
    }

    /// Insists that the user's time is not over.
    ///
    /// # Errors
    /// [`AccessError::Expired`].
    pub fn require_current(&self) -> Result<(), AccessError> {
        if self.user.as_ref().is_some_and(|user| user.expired) { Err(AccessError::Expired) } else { Ok(()) }
    }

    /// As the author of a change.
    #[must_use]
    pub fn actor(&self, request_id: &str, address: Option<IpAddr>) -> Actor {
        Actor {
            kind: if self.user.is_some() { ActorKind::User } else { ActorKind::Master },
            id: self.user.as_ref().map(|user| user.id.uuid()),
            name: self.name.clone(),
            request_id: request_id.to_owned(),
            address: address.map(|address| address.to_string()).unwrap_or_default(),
        }
    }
}

impl Access {
    /// Who holds this key. Expired users are told apart by [`Caller::require_current`].
    ///
    /// # Errors
    /// [`AccessError::UnknownKey`], [`AccessError::Disabled`], [`AccessError::TooMany`] after a flood of wrong ones, or
    /// [`AccessError::Store`].
    pub async fn identify(&self, key: &str, address: Option<IpAddr>) -> Result<Caller, AccessError> {
        if self.master_key.matches(key) {
            let permissions = Permission::ALL.iter().copied().collect();
            return Ok(Caller { user: None, permissions, name: self.master_name.to_string() });
        }
        match self.find(key).await? {
            Some(owner) => caller(owner),
            None => match self.guard.wrong_key(address) {
                Some(too_many) => Err(AccessError::TooMany { retry_after: too_many.retry_after }),
                None => Err(AccessError::UnknownKey),
            },
        }
    }

    /// The owner of a key whose verifier matches. The work for an unknown id is that for a wrong secret.
    async fn find(&self, key: &str) -> Result<Option<KeyOwner>, AccessError> {
        let hmac = hmac_digest(self.pepper.expose(), key);
        let sha256 = sha256_digest(key);
        let mut connection = self.store.acquire().await?;
        let found = match public_id(key) {
            Some(public_id) => keys::owners_by_public_id(&mut connection, public_id).await?,
            None => keys::owners_by_digest(&mut connection, &[hmac.as_slice(), sha256.as_slice()]).await?,
        };
        let mut matching = None;
        for (scheme, digest, owner) in found {
            let expected = match scheme {
                VerifierScheme::HmacSha256 => &hmac,
                VerifierScheme::Sha256 => &sha256,
            };
            if digests_match(expected, &digest) {
                matching = Some(owner);
            }
        }
        if matching.is_none() {
            let _ = digests_match(&hmac, &sha256);
        }
        Ok(matching.filter(|owner| !owner.key_expired))
    }
}

fn caller(owner: KeyOwner) -> Result<Caller, AccessError> {
    let switched_off =
        [(owner.key_blocked, "key"), (owner.user_blocked, "account"), (owner.organization_blocked, "organization")];
    if let Some((_, what)) = switched_off.into_iter().find(|(blocked, _)| *blocked) {
        return Err(AccessError::Disabled { what });
    }
    // A permission that this build does not know gives nothing.
    let permissions = owner.permissions.iter().filter_map(|word| word.parse().ok()).collect();
    let user = CallerUser {
        id: UserId::from_uuid(owner.user_id),
        key: VirtualKeyId::from_uuid(owner.key_id),
        session: owner.session,
        allowed_routers: owner.allowed_routers.map(|ids| ids.into_iter().map(RouterId::from_uuid).collect()),
        key_expires: owner.key_expires,
        email: owner.email.clone(),
        role: RoleId::from_uuid(owner.role_id),
        organization: owner.organization_id.map(OrganizationId::from_uuid),
        expired: owner.user_expired,
    };
    Ok(Caller { user: Some(user), permissions, name: owner.email })
}
