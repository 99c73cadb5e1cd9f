//! `POST /v1/rerank`: Cohere's words (`query`, `documents`), and OpenGateLLM's first ones (`prompt`, `input`).

use bytes::Bytes;
use http::StatusCode;
use shared::catalog::RouterKind;

use super::body::{Fields, too_many, wrong};
use super::opengatellm::OpenGateLlm;
use crate::exchange::endpoint::{Call, Endpoint, Takes};
use crate::exchange::fault::Fault;
use crate::scan::json::Shape;
use crate::translate::{Operation, Wording};

/// More documents than any server ranks at once.
const DOCUMENTS_MOST: usize = 10_000;

/// Documents by how well they answer a query.
pub(super) static ENDPOINT: Endpoint = Endpoint {
    path: "/v1/rerank",
    operation: Operation::Rerank,
    serves: &[RouterKind::TextClassification],
    takes: Takes::Json(parse),
    opengatellm: &OpenGateLlm { chunk: "" },
};

fn parse(bytes: &Bytes) -> Result<Call, Box<Fault>> {
    let fields = Fields::read(bytes)?;
    let (requested, place) = fields.requested()?;
    let older = fields.get("query").is_none() && fields.get("prompt").is_some();
    let (query, documents) = if older { ("prompt", "input") } else { ("query", "documents") };
    if fields.required(query)?.shape != Shape::Text {
        return Err(wrong(query, "a text"));
    }
    match fields.required(documents)?.shape {
        Shape::Array(0) => {
            let fault = Fault::invalid(
                "invalid_value",
                documents,
                format!("`{documents}` is empty: at least one document is expected."),
            );
            return Err(fault.with_status(StatusCode::UNPROCESSABLE_ENTITY));
        }
        Shape::Array(count) if count > DOCUMENTS_MOST => return Err(too_many(documents, DOCUMENTS_MOST)),
        Shape::Array(_) => {}
        _ => return Err(wrong(documents, "a list of texts")),
    }
    fields.count("top_n", 1)?;
    let wording = if older { Wording::OlderRerank } else { Wording::Common };
    Ok(Call { wording, ..Call::plain(requested, place) })
}
