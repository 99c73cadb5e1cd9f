//! Virtual keys, for administrators.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::StatusCode;
use serde::Serialize;
use shared::catalog::Kind;
use shared::kernel::ids::{RouterId, UserId};
use shared::kernel::virtual_key;
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
use crate::domain::{self, KeyNoun, KeySpec, Lookup, Noun, Patch, key_expiry};
use crate::store::keys::{self, KeyFilter, KeyRow, NewVerifier};
use crate::store::{CatalogTx, Sort, routers, users};

pub(super) fn routes() -> Routes {
    Routes::default().routes(routes!(list, create)).routes(routes!(read, change, replace, remove))
}

/// How lists of keys can be ordered.
pub(super) const SORTS: &[(&str, Sort)] =
    &[("id", Sort::Number), ("name", Sort::Name), ("created", Sort::Created), ("updated", Sort::Updated)];

/// Fields of a key that an administrator may set.
#[derive(Debug, ToSchema)]
struct KeyBody {
    /// Not unique; 1 to 255 characters.
    #[schema(value_type = String, required = true)]
    name: Patch<String>,
    /// Whose it is; its older name is `user`.
    #[schema(value_type = i64, required = true)]
    user_id: Patch<Lookup>,
    /// Unix seconds, in the future; null is the longest that the operator allows.
    #[schema(value_type = Option<i64>, required = false)]
    expires: Patch<i64>,
    /// Ids of routers; null is all that the user may use.
    #[schema(value_type = Option<Vec<i64>>, required = false)]
    allowed_routers: Patch<Vec<Lookup>>,
    /// Switched off.
    #[schema(value_type = bool, default = false, required = false)]
    blocked: Patch<bool>,
}

const READ_ONLY: &[&str] =
    &["id", "object", "value", "key", "token", "session", "created", "updated", "version", "number"];

impl KeyBody {
    fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(bytes)?;
        fields.older("user", "user_id");
        let body = Self {
            name: fields.take("name"),
            user_id: fields.take("user_id"),
            expires: fields.take("expires"),
            allowed_routers: fields.take("allowed_routers"),
            blocked: fields.take("blocked"),
        };
        fields.finish(READ_ONLY)?;
        Ok(body)
    }

    async fn apply(
        self,
        tx: &mut CatalogTx,
        state: &AppState,
        kept: Option<&KeySpec>,
        now: DateTime<Utc>,
    ) -> Result<KeySpec, ApiError> {
        let longest = state.settings.key_max_expiration;
        let user = match self.user_id {
            Patch::Value(at) => user(tx, at).await?,
            Patch::Absent => kept.map(|kept| kept.user).ok_or_else(|| domain::Error::missing("user_id"))?,
            Patch::Null => return Err(domain::Error::invalid("user_id", "null", "a user is expected").into()),
        };
        let spec = KeySpec {
            name: self.name.required("name", kept.map(|kept| kept.name.clone()))?,
            user,
            allowed_routers: match self.allowed_routers {
                Patch::Value(named) => Some(allowed(tx, &named).await?),
                Patch::Null => None,
                Patch::Absent => kept.and_then(|kept| kept.allowed_routers.clone()),
            },
            expires: match (self.expires, kept) {
                (Patch::Absent, Some(kept)) => kept.expires,
                (expires, _) => key_expiry(KeyNoun::Key, expires.value(), longest, now)?,
            },
            blocked: self.blocked.defaulted(kept.map(|kept| kept.blocked), false),
        };
        spec.check()?;
        Ok(spec)
    }
}

/// The user that a request names.
pub(super) async fn user(tx: &mut CatalogTx, at: Lookup) -> Result<UserId, ApiError> {
    let found = users::get(tx.connection(), at).await?;
    Ok(found.map(|row| UserId::from_uuid(row.id)).ok_or_else(|| domain::Error::not_found(Noun::User, at))?)
}

async fn allowed(tx: &mut CatalogTx, named: &[Lookup]) -> Result<Vec<RouterId>, ApiError> {
    let found = routers::ids_of(tx.connection(), named).await?;
    if let Some(missing) = named.iter().find(|at| !found.iter().any(|(known, _)| known == *at)) {
        return Err(domain::Error::not_found(Noun::Router, missing).into());
    }
    let mut ids: Vec<RouterId> = found.into_iter().map(|(_, id)| RouterId::from_uuid(id)).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// A virtual key.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct KeyObject {
    /// Always `key`.
    object: &'static str,
    /// Its id.
    pub(super) id: i64,
    /// Chosen by its owner.
    name: String,
    /// Masked; in clear once, in the answer to the request that made it.
    value: String,
    /// Whose it is.
    user_id: i64,
    /// Ids of routers; null is all that the user may use.
    allowed_routers: Option<Vec<i64>>,
    /// Made by a login.
    session: bool,
    /// Switched off.
    blocked: bool,
    /// Unix seconds; null is never.
    expires: Option<i64>,
    /// Unix seconds.
    created: i64,
    /// Unix seconds.
    updated: i64,
}

impl From<&KeyRow> for KeyObject {
    fn from(row: &KeyRow) -> Self {
        Self {
            object: "key",
            id: row.number,
            name: row.name.clone(),
            value: row.masked.clone(),
            user_id: row.user_number,
            allowed_routers: row.allowed_routers.as_ref().map(|_| row.allowed_router_numbers.clone()),
            session: row.session,
            blocked: row.blocked,
            expires: row.expires.map(|at| at.timestamp()),
            created: row.created.timestamp(),
            updated: row.updated.timestamp(),
        }
    }
}

impl KeyObject {
    /// The object with its text in clear, for the one answer that shows it.
    pub(super) fn in_clear(self, text: &str) -> Self {
        Self { value: text.to_owned(), ..self }
    }
}

fn spec_of(row: &KeyRow) -> KeySpec {
    let mut allowed: Option<Vec<RouterId>> =
        row.allowed_routers.as_ref().map(|ids| ids.iter().copied().map(RouterId::from_uuid).collect());
    if let Some(allowed) = &mut allowed {
        allowed.sort_unstable();
    }
    KeySpec {
        name: row.name.clone(),
        user: UserId::from_uuid(row.user_id),
        allowed_routers: allowed,
        expires: row.expires,
        blocked: row.blocked,
    }
}

/// Makes a key and writes it down; returns its row and its text.
pub(super) async fn make(
    state: &AppState,
    tx: &mut CatalogTx,
    spec: &KeySpec,
) -> Result<(KeyRow, shared::kernel::secret::Secret), ApiError> {
    let made = virtual_key::generate().map_err(AccessError::from)?;
    let verifier = NewVerifier::native(&made, state.access.pepper().expose());
    let row = keys::insert(tx, spec, &verifier, false).await?;
    reply::audit(tx, "create", (Kind::Key, row.id, &row.name), None, Some(&KeyObject::from(&row)))?;
    Ok((row, made.text))
}

/// Removes a key and writes it down.
pub(super) async fn unmake(tx: &mut CatalogTx, row: &KeyRow) -> Result<(), ApiError> {
    keys::delete(tx, row.id).await?;
    reply::audit(tx, "delete", (Kind::Key, row.id, &row.name), Some(&KeyObject::from(row)), None)
}

/// Create a key of a user; its text is in the answer, once.
#[utoipa::path(post, path = "/v1/admin/keys", tag = "keys", request_body = KeyBody,
    responses((status = 201, body = KeyObject)))]
async fn create(State(state): State<AppState>, Admin(context): Admin, body: Body) -> Result<Response, ApiError> {
    let parsed = KeyBody::parse(&body.0)?;
    let mut creation = match Creation::begin(&state, &context, &body.0).await? {
        Begun::Replay(response) => return Ok(response),
        Begun::New(creation) => creation,
    };
    let spec = parsed.apply(&mut creation.tx, &state, None, Utc::now()).await?;
    let (row, text) = make(&state, &mut creation.tx, &spec).await?;
    creation.finish(row.version, &KeyObject::from(&row).in_clear(text.expose())).await
}

/// List keys.
#[utoipa::path(get, path = "/v1/admin/keys", tag = "keys",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query), ("sort_by" = Option<String>, Query),
        ("sort_order" = Option<String>, Query), ("user_id" = Option<i64>, Query),
        ("name" = Option<String>, Query, description = "Part of the name.")),
    responses((status = 200, body = ListObject<KeyObject>)))]
async fn list(State(state): State<AppState>, _: Admin, query: Query) -> Result<Response, ApiError> {
    let page = query.page(SORTS)?;
    let filter = KeyFilter { user: query.lookup("user_id", "user")?, name: query.text("name").map(str::to_owned) };
    let listed = keys::list(&mut *state.store.acquire().await?, &filter, page).await?;
    Ok(reply::list(listed, page, |row| KeyObject::from(&row)))
}

/// Read a key.
#[utoipa::path(get, path = "/v1/admin/keys/{id}", tag = "keys", params(("id" = i64, Path)),
    responses((status = 200, body = KeyObject)))]
async fn read(State(state): State<AppState>, _: Admin, At(at): At) -> Result<Response, ApiError> {
    let found = keys::get(&mut *state.store.acquire().await?, at, None).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::Key, at))?;
    Ok(reply::object(StatusCode::OK, row.version, &KeyObject::from(&row)))
}

/// Change the fields named.
#[utoipa::path(patch, path = "/v1/admin/keys/{id}", tag = "keys", params(("id" = i64, Path)),
    request_body = KeyBody, responses((status = 200, body = KeyObject)))]
async fn change(
    State(state): State<AppState>,
    Admin(context): Admin,
    At(at): At,
    body: Body,
) -> Result<Response, ApiError> {
    update(&state, &context, at, KeyBody::parse(&body.0)?, true).await
}

/// Replace every field but the secret; absent ones get their defaults.
#[utoipa::path(put, path = "/v1/admin/keys/{id}", tag = "keys", params(("id" = i64, Path)),
    request_body = KeyBody, responses((status = 200, body = KeyObject)))]
async fn replace(
    State(state): State<AppState>,
    Admin(context): Admin,
    At(at): At,
    body: Body,
) -> Result<Response, ApiError> {
    update(&state, &context, at, KeyBody::parse(&body.0)?, false).await
}

async fn update(
    state: &AppState,
    context: &Context,
    at: Lookup,
    body: KeyBody,
    keep: bool,
) -> Result<Response, ApiError> {
    let mut tx = state.store.begin(context.actor()).await?;
    let row = lock(&mut tx, context, at).await?;
    let present = spec_of(&row);
    let spec = body.apply(&mut tx, state, keep.then_some(&present), Utc::now()).await?;
    if spec == present {
        return Ok(reply::object(StatusCode::OK, row.version, &KeyObject::from(&row)));
    }
    let changed = keys::update(&mut tx, row.id, &spec).await?;
    let (before, after) = (KeyObject::from(&row), KeyObject::from(&changed));
    reply::audit(&mut tx, "update", (Kind::Key, row.id, &changed.name), Some(&before), Some(&after))?;
    tx.commit().await?;
    Ok(reply::object(StatusCode::OK, changed.version, &after))
}

/// Revoke a key.
#[utoipa::path(delete, path = "/v1/admin/keys/{id}", tag = "keys", params(("id" = i64, Path)),
    responses((status = 200, body = KeyObject)))]
async fn remove(State(state): State<AppState>, Admin(context): Admin, At(at): At) -> Result<Response, ApiError> {
    let mut tx = state.store.begin(context.actor()).await?;
    let row = lock(&mut tx, &context, at).await?;
    unmake(&mut tx, &row).await?;
    tx.commit().await?;
    Ok(reply::object(StatusCode::OK, row.version, &KeyObject::from(&row)))
}

async fn lock(tx: &mut CatalogTx, context: &Context, at: Lookup) -> Result<KeyRow, ApiError> {
    let found = keys::lock(tx, at, None).await?;
    let row = found.ok_or_else(|| domain::Error::not_found(Noun::Key, at))?;
    context.check_version(row.version)?;
    Ok(row)
}
