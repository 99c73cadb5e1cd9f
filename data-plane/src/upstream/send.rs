//! What an upstream is told beside the body. Everything else of a caller's request stays here.

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use shared::runtime::telemetry::context::{self, TRACEPARENT, TRACESTATE};

use super::outgoing::OutgoingBody;
use crate::table::Address;

/// Room for all of ours, and for those that the connection adds.
const HEADERS: usize = 12;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request to be made.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    /// The provider's address.
    pub(crate) address: &'a Address,
    /// Path of the operation.
    pub(crate) path: &'static str,
    /// The provider's credential.
    pub(crate) authorization: Option<&'a HeaderValue>,
    /// The content type of the body.
    pub(crate) content_type: HeaderValue,
    /// Whether events are expected.
    pub(crate) streamed: bool,
    /// The caller's request id.
    pub(crate) request_id: &'a str,
    /// Where the call stands in its trace.
    pub(crate) traceparent: Option<&'a HeaderValue>,
    /// What the caller sent, for what it says of the trace alone.
    pub(crate) caller: &'a HeaderMap,
}

/// Makes the request: an allow-list of headers, ours or the provider's, and the trace.
///
/// # Errors
/// When the provider's address cannot be called.
pub(crate) fn request(order: &Order<'_>, body: OutgoingBody) -> Result<Request<OutgoingBody>, http::Error> {
    let mut request = Request::new(body);
    *request.headers_mut() = HeaderMap::with_capacity(HEADERS);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = order.address.target(order.path)?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, order.content_type.clone());
    let accept = if order.streamed { "text/event-stream" } else { "application/json" };
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("gatewright/", env!("CARGO_PKG_VERSION"))));
    if let Some(authorization) = order.authorization {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
    if let Ok(id) = HeaderValue::from_str(order.request_id) {
        headers.insert(REQUEST_ID, id);
    }
    if let Some(traceparent) = order.traceparent {
        headers.insert(TRACEPARENT, traceparent.clone());
        // A state belongs to the trace that it came with.
        if let Some(state) = context::incoming(order.caller).and_then(|_| context::state(order.caller)) {
            headers.insert(TRACESTATE, state);
        }
    }
    Ok(request)
}

/// The credential inside an authorization header, so that it can be taken out of an upstream's words.
pub(crate) fn credential(authorization: Option<&HeaderValue>) -> Option<&str> {
    let value = authorization?.to_str().ok()?;
    Some(value.strip_prefix("Bearer ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn only_named_headers_go_out() {
        let mut caller = HeaderMap::new();
        for (name, value) in [
            ("cookie", "c"),
            ("authorization", "Bearer caller"),
            ("traceparent", "00-a-b-01"),
            ("x-forwarded-for", "1.2.3.4"),
        ] {
            caller.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let address = Address::of(&"http://vllm:8000".parse().unwrap()).unwrap();
        let order = Order {
            address: &address,
            path: "/v1/x",
            authorization: Some(&HeaderValue::from_static("Bearer provider")),
            content_type: HeaderValue::from_static("application/json"),
            streamed: false,
            request_id: "r-1",
            traceparent: Some(&HeaderValue::from_static("00-a-b-01")),
            caller: &caller,
        };
        let request = request(&order, OutgoingBody::default()).unwrap();
        let mut names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "authorization", "content-type", "traceparent", "user-agent", "x-request-id"]);
        assert_eq!(credential(request.headers().get(AUTHORIZATION)), Some("provider"));
    }
}
