//! The one place where a refusal becomes an HTTP answer: `detail` for clients of the compatible system, `error` for all.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::access::{AccessError, CredentialFault, PasswordError};
use crate::domain;
use crate::store::StoreError;
use crate::vault::VaultError;

/// When a client should come back after the database was away.
const STORE_RETRY: Duration = Duration::from_secs(2);

/// One thing that is wrong with a request, in the form of the compatible system's validation.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Which sort, such as `missing` or `string_type`.
    pub kind: &'static str,
    /// Where: `body`, `query` or `path`, then names and positions.
    pub at: Vec<Value>,
    /// What would be right.
    pub message: String,
    /// What was given; null for secrets and for long values.
    pub input: Value,
}

impl Problem {
    /// The field, as a dotted path without its first part.
    #[must_use]
    pub fn field(&self) -> String {
        let parts = self.at.iter().skip(1).map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned));
        parts.collect::<Vec<_>>().join(".")
    }
}

/// Everything that a handler can refuse with.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A rule of a noun.
    #[error(transparent)]
    Domain(#[from] domain::Error),
    /// Who speaks, or what they may.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Sealing or opening.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Values of the wrong type, or missing ones.
    #[error("the request is not valid")]
    Invalid(Vec<Problem>),
    /// A field that the request does not have.
    #[error("{message}")]
    UnknownField {
        /// Its name.
        field: String,
        /// With the nearest name.
        message: String,
    },
    /// A field that a request may not set.
    #[error("The field `{field}` cannot be set.")]
    ForbiddenField {
        /// Its name.
        field: String,
    },
    /// Bytes that are no text.
    #[error("The body is not valid UTF-8 text.")]
    Encoding,
    /// Text that is no JSON object.
    #[error("{0}")]
    Json(String),
    /// More than this API takes.
    #[error("The body is larger than {limit} bytes.")]
    TooLarge {
        /// The most.
        limit: usize,
    },
    /// A coded body.
    #[error("The content encoding `{0}` is not supported.")]
    ContentEncoding(String),
    /// The client took too long to send.
    #[error("The body did not arrive in time.")]
    Slow,
    /// Somebody else changed the object in between.
    #[error("The object has version {present}, not the one in If-Match.")]
    Version {
        /// As an entity tag.
        present: String,
    },
    /// The header `Idempotency-Key` came with another request before.
    #[error("This Idempotency-Key was used for another request.")]
    IdempotencyReused,
    /// No such path.
    #[error("Not Found")]
    UnknownPath,
    /// No such method on this path.
    #[error("Method Not Allowed")]
    Method,
    /// A defect of ours; the cause is logged, never shown.
    #[error("An unexpected error occurred")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What is answered.
struct Answer {
    status: StatusCode,
    code: &'static str,
    param: Option<String>,
    message: String,
    detail: Option<Value>,
    retry_after: Option<Duration>,
}

impl Answer {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, param: None, message: message.into(), detail: None, retry_after: None }
    }

    fn param(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    fn retry(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "a management request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "An unexpected error occurred")
    }

    fn problems(problems: &[Problem]) -> Self {
        let detail: Vec<Value> = problems
            .iter()
            .map(|problem| {
                json!({ "type": problem.kind, "loc": problem.at, "msg": problem.message, "input": problem.input })
            })
            .collect();
        let first = problems.first();
        let param = first.map(Problem::field).unwrap_or_default();
        let message = first.map(|problem| format!("`{param}`: {}", problem.message)).unwrap_or_default();
        let answer = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_value", message);
        Self { detail: Some(Value::Array(detail)), ..answer.param(param) }
    }
}

impl From<&ApiError> for Answer {
    fn from(error: &ApiError) -> Self {
        let text = error.to_string();
        match error {
            ApiError::Domain(error) => domain_answer(error),
            ApiError::Access(error) => access_answer(error),
            ApiError::Store(error) => store_answer(error),
            ApiError::Vault(error) => Self::internal(error),
            ApiError::Internal(error) => Self::internal(&**error),
            ApiError::Invalid(problems) => Self::problems(problems),
            ApiError::UnknownField { field, .. } => {
                Self::new(StatusCode::BAD_REQUEST, "unknown_field", text).param(field)
            }
            ApiError::ForbiddenField { field } => {
                Self::new(StatusCode::BAD_REQUEST, "forbidden_field", text).param(field)
            }
            ApiError::Encoding => Self::new(StatusCode::BAD_REQUEST, "invalid_encoding", text),
            ApiError::Json(_) => {
                let problem =
                    Problem { kind: "json_invalid", at: vec!["body".into()], message: text, input: Value::Null };
                let answer = Self::problems(&[problem]);
                Self { code: "invalid_json", param: None, message: error.to_string(), ..answer }
            }
            ApiError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", text),
            ApiError::ContentEncoding(_) => {
                Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", text)
            }
            ApiError::Slow => Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", text),
            ApiError::Version { .. } => Self::new(StatusCode::PRECONDITION_FAILED, "version_conflict", text),
            ApiError::IdempotencyReused => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", text).param("Idempotency-Key")
            }
            ApiError::UnknownPath => Self::new(StatusCode::NOT_FOUND, "unknown_path", text),
            ApiError::Method => Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text),
        }
    }
}

fn domain_answer(error: &domain::Error) -> Answer {
    let text = error.to_string();
    match error {
        domain::Error::NotFound { .. } => Answer::new(StatusCode::NOT_FOUND, "not_found", text),
        domain::Error::Conflict { code, .. } => Answer::new(StatusCode::CONFLICT, code, text),
        domain::Error::Gone { code, .. } => Answer::new(StatusCode::GONE, code, text),
        domain::Error::Forbidden { code, .. } => Answer::new(StatusCode::FORBIDDEN, code, text),
        domain::Error::Refused { code, field, .. } => {
            let answer = Answer::new(StatusCode::BAD_REQUEST, code, text);
            Answer { param: field.map(str::to_owned), ..answer }
        }
        domain::Error::Invalid { field, value, expected } => {
            let missing = value == "missing";
            let problem = Problem {
                kind: if missing { "missing" } else { "value_error" },
                at: std::iter::once("body").chain(field.split('.')).map(Value::from).collect(),
                message: if missing { "Field required".into() } else { expected.clone() },
                input: if missing { Value::Null } else { value.trim_matches('`').into() },
            };
            Answer { message: text, ..Answer::problems(&[problem]) }
        }
    }
}

fn access_answer(error: &AccessError) -> Answer {
    let text = error.to_string();
    match error {
        AccessError::Credential(CredentialFault::Missing) => {
            Answer::new(StatusCode::UNAUTHORIZED, "missing_api_key", text)
        }
        AccessError::Credential(CredentialFault::Scheme) | AccessError::UnknownKey => {
            Answer::new(StatusCode::UNAUTHORIZED, "invalid_api_key", text)
        }
        AccessError::Credential(CredentialFault::Ambiguous) => {
            Answer::new(StatusCode::BAD_REQUEST, "ambiguous_credentials", text)
        }
        AccessError::TooMany { retry_after } => {
            Answer::new(StatusCode::TOO_MANY_REQUESTS, "too_many_failures", text).retry(*retry_after)
        }
        AccessError::Disabled { .. } | AccessError::Expired => {
            Answer::new(StatusCode::FORBIDDEN, "account_disabled", text)
        }
        AccessError::Forbidden => Answer::new(StatusCode::FORBIDDEN, "permission_denied", text),
        AccessError::WiderKey => Answer::new(StatusCode::FORBIDDEN, "wider_than_creator", text).param("expires"),
        AccessError::NoUser => Answer::new(StatusCode::FORBIDDEN, "user_required", text),
        AccessError::WrongPassword | AccessError::WrongCurrentPassword => {
            Answer::new(StatusCode::UNAUTHORIZED, "invalid_credentials", text)
        }
        AccessError::NoPassword => Answer::new(StatusCode::NOT_FOUND, "password_not_set", text),
        AccessError::Password(PasswordError::Busy) => {
            Answer::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text).retry(STORE_RETRY)
        }
        AccessError::Password(error @ PasswordError::Failed) => Answer::internal(error),
        AccessError::Randomness(error) => Answer::internal(error),
        AccessError::Store(error) => store_answer(error),
    }
}

fn store_answer(error: &StoreError) -> Answer {
    match error {
        StoreError::Unavailable(_) => {
            tracing::warn!(error = error as &dyn std::error::Error, "the database is not available");
            let message = "The database is not available, please try again later.";
            Answer::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", message).retry(STORE_RETRY)
        }
        StoreError::Constraint { .. } => {
            let message = "The change collides with another one that was made at the same time.";
            Answer::new(StatusCode::CONFLICT, "conflict", message)
        }
        _ => Answer::internal(error),
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let answer = Answer::from(&self);
        let kind = match answer.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let detail = answer.detail.unwrap_or_else(|| Value::String(answer.message.clone()));
        let body = json!({
            "detail": detail,
            "error": { "message": answer.message, "type": kind, "param": answer.param, "code": answer.code },
        });
        let mut response = (answer.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if answer.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after) = answer.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        response
    }
}
