//! Answers without an upstream: deterministic, with usage, so that a fresh gateway can be tried at once.

use bytes::Bytes;
use serde_json::{Value, json};

use super::Dialect;
use super::rerank::Question;

/// A provider that answers by itself.
pub(crate) struct Mock;

impl Dialect for Mock {
    fn is_local(&self) -> bool {
        true
    }
}

/// An answer as an upstream would give it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MockAnswer {
    /// Its status.
    pub(crate) status: u16,
    /// Its content type.
    pub(crate) content_type: &'static str,
    /// Its body, piece by piece.
    pub(crate) pieces: Vec<Bytes>,
}

/// Numbers in each vector.
const DIMENSIONS: usize = 16;
/// A date that never changes, as nothing here does.
const CREATED: i64 = 1_700_000_000;

/// Answers a request in OpenAI's dialect.
pub(crate) fn answer(path: &str, body: &[u8]) -> MockAnswer {
    let Ok(request) = serde_json::from_slice::<Value>(body) else { return refuse("the body is no JSON") };
    match path {
        "/v1/chat/completions" => chat(&request),
        "/v1/completions" => completions(&request),
        "/v1/embeddings" => embeddings(&request),
        "/v1/rerank" => rerank(body),
        _ => refuse("the mock has no such path"),
    }
}

fn refuse(message: &str) -> MockAnswer {
    let error = json!({"message": message, "type": "invalid_request_error", "param": null, "code": null});
    whole(400, &json!({ "error": error }))
}

fn whole(status: u16, body: &Value) -> MockAnswer {
    MockAnswer { status, content_type: "application/json", pieces: vec![Bytes::from(body.to_string())] }
}

/// Words stand for tokens.
fn count(text: &str) -> usize {
    text.split_whitespace().count()
}

/// The text of a message, or of its text parts.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str));
            texts.collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

fn chat(request: &Value) -> MockAnswer {
    let empty = Vec::new();
    let messages = request.get("messages").and_then(Value::as_array).unwrap_or(&empty);
    let Some(last) = messages.last() else { return refuse("`messages` must hold at least one message") };
    let texts: Vec<String> =
        messages.iter().map(|message| text_of(message.get("content").unwrap_or(&Value::Null))).collect();
    let asked: String = text_of(last.get("content").unwrap_or(&Value::Null)).chars().take(200).collect();
    let full = format!("This is the mock provider of Gatewright. You said: {asked}");
    let (words, finish) = going_on(&full, request);
    let (prompt, completion) = (texts.iter().map(|text| count(text)).sum::<usize>().max(1), words.len());
    let usage = json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion});
    let requested = request.get("model").cloned().unwrap_or_default();
    if request.get("stream").and_then(Value::as_bool) != Some(true) {
        let message = json!({"role": "assistant", "content": words.concat().trim_end()});
        let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish});
        let mut body = json!({"id": "chatcmpl-mock", "object": "chat.completion", "created": CREATED});
        extend(&mut body, [("model", requested), ("choices", json!([choice])), ("usage", usage)]);
        return whole(200, &body);
    }
    let chunk = |choices: Value, usage: Option<&Value>| {
        let mut body = json!({"id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": CREATED});
        extend(&mut body, [("model", requested.clone()), ("choices", choices)]);
        if let Some(usage) = usage {
            extend(&mut body, [("usage", usage.clone())]);
        }
        Bytes::from(format!("data: {body}\n\n"))
    };
    let delta = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
    let mut pieces = vec![chunk(delta(json!({"role": "assistant", "content": ""}), Value::Null), None)];
    pieces.extend(words.iter().map(|word| chunk(delta(json!({ "content": word }), Value::Null), None)));
    pieces.push(chunk(delta(json!({}), finish.into()), None));
    if wants_usage(request) {
        pieces.push(chunk(json!([]), Some(&usage)));
    }
    pieces.push(Bytes::from_static(b"data: [DONE]\n\n"));
    MockAnswer { status: 200, content_type: "text/event-stream", pieces }
}

fn extend<const N: usize>(body: &mut Value, members: [(&str, Value); N]) {
    if let Some(object) = body.as_object_mut() {
        object.extend(members.map(|(name, value)| (name.to_owned(), value)));
    }
}

/// The words that go on after a prompt, as far as they were asked for, and why they end.
fn going_on<'a>(full: &'a str, request: &Value) -> (Vec<&'a str>, &'static str) {
    let most = ["max_completion_tokens", "max_tokens"].iter().find_map(|name| request.get(*name)?.as_u64());
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    let finish = if count(full) > most { "length" } else { "stop" };
    (full.split_inclusive(' ').take(most).collect(), finish)
}

fn completions(request: &Value) -> MockAnswer {
    let prompt = match request.get("prompt") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(texts)) => texts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    };
    let full = format!(
        "And this is how the mock provider of Gatewright goes on after: {}",
        prompt.chars().take(200).collect::<String>()
    );
    let (words, finish) = going_on(&full, request);
    let (asked, said) = (count(&prompt).max(1), words.len());
    let usage = json!({"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said});
    let part = |text: &str, finish: Value, usage: Option<&Value>| {
        let choices = json!([{"text": text, "index": 0, "logprobs": null, "finish_reason": finish}]);
        let mut body = json!({"id": "cmpl-mock", "object": "text_completion", "created": CREATED});
        extend(&mut body, [("model", request.get("model").cloned().unwrap_or_default()), ("choices", choices)]);
        if let Some(usage) = usage {
            extend(&mut body, [("usage", usage.clone())]);
        }
        body
    };
    if request.get("stream").and_then(Value::as_bool) != Some(true) {
        return whole(200, &part(words.concat().trim_end(), finish.into(), Some(&usage)));
    }
    let event = |body: Value| Bytes::from(format!("data: {body}\n\n"));
    let mut pieces: Vec<Bytes> = words.iter().map(|word| event(part(word, Value::Null, None))).collect();
    pieces.push(event(part("", finish.into(), None)));
    if wants_usage(request) {
        let mut last = part("", Value::Null, Some(&usage));
        extend(&mut last, [("choices", json!([]))]);
        pieces.push(event(last));
    }
    pieces.push(Bytes::from_static(b"data: [DONE]\n\n"));
    MockAnswer { status: 200, content_type: "text/event-stream", pieces }
}

fn wants_usage(request: &Value) -> bool {
    let wish = request.get("stream_options").and_then(|options| options.get("include_usage"));
    wish.and_then(Value::as_bool) == Some(true)
}

/// A document's score is the share of the query's words in it.
fn rerank(body: &[u8]) -> MockAnswer {
    let Some(question) = Question::read(body) else { return refuse("`query` and `documents` must be there") };
    let wanted: Vec<String> = question.query.split_whitespace().map(str::to_lowercase).collect();
    let score = |document: &String| {
        let words: Vec<String> = document.split_whitespace().map(str::to_lowercase).collect();
        let found = wanted.iter().filter(|word| words.contains(word)).count();
        let (found, all) = (u32::try_from(found).unwrap_or(0), u32::try_from(wanted.len().max(1)).unwrap_or(1));
        f64::from(found) / f64::from(all)
    };
    let scores = question.documents.iter().enumerate().map(|(index, document)| (index, score(document))).collect();
    let tokens = wanted.len() + question.documents.iter().map(|document| count(document)).sum::<usize>();
    let mut answer = question.answer(scores);
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    extend(&mut answer, [("id", "rerank-mock".into()), ("usage", usage)]);
    whole(200, &answer)
}

fn embeddings(request: &Value) -> MockAnswer {
    let inputs: Vec<String> = match request.get("input") {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) if items.iter().all(Value::is_number) => vec![Value::from(items.clone()).to_string()],
        Some(Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect()
        }
        _ => return refuse("`input` must be a text or a list"),
    };
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, text)| json!({"object": "embedding", "index": index, "embedding": vector(text)}))
        .collect();
    let tokens = inputs.iter().map(|text| count(text).max(1)).sum::<usize>();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    whole(200, &json!({"object": "list", "data": data, "model": request.get("model"), "usage": usage}))
}

/// Numbers between -1 and 1 that depend on the text alone (FNV-1a, stirred once for each number).
fn vector(text: &str) -> Vec<f64> {
    let seed = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (0..DIMENSIONS)
        .scan(seed, |state, _| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Some(f64::from(u16::try_from(*state >> 48).unwrap_or(0)) / 32_768.0 - 1.0)
        })
        .collect()
}
