//! A role as the API shows it, and the words of its constraints.

use serde::Serialize;
use shared::catalog::Permission;
use shared::kernel::ids::RouterId;
use utoipa::ToSchema;

use crate::admin::error::ApiError;
use crate::domain::{self, LimitSpec, LimitType, Lookup, RoleSpec};
use crate::store::StoreError;
use crate::store::roles::{LimitRow, RoleRow};

/// A role.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RoleObject {
    /// Always `role`.
    object: &'static str,
    /// Its id.
    id: i64,
    /// Unique among roles.
    name: String,
    /// What it allows on the management side.
    permissions: Vec<String>,
    /// On routers.
    limits: Vec<LimitObject>,
    /// Every router, without limits.
    all_routers: bool,
    /// How many users have it.
    users: i64,
    /// Unix seconds.
    created: i64,
    /// Unix seconds.
    updated: i64,
}

/// A limit of a role on a router.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct LimitObject {
    /// The router.
    router_id: i64,
    /// The same, by its older name.
    router: i64,
    /// `tpm`, `tpd`, `rpm` or `rpd`.
    #[serde(rename = "type")]
    limit: &'static str,
    /// Null is unlimited, 0 is no access.
    value: Option<i64>,
}

impl LimitObject {
    /// Those that the API has a word for.
    pub(in crate::admin) fn of(rows: &[LimitRow]) -> Vec<Self> {
        let object = |row: &LimitRow| {
            let limit = LimitType::of(&row.unit, &row.period)?.as_str();
            Some(Self { router_id: row.router_number, router: row.router_number, limit, value: row.amount })
        };
        rows.iter().filter_map(object).collect()
    }

    /// Whether it gives access at all.
    pub(in crate::admin) fn is_open(&self) -> bool {
        self.value != Some(0)
    }
}

impl From<&RoleRow> for RoleObject {
    fn from(row: &RoleRow) -> Self {
        Self {
            object: "role",
            id: row.number,
            name: row.name.clone(),
            permissions: row.permissions.clone(),
            limits: LimitObject::of(&row.limits),
            all_routers: row.all_routers,
            users: row.users,
            created: row.created.timestamp(),
            updated: row.updated.timestamp(),
        }
    }
}

pub(super) fn spec_of(row: &RoleRow) -> RoleSpec {
    let limit = |row: &LimitRow| {
        let limit = LimitType::of(&row.unit, &row.period)?;
        Some(LimitSpec { router: RouterId::from_uuid(row.router), limit, amount: row.amount })
    };
    let mut permissions: Vec<Permission> = row.permissions.iter().filter_map(|word| word.parse().ok()).collect();
    permissions.sort_unstable();
    let mut limits: Vec<LimitSpec> = row.limits.iter().filter_map(limit).collect();
    limits.sort_unstable_by_key(|limit| (limit.router, limit.limit));
    RoleSpec { name: row.name.clone(), permissions, all_routers: row.all_routers, limits }
}

pub(super) fn refusal(error: StoreError, name: &str, at: Option<Lookup>) -> ApiError {
    match (error.duplicate(), error.reference(), at) {
        (Some("roles_name_key"), ..) => {
            domain::Error::conflict("already_exists", format!("Role {name} already exists.")).into()
        }
        (_, Some(_), Some(at)) => {
            let detail = format!("Role {at} still has users and cannot be removed.");
            domain::Error::conflict("still_in_use", detail).into()
        }
        _ => error.into(),
    }
}
