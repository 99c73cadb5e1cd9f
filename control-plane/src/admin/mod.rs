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
mod context;
mod create;
mod error;
mod fleet;
mod health;
mod keys;
mod me;
mod openapi;
mod organizations;
mod providers;
pub mod query;
pub mod reply;
mod request_id;
mod roles;
mod routers;
mod state;
mod tokens;
mod usage;
mod users;

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub use context::{Account, Admin, Context, Current, Origin};
pub use error::{ApiError, Problem};
pub use request_id::RequestId;
pub use state::{AdminSettings, AppState, OpenApiInfo};

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
        .merge(audit::routes())
        .merge(me::routes())
        .merge(auth::routes())
        .merge(health::routes())
        .merge(usage::routes())
        .merge(fleet::routes())
        .split_for_parts();
    let document = openapi::complete(document, &state.settings.openapi);
    let text = Bytes::from(document.to_json().unwrap_or_default());
    let described = get(move || async move {
        (StatusCode::OK, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text)
    });
    let router = routes
        .route(&state.settings.openapi.path, described)
        .fallback(|| async { ApiError::UnknownPath })
        .method_not_allowed_fallback(|| async { ApiError::Method })
        .layer(from_fn(deadline))
        .layer(from_fn(request_id::layer))
        .with_state(state);
    (router, document)
}

async fn deadline(request: Request, next: Next) -> Response {
    match tokio::time::timeout(DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::Store(crate::store::StoreError::timed_out()).into_response(),
    }
}

#[cfg(test)]
mod tests;
