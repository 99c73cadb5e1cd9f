//! Why a call failed, in the one form that decides its status, its body, its retries and its metrics.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde_json::json;
use shared::catalog::FaultKind;

/// A failure on its way to the caller.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// What went wrong; everything keys on it.
    pub(crate) kind: FaultKind,
    /// The word for programs.
    pub(crate) code: Cow<'static, str>,
    /// The sentence for people.
    pub(crate) message: String,
    /// `detail`, where clients of OpenGateLLM expect an exact text.
    pub(crate) detail: Option<String>,
    /// The field of the request that is to blame.
    pub(crate) param: Option<Cow<'static, str>>,
    /// Where the kind alone does not tell it.
    pub(crate) status: Option<StatusCode>,
    /// An upstream's own word for `type`.
    pub(crate) word: Option<String>,
    /// When to come back.
    pub(crate) retry_after: Option<HeaderValue>,
    /// Whether the connection must end, because what follows on it cannot be told from a body.
    pub(crate) close: bool,
    /// Whether a record and a log line exist already.
    pub(crate) told: bool,
}

impl Fault {
    /// A fault of a kind. Boxed, because the good case should not carry its size.
    pub(crate) fn new(kind: FaultKind, code: &'static str, message: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            kind,
            code: Cow::Borrowed(code),
            message: message.into(),
            detail: None,
            param: None,
            status: None,
            word: None,
            retry_after: None,
            close: false,
            told: false,
        })
    }

    /// The process ends, and the call took longer than it waits.
    pub(crate) fn shutting_down() -> Box<Self> {
        Self::new(FaultKind::Unavailable, "server_shutting_down", "The gateway is shutting down.").retry_after(1)
    }

    /// A request that is wrong in one field.
    pub(crate) fn invalid(code: &'static str, param: &'static str, message: impl Into<String>) -> Box<Self> {
        Self::new(FaultKind::InvalidRequest, code, message).about(param)
    }

    /// Names the field that is to blame.
    pub(crate) fn about(mut self: Box<Self>, param: &'static str) -> Box<Self> {
        self.param = Some(Cow::Borrowed(param));
        self
    }

    /// The exact text for clients of OpenGateLLM.
    pub(crate) fn detailed(mut self: Box<Self>, detail: impl Into<String>) -> Box<Self> {
        self.detail = Some(detail.into());
        self
    }

    /// Another status than the kind's own.
    pub(crate) fn with_status(mut self: Box<Self>, status: StatusCode) -> Box<Self> {
        self.status = Some(status);
        self
    }

    /// Seconds after which it is worth coming back.
    pub(crate) fn retry_after(mut self: Box<Self>, seconds: u32) -> Box<Self> {
        self.retry_after = Some(HeaderValue::from(seconds));
        self
    }

    /// The connection ends with the answer.
    pub(crate) fn closing(mut self: Box<Self>) -> Box<Self> {
        self.close = true;
        self
    }

    /// Whether somebody was not let in, as a call or as anything else.
    pub(crate) fn is_of_credentials(&self) -> bool {
        use FaultKind as K;
        matches!(self.kind, K::Unauthenticated | K::AmbiguousCredentials | K::AccountDisabled)
            || (self.kind == K::RateLimited && self.code == "too_many_auth_failures")
    }

    /// Whether another provider may do better.
    pub(crate) const fn is_retryable(&self) -> bool {
        matches!(
            self.kind,
            FaultKind::Connect
                | FaultKind::Timeout
                | FaultKind::UpstreamError
                | FaultKind::UpstreamInvalid
                | FaultKind::UpstreamRateLimited
                | FaultKind::UpstreamAuth
        )
    }

    /// The status that the caller sees.
    pub(crate) fn status(&self) -> StatusCode {
        use FaultKind as K;
        self.status.unwrap_or(match self.kind {
            K::Unauthenticated => StatusCode::UNAUTHORIZED,
            K::Forbidden | K::AccountDisabled => StatusCode::FORBIDDEN,
            K::UnknownRouter => StatusCode::NOT_FOUND,
            K::AmbiguousCredentials
            | K::InvalidRequest
            | K::ContextWindowExceeded
            | K::ContentPolicy
            | K::UpstreamRefused => StatusCode::BAD_REQUEST,
            K::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            K::RateLimited | K::BudgetExceeded | K::UpstreamRateLimited => StatusCode::TOO_MANY_REQUESTS,
            K::Timeout => StatusCode::GATEWAY_TIMEOUT,
            K::Connect | K::UpstreamAuth | K::UpstreamError | K::UpstreamInvalid | K::InterruptedStream => {
                StatusCode::BAD_GATEWAY
            }
            K::QueueFull | K::PolicyUnavailable | K::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            // The status by which logs of proxies tell a client that left.
            K::ClientGone => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            K::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        })
    }

    /// The word for `type`.
    fn type_word(&self) -> &str {
        use FaultKind as K;
        match self.kind {
            K::UpstreamRefused => self.word.as_deref().unwrap_or("invalid_request_error"),
            K::Unauthenticated => "authentication_error",
            K::Forbidden | K::AccountDisabled => "permission_error",
            K::AmbiguousCredentials
            | K::UnknownRouter
            | K::InvalidRequest
            | K::TooLarge
            | K::ContextWindowExceeded
            | K::ContentPolicy
            | K::ClientGone => "invalid_request_error",
            K::RateLimited => "rate_limit_error",
            K::BudgetExceeded => "insufficient_quota",
            K::UpstreamRateLimited => "upstream_rate_limit_error",
            K::Timeout
            | K::Connect
            | K::UpstreamAuth
            | K::UpstreamError
            | K::UpstreamInvalid
            | K::InterruptedStream => "upstream_error",
            K::QueueFull | K::PolicyUnavailable | K::Unavailable => "unavailable_error",
            K::Internal => "internal_error",
        }
    }

    /// The body, in the form that clients of both families read.
    pub(crate) fn body(&self) -> Bytes {
        let detail = self.detail.as_deref().unwrap_or(&self.message);
        let error = json!({"message": self.message, "type": self.type_word(), "param": self.param, "code": self.code});
        Bytes::from(json!({"error": error, "detail": detail}).to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_kind_has_a_status_and_a_type() {
        for kind in FaultKind::ALL.iter().copied() {
            let fault = Fault::new(kind, "c", "m").about("p");
            let status = fault.status().as_u16();
            assert!((400..600).contains(&status), "{kind}");
            let body: Value = serde_json::from_slice(&fault.body()).unwrap();
            assert_eq!(body["detail"], "m");
            assert_eq!(body["error"]["param"], "p");
            let word = body["error"]["type"].as_str().unwrap();
            assert_eq!(
                word == "invalid_request_error",
                status < 500 && !matches!(status, 401 | 403 | 429),
                "{kind}: {word}"
            );
        }
    }

    #[test]
    fn an_upstreams_words_are_kept_and_ours_are_not_replaced() {
        let mut fault = Fault::new(FaultKind::UpstreamRefused, "c", "m")
            .with_status(StatusCode::UNPROCESSABLE_ENTITY)
            .detailed("d");
        fault.word = Some("BadRequestError".into());
        assert_eq!(fault.status().as_u16(), 422);
        let body: Value = serde_json::from_slice(&fault.body()).unwrap();
        assert_eq!((body["error"]["type"].as_str(), body["detail"].as_str()), (Some("BadRequestError"), Some("d")));
        assert!(!fault.is_retryable() && Fault::new(FaultKind::Connect, "c", "m").is_retryable());
    }
}
