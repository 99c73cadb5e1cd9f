//! Gives every request its id, one line in the log, and one span.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use chrono::Utc;
use http::{HeaderName, HeaderValue, Method};
use shared::kernel::clock::FleetTime;
use shared::runtime::listen::ClientAddr;
use shared::runtime::telemetry::context::SpanContext;
use shared::runtime::telemetry::span::{Builder, SpanKind};
use shared::runtime::telemetry::traces;
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
    let place = traces().map(|traces| traces.begin(request.headers()));
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
    // The path alone: a query string may hold what does not belong into a log.
    let client = request.extensions().get::<ClientAddr>().map(|client| client.0);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!("management", request_id = %id);
    let mut response = next.run(request).instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    let latency = began.elapsed();
    if let Some(place) = &place {
        tell(place, &method, &route, response.status().as_u16(), &id, latency);
    }
    tracing::info!(
        target: "access",
        request_id = %id,
        trace_id = place.map(|place| place.trace_id()),
        client = client.map(tracing::field::display),
        %method,
        path,
        status = response.status().as_u16(),
        latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX),
        "management request"
    );
    response
}

/// The span of a request that has been answered.
fn tell(place: &SpanContext, method: &Method, route: &str, status: u16, id: &str, latency: Duration) {
    let Some(traces) = traces().filter(|_| place.sampled) else { return };
    let started = FleetTime::from_unix_micros((Utc::now() - latency).timestamp_micros());
    let span = Builder::new(
        format!("{method} {route}").trim_end(),
        SpanKind::Server,
        place,
        started,
        (Duration::ZERO, latency),
    )
    .text("http.request.method", method.as_str())
    .text("http.route", route)
    .number("http.response.status_code", status)
    .text("gatewright.request_id", id);
    let span = if status >= 500 { span.failed("internal") } else { span };
    traces.hand_over(vec![span.done()]);
}

fn is_harmless(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}
