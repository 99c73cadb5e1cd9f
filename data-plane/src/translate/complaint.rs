//! What an upstream says when it refuses, whatever form it says it in, with secrets taken out.

use serde::Deserialize;
use serde_json::Value;

/// The longest message passed on.
const LONGEST: usize = 2000;

/// A refusal in the upstream's words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Complaint {
    /// What it says; empty when it says nothing readable.
    pub(crate) message: String,
    /// Its `type`.
    pub(crate) kind: Option<String>,
    /// The parameter it names.
    pub(crate) param: Option<String>,
    /// Its `code`, when that is a word.
    pub(crate) code: Option<String>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    error: Value,
    #[serde(default)]
    message: Value,
    #[serde(default)]
    detail: Value,
    #[serde(default, rename = "type")]
    kind: Value,
    #[serde(default)]
    param: Value,
    #[serde(default)]
    code: Value,
}

/// Reads a refusal. `{"error":{..}}` (OpenAI), `{"object":"error","message":..}` (vLLM), `{"error":"text"}` (TEI, Ollama),
/// `{"detail":..}` (FastAPI) and `{"message":..}` are understood; of anything else nothing is passed on.
pub(crate) fn read(body: &[u8], credential: Option<&str>) -> Complaint {
    let Ok(wire) = serde_json::from_slice::<Wire>(body) else { return Complaint::default() };
    let word = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(|text| scrub(text, credential));
    let inner = |name: &str| word(wire.error.get(name).unwrap_or(&Value::Null));
    let message = inner("message")
        .or_else(|| word(&wire.error))
        .or_else(|| word(&wire.message))
        .or_else(|| word(&wire.detail))
        .or_else(|| detail_list(&wire.detail).map(|text| scrub(&text, credential)));
    Complaint {
        message: message.unwrap_or_default(),
        kind: inner("type").or_else(|| word(&wire.kind)),
        param: inner("param").or_else(|| word(&wire.param)),
        code: inner("code").or_else(|| word(&wire.code)),
    }
}

/// FastAPI's list of validation errors, as one line.
fn detail_list(detail: &Value) -> Option<String> {
    let lines: Vec<String> = detail
        .as_array()?
        .iter()
        .filter_map(|entry| {
            let place = entry.get("loc").and_then(Value::as_array).map(|loc| {
                let parts = loc.iter().map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned));
                parts.collect::<Vec<_>>().join(".")
            });
            let text = entry.get("msg")?.as_str()?;
            Some(place.map_or_else(|| text.to_owned(), |place| format!("{place}: {text}")))
        })
        .collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

/// Takes out whatever looks like a credential: upstreams like to repeat the key they did not accept.
pub(crate) fn scrub(text: &str, credential: Option<&str>) -> String {
    let mut clean = match credential.filter(|credential| credential.len() >= 4) {
        Some(credential) => text.replace(credential, "***"),
        None => text.to_owned(),
    };
    if clean.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|end| clean.is_char_boundary(*end)).unwrap_or(0);
        clean.truncate(end);
    }
    let is_key = |byte: char| byte.is_ascii_alphanumeric() || matches!(byte, '-' | '_' | '*' | '.' | '/' | '+' | '=');
    let mut out = String::with_capacity(clean.len());
    let mut after_bearer = false;
    for piece in clean.split_inclusive(|byte: char| !is_key(byte)) {
        let token = piece.trim_end_matches(|byte: char| !is_key(byte));
        if (looks_secret(token) || after_bearer) && !token.is_empty() {
            out.push_str("***");
            out.push_str(piece.get(token.len()..).unwrap_or_default());
        } else {
            out.push_str(piece);
        }
        after_bearer = token.eq_ignore_ascii_case("bearer") || (after_bearer && token.is_empty());
    }
    out
}

/// Key prefixes in use, and long runs without any structure of a word.
fn looks_secret(token: &str) -> bool {
    let prefixed = ["sk-", "sk_", "pk-", "hf_", "gsk_", "xai-", "gw-join-", "AIza", "eyJ"]
        .iter()
        .any(|prefix| token.starts_with(prefix));
    let digits = token.bytes().filter(u8::is_ascii_digit).count();
    let letters = token.bytes().filter(u8::is_ascii_alphabetic).count();
    let dense = token.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (prefixed && token.len() > 6) || (dense && token.len() >= 32 && digits >= 4 && letters >= 4)
}
