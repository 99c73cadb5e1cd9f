//! What a requested name means for a caller, and what the caller may use.

use std::sync::Arc;

use shared::catalog::{Kind, Ref};
use shared::kernel::ids::{OrganizationId, RoleId};

use super::{Principal, RouterEntry, Table};

/// Whether a caller may use a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Yes.
    Allowed,
    /// No.
    Denied,
    /// A limit or another policy between the two could not be applied on this node.
    Closed,
}

impl Table {
    /// The router that a name or alias means for a caller, compared literally. Says nothing of whether the caller may use it.
    #[must_use]
    pub fn resolve(&self, principal: &Principal, requested: &str) -> Option<Arc<RouterEntry>> {
        self.routing.resolve(principal.organization.map(OrganizationId::uuid), requested).map(Arc::clone)
    }

    /// Whether a caller may use a router.
    #[must_use]
    pub fn access(&self, principal: &Principal, router: &RouterEntry) -> Access {
        let foreign = router.organization.is_some() && router.organization != principal.organization;
        let excluded = principal.allowed.as_ref().is_some_and(|allowed| !allowed.contains(&router.id));
        if foreign || excluded {
            return Access::Denied;
        }
        if self.closed.contains(&Ref { kind: Kind::Router, id: router.id.uuid() }) {
            return Access::Closed;
        }
        if principal.master {
            return if self.settings.master_inference { Access::Allowed } else { Access::Denied };
        }
        let Some(role) = principal.role.map(RoleId::uuid) else { return Access::Denied };
        if self.roles.get(&role).is_some_and(|role| role.every_router) {
            return Access::Allowed;
        }
        match self.grants.get(&(role, router.id.uuid())) {
            Some(grant) if grant.is_closed() => Access::Closed,
            Some(grant) if grant.is_open() => Access::Allowed,
            _ => Access::Denied,
        }
    }

    /// Whether a caller may use a router.
    #[must_use]
    pub fn may_use(&self, principal: &Principal, router: &RouterEntry) -> bool {
        self.access(principal, router) == Access::Allowed
    }

    /// What a caller may use: exactly the routers that a call by their name would reach, with at least one provider, by name.
    #[must_use]
    pub fn routers_for(&self, principal: &Principal) -> Vec<Arc<RouterEntry>> {
        let organization = principal.organization.map(OrganizationId::uuid);
        let is_reached = |router: &Arc<RouterEntry>| {
            self.routing.resolve(organization, &router.noun.name).is_some_and(|reached| reached.id == router.id)
        };
        let mut routers: Vec<_> = self
            .routing
            .routers()
            .filter(|router| !router.providers.is_empty() && self.may_use(principal, router) && is_reached(router))
            .map(Arc::clone)
            .collect();
        routers.sort_by(|one, two| one.noun.name.cmp(&two.noun.name));
        routers
    }
}
