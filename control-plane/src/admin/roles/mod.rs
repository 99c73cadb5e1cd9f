//! Roles: permissions, and limits on routers.

mod body;
mod object;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use shared::catalog::Kind;
use utoipa_axum::routes;

use super::body::Body;
use super::context::{Admin, Context};
use super::create::{Begun, Creation};
use super::error::ApiError;
use super::query::{At, Query};
use super::reply::{self, ListObject};
use super::{AppState, Routes};
use crate::domain::{self, Lookup, Noun};
use crate::store::roles::{self, RoleRow};
use crate::store::{CatalogTx, Sort};
use body::RoleBody;
pub(super) use object::LimitObject;
use object::{RoleObject, refusal, spec_of};

pub(super) fn routes() -> Routes {
    Routes::default().routes(routes!(list, create)).routes(routes!(read, change, replace, remove))
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
