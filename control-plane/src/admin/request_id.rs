//! Gives every request its id, and one line in the log.

use std::time::Instant;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue};
use shared::runtime::listen::ClientAddr;
use tracing::Instrument;
use uuid::Uuid;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request: the caller's where it is harmless, else a new one.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// The outermost layer of the management API.
pub(super) async fn layer(mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let given = request.headers().get(&X_REQUEST_ID).and_then(|value| value.to_str().ok()).filter(|id| is_harmless(id));
    let id = given.map_or_else(|| Uuid::now_v7().simple().to_string(), str::to_owned);
    request.extensions_mut().insert(RequestId(id.clone()));
    // The path alone: a query string may hold what does not belong into a log.
    let client = request.extensions().get::<ClientAddr>().map(|client| client.0);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!("management", request_id = %id);
    let mut response = next.run(request).instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    tracing::info!(
        target: "access",
        request_id = %id,
        client = client.map(tracing::field::display),
        %method,
        path,
        status = response.status().as_u16(),
        latency_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "management request"
    );
    response
}

fn is_harmless(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}
