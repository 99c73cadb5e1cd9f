//! `POST /v1/embeddings`.

use bytes::Bytes;
use http::StatusCode;
use shared::catalog::RouterKind;

use super::body::{Fields, wrong};
use super::opengatellm::OpenGateLlm;
use crate::exchange::endpoint::{Call, Endpoint, Takes};
use crate::exchange::fault::Fault;
use crate::scan::json::Shape;
use crate::translate::Operation;

/// Vectors of texts.
pub(super) static ENDPOINT: Endpoint = Endpoint {
    path: "/v1/embeddings",
    operation: Operation::Embeddings,
    serves: &[RouterKind::TextEmbeddingsInference],
    takes: Takes::Json(parse),
    opengatellm: &OpenGateLlm { chunk: "" },
};

fn parse(bytes: &Bytes) -> Result<Call, Box<Fault>> {
    let fields = Fields::read(bytes)?;
    let (requested, place) = fields.requested()?;
    let input = fields.required("input")?;
    match input.shape {
        Shape::Text if input.value.len() > 2 => {}
        Shape::Array(count) if count > 0 => {}
        Shape::Text | Shape::Array(_) => {
            let fault =
                Fault::invalid("invalid_value", "input", "`input` is empty: a text, texts or tokens are expected.");
            return Err(fault
                .with_status(StatusCode::UNPROCESSABLE_ENTITY)
                .detailed("Input must not be an empty object."));
        }
        _ => return Err(wrong("input", "a text, a list of texts, or tokens")),
    }
    fields.count("dimensions", 1)?;
    Ok(Call::plain(requested, place))
}
