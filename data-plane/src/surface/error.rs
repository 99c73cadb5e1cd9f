//! A fault as a response.

use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode, Version};

use crate::exchange::deliver::ReplyBody;
use crate::exchange::fault::Fault;

/// The response that tells of a fault.
pub(super) fn response(fault: &Fault, version: Version) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::plain(fault.body()));
    *response.status_mut() = fault.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if fault.status() == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(retry_after) = &fault.retry_after {
        headers.insert(RETRY_AFTER, retry_after.clone());
    }
    // HTTP/2 has no such header; there the stream ends by itself.
    if fault.close && version <= Version::HTTP_11 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
