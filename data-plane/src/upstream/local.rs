//! The upstream of kind `mock`: answers in this process, through the same trait as any other.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};

use super::body::AnswerBody;
use super::client::{Client, Sending};
use super::outgoing::OutgoingBody;
use crate::translate::mock;

/// Answers without a network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Local;

impl Client for Local {
    fn send(&self, request: Request<OutgoingBody>) -> Sending {
        let path = request.uri().path().to_owned();
        let answer = mock::answer(&path, &request.into_body().in_memory());
        let mut response = Response::new(AnswerBody::local(answer.pieces));
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
        Box::pin(std::future::ready(Ok(response)))
    }
}
