//! The answers that the listener gives by itself, and the body that carries either them or the service's own.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use uuid::Uuid;

use super::tap::InFlight;
use crate::runtime::edge::Turned;

/// A body on its way; the request is in flight until it is dropped.
pub(super) struct Served<B> {
    content: Content<B>,
    _in_flight: InFlight,
}

enum Content<B> {
    Service(B),
    Ours(Full<Bytes>),
}

impl<B> Served<B> {
    pub(super) fn service(body: B, in_flight: InFlight) -> Self {
        Self { content: Content::Service(body), _in_flight: in_flight }
    }

    pub(super) fn ours(body: Bytes, in_flight: InFlight) -> Self {
        Self { content: Content::Ours(Full::new(body)), _in_flight: in_flight }
    }
}

impl<B> Body for Served<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.content {
            Content::Service(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Content::Ours(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Service(body) => body.is_end_stream(),
            Content::Ours(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Service(body) => body.size_hint(),
            Content::Ours(body) => body.size_hint(),
        }
    }
}

/// The error body that clients of both families read.
fn envelope(message: &str, kind: &str, code: &str) -> Bytes {
    let error = serde_json::json!({ "message": message, "type": kind, "param": null, "code": code });
    Bytes::from(serde_json::json!({ "error": error, "detail": message }).to_string())
}

/// 400 for a request whose framing is in doubt; the connection ends with it.
pub(super) fn bad_framing<B>(message: &str, in_flight: InFlight) -> Response<Served<B>> {
    let mut response =
        json(StatusCode::BAD_REQUEST, envelope(message, "invalid_request_error", "bad_framing"), in_flight);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// 500 for a service that panicked.
pub(super) fn panicked<B>(in_flight: InFlight) -> Response<Served<B>> {
    let body = envelope("The gateway failed to answer this request.", "internal_error", "internal_error");
    json(StatusCode::INTERNAL_SERVER_ERROR, body, in_flight)
}

/// What the edge answers in the service's place.
pub(super) fn turned<B>(turned: Turned, in_flight: InFlight) -> Response<Served<B>> {
    let mut response = match turned.refusal {
        Some((message, code)) => json(turned.status, envelope(message, "invalid_request_error", code), in_flight),
        None => {
            let mut response = Response::new(Served::ours(Bytes::new(), in_flight));
            *response.status_mut() = turned.status;
            response
        }
    };
    response.headers_mut().extend(turned.headers);
    response
}

/// The whole answer to plain HTTP on a port that speaks TLS.
pub(super) fn plain_on_tls() -> Bytes {
    let body = envelope("This port speaks HTTPS only.", "invalid_request_error", "https_required");
    raw("400 Bad Request", &body)
}

fn json<B>(status: StatusCode, body: Bytes, in_flight: InFlight) -> Response<Served<B>> {
    let mut response = Response::new(Served::ours(body, in_flight));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(&Uuid::now_v7().to_string()) {
        headers.insert("x-request-id", id);
    }
    response
}

/// hyper refuses heads that it cannot parse without a body; clients expect one. The whole answer that takes its place,
/// when these bytes are such a refusal and nothing else.
pub(super) fn instead_of(bytes: &[u8]) -> Option<Bytes> {
    if bytes.len() > 256 || !bytes.starts_with(b"HTTP/1.1 4") || !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let head = std::str::from_utf8(bytes).ok()?.to_ascii_lowercase();
    let own = |line: &str| {
        let name = line.split(':').next().unwrap_or_default();
        matches!(name, "connection" | "content-length" | "date")
    };
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next()?.get(9..12)?.to_owned();
    if !head.contains("connection: close") || !head.contains("content-length: 0") || !lines.all(own) {
        return None;
    }
    let (line, message, code) = match status.as_str() {
        "400" => ("400 Bad Request", "The request line or a header is malformed.", "bad_framing"),
        "414" => ("414 URI Too Long", "The request target is too long.", "uri_too_long"),
        "431" => (
            "431 Request Header Fields Too Large",
            "The request line and headers are too large or too many.",
            "headers_too_large",
        ),
        _ => return None,
    };
    let body = envelope(message, "invalid_request_error", code);
    Some(raw(line, &body))
}

/// An answer that does not pass through hyper; the connection ends with it.
fn raw(line: &str, body: &Bytes) -> Bytes {
    let (id, length) = (Uuid::now_v7(), body.len());
    let head = format!(
        "HTTP/1.1 {line}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\ncache-control: no-store\r\n\
         x-request-id: {id}\r\nconnection: close\r\n\r\n"
    );
    [head.as_bytes(), body].concat().into()
}
