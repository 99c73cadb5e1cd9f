//! The ways to ask for a ranking, and to answer: Cohere's, which most servers speak, and OpenGateLLM's first one.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::scan::json::Bounds;
use crate::scan::object;
use crate::scan::splice::Edit;

/// The edits that put the older words of a request into common ones.
pub(super) fn common_words(body: &Bytes) -> Vec<Edit> {
    let Ok(members) = object::read(body, Bounds::REQUEST) else { return Vec::new() };
    let renamed = members.iter().filter_map(|member| {
        let common: &'static [u8] = match &*member.name {
            "prompt" => b"\"query\"",
            "input" => b"\"documents\"",
            _ => return None,
        };
        Some(Edit { range: member.key.clone(), with: Bytes::from_static(common) })
    });
    renamed.collect()
}

/// An answer in common words, in OpenGateLLM's first form.
pub(crate) fn older(body: &Bytes) -> Option<Bytes> {
    let mut answer: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let results = answer.remove("results")?;
    let data: Vec<Value> = results
        .as_array()?
        .iter()
        .map(|result| json!({"object": "rerank", "score": result.get("relevance_score"), "index": result.get("index")}))
        .collect();
    let mut older = json!({"object": "list", "id": answer.get("id"), "data": data});
    if let (Some(usage), Some(object)) = (answer.remove("usage"), older.as_object_mut()) {
        object.insert("usage".to_owned(), usage);
    }
    Some(Bytes::from(older.to_string()))
}

/// What a request in either wording asks.
pub(super) struct Question {
    pub(super) query: String,
    pub(super) documents: Vec<String>,
    pub(super) top_n: Option<usize>,
    /// Whether the documents come back.
    pub(super) return_documents: bool,
}

impl Question {
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let request: Value = serde_json::from_slice(body).ok()?;
        let either = |one: &str, other: &str| request.get(one).or_else(|| request.get(other));
        let documents = either("documents", "input")?.as_array()?;
        Some(Self {
            query: either("query", "prompt")?.as_str()?.to_owned(),
            documents: documents.iter().map(text_of).collect(),
            top_n: request.get("top_n").and_then(Value::as_u64).and_then(|most| usize::try_from(most).ok()),
            return_documents: request.get("return_documents").and_then(Value::as_bool).unwrap_or(false),
        })
    }

    /// An answer in common words, from each document's score. Only a wish for the best ones sorts them.
    pub(super) fn answer(&self, mut scores: Vec<(usize, f64)>) -> Value {
        if let Some(most) = self.top_n {
            scores.sort_by(|(_, one), (_, other)| other.total_cmp(one));
            scores.truncate(most);
        }
        let results: Vec<Value> = scores
            .into_iter()
            .map(|(index, score)| {
                let mut result = json!({"relevance_score": score, "index": index});
                let document = self.documents.get(index).filter(|_| self.return_documents);
                if let (Some(document), Some(result)) = (document, result.as_object_mut()) {
                    result.insert("document".to_owned(), json!({ "text": document }));
                }
                result
            })
            .collect();
        json!({"object": "list", "results": results})
    }
}

/// A document is a text, or an object with one.
fn text_of(document: &Value) -> String {
    let text = document.as_str().or_else(|| document.get("text")?.as_str());
    text.map_or_else(|| document.to_string(), str::to_owned)
}
