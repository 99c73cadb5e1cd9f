//! Hugging Face's text-embeddings-inference in its native words: a bare list of vectors, a bare list of ranks, and the
//! count of tokens in a header (<https://huggingface.github.io/text-embeddings-inference>).
//!
//! Its native vectors take every option of the server (`truncate`, `normalize`, `prompt_name`), which are passed on.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::rerank::Question;
use super::{Answer, Dialect, Operation, Outbound, openai};
use crate::scan::json::Bounds;
use crate::scan::object;
use crate::scan::splice::{Edit, apply, joined};

/// Where it tells how many tokens it read.
const TOKENS: &str = "x-compute-tokens";

/// text-embeddings-inference.
pub(crate) struct Tei;

impl Dialect for Tei {
    fn path(&self, operation: Operation) -> Option<&'static str> {
        match operation {
            Operation::Embeddings => Some("/embed"),
            Operation::Rerank => Some("/rerank"),
            Operation::Chat | Operation::Completions | Operation::Transcription => None,
        }
    }

    fn body(&self, outbound: &Outbound<'_>) -> Vec<Bytes> {
        match outbound.operation {
            Operation::Embeddings => vectors_wanted(&joined(&openai::body(outbound, false))),
            Operation::Rerank => ranks_wanted(outbound.body).unwrap_or_else(|| openai::body(outbound, false)),
            Operation::Chat | Operation::Completions | Operation::Transcription => openai::body(outbound, false),
        }
    }

    fn answer(&self, answer: &Answer<'_>) -> Option<Bytes> {
        match answer.operation {
            Operation::Embeddings => vectors(answer),
            Operation::Rerank => ranks(answer),
            Operation::Chat | Operation::Completions | Operation::Transcription => Some(answer.body.clone()),
        }
    }
}

/// Texts and tokens have the same forms on both sides; only the name of the field differs.
fn vectors_wanted(body: &Bytes) -> Vec<Bytes> {
    let members = object::read(body, Bounds::REQUEST).unwrap_or_default();
    let input = members.iter().find(|member| member.name == "input").map(|member| member.key.clone());
    let edit = input.map(|range| Edit { range, with: Bytes::from_static(b"\"inputs\"") });
    apply(body, edit.as_slice())
}

/// What of a request an answer of vectors depends on.
#[derive(Deserialize)]
struct Wanted {
    model: String,
    #[serde(default)]
    encoding_format: Option<String>,
}

fn vectors(answer: &Answer<'_>) -> Option<Bytes> {
    let wanted: Wanted = serde_json::from_slice(answer.request).ok()?;
    let encoded = wanted.encoding_format.as_deref() == Some("base64");
    // Numbers are passed on as they were written.
    let vectors: Vec<&RawValue> = serde_json::from_slice(answer.body).ok()?;
    let mut data = Vec::with_capacity(answer.body.len() + vectors.len() * 64 + 128);
    data.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
    for (index, vector) in vectors.into_iter().enumerate() {
        let numbers: Vec<f32> = serde_json::from_str(vector.get()).ok()?;
        let comma = if index > 0 { "," } else { "" };
        let embedding = if encoded { format!("\"{}\"", in_base64(&numbers)) } else { vector.get().to_owned() };
        let item = format!("{comma}{{\"object\":\"embedding\",\"index\":{index},\"embedding\":{embedding}}}");
        data.extend_from_slice(item.as_bytes());
    }
    let rest = json!({"model": wanted.model, "usage": usage(answer.headers)});
    let rest = rest.as_object().map(without_null).unwrap_or_default();
    data.extend_from_slice(b"],");
    data.extend_from_slice(Value::Object(rest).to_string().as_bytes().get(1..)?);
    Some(data.into())
}

/// As OpenAI does: 32-bit floats, the lowest byte first.
fn in_base64(numbers: &[f32]) -> String {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

fn ranks_wanted(body: &Bytes) -> Option<Vec<Bytes>> {
    let question = Question::read(body)?;
    let body = json!({
        "query": question.query,
        "texts": question.documents,
        "raw_scores": false,
        "return_text": false,
        "truncate": false,
        "truncation_direction": "right",
    });
    Some(vec![Bytes::from(body.to_string())])
}

fn ranks(answer: &Answer<'_>) -> Option<Bytes> {
    let ranks: Vec<Value> = serde_json::from_slice(answer.body).ok()?;
    let scores = ranks.iter().map(|rank| {
        let index = usize::try_from(rank.get("index")?.as_u64()?).ok()?;
        Some((index, rank.get("score")?.as_f64()?))
    });
    let scores: Vec<(usize, f64)> = scores.collect::<Option<_>>()?;
    let mut ranking = Question::read(answer.request)?.answer(scores);
    if let (Some(usage), Some(ranking)) = (usage(answer.headers), ranking.as_object_mut()) {
        ranking.insert("usage".to_owned(), usage);
    }
    Some(Bytes::from(ranking.to_string()))
}

/// Usage in the caller's words, where the server told it.
fn usage(headers: &HeaderMap) -> Option<Value> {
    let tokens: u64 = headers.get(TOKENS)?.to_str().ok()?.parse().ok()?;
    Some(json!({"prompt_tokens": tokens, "total_tokens": tokens}))
}

fn without_null(object: &Map<String, Value>) -> Map<String, Value> {
    object.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), value.clone())).collect()
}
