//! Organizations: tenants.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use shared::catalog::Kind;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::body::{Body, Fields};
use super::context::{Admin, Context};
use super::create::{Begun, Creation};
use super::error::ApiError;
use super::query::{At, Query};
use super::reply::{self, ListObject};
use super::{AppState, Routes};
use crate::domain::{self, Lookup, Noun, OrganizationSpec, Patch};
use crate::store::organizations::{self, OrganizationRow};
use crate::store::{CatalogTx, Sort, StoreError};

pub(super) fn routes() -> Routes {
    Routes::default().routes(routes!(list, create)).routes(routes!(read, change, replace, remove))
}

/// Fields of an organization that a request may set.
#[derive(Debug, ToSchema)]
struct OrganizationBody {
    /// Unique among organizations; 1 to 255 characters.
    #[schema(value_type = String, required = true)]
    name: Patch<String>,
    /// Switched off, with all that belongs to it.
    #[schema(value_type = bool, default = false, required = false)]
    blocked: Patch<bool>,
}

const READ_ONLY: &[&str] = &["id", "object", "users", "created", "updated", "version", "number"];

impl OrganizationBody {
    fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(bytes)?;
        let body = Self { name: fields.take("name"), blocked: fields.take("blocked") };
        fields.finish(READ_ONLY)?;
        Ok(body)
    }

    fn apply(self, kept: Option<&OrganizationSpec>) -> Result<OrganizationSpec, domain::Error> {
        let spec = OrganizationSpec {
            name: self.name.required("name", kept.map(|kept| kept.name.clone()))?,
            blocked: self.blocked.defaulted(kept.map(|kept| kept.blocked), false),
        };
        spec.check()?;
        Ok(spec)
    }
}

/// An organization.
#[derive(Debug, Serialize, ToSchema)]
struct OrganizationObject {
    /// Always `organization`.
    object: &'static str,
    /// Its id.
    id: i64,
    /// Unique among organizations.
    name: String,
    /// Switched off.
    blocked: bool,
    /// How many users belong to it.
    users: i64,
    /// Unix seconds.
    created: i64,
    /// Unix seconds.
    updated: i64,
}

impl From<&OrganizationRow> for OrganizationObject {
    fn from(row: &OrganizationRow) -> Self {
        Self {
            object: "organization",
            id: row.number,
            name: row.name.clone(),
            blocked: row.blocked,
            users: row.users,
            created: row.created.timestamp(),
            updated: row.updated.timestamp(),
        }
    }
}

fn spec_of(row: &OrganizationRow) -> OrganizationSpec {
    OrganizationSpec { name: row.name.clone(), blocked: row.blocked }
}

fn refusal(error: StoreError, name: &str, at: Option<Lookup>) -> ApiError {
    match (error.duplicate(), error.reference(), at) {
        (Some(_), ..) => {
            domain::Error::conflict("already_exists", format!("Organization {name} already exists.")).into()
        }
        (_, Some(constraint), Some(at)) => {
            let what = if constraint.starts_with("router") { "routers" } else { "users" };
            let detail = format!("Organization {at} still has {what} and cannot be removed.");
            domain::Error::conflict("still_in_use", detail).into()
        }
        _ => error.into(),
    }
}

/// Create an organization.
#[utoipa::path(post, path = "/v1/admin/organizations", tag = "organizations", request_body = OrganizationBody,
    responses((status = 201, body = OrganizationObject)))]
async fn create(State(state): State<AppState>, Admin(context): Admin, body: Body) -> Result<Response, ApiError> {
    let spec = OrganizationBody::parse(&body.0)?.apply(None)?;
    let mut creation = match Creation::begin(&state, &context, &body.0).await? {
        Begun::Replay(response) => return Ok(response),
        Begun::New(creation) => creation,
    };
    let row = organizations::insert(&mut creation.tx, &spec).await.map_err(|error| refusal(error, &spec.name, None))?;
    let object = OrganizationObject::from(&row);
    reply::audit(&mut creation.tx, "create", (Kind::Organization, row.id, &row.name), None, Some(&object))?;
    creation.finish(row.version, &object).await
}

/// List organizations.
#[utoipa::path(get, path = "/v1/admin/organizations", tag = "organizations",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query), ("sort_by" = Option<String>, Query),
        ("sort_order" = Option<String>, Query), ("name" = Option<String>, Query, description = "Part of the name.")),
    responses((status = 200, body = ListObject<OrganizationObject>)))]
async fn list(State(state): State<AppState>, _: Admin, query: Query) -> Result<Response, ApiError> {
    let page = query.page(&[
        ("id", Sort::Number),
        ("name", Sort::Name),
        ("created", Sort::Created),
        ("updated", Sort::Updated),
    ])?;
    let mut connection = state.store.acquire().await?;
    let listed = organizations::list(&mut connection, query.text("name"), page).await?;
    Ok(reply::list(listed, page, |row| OrganizationObject::from(&row)))
}

/// Read an organization.
#[utoipa::path(get, path = "/v1/admin/organizations/{id}", tag = "organizations", params(("id" = i64, Path)),
    responses((status = 200, body = OrganizationObject)))]
async fn read(State(state): State<AppState>, _: Admin, At(at): At) -> Result<Response, ApiError> {
    let found = organizations::get(&mut *state.store.acquire().await?, at).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::Organization, at))?;
    Ok(reply::object(StatusCode::OK, row.version, &OrganizationObject::from(&row)))
}

/// Change the fields named.
#[utoipa::path(patch, path = "/v1/admin/organizations/{id}", tag = "organizations", params(("id" = i64, Path)),
    request_body = OrganizationBody, responses((status = 200, body = OrganizationObject)))]
async fn change(
    State(state): State<AppState>,
    Admin(context): Admin,
    At(at): At,
    body: Body,
) -> Result<Response, ApiError> {
    update(&state, &context, at, OrganizationBody::parse(&body.0)?, true).await
}

/// Replace every field; absent ones get their defaults.
#[utoipa::path(put, path = "/v1/admin/organizations/{id}", tag = "organizations", params(("id" = i64, Path)),
    request_body = OrganizationBody, responses((status = 200, body = OrganizationObject)))]
async fn replace(
    State(state): State<AppState>,
    Admin(context): Admin,
    At(at): At,
    body: Body,
) -> Result<Response, ApiError> {
    update(&state, &context, at, OrganizationBody::parse(&body.0)?, false).await
}

async fn update(
    state: &AppState,
    context: &Context,
    at: Lookup,
    body: OrganizationBody,
    keep: bool,
) -> Result<Response, ApiError> {
    let mut tx = state.store.begin(context.actor()).await?;
    let row = lock(&mut tx, context, at).await?;
    let present = spec_of(&row);
    let spec = body.apply(keep.then_some(&present))?;
    if spec == present {
        return Ok(reply::object(StatusCode::OK, row.version, &OrganizationObject::from(&row)));
    }
    let changed =
        organizations::update(&mut tx, row.id, &spec).await.map_err(|error| refusal(error, &spec.name, None))?;
    let (before, after) = (OrganizationObject::from(&row), OrganizationObject::from(&changed));
    reply::audit(&mut tx, "update", (Kind::Organization, row.id, &changed.name), Some(&before), Some(&after))?;
    tx.commit().await?;
    Ok(reply::object(StatusCode::OK, changed.version, &after))
}

/// Remove an organization without users.
#[utoipa::path(delete, path = "/v1/admin/organizations/{id}", tag = "organizations", params(("id" = i64, Path)),
    responses((status = 200, body = OrganizationObject)))]
async fn remove(State(state): State<AppState>, Admin(context): Admin, At(at): At) -> Result<Response, ApiError> {
    let mut tx = state.store.begin(context.actor()).await?;
    let row = lock(&mut tx, &context, at).await?;
    organizations::delete(&mut tx, row.id).await.map_err(|error| refusal(error, &row.name, Some(at)))?;
    let object = OrganizationObject::from(&row);
    reply::audit(&mut tx, "delete", (Kind::Organization, row.id, &row.name), Some(&object), None)?;
    tx.commit().await?;
    Ok(reply::object(StatusCode::OK, row.version, &object))
}

async fn lock(tx: &mut CatalogTx, context: &Context, at: Lookup) -> Result<OrganizationRow, ApiError> {
    let found = organizations::lock(tx, at).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::Organization, at))?;
    context.check_version(row.version)?;
    Ok(row)
}
