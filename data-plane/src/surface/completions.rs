//! `POST /v1/completions`.

use bytes::Bytes;
use shared::catalog::RouterKind;

use super::body::{Fields, wrong};
use super::opengatellm::OpenGateLlm;
use crate::exchange::endpoint::{Call, Endpoint, Takes};
use crate::exchange::fault::Fault;
use crate::scan::json::Shape;
use crate::translate::Operation;

/// Texts that go on, streamed or not.
pub(super) static ENDPOINT: Endpoint = Endpoint {
    path: "/v1/completions",
    operation: Operation::Completions,
    serves: &[RouterKind::TextGeneration, RouterKind::ImageTextToText],
    takes: Takes::Json(parse),
    opengatellm: &OpenGateLlm { chunk: "text_completion" },
};

fn parse(bytes: &Bytes) -> Result<Call, Box<Fault>> {
    let fields = Fields::read(bytes)?;
    let (requested, place) = fields.requested()?;
    match fields.required("prompt")?.shape {
        Shape::Text | Shape::Array(_) => {}
        _ => return Err(wrong("prompt", "a text, a list of texts, or tokens")),
    }
    fields.count("n", 1)?;
    // With `echo`, nothing may be asked for but the prompt's own probabilities.
    fields.count("max_tokens", 0)?;
    Ok(Call { streamed: fields.streamed()?, ..Call::plain(requested, place) })
}
