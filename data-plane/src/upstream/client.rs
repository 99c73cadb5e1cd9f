//! The small trait behind which an upstream is reached.

use std::future::Future;
use std::pin::Pin;

use http::{Request, Response};

use super::body::AnswerBody;
use super::outgoing::OutgoingBody;

/// Why an upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// Its address may not be called.
    #[error("the upstream's address is refused: {0}")]
    Refused(&'static str),
    /// No connection.
    #[error("the upstream cannot be reached")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection ended before an answer.
    #[error("the upstream closed the connection without an answer")]
    Closed(#[source] hyper::Error),
    /// What came is no HTTP.
    #[error("the upstream's answer is no HTTP")]
    Garbage(#[source] hyper::Error),
}

/// An answer on its way.
pub(crate) type Sending = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, SendError>> + Send>>;

/// Whatever takes a request and answers it. The request's URI is absolute.
pub(crate) trait Client: Send + Sync {
    /// Begins; dropping the future, or the answer's body, cancels.
    fn send(&self, request: Request<OutgoingBody>) -> Sending;
}
