//! A user as the API shows them, and the words of their constraints.

use serde::Serialize;
use shared::kernel::ids::{OrganizationId, RoleId};
use shared::kernel::money::Amount;
use utoipa::ToSchema;

use crate::admin::error::ApiError;
use crate::domain::{self, Lookup, UserSpec};
use crate::store::StoreError;
use crate::store::users::UserRow;

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserObject {
    /// Always `user`.
    object: &'static str,
    /// Their id.
    id: i64,
    /// Unique without regard to case.
    email: String,
    /// For display.
    name: String,
    /// Subject at an identity provider.
    sub: Option<String>,
    /// The identity provider.
    iss: Option<String>,
    /// The role.
    role_id: i64,
    /// The organization.
    organization_id: Option<i64>,
    /// The role, by its older name.
    role: i64,
    /// The organization, by its older name.
    organization: Option<i64>,
    /// Null is no bound.
    budget: Option<f64>,
    /// Unix seconds; null is never.
    expires: Option<i64>,
    /// Place in a queue.
    priority: i32,
    /// Switched off.
    blocked: bool,
    /// Unix seconds.
    created: i64,
    /// Unix seconds.
    updated: i64,
}

impl From<&UserRow> for UserObject {
    fn from(row: &UserRow) -> Self {
        Self {
            object: "user",
            id: row.number,
            email: row.email.clone(),
            name: row.name.clone(),
            sub: row.sub.clone(),
            iss: row.iss.clone(),
            role_id: row.role_number,
            organization_id: row.organization_number,
            role: row.role_number,
            organization: row.organization_number,
            budget: row.budget().map(Amount::to_f64),
            expires: row.expires.map(|at| at.timestamp()),
            priority: row.priority,
            blocked: row.blocked,
            created: row.created.timestamp(),
            updated: row.updated.timestamp(),
        }
    }
}

/// What is decided about a user, from their row.
pub(in crate::admin) fn spec_of(row: &UserRow) -> UserSpec {
    UserSpec {
        email: row.email.clone(),
        name: row.name.clone(),
        sub: row.sub.clone(),
        iss: row.iss.clone(),
        role: RoleId::from_uuid(row.role_id),
        organization: row.organization_id.map(OrganizationId::from_uuid),
        budget: row.budget(),
        expires: row.expires,
        priority: row.priority,
        blocked: row.blocked,
    }
}

/// Constraints of the table, in the words of the API.
pub(in crate::admin) fn refusal(error: StoreError, email: &str, at: Option<Lookup>) -> ApiError {
    match (error.duplicate(), error.reference(), at) {
        (Some("users_email"), ..) => {
            domain::Error::conflict("already_exists", format!("User {email} already exists.")).into()
        }
        (Some("users_iss_sub_key"), ..) => {
            let detail = "Another user has this subject at this identity provider.";
            domain::Error::conflict("already_exists", detail).into()
        }
        (_, Some(constraint), Some(at)) => {
            let what = if constraint.starts_with("provider") { "providers" } else { "routers" };
            let detail = format!("User {at} still has {what} and cannot be removed.");
            domain::Error::conflict("still_in_use", detail).into()
        }
        _ => error.into(),
    }
}
