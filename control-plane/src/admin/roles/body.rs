//! What a request may set of a role.

use serde_json::value::RawValue;
use shared::catalog::Permission;
use shared::kernel::ids::RouterId;
use utoipa::ToSchema;

use crate::admin::body::{Fields, FromField, Word, nested};
use crate::admin::error::{ApiError, Problem};
use crate::domain::{self, LimitSpec, LimitType, Lookup, Noun, Patch, RoleSpec};
use crate::store::{CatalogTx, routers};

/// Fields of a role that a request may set.
#[derive(Debug, ToSchema)]
pub(super) struct RoleBody {
    /// Unique among roles; 1 to 255 characters.
    #[schema(value_type = String, required = true)]
    name: Patch<String>,
    /// Among `admin`, `create_public_collection`, `read_metric`, `provide_models`.
    #[schema(value_type = Vec<String>, required = false)]
    permissions: Patch<Vec<Word<Permission>>>,
    /// All limits of the role; a list that is given replaces the one before.
    #[schema(value_type = Vec<LimitBody>, required = false)]
    limits: Patch<Vec<LimitBody>>,
    /// Every router, without limits.
    #[schema(value_type = bool, default = false, required = false)]
    all_routers: Patch<bool>,
}

/// A limit of a role on a router.
#[derive(Debug, Clone, ToSchema)]
pub(super) struct LimitBody {
    /// The router.
    #[schema(value_type = i64, required = true)]
    router_id: Patch<Lookup>,
    /// `tpm`, `tpd`, `rpm` or `rpd`.
    #[schema(rename = "type", value_type = String, required = true)]
    limit: Patch<Word<LimitType>>,
    /// Null is unlimited, 0 is no access.
    #[schema(value_type = Option<i64>, required = false)]
    value: Patch<i64>,
}

impl FromField for LimitBody {
    fn from_field(raw: &RawValue) -> Result<Self, Vec<Problem>> {
        nested(raw, |fields| {
            fields.older("router", "router_id");
            Self { router_id: fields.take("router_id"), limit: fields.take("type"), value: fields.take("value") }
        })
    }
}

const READ_ONLY: &[&str] = &["id", "object", "users", "created", "updated", "version", "number"];

impl RoleBody {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(bytes)?;
        let body = Self {
            name: fields.take("name"),
            permissions: fields.take("permissions"),
            limits: fields.take("limits"),
            all_routers: fields.take("all_routers"),
        };
        fields.finish(READ_ONLY)?;
        Ok(body)
    }

    pub(super) async fn apply(self, tx: &mut CatalogTx, kept: Option<&RoleSpec>) -> Result<RoleSpec, ApiError> {
        let mut permissions = match self.permissions {
            Patch::Absent => kept.map(|kept| kept.permissions.clone()).unwrap_or_default(),
            Patch::Null => Vec::new(),
            Patch::Value(words) => words.into_iter().map(|word| word.0).collect(),
        };
        permissions.sort_unstable();
        permissions.dedup();
        let spec = RoleSpec {
            name: self.name.required("name", kept.map(|kept| kept.name.clone()))?,
            permissions,
            all_routers: self.all_routers.defaulted(kept.map(|kept| kept.all_routers), false),
            limits: match self.limits {
                Patch::Absent => kept.map(|kept| kept.limits.clone()).unwrap_or_default(),
                Patch::Null => Vec::new(),
                Patch::Value(limits) => resolve(tx, limits).await?,
            },
        };
        spec.check()?;
        Ok(spec)
    }
}

/// From what a request names to the routers' ids.
async fn resolve(tx: &mut CatalogTx, limits: Vec<LimitBody>) -> Result<Vec<LimitSpec>, ApiError> {
    let mut named = Vec::with_capacity(limits.len());
    for (position, limit) in limits.into_iter().enumerate() {
        let at = |field: &str| format!("limits.{position}.{field}");
        let router = limit.router_id.required(&at("router_id"), None)?;
        let Word(kind) = limit.limit.required(&at("type"), None)?;
        let amount = limit.value.nullable(None);
        if let Some(negative) = amount.filter(|amount| *amount < 0) {
            let expected = "0 or more, or null for no bound, is expected";
            return Err(domain::Error::invalid(&at("value"), negative, expected).into());
        }
        named.push((router, kind, amount));
    }
    let routers: Vec<Lookup> = named.iter().map(|(router, ..)| *router).collect();
    let ids = routers::ids_of(tx.connection(), &routers).await?;
    let mut specs = Vec::with_capacity(named.len());
    for (router, limit, amount) in named {
        let id = ids.iter().find(|(at, _)| *at == router).map(|(_, id)| RouterId::from_uuid(*id));
        let router = id.ok_or_else(|| domain::Error::not_found(Noun::Router, router))?;
        specs.push(LimitSpec { router, limit, amount });
    }
    specs.sort_unstable_by_key(|limit| (limit.router, limit.limit));
    Ok(specs)
}
