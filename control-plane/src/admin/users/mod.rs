//! Users: people and services, with a role.

mod body;
mod object;

use axum::extract::State;
use axum::response::Response;
use chrono::Utc;
use http::StatusCode;
use shared::catalog::Kind;
use shared::kernel::ids::UserId;
use shared::kernel::secret::Secret;
use utoipa_axum::routes;

use super::body::Body;
use super::context::{Admin, Context};
use super::create::{Begun, Creation};
use super::error::ApiError;
use super::query::{At, Query};
use super::reply::{self, ListObject};
use super::{AppState, Routes};
use crate::access::AccessError;
use crate::domain::{self, Lookup, Noun, Patch, check_password};
use crate::store::users::{self, UserFilter, UserRow};
use crate::store::{CatalogTx, Sort, keys};
use body::UserBody;
pub(super) use body::organization;
use object::UserObject;
pub(super) use object::{refusal, spec_of};

pub(super) fn routes() -> Routes {
    Routes::default().routes(routes!(list, create)).routes(routes!(read, change, replace, remove))
}

/// Create a user.
#[utoipa::path(post, path = "/v1/admin/users", tag = "users", request_body = UserBody,
    responses((status = 201, body = UserObject)))]
async fn create(State(state): State<AppState>, Admin(context): Admin, body: Body) -> Result<Response, ApiError> {
    let mut parsed = UserBody::parse(&body.0)?;
    let password = hashed(&state, std::mem::take(&mut parsed.password)).await?.value();
    let mut creation = match Creation::begin(&state, &context, &body.0).await? {
        Begun::Replay(response) => return Ok(response),
        Begun::New(creation) => creation,
    };
    let spec = parsed.apply(&mut creation.tx, &state, None, Utc::now()).await?;
    let inserted = users::insert(&mut creation.tx, &spec, password.as_deref()).await;
    let row = inserted.map_err(|error| refusal(error, &spec.email, None))?;
    let object = UserObject::from(&row);
    reply::audit(&mut creation.tx, "create", (Kind::User, row.id, &row.email), None, Some(&object))?;
    creation.finish(row.version, &object).await
}

/// Checks and hashes a password, outside of any transaction: it takes a while by design.
pub(super) async fn hashed(state: &AppState, password: Patch<Secret>) -> Result<Patch<String>, ApiError> {
    match password {
        Patch::Absent => Ok(Patch::Absent),
        Patch::Null => Ok(Patch::Null),
        Patch::Value(password) => {
            check_password(password.expose())?;
            let hash = state.access.passwords().hash(password).await.map_err(AccessError::from)?;
            Ok(Patch::Value(hash))
        }
    }
}

/// List users.
#[utoipa::path(get, path = "/v1/admin/users", tag = "users",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query), ("sort_by" = Option<String>, Query),
        ("sort_order" = Option<String>, Query), ("email" = Option<String>, Query, description = "Part of the address."),
        ("name" = Option<String>, Query, description = "Part of the name."), ("role_id" = Option<i64>, Query),
        ("organization_id" = Option<i64>, Query)),
    responses((status = 200, body = ListObject<UserObject>)))]
async fn list(State(state): State<AppState>, _: Admin, query: Query) -> Result<Response, ApiError> {
    let page = query.page(&[
        ("id", Sort::Number),
        ("email", Sort::Email),
        ("name", Sort::Name),
        ("created", Sort::Created),
        ("updated", Sort::Updated),
    ])?;
    let filter = UserFilter {
        email: query.text("email").map(str::to_owned),
        name: query.text("name").map(str::to_owned),
        role: query.lookup("role_id", "role")?,
        organization: query.lookup("organization_id", "organization")?,
    };
    let listed = users::list(&mut *state.store.acquire().await?, &filter, page).await?;
    Ok(reply::list(listed, page, |row| UserObject::from(&row)))
}

/// Read a user.
#[utoipa::path(get, path = "/v1/admin/users/{id}", tag = "users", params(("id" = i64, Path)),
    responses((status = 200, body = UserObject)))]
async fn read(State(state): State<AppState>, _: Admin, At(at): At) -> Result<Response, ApiError> {
    let found = users::get(&mut *state.store.acquire().await?, at).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::User, at))?;
    Ok(reply::object(StatusCode::OK, row.version, &UserObject::from(&row)))
}

/// Change the fields named.
#[utoipa::path(patch, path = "/v1/admin/users/{id}", tag = "users", params(("id" = i64, Path)),
    request_body = UserBody, responses((status = 200, body = UserObject)))]
async fn change(
    State(state): State<AppState>,
    Admin(context): Admin,
    At(at): At,
    body: Body,
) -> Result<Response, ApiError> {
    update(&state, &context, at, UserBody::parse(&body.0)?, true).await
}

/// Replace every field but the password; absent ones get their defaults.
#[utoipa::path(put, path = "/v1/admin/users/{id}", tag = "users", params(("id" = i64, Path)),
    request_body = UserBody, responses((status = 200, body = UserObject)))]
async fn replace(
    State(state): State<AppState>,
    Admin(context): Admin,
    At(at): At,
    body: Body,
) -> Result<Response, ApiError> {
    update(&state, &context, at, UserBody::parse(&body.0)?, false).await
}

async fn update(
    state: &AppState,
    context: &Context,
    at: Lookup,
    mut body: UserBody,
    keep: bool,
) -> Result<Response, ApiError> {
    if let Some(current) = std::mem::take(&mut body.current_password).value() {
        check_current(state, at, current).await?;
    }
    let password = hashed(state, std::mem::take(&mut body.password)).await?;
    let mut tx = state.store.begin(context.actor()).await?;
    let row = lock(&mut tx, context, at).await?;
    let present = spec_of(&row);
    let spec = body.apply(&mut tx, state, keep.then_some(&present), Utc::now()).await?;
    let changed = if spec == present {
        row.clone()
    } else {
        users::update(&mut tx, row.id, &spec).await.map_err(|error| refusal(error, &spec.email, None))?
    };
    if spec == present && !password.is_named() {
        return Ok(reply::object(StatusCode::OK, row.version, &UserObject::from(&row)));
    }
    let (before, after) = (UserObject::from(&row), UserObject::from(&changed));
    if password.is_named() {
        set_password(&mut tx, UserId::from_uuid(row.id), &changed.email, password.value().as_deref()).await?;
    }
    if spec != present {
        reply::audit(&mut tx, "update", (Kind::User, row.id, &changed.email), Some(&before), Some(&after))?;
    }
    tx.commit().await?;
    Ok(reply::object(StatusCode::OK, changed.version, &after))
}

/// Sets a password and ends every session that was opened with the one before.
pub(super) async fn set_password(
    tx: &mut CatalogTx,
    user: UserId,
    email: &str,
    hash: Option<&str>,
) -> Result<(), ApiError> {
    users::set_password(tx, user.uuid(), hash).await?;
    keys::delete_sessions(tx, user, None).await?;
    reply::audit::<UserObject>(tx, "password", (Kind::User, user.uuid(), email), None, None)
}

async fn check_current(state: &AppState, at: Lookup, current: Secret) -> Result<(), ApiError> {
    let stored = {
        let mut connection = state.store.acquire().await?;
        let found = users::get(&mut connection, at).await?;
        let row = found.ok_or_else(|| domain::Error::not_found(Noun::User, at))?;
        users::password(&mut connection, row.id).await?
    };
    state.access.check_current_password(current, stored).await?;
    Ok(())
}

/// Remove a user with their keys.
#[utoipa::path(delete, path = "/v1/admin/users/{id}", tag = "users", params(("id" = i64, Path)),
    responses((status = 200, body = UserObject)))]
async fn remove(State(state): State<AppState>, Admin(context): Admin, At(at): At) -> Result<Response, ApiError> {
    let mut tx = state.store.begin(context.actor()).await?;
    let row = lock(&mut tx, &context, at).await?;
    users::delete(&mut tx, row.id).await.map_err(|error| refusal(error, &row.email, Some(at)))?;
    let object = UserObject::from(&row);
    reply::audit(&mut tx, "delete", (Kind::User, row.id, &row.email), Some(&object), None)?;
    tx.commit().await?;
    Ok(reply::object(StatusCode::OK, row.version, &object))
}

async fn lock(tx: &mut CatalogTx, context: &Context, at: Lookup) -> Result<UserRow, ApiError> {
    let found = users::lock(tx, at).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::User, at))?;
    context.check_version(row.version)?;
    Ok(row)
}
