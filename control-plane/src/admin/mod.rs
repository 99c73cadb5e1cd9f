//! The management API: `/v1/admin/…` for administrators, `/v1/me/…` for users, login, and its own description.
//!
//! It exists to let people manage the catalog. Each noun has one file with `routes()`; a handler parses, asks for the
//! permission, applies the rules of `domain`, writes through `store` and renders. Nobody imports it but `app`.
//!
//! Invariants: a handler takes one of the extractors of `context` first, so nothing is read of a body before the caller
//! is known and allowed; every change ends in the audit table; no answer holds a credential, a password or a verifier,
//! except a new key in the answer to its own creation; every refusal is rendered by `error` and names its field.

mod audit;
mod auth;
pub mod body;
pub(crate) mod candidates;
mod context;
mod create;
mod error;
mod fleet;
mod health;
mod keys;
mod me;
mod openapi;
mod organizations;
mod pages;
mod providers;
pub mod query;
pub mod reply;
mod request_id;
mod revisions;
mod roles;
mod routers;
mod state;
mod tokens;
mod usage;
mod users;

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use shared::catalog::RouteGroups;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub use context::{Account, Admin, Context, Current, Origin};
pub use error::{ApiError, Problem};
pub use request_id::RequestId;
pub use state::{AdminSettings, AppState, OpenApiInfo, TagInfo};

/// After which a request is given up: a database that hangs must not collect requests.
const DEADLINE: Duration = Duration::from_secs(30);

/// Where the administrators' routes of a noun lie.
type Routes = OpenApiRouter<AppState>;

/// The whole management surface, and its description.
pub fn router(state: AppState) -> (axum::Router, OpenApi) {
    let (routes, document) = Routes::default()
        .merge(organizations::routes())
        .merge(roles::routes())
        .merge(users::routes())
        .merge(keys::routes())
        .merge(tokens::routes())
        .merge(routers::routes())
        .merge(providers::routes())
        .merge(candidates::routes())
        .merge(audit::routes())
        .merge(me::routes())
        .merge(auth::routes())
        .merge(health::routes())
        .merge(usage::routes())
        .merge(fleet::routes())
        .merge(revisions::routes())
        .split_for_parts();
    let settings = &state.settings;
    let document = openapi::complete(document, settings);
    let mut routes = routes.merge(pages::routes(&settings.openapi));
    if !settings.openapi.path.is_empty() {
        routes = routes.route(&settings.openapi.path, describe(&document));
    }
    let router = routes
        .fallback(|| async { ApiError::UnknownPath })
        .method_not_allowed_fallback(|| async { ApiError::Method })
        .layer(from_fn(deadline))
        .layer(from_fn_with_state(settings.disabled, open_groups))
        .layer(from_fn(request_id::layer))
        .with_state(state);
    (router, document)
}

/// The document as it is served.
fn describe(document: &OpenApi) -> MethodRouter<AppState> {
    let text = Bytes::from(document.to_json().unwrap_or_default());
    get(move || async move { (StatusCode::OK, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text) })
}

/// Routes of groups that are switched off are not there.
async fn open_groups(State(disabled): State<RouteGroups>, request: Request, next: Next) -> Response {
    if disabled.hold(request.uri().path()) {
        return ApiError::UnknownPath.into_response();
    }
    next.run(request).await
}

async fn deadline(request: Request, next: Next) -> Response {
    match tokio::time::timeout(DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::Store(crate::store::StoreError::timed_out()).into_response(),
    }
}

#[cfg(test)]
mod tests;
