//! Hugging Face's text-embeddings-inference: embeddings as OpenAI's, ranking in words of its own.

use bytes::Bytes;
use serde_json::{Value, json};

use super::rerank::Question;
use super::{Dialect, Operation, Outbound, openai};

/// text-embeddings-inference.
pub(crate) struct Tei;

impl Dialect for Tei {
    fn path(&self, operation: Operation) -> Option<&'static str> {
        match operation {
            Operation::Embeddings => Some("/v1/embeddings"),
            Operation::Rerank => Some("/rerank"),
            Operation::Chat | Operation::Completions | Operation::Transcription => None,
        }
    }

    fn body(&self, outbound: &Outbound<'_>) -> Vec<Bytes> {
        let question = Question::read(outbound.body).filter(|_| outbound.operation == Operation::Rerank);
        let Some(question) = question else { return openai::body(outbound, false) };
        let body = json!({
            "query": question.query,
            "texts": question.documents,
            "raw_scores": false,
            "return_text": false,
            "truncate": false,
            "truncation_direction": "right",
        });
        vec![Bytes::from(body.to_string())]
    }

    fn answer(&self, operation: Operation, request: &Bytes, body: &Bytes) -> Option<Bytes> {
        if operation != Operation::Rerank {
            return Some(body.clone());
        }
        let ranks: Vec<Value> = serde_json::from_slice(body).ok()?;
        let scores = ranks.iter().map(|rank| {
            let index = usize::try_from(rank.get("index")?.as_u64()?).ok()?;
            Some((index, rank.get("score")?.as_f64()?))
        });
        let scores: Vec<(usize, f64)> = scores.collect::<Option<_>>()?;
        Some(Bytes::from(Question::read(request)?.answer(scores).to_string()))
    }
}
