//! Virtual keys in the older form of the compatible API, under their older name.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::body::{Body, Fields};
use super::context::Admin;
use super::create::{Begun, Creation};
use super::error::ApiError;
use super::query::{At, Query};
use super::reply::{self, ListObject};
use super::{AppState, Routes, keys as newer};
use crate::domain::{self, KeyNoun, KeySpec, Lookup, Noun, Patch, key_expiry};
use crate::store::keys::{self, KeyFilter, KeyRow};

pub(super) fn routes() -> Routes {
    Routes::default().routes(routes!(list, create)).routes(routes!(read, remove))
}

/// Fields of a token that a request may set.
#[derive(Debug, ToSchema)]
struct TokenBody {
    /// Not unique; 1 to 255 characters.
    #[schema(value_type = String, required = true)]
    name: Patch<String>,
    /// Whose it is; its newer name is `user_id`.
    #[schema(value_type = i64, required = true)]
    user: Patch<Lookup>,
    /// Unix seconds, in the future.
    #[schema(value_type = Option<i64>, required = false)]
    expires: Patch<i64>,
}

/// A token, masked.
#[derive(Debug, Serialize, ToSchema)]
struct TokenObject {
    /// Always `token`.
    object: &'static str,
    /// Its id.
    id: i64,
    /// Chosen by its owner.
    name: String,
    /// Masked.
    token: String,
    /// Whose it is.
    user: i64,
    /// Unix seconds; null is never.
    expires: Option<i64>,
    /// Unix seconds.
    created: i64,
}

/// A token that was just made.
#[derive(Debug, Serialize, ToSchema)]
struct NewToken {
    /// Its id.
    id: i64,
    /// Its text, shown once.
    token: String,
}

impl From<&KeyRow> for TokenObject {
    fn from(row: &KeyRow) -> Self {
        Self {
            object: "token",
            id: row.number,
            name: row.name.clone(),
            token: row.masked.clone(),
            user: row.user_number,
            expires: row.expires.map(|at| at.timestamp()),
            created: row.created.timestamp(),
        }
    }
}

fn missing(at: Lookup) -> ApiError {
    domain::Error::not_found(Noun::Key, at).into()
}

/// Create a token.
#[utoipa::path(post, path = "/v1/admin/tokens", tag = "keys", request_body = TokenBody,
    responses((status = 201, body = NewToken)))]
async fn create(State(state): State<AppState>, Admin(context): Admin, body: Body) -> Result<Response, ApiError> {
    let mut fields = Fields::parse(&body.0)?;
    fields.older("user_id", "user");
    let parsed = TokenBody { name: fields.take("name"), user: fields.take("user"), expires: fields.take("expires") };
    fields.finish(&["id", "object", "token", "created"])?;
    let mut creation = match Creation::begin(&state, &context, &body.0).await? {
        Begun::Replay(response) => return Ok(response),
        Begun::New(creation) => creation,
    };
    let at = parsed.user.required("user", None)?;
    let longest = state.settings.key_max_expiration;
    let spec = KeySpec {
        name: parsed.name.required("name", None)?,
        user: newer::user(&mut creation.tx, at).await?,
        allowed_routers: None,
        expires: key_expiry(KeyNoun::Token, parsed.expires.value(), longest, Utc::now())?,
        blocked: false,
    };
    spec.check()?;
    let (row, text) = newer::make(&state, &mut creation.tx, &spec).await?;
    creation.finish(row.version, &NewToken { id: row.number, token: text.expose().to_owned() }).await
}

/// List tokens.
#[utoipa::path(get, path = "/v1/admin/tokens", tag = "keys",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query), ("order_by" = Option<String>, Query),
        ("order_direction" = Option<String>, Query), ("user" = Option<i64>, Query)),
    responses((status = 200, body = ListObject<TokenObject>)))]
async fn list(State(state): State<AppState>, _: Admin, query: Query) -> Result<Response, ApiError> {
    let page = query.page(newer::SORTS)?;
    let filter = KeyFilter { user: query.lookup("user", "user_id")?, name: None };
    let listed = keys::list(&mut *state.store.acquire().await?, &filter, page).await?;
    Ok(reply::list(listed, page, |row| TokenObject::from(&row)))
}

/// Read a token.
#[utoipa::path(get, path = "/v1/admin/tokens/{id}", tag = "keys", params(("id" = i64, Path)),
    responses((status = 200, body = TokenObject)))]
async fn read(State(state): State<AppState>, _: Admin, At(at): At) -> Result<Response, ApiError> {
    let found = keys::get(&mut *state.store.acquire().await?, at, None).await?;
    let row = found.ok_or_else(|| missing(at))?;
    Ok(reply::object(StatusCode::OK, row.version, &TokenObject::from(&row)))
}

/// Revoke a token.
#[utoipa::path(delete, path = "/v1/admin/tokens/{id}", tag = "keys", params(("id" = i64, Path)),
    responses((status = 204)))]
async fn remove(State(state): State<AppState>, Admin(context): Admin, At(at): At) -> Result<Response, ApiError> {
    let mut tx = state.store.begin(context.actor()).await?;
    let row = keys::lock(&mut tx, at, None).await?.ok_or_else(|| missing(at))?;
    context.check_version(row.version)?;
    newer::unmake(&mut tx, &row).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
