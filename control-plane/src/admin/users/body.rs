//! What a request may set of a user.

use chrono::{DateTime, Utc};
use shared::kernel::ids::{OrganizationId, RoleId};
use shared::kernel::money::Amount;
use shared::kernel::secret::Secret;
use utoipa::ToSchema;

use crate::admin::AppState;
use crate::admin::body::Fields;
use crate::admin::error::ApiError;
use crate::domain::{self, Lookup, Noun, Patch, UserSpec, user_expiry};
use crate::store::{CatalogTx, organizations, roles};

/// Fields of a user that a request may set.
#[derive(Debug, ToSchema)]
pub(super) struct UserBody {
    /// Unique without regard to case.
    #[schema(value_type = String, required = true)]
    email: Patch<String>,
    /// For display.
    #[schema(value_type = String, required = false)]
    name: Patch<String>,
    /// 8 to 1024 bytes; without one there is no login. Never returned; a replacement without it keeps it.
    #[schema(value_type = Option<String>, required = false)]
    pub(super) password: Patch<Secret>,
    /// Checked where it is given.
    #[schema(value_type = Option<String>, required = false)]
    pub(super) current_password: Patch<Secret>,
    /// Subject at an identity provider.
    #[schema(value_type = Option<String>, required = false)]
    sub: Patch<String>,
    /// The identity provider.
    #[schema(value_type = Option<String>, required = false)]
    iss: Patch<String>,
    /// The role; its older name is `role`.
    #[schema(value_type = i64, required = true)]
    role_id: Patch<Lookup>,
    /// The organization; its older name is `organization`.
    #[schema(value_type = Option<i64>, required = false)]
    organization_id: Patch<Lookup>,
    /// Null is no bound.
    #[schema(value_type = Option<f64>, required = false)]
    budget: Patch<Amount>,
    /// Unix seconds, in the future; null is never.
    #[schema(value_type = Option<i64>, required = false)]
    expires: Patch<i64>,
    /// Place in a queue; higher goes first.
    #[schema(value_type = i32, default = 0, required = false)]
    priority: Patch<i32>,
    /// Switched off, with all keys.
    #[schema(value_type = bool, default = false, required = false)]
    blocked: Patch<bool>,
}

const READ_ONLY: &[&str] = &["id", "object", "created", "updated", "version", "number"];

impl UserBody {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(bytes)?;
        fields.older("role", "role_id");
        fields.older("organization", "organization_id");
        let body = Self {
            email: fields.take("email"),
            name: fields.take("name"),
            password: fields.take("password"),
            current_password: fields.take("current_password"),
            sub: fields.take("sub"),
            iss: fields.take("iss"),
            role_id: fields.take("role_id"),
            organization_id: fields.take("organization_id"),
            budget: fields.take("budget"),
            expires: fields.take("expires"),
            priority: fields.take("priority"),
            blocked: fields.take("blocked"),
        };
        fields.finish(READ_ONLY)?;
        Ok(body)
    }

    pub(super) async fn apply(
        self,
        tx: &mut CatalogTx,
        state: &AppState,
        kept: Option<&UserSpec>,
        now: DateTime<Utc>,
    ) -> Result<UserSpec, ApiError> {
        let email = self.email.required("email", kept.map(|kept| kept.email.clone()))?;
        if state.access.is_reserved(&email) {
            return Err(domain::Error::forbidden("reserved_email", "Reserved email.").into());
        }
        let role = match self.role_id {
            Patch::Value(at) => role(tx, at).await?,
            Patch::Absent => kept.map(|kept| kept.role).ok_or_else(|| domain::Error::missing("role_id"))?,
            Patch::Null => return Err(domain::Error::invalid("role_id", "null", "a role is expected").into()),
        };
        let organization = match self.organization_id {
            Patch::Value(at) => Some(organization(tx, at).await?),
            Patch::Null => None,
            Patch::Absent => kept.and_then(|kept| kept.organization),
        };
        let spec = UserSpec {
            email,
            name: self.name.defaulted(kept.map(|kept| kept.name.clone()), String::new()),
            sub: self.sub.nullable(kept.and_then(|kept| kept.sub.clone())),
            iss: self.iss.nullable(kept.and_then(|kept| kept.iss.clone())),
            role,
            organization,
            budget: self.budget.nullable(kept.and_then(|kept| kept.budget)),
            expires: self
                .expires
                .try_map(|seconds| user_expiry(seconds, now))?
                .nullable(kept.and_then(|kept| kept.expires)),
            priority: self.priority.defaulted(kept.map(|kept| kept.priority), 0),
            blocked: self.blocked.defaulted(kept.map(|kept| kept.blocked), false),
        };
        spec.check()?;
        Ok(spec)
    }
}

async fn role(tx: &mut CatalogTx, at: Lookup) -> Result<RoleId, ApiError> {
    let found = roles::get(tx.connection(), at).await?;
    Ok(found.map(|row| RoleId::from_uuid(row.id)).ok_or_else(|| domain::Error::not_found(Noun::Role, at))?)
}

/// The organization that a request names.
pub(in crate::admin) async fn organization(tx: &mut CatalogTx, at: Lookup) -> Result<OrganizationId, ApiError> {
    let found = organizations::get(tx.connection(), at).await?;
    let id = found.map(|row| OrganizationId::from_uuid(row.id));
    Ok(id.ok_or_else(|| domain::Error::not_found(Noun::Organization, at))?)
}
