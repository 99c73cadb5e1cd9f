//! Roles: permissions, and limits on routers.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use shared::catalog::{Kind, Permission};
use shared::kernel::ids::RouterId;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::body::{Body, Fields, FromField, Word, nested};
use super::context::{Admin, Context};
use super::create::{Begun, Creation};
use super::error::{ApiError, Problem};
use super::query::{At, Query};
use super::reply::{self, ListObject};
use super::{AppState, Routes};
use crate::domain::{self, LimitSpec, LimitType, Lookup, Noun, Patch, RoleSpec};
use crate::store::roles::{self, LimitRow, RoleRow};
use crate::store::{CatalogTx, Sort, StoreError, routers};

pub(super) fn routes() -> Routes {
    Routes::default().routes(routes!(list, create)).routes(routes!(read, change, replace, remove))
}

/// Fields of a role that a request may set.
#[derive(Debug, ToSchema)]
struct RoleBody {
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
struct LimitBody {
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
    fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
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

    async fn apply(self, tx: &mut CatalogTx, kept: Option<&RoleSpec>) -> Result<RoleSpec, ApiError> {
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

/// A role.
#[derive(Debug, Serialize, ToSchema)]
struct RoleObject {
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
pub(super) struct LimitObject {
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
    pub(super) fn of(rows: &[LimitRow]) -> Vec<Self> {
        let object = |row: &LimitRow| {
            let limit = LimitType::of(&row.unit, &row.period)?.as_str();
            Some(Self { router_id: row.router_number, router: row.router_number, limit, value: row.amount })
        };
        rows.iter().filter_map(object).collect()
    }

    /// Whether it gives access at all.
    pub(super) fn is_open(&self) -> bool {
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

fn spec_of(row: &RoleRow) -> RoleSpec {
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

fn refusal(error: StoreError, name: &str, at: Option<Lookup>) -> ApiError {
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

/// Create a role.
#[utoipa::path(post, path = "/v1/admin/roles", tag = "roles", request_body = RoleBody,
    responses((status = 201, body = RoleObject)))]
async fn create(State(state): State<AppState>, Admin(context): Admin, body: Body) -> Result<Response, ApiError> {
    let parsed = RoleBody::parse(&body.0)?;
    let mut creation = match Creation::begin(&state, &context, &body.0).await? {
        Begun::Replay(response) => return Ok(response),
        Begun::New(creation) => creation,
    };
    let spec = parsed.apply(&mut creation.tx, None).await?;
    let row = roles::insert(&mut creation.tx, &spec).await.map_err(|error| refusal(error, &spec.name, None))?;
    let object = RoleObject::from(&row);
    reply::audit(&mut creation.tx, "create", (Kind::Role, row.id, &row.name), None, Some(&object))?;
    creation.finish(row.version, &object).await
}

/// List roles.
#[utoipa::path(get, path = "/v1/admin/roles", tag = "roles",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query), ("sort_by" = Option<String>, Query),
        ("sort_order" = Option<String>, Query), ("name" = Option<String>, Query, description = "Part of the name.")),
    responses((status = 200, body = ListObject<RoleObject>)))]
async fn list(State(state): State<AppState>, _: Admin, query: Query) -> Result<Response, ApiError> {
    let page = query.page(&[
        ("id", Sort::Number),
        ("name", Sort::Name),
        ("created", Sort::Created),
        ("updated", Sort::Updated),
    ])?;
    let mut connection = state.store.acquire().await?;
    let listed = roles::list(&mut connection, query.text("name"), page).await?;
    Ok(reply::list(listed, page, |row| RoleObject::from(&row)))
}

/// Read a role.
#[utoipa::path(get, path = "/v1/admin/roles/{id}", tag = "roles", params(("id" = i64, Path)),
    responses((status = 200, body = RoleObject)))]
async fn read(State(state): State<AppState>, _: Admin, At(at): At) -> Result<Response, ApiError> {
    let found = roles::get(&mut *state.store.acquire().await?, at).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::Role, at))?;
    Ok(reply::object(StatusCode::OK, row.version, &RoleObject::from(&row)))
}

/// Change the fields named.
#[utoipa::path(patch, path = "/v1/admin/roles/{id}", tag = "roles", params(("id" = i64, Path)),
    request_body = RoleBody, responses((status = 200, body = RoleObject)))]
async fn change(
    State(state): State<AppState>,
    Admin(context): Admin,
    At(at): At,
    body: Body,
) -> Result<Response, ApiError> {
    update(&state, &context, at, RoleBody::parse(&body.0)?, true).await
}

/// Replace every field; absent ones get their defaults.
#[utoipa::path(put, path = "/v1/admin/roles/{id}", tag = "roles", params(("id" = i64, Path)),
    request_body = RoleBody, responses((status = 200, body = RoleObject)))]
async fn replace(
    State(state): State<AppState>,
    Admin(context): Admin,
    At(at): At,
    body: Body,
) -> Result<Response, ApiError> {
    update(&state, &context, at, RoleBody::parse(&body.0)?, false).await
}

async fn update(
    state: &AppState,
    context: &Context,
    at: Lookup,
    body: RoleBody,
    keep: bool,
) -> Result<Response, ApiError> {
    let mut tx = state.store.begin(context.actor()).await?;
    let row = lock(&mut tx, context, at).await?;
    let present = spec_of(&row);
    let spec = body.apply(&mut tx, keep.then_some(&present)).await?;
    if spec == present {
        return Ok(reply::object(StatusCode::OK, row.version, &RoleObject::from(&row)));
    }
    let changed = roles::update(&mut tx, row.id, &spec).await.map_err(|error| refusal(error, &spec.name, None))?;
    let (before, after) = (RoleObject::from(&row), RoleObject::from(&changed));
    reply::audit(&mut tx, "update", (Kind::Role, row.id, &changed.name), Some(&before), Some(&after))?;
    tx.commit().await?;
    Ok(reply::object(StatusCode::OK, changed.version, &after))
}

/// Remove a role without users.
#[utoipa::path(delete, path = "/v1/admin/roles/{id}", tag = "roles", params(("id" = i64, Path)),
    responses((status = 200, body = RoleObject)))]
async fn remove(State(state): State<AppState>, Admin(context): Admin, At(at): At) -> Result<Response, ApiError> {
    let mut tx = state.store.begin(context.actor()).await?;
    let row = lock(&mut tx, &context, at).await?;
    roles::delete(&mut tx, row.id).await.map_err(|error| refusal(error, &row.name, Some(at)))?;
    let object = RoleObject::from(&row);
    reply::audit(&mut tx, "delete", (Kind::Role, row.id, &row.name), Some(&object), None)?;
    tx.commit().await?;
    Ok(reply::object(StatusCode::OK, row.version, &object))
}

async fn lock(tx: &mut CatalogTx, context: &Context, at: Lookup) -> Result<RoleRow, ApiError> {
    let found = roles::lock(tx, at).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::Role, at))?;
    context.check_version(row.version)?;
    Ok(row)
}
