//! Users: people and services, with a role.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::StatusCode;
use serde::Serialize;
use shared::catalog::Kind;
use shared::kernel::ids::{OrganizationId, RoleId, UserId};
use shared::kernel::money::Amount;
use shared::kernel::secret::Secret;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::body::{Body, Fields};
use super::context::{Admin, Context};
use super::create::{Begun, Creation};
use super::error::ApiError;
use super::query::{At, Query};
use super::reply::{self, ListObject};
use super::{AppState, Routes};
use crate::access::AccessError;
use crate::domain::{self, Lookup, Noun, Patch, UserSpec, check_password, user_expiry};
use crate::store::users::{self, UserFilter, UserRow};
use crate::store::{CatalogTx, Sort, StoreError, keys, organizations, roles};

pub(super) fn routes() -> Routes {
    Routes::default().routes(routes!(list, create)).routes(routes!(read, change, replace, remove))
}

/// Fields of a user that a request may set.
#[derive(Debug, ToSchema)]
struct UserBody {
    /// Unique without regard to case.
    #[schema(value_type = String, required = true)]
    email: Patch<String>,
    /// For display.
    #[schema(value_type = String, required = false)]
    name: Patch<String>,
    /// 8 to 1024 bytes; without one there is no login. Never returned; a replacement without it keeps it.
    #[schema(value_type = Option<String>, required = false)]
    password: Patch<Secret>,
    /// Checked where it is given.
    #[schema(value_type = Option<String>, required = false)]
    current_password: Patch<Secret>,
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
    fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
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

    async fn apply(
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
pub(super) async fn organization(tx: &mut CatalogTx, at: Lookup) -> Result<OrganizationId, ApiError> {
    let found = organizations::get(tx.connection(), at).await?;
    let id = found.map(|row| OrganizationId::from_uuid(row.id));
    Ok(id.ok_or_else(|| domain::Error::not_found(Noun::Organization, at))?)
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
struct UserObject {
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
pub(super) fn spec_of(row: &UserRow) -> UserSpec {
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
pub(super) fn refusal(error: StoreError, email: &str, at: Option<Lookup>) -> ApiError {
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
