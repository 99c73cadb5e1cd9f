//! The text inside requests and answers, for counting what an upstream did not report. Never on the request path.

use bytes::Bytes;
use memchr::memmem;
use serde_json::Value;

use crate::scan::json::{Bounds, Cursor};
use crate::translate::Operation;

/// Text to count, and tokens that were given as such.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Countable {
    /// The text.
    pub(crate) text: String,
    /// Tokens beside it.
    pub(crate) tokens: u64,
}

impl Countable {
    fn add(&mut self, text: &str) {
        if !self.text.is_empty() && !text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(text);
    }
}

/// What a request asks, as text.
pub(crate) fn asked(operation: Operation, body: &[u8]) -> Countable {
    let Ok(request) = serde_json::from_slice::<Value>(body) else { return Countable::default() };
    let mut countable = Countable::default();
    match operation {
        Operation::Chat => {
            for message in request.get("messages").and_then(Value::as_array).into_iter().flatten() {
                content(message.get("content"), &mut countable);
                calls(message.get("tool_calls"), &mut countable);
            }
            for tool in request.get("tools").and_then(Value::as_array).into_iter().flatten() {
                countable.add(&tool.to_string());
            }
        }
        Operation::Completions => input(request.get("prompt"), &mut countable),
        Operation::Embeddings => input(request.get("input"), &mut countable),
        Operation::Rerank => {
            for name in ["query", "prompt", "documents", "input"] {
                documents(request.get(name), &mut countable);
            }
        }
        // Speech is no text.
        Operation::Transcription => {}
    }
    countable
}

/// A text, or the texts of its parts. Images and sounds are not text.
fn content(value: Option<&Value>, countable: &mut Countable) {
    match value {
        Some(Value::String(text)) => countable.add(text),
        Some(Value::Array(parts)) => {
            for text in parts.iter().filter_map(|part| part.get("text").or_else(|| part.get("refusal"))?.as_str()) {
                countable.add(text);
            }
        }
        _ => {}
    }
}

fn calls(value: Option<&Value>, countable: &mut Countable) {
    for call in value.and_then(Value::as_array).into_iter().flatten() {
        let Some(function) = call.get("function") else { continue };
        for part in ["name", "arguments"] {
            countable.add(function.get(part).and_then(Value::as_str).unwrap_or_default());
        }
    }
}

/// A text, texts, tokens, or lists of tokens.
fn input(value: Option<&Value>, countable: &mut Countable) {
    match value {
        Some(Value::String(text)) => countable.add(text),
        Some(Value::Number(_)) => countable.tokens += 1,
        Some(Value::Array(items)) => items.iter().for_each(|item| input(Some(item), countable)),
        _ => {}
    }
}

/// Texts, or objects with one.
fn documents(value: Option<&Value>, countable: &mut Countable) {
    match value {
        Some(Value::String(text)) => countable.add(text),
        Some(Value::Object(document)) => {
            countable.add(document.get("text").and_then(Value::as_str).unwrap_or_default())
        }
        Some(Value::Array(items)) => items.iter().for_each(|item| documents(Some(item), countable)),
        _ => {}
    }
}

/// What a message or delta says.
fn said(message: &Value, countable: &mut Countable) {
    content(message.get("content"), countable);
    for name in ["reasoning_content", "reasoning", "refusal"] {
        countable.add(message.get(name).and_then(Value::as_str).unwrap_or_default());
    }
    calls(message.get("tool_calls"), countable);
}

/// What a whole answer says, as text.
pub(crate) fn answered(operation: Operation, body: &[u8]) -> Countable {
    let mut countable = Countable::default();
    let answer = || serde_json::from_slice::<Value>(body).unwrap_or_default();
    match operation {
        Operation::Chat | Operation::Completions => {
            for choice in answer().get("choices").and_then(Value::as_array).into_iter().flatten() {
                said(choice.get("message").unwrap_or(choice), &mut countable);
                countable.add(choice.get("text").and_then(Value::as_str).unwrap_or_default());
            }
        }
        Operation::Transcription => match answer().get("text").and_then(Value::as_str) {
            Some(text) => countable.add(text),
            None => countable.add(&String::from_utf8_lossy(body)),
        },
        Operation::Embeddings | Operation::Rerank => {}
    }
    countable
}

/// The deltas of a stream, kept small until it is known whether they must be counted.
#[derive(Debug, Default)]
pub(crate) struct Deltas {
    /// One JSON object after another.
    kept: Vec<u8>,
    /// Bytes of deltas that were too many to keep.
    dropped: u64,
}

/// Enough for some hundred thousand tokens.
const KEPT_MOST: usize = 2 * 1024 * 1024;

impl Deltas {
    /// Keeps what the events of a batch say.
    pub(crate) fn keep(&mut self, operation: Operation, batch: &[u8]) {
        match operation {
            Operation::Completions => self.keep_named(b"\"text\"", b'"', batch),
            // Events of speech hold a text in place of an object.
            Operation::Transcription => self.keep_named(b"\"delta\"", b'"', batch),
            Operation::Chat | Operation::Embeddings | Operation::Rerank => self.keep_named(b"\"delta\"", b'{', batch),
        }
    }

    /// Keeps every value behind `name` that begins with `opening`.
    fn keep_named(&mut self, name: &[u8], opening: u8, batch: &[u8]) {
        let mut rest = batch;
        while let Some(at) = memmem::find(rest, name) {
            rest = rest.get(at + name.len()..).unwrap_or_default();
            let mut cursor = Cursor::new(rest, Bounds::ANSWER);
            if !cursor.took(b':') || cursor.peek() != Some(opening) {
                continue;
            }
            let begin = cursor.at();
            if cursor.value(0).is_err() {
                return;
            }
            let value = rest.get(begin..cursor.at()).unwrap_or_default();
            if self.kept.len() + value.len() <= KEPT_MOST {
                self.kept.extend_from_slice(value);
            } else {
                self.dropped += value.len() as u64;
            }
            rest = rest.get(cursor.at()..).unwrap_or_default();
        }
    }

    /// What was said, and the share of it that the text is: counts must be divided by it.
    pub(crate) fn text(&self) -> (Countable, f64) {
        let mut countable = Countable::default();
        let mut pieces = String::new();
        for delta in serde_json::Deserializer::from_slice(&self.kept).into_iter::<Value>().flatten() {
            let mut one = Countable::default();
            match &delta {
                Value::String(text) => one.add(text),
                _ => said(&delta, &mut one),
            }
            // Deltas are pieces of one text; what is between them is nothing.
            pieces.push_str(&one.text);
        }
        countable.text = pieces;
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let share = self.kept.len().max(1) as f64 / (self.kept.len() as u64 + self.dropped).max(1) as f64;
        (countable, share)
    }
}

/// What an answer said, in whichever form it was kept.
#[derive(Debug)]
pub(crate) enum Said {
    /// Nothing yet.
    Nothing,
    /// A whole answer.
    Whole(Bytes),
    /// A stream's deltas.
    Deltas(Deltas),
}
