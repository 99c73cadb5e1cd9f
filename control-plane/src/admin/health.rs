//! Whether the process answers; for clients and load balancers of the public port.

use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Routes, reply};

pub(super) fn routes() -> Routes {
    Routes::default().routes(routes!(health))
}

/// It answers.
#[derive(Debug, Serialize, ToSchema)]
struct HealthObject {
    /// Always `ok`.
    status: &'static str,
}

/// Ask whether the process answers.
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, body = HealthObject)))]
async fn health() -> Response {
    reply::json(StatusCode::OK, &HealthObject { status: "ok" })
}
