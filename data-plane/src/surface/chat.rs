//! `POST /v1/chat/completions`.

use bytes::Bytes;
use shared::catalog::RouterKind;

use super::body::{Fields, too_many, wrong};
use super::opengatellm::OpenGateLlm;
use crate::exchange::endpoint::{Call, Endpoint, Takes};
use crate::exchange::fault::Fault;
use crate::scan::json::Shape;
use crate::translate::Operation;

/// More messages than a conversation has.
const MESSAGES_MOST: usize = 10_000;

/// Chat completions, streamed or not.
pub(super) static ENDPOINT: Endpoint = Endpoint {
    path: "/v1/chat/completions",
    operation: Operation::Chat,
    serves: &[RouterKind::TextGeneration, RouterKind::ImageTextToText],
    takes: Takes::Json(parse),
    opengatellm: &OpenGateLlm { chunk: "chat.completion.chunk" },
};

fn parse(bytes: &Bytes) -> Result<Call, Box<Fault>> {
    let fields = Fields::read(bytes)?;
    let (requested, place) = fields.requested()?;
    match fields.required("messages")?.shape {
        Shape::Array(count) if count > MESSAGES_MOST => return Err(too_many("messages", MESSAGES_MOST)),
        Shape::Array(_) => {}
        _ => return Err(wrong("messages", "a list")),
    }
    fields.count("n", 1)?;
    let old = fields.count("max_tokens", 1)?;
    let new = fields.count("max_completion_tokens", 1)?;
    if let (Some(old), Some(new)) = (old, new)
        && old != new
    {
        let message = "`max_tokens` and `max_completion_tokens` contradict each other: give one of them.";
        return Err(Fault::invalid("invalid_value", "max_tokens", message));
    }
    Ok(Call { streamed: fields.streamed()?, ..Call::plain(requested, place) })
}
