//! What the operations port answers: alive, ready, metrics. Separate from the public port, so that probes still get an
//! answer when that one is full.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};

use super::metrics::Metrics;
use super::readiness::Readiness;

/// `/livez`, `/readyz` and, when metrics are on, `/metrics`.
pub fn routes(readiness: Readiness, metrics: Option<Metrics>) -> Router {
    let probes = Router::new().route("/livez", get(alive)).route("/readyz", get(ready)).with_state(readiness);
    match metrics {
        Some(metrics) => probes.merge(Router::new().route("/metrics", get(render)).with_state(metrics)),
        None => probes,
    }
}

async fn alive() -> Response {
    plain(StatusCode::OK, "text/plain; charset=utf-8", "ok\n".to_owned())
}

/// 503 names each condition that is not met, so that the probe's log says why.
async fn ready(State(readiness): State<Readiness>) -> Response {
    let unmet = readiness.unmet();
    let status = if unmet.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": unmet.is_empty(), "draining": readiness.is_draining(), "unmet": unmet });
    plain(status, "application/json", format!("{body}\n"))
}

async fn render(State(metrics): State<Metrics>) -> Response {
    plain(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics.render())
}

fn plain(status: StatusCode, kind: &'static str, body: String) -> Response {
    let headers =
        [(CONTENT_TYPE, HeaderValue::from_static(kind)), (CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (status, headers, body).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use axum::body::Body;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn ask(readiness: &Readiness, path: &str) -> (StatusCode, String) {
        let service = routes(readiness.clone(), None);
        let answer = service.oneshot(http::Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status();
        (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_names_what_is_missing() {
        let readiness = Readiness::new();
        let catalog = readiness.condition("catalog");
        let (status, body) = ask(&readiness, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, "{\"draining\":false,\"ready\":false,\"unmet\":[\"catalog\"]}\n");
        catalog.set(true);
        assert_eq!(ask(&readiness, "/readyz").await.0, StatusCode::OK);
        readiness.start_draining();
        assert_eq!(ask(&readiness, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask(&readiness, "/livez").await, (StatusCode::OK, "ok\n".to_owned()));
        assert_eq!(ask(&readiness, "/metrics").await.0, StatusCode::NOT_FOUND);
    }
}
