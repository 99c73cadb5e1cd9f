//! Routers: public model names.

mod body;
mod object;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use shared::catalog::{Kind, ProviderKind, RouterKind};
use shared::kernel::ids::RouterId;
use utoipa_axum::routes;

use super::body::Body;
use super::context::{Admin, Context};
use super::create::{Begun, Creation};
use super::error::ApiError;
use super::query::{At, Query};
use super::reply::{self, ListObject};
use super::{AppState, Routes};
use crate::domain::{self, Lookup, Noun, RouterSpec};
use crate::store::routers::{self, RouterFilter, RouterOrigin, RouterRow};
use crate::store::{CatalogTx, Sort, StoreError, providers};
use body::RouterBody;
use object::{RouterObject, spec_of};

pub(super) fn routes() -> Routes {
    Routes::default().routes(routes!(list, create)).routes(routes!(read, change, replace, remove))
}

/// Names that another router of the same owner has.
async fn check_names(tx: &mut CatalogTx, spec: &RouterSpec, but: Option<uuid::Uuid>) -> Result<(), ApiError> {
    let names: Vec<String> = std::iter::once(&spec.name).chain(&spec.aliases).cloned().collect();
    let taken = routers::taken(tx.connection(), spec.organization, &names, but).await?;
    if taken.is_empty() {
        return Ok(());
    }
    let detail = if taken.iter().any(|(name, _)| *name == spec.name) {
        format!("Router {} already exists.", spec.name)
    } else {
        let names: Vec<String> = taken.iter().map(|(name, _)| format!("'{name}'")).collect();
        format!("Following aliases already exist: '[{}]'", names.join(", "))
    };
    Err(domain::Error::conflict("already_exists", detail).into())
}

fn refusal(error: StoreError, name: &str) -> ApiError {
    match error.duplicate() {
        // Made by somebody else between the look and the insert.
        Some(_) => domain::Error::conflict("already_exists", format!("Router {name} already exists.")).into(),
        None => error.into(),
    }
}

/// Create a router.
#[utoipa::path(post, path = "/v1/admin/routers", tag = "routers", request_body = RouterBody,
    responses((status = 201, body = RouterObject)))]
async fn create(State(state): State<AppState>, Admin(context): Admin, body: Body) -> Result<Response, ApiError> {
    let parsed = RouterBody::parse(&body.0)?;
    let mut creation = match Creation::begin(&state, &context, &body.0).await? {
        Begun::Replay(response) => return Ok(response),
        Begun::New(creation) => creation,
    };
    let spec = parsed.apply(&mut creation.tx, None).await?;
    check_names(&mut creation.tx, &spec, None).await?;
    let origin = RouterOrigin { user: context.caller.user().map(|user| user.id), owner_file: None };
    let inserted = routers::insert(&mut creation.tx, &spec, &origin).await;
    let row = inserted.map_err(|error| refusal(error, &spec.name))?;
    let object = RouterObject::from(&row);
    reply::audit(&mut creation.tx, "create", (Kind::Router, row.id, &row.name), None, Some(&object))?;
    creation.finish(row.version, &object).await
}

/// List routers.
#[utoipa::path(get, path = "/v1/admin/routers", tag = "routers",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query), ("sort_by" = Option<String>, Query),
        ("sort_order" = Option<String>, Query), ("name" = Option<String>, Query, description = "Part of the name."),
        ("type" = Option<String>, Query), ("organization_id" = Option<i64>, Query),
        ("group" = Option<String>, Query, description = "Served by the data planes of this Group.")),
    responses((status = 200, body = ListObject<RouterObject>)))]
async fn list(State(state): State<AppState>, _: Admin, query: Query) -> Result<Response, ApiError> {
    let page = query.page(&[
        ("id", Sort::Number),
        ("name", Sort::Name),
        ("created", Sort::Created),
        ("updated", Sort::Updated),
    ])?;
    let kind: Option<RouterKind> = query.parsed("type", &format!("one of: {}", RouterKind::expected()))?;
    let filter = RouterFilter {
        name: query.text("name").map(str::to_owned),
        kind: kind.map(|kind| kind.as_str().to_owned()),
        organization: query.lookup("organization_id", "organization")?,
        owner_file: None,
        group: query.text("group").map(str::to_owned),
    };
    let listed = routers::list(&mut *state.store.acquire().await?, &filter, page).await?;
    Ok(reply::list(listed, page, |row| RouterObject::from(&row)))
}

/// Read a router.
#[utoipa::path(get, path = "/v1/admin/routers/{id}", tag = "routers", params(("id" = i64, Path)),
    responses((status = 200, body = RouterObject)))]
async fn read(State(state): State<AppState>, _: Admin, At(at): At) -> Result<Response, ApiError> {
    let found = routers::get(&mut *state.store.acquire().await?, at).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::Router, at))?;
    Ok(reply::object(StatusCode::OK, row.version, &RouterObject::from(&row)))
}

/// Change the fields named.
#[utoipa::path(patch, path = "/v1/admin/routers/{id}", tag = "routers", params(("id" = i64, Path)),
    request_body = RouterBody, responses((status = 200, body = RouterObject)))]
async fn change(
    State(state): State<AppState>,
    Admin(context): Admin,
    At(at): At,
    body: Body,
) -> Result<Response, ApiError> {
    update(&state, &context, at, RouterBody::parse(&body.0)?, true).await
}

/// Replace every field; absent ones get their defaults.
#[utoipa::path(put, path = "/v1/admin/routers/{id}", tag = "routers", params(("id" = i64, Path)),
    request_body = RouterBody, responses((status = 200, body = RouterObject)))]
async fn replace(
    State(state): State<AppState>,
    Admin(context): Admin,
    At(at): At,
    body: Body,
) -> Result<Response, ApiError> {
    update(&state, &context, at, RouterBody::parse(&body.0)?, false).await
}

async fn update(
    state: &AppState,
    context: &Context,
    at: Lookup,
    body: RouterBody,
    keep: bool,
) -> Result<Response, ApiError> {
    let mut tx = state.store.begin(context.actor()).await?;
    let row = lock(&mut tx, Some(context), at).await?;
    let present = spec_of(&row)?;
    let spec = body.apply(&mut tx, keep.then_some(&present)).await?;
    let Some(changed) = write(&mut tx, &row, &spec).await? else {
        return Ok(reply::object(StatusCode::OK, row.version, &RouterObject::from(&row)));
    };
    tx.commit().await?;
    Ok(reply::object(StatusCode::OK, changed.version, &RouterObject::from(&changed)))
}

/// Changes the fields that `change` names, as a request would; answers whether that is any change.
pub(super) async fn amend(tx: &mut CatalogTx, row: &RouterRow, change: &[u8]) -> Result<bool, ApiError> {
    let body = RouterBody::parse(change)?;
    let spec = body.apply(tx, Some(&spec_of(row)?)).await?;
    Ok(write(tx, row, &spec).await?.is_some())
}

/// Makes a router what another row of it says.
pub(super) async fn become_like(tx: &mut CatalogTx, row: &RouterRow, other: &RouterRow) -> Result<(), ApiError> {
    let spec = spec_of(other)?;
    spec.check()?;
    write(tx, row, &spec).await?;
    Ok(())
}

/// The row after the change, with its line for the audit table; absent when nothing changes.
async fn write(tx: &mut CatalogTx, row: &RouterRow, spec: &RouterSpec) -> Result<Option<RouterRow>, ApiError> {
    let present = spec_of(row)?;
    if *spec == present {
        return Ok(None);
    }
    check_names(tx, spec, Some(row.id)).await?;
    if spec.kind != present.kind {
        check_providers(tx, row, spec.kind).await?;
    }
    let changed = routers::update(tx, row.id, spec).await.map_err(|error| refusal(error, &spec.name))?;
    let (before, after) = (RouterObject::from(row), RouterObject::from(&changed));
    reply::audit(tx, "update", (Kind::Router, row.id, &changed.name), Some(&before), Some(&after))?;
    Ok(Some(changed))
}

/// A router may not become of a kind that one of its providers cannot serve.
async fn check_providers(tx: &mut CatalogTx, row: &RouterRow, kind: RouterKind) -> Result<(), ApiError> {
    for provider in providers::of_router(tx.connection(), RouterId::from_uuid(row.id)).await? {
        let serves = provider.kind.parse::<ProviderKind>().is_ok_and(|provider| provider.serves(kind));
        if !serves {
            let detail = format!("Invalid model provider type {} for {kind} router.", provider.kind);
            return Err(domain::Error::refused("provider_type_mismatch", "type", detail).into());
        }
    }
    Ok(())
}

/// Remove a router with its providers and the limits on it.
#[utoipa::path(delete, path = "/v1/admin/routers/{id}", tag = "routers", params(("id" = i64, Path)),
    responses((status = 200, body = RouterObject)))]
async fn remove(State(state): State<AppState>, Admin(context): Admin, At(at): At) -> Result<Response, ApiError> {
    let mut tx = state.store.begin(context.actor()).await?;
    let row = lock(&mut tx, Some(&context), at).await?;
    routers::delete(&mut tx, row.id).await?;
    let object = RouterObject::from(&row);
    reply::audit(&mut tx, "delete", (Kind::Router, row.id, &row.name), Some(&object), None)?;
    tx.commit().await?;
    Ok(reply::object(StatusCode::OK, row.version, &object))
}

/// The router that is to be changed, unless a configuration file owns it.
pub(super) async fn lock(tx: &mut CatalogTx, context: Option<&Context>, at: Lookup) -> Result<RouterRow, ApiError> {
    let found = routers::lock(tx, at).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::Router, at))?;
    context.map_or(Ok(()), |context| context.check_version(row.version))?;
    match &row.owner_file {
        Some(file) => Err(domain::Error::owned_by_file(Noun::Router, &row.name, file).into()),
        None => Ok(row),
    }
}
