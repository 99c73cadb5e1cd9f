//! Join tokens: what lets data planes in.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::admin::body::{Body, Fields};
use crate::admin::context::Admin;
use crate::admin::create::{Begun, Creation};
use crate::admin::error::ApiError;
use crate::admin::query::{At, Query};
use crate::admin::reply::{self, ListObject};
use crate::admin::{AppState, Routes};
use crate::domain::{self, Lookup, Noun, Patch};
use crate::fleet::{DEFAULT_GROUP, DEFAULT_LIFETIME, JoinTokenError, JoinTokens, NewJoinToken};
use crate::store::Listed;
use crate::store::join_tokens::JoinTokenRow;

pub(super) fn routes() -> Routes {
    Routes::default().routes(routes!(list_tokens, create_token)).routes(routes!(read_token, revoke_token))
}

/// What a new join token is to be like.
#[derive(Debug, ToSchema)]
struct JoinTokenBody {
    /// To tell it from others; 1 to 64 characters.
    #[schema(value_type = String, required = true)]
    name: Patch<String>,
    /// The Group of the nodes that join with it.
    #[schema(value_type = String, default = "default", required = false)]
    group: Patch<String>,
    /// How long it lets nodes in.
    #[schema(value_type = u64, default = 86400, required = false)]
    expires_in_seconds: Patch<u64>,
    /// Whether it lets in one node alone; without TLS, where nodes show their token at each connection, such a token is refused.
    #[schema(value_type = bool, default = false, required = false)]
    single_use: Patch<bool>,
}

impl JoinTokenBody {
    fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(bytes)?;
        let body = Self {
            name: fields.take("name"),
            group: fields.take("group"),
            expires_in_seconds: fields.take("expires_in_seconds"),
            single_use: fields.take("single_use"),
        };
        fields.finish(&["id", "object", "token", "expires", "used", "revoked", "created"])?;
        Ok(body)
    }

    fn into_new(self) -> Result<NewJoinToken, domain::Error> {
        Ok(NewJoinToken {
            single_use: self.single_use.defaulted(None, false),
            name: self.name.required("name", None)?,
            group: self.group.defaulted(None, DEFAULT_GROUP.to_owned()),
            lifetime: Duration::from_secs(self.expires_in_seconds.defaulted(None, DEFAULT_LIFETIME.as_secs())),
        })
    }
}

/// A join token.
#[derive(Debug, Serialize, ToSchema)]
struct JoinTokenObject {
    /// Always `fleet.join_token`.
    object: &'static str,
    /// Its id.
    id: Uuid,
    /// To tell it from others.
    name: String,
    /// The Group of the nodes that join with it.
    group: String,
    /// Whether it lets in one node alone.
    single_use: bool,
    /// Unix seconds.
    expires: i64,
    /// Unix seconds of its first use.
    used: Option<i64>,
    /// Unix seconds since when it lets nobody in.
    revoked: Option<i64>,
    /// Unix seconds.
    created: i64,
    /// The token itself: in the answer to its creation, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl JoinTokenObject {
    fn new(row: JoinTokenRow, token: Option<String>) -> Self {
        let seconds = |time: Option<DateTime<Utc>>| time.map(|time| time.timestamp());
        Self {
            object: "fleet.join_token",
            id: row.id,
            name: row.name,
            group: row.node_group,
            single_use: row.single_use,
            expires: row.expires.timestamp(),
            used: seconds(row.used),
            revoked: seconds(row.revoked),
            created: row.created.timestamp(),
            token,
        }
    }
}

/// Create a join token. Its text is in this answer and nowhere else.
#[utoipa::path(post, path = "/v1/admin/fleet/join-tokens", tag = "fleet", request_body = JoinTokenBody,
    responses((status = 201, body = JoinTokenObject)))]
async fn create_token(State(state): State<AppState>, Admin(context): Admin, body: Body) -> Result<Response, ApiError> {
    let new = JoinTokenBody::parse(&body.0)?.into_new()?;
    let mut creation = match Creation::begin(&state, &context, &body.0).await? {
        Begun::Replay(response) => return Ok(response),
        Begun::New(creation) => creation,
    };
    let (row, text) = JoinTokens::create_within(&mut creation.tx, &new).await.map_err(refusal)?;
    creation.finish(1, &JoinTokenObject::new(row, Some(text.expose().to_owned()))).await
}

/// List join tokens, newest first.
#[utoipa::path(get, path = "/v1/admin/fleet/join-tokens", tag = "fleet",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query)),
    responses((status = 200, body = ListObject<JoinTokenObject>)))]
async fn list_tokens(State(state): State<AppState>, _: Admin, query: Query) -> Result<Response, ApiError> {
    let window = query.window()?;
    let (total, rows) = JoinTokens::new(state.store).list(window.0, window.1).await?;
    Ok(reply::window(Listed { total, rows }, window, |row| JoinTokenObject::new(row, None)))
}

/// Read a join token.
#[utoipa::path(get, path = "/v1/admin/fleet/join-tokens/{id}", tag = "fleet", params(("id" = Uuid, Path)),
    responses((status = 200, body = JoinTokenObject)))]
async fn read_token(State(state): State<AppState>, _: Admin, At(at): At) -> Result<Response, ApiError> {
    let row = match at.id() {
        Some(id) => JoinTokens::new(state.store).get(id).await?,
        None => None,
    };
    found(at, row)
}

/// Revoke a join token: it lets nobody in from now on. Nodes that are connected stay.
#[utoipa::path(delete, path = "/v1/admin/fleet/join-tokens/{id}", tag = "fleet", params(("id" = Uuid, Path)),
    responses((status = 200, body = JoinTokenObject)))]
async fn revoke_token(State(state): State<AppState>, Admin(context): Admin, At(at): At) -> Result<Response, ApiError> {
    let row = match at.id() {
        Some(id) => JoinTokens::new(state.store).revoke(context.actor(), id).await?,
        None => None,
    };
    found(at, row)
}

fn found(at: Lookup, row: Option<JoinTokenRow>) -> Result<Response, ApiError> {
    let row = row.ok_or_else(|| domain::Error::not_found(Noun::JoinToken, at))?;
    Ok(reply::json(StatusCode::OK, &JoinTokenObject::new(row, None)))
}

fn refusal(error: JoinTokenError) -> ApiError {
    match error {
        JoinTokenError::Invalid { field, value, expected } => domain::Error::invalid(field, value, expected).into(),
        JoinTokenError::Store(error) => error.into(),
        error @ JoinTokenError::Random => ApiError::Internal(error.into()),
    }
}
