//! What an event of a stream, or a whole answer, means to the gateway; the bytes themselves stay as they are.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};
use serde_json::Value;

use crate::meter::reported::{self, Reported};
use crate::scan::json::{Bounds, Cursor, Shape, check_utf8};
use crate::scan::object;

/// The data that ends a stream.
pub(crate) const DONE: &[u8] = b"[DONE]";

// Made once: making one costs more than searching one event with it.
static DONE_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(DONE));
static ERROR_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"error\""));
static USAGE_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
static EMPTY_FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"{}"));

/// What an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Nothing for the caller: an empty delta, or a chunk without choices.
    Empty,
    /// Something for the caller.
    Content,
    /// Nothing but usage: no choice is in it.
    UsageOnly,
    /// That the upstream failed.
    Error,
    /// The end.
    Done,
    /// Nothing that could be understood.
    Garbage,
}

/// Looks at the data of one event; usage in it is returned as well.
pub(crate) fn look(data: &[u8]) -> (Sight, Option<Reported>) {
    let data = data.trim_ascii();
    if data == DONE {
        return (Sight::Done, None);
    }
    let Ok(text) = check_utf8(data) else { return (Sight::Garbage, None) };
    let Ok(members) = object::read_text(text, Bounds::ANSWER) else { return (Sight::Garbage, None) };
    let named = |name: &str| members.iter().find(|member| member.name == name);
    if named("error").is_some_and(|error| error.shape != Shape::Null) {
        return (Sight::Error, None);
    }
    let usage = named("usage").filter(|usage| matches!(usage.shape, Shape::Object(_)));
    let usage = usage.and_then(|usage| reported::read_text(usage.literal(text)));
    let sight = match named("choices").map(|choices| choices.shape) {
        Some(Shape::Array(0)) if usage.is_some() => Sight::UsageOnly,
        Some(Shape::Array(0)) => Sight::Empty,
        Some(Shape::Array(_)) if is_hollow(data) => Sight::Empty,
        _ => Sight::Content,
    };
    (sight, usage)
}

/// Whether every choice has an empty delta and goes on. A delta that names a role is not empty.
fn is_hollow(data: &[u8]) -> bool {
    // Only an empty object can be hollow; most chunks have none.
    if EMPTY_FINDER.find(data).is_none() {
        return false;
    }
    let chunk: Value = serde_json::from_slice(data).unwrap_or_default();
    let mut choices = chunk.get("choices").and_then(Value::as_array).into_iter().flatten();
    choices.all(|choice| {
        let goes_on = choice.get("finish_reason").is_none_or(Value::is_null);
        goes_on && choice.get("delta").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty)
    })
}

/// Whether bytes of many events may hold anything but content: usage, an error, or the end. Quick, and never wrong when
/// it says no.
pub(crate) fn is_remarkable(batch: &[u8]) -> bool {
    DONE_FINDER.find(batch).is_some()
        || ERROR_FINDER.find(batch).is_some()
        || USAGE_FINDER.find_iter(batch).any(|at| {
            // Chunks of a stream whose usage was asked for carry `"usage":null` until the last.
            let value = batch.get(at + 7..).unwrap_or_default().trim_ascii_start();
            let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii_start();
            !value.starts_with(b"null")
        })
}

/// What a whole answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whole {
    /// An answer, with its usage.
    Answer(Option<Reported>),
    /// An error under a status of success.
    Error,
    /// No JSON object.
    Garbage,
}

/// Longer answers are full of numbers and are looked at from their end alone.
const READ_WHOLE: usize = 256 * 1024;
/// How far from either end usage is looked for in them.
const NEAR: usize = 8 * 1024;

/// Looks at a whole answer.
pub(crate) fn look_whole(body: &[u8]) -> Whole {
    if body.len() > READ_WHOLE {
        return look_at_ends(body);
    }
    let Ok(text) = check_utf8(body) else { return Whole::Garbage };
    let Ok(members) = object::read_text(text, Bounds::ANSWER) else { return Whole::Garbage };
    let (mut error, mut content, mut usage) = (false, false, None);
    for member in &members {
        match &*member.name {
            "error" => error = member.shape != Shape::Null,
            "choices" | "data" => content = true,
            "usage" => usage = Some(member),
            _ => {}
        }
    }
    if error && !content {
        return Whole::Error;
    }
    Whole::Answer(usage.and_then(|usage| reported::read_text(usage.literal(text))))
}

fn look_at_ends(body: &[u8]) -> Whole {
    let trimmed = body.trim_ascii();
    if !trimmed.starts_with(b"{") || !trimmed.ends_with(b"}") {
        return Whole::Garbage;
    }
    let tail = trimmed.get(trimmed.len().saturating_sub(NEAR)..).unwrap_or_default();
    let head = trimmed.get(..NEAR).unwrap_or_default();
    let usage = memmem::rfind(tail, b"\"usage\"").and_then(|at| usage_at(tail, at));
    Whole::Answer(usage.or_else(|| USAGE_FINDER.find(head).and_then(|at| usage_at(head, at))))
}

/// The usage object behind its name.
fn usage_at(part: &[u8], at: usize) -> Option<Reported> {
    let rest = part.get(at + 7..)?;
    let mut cursor = Cursor::new(rest, Bounds::ANSWER);
    cursor.take(b':', "`:`").ok()?;
    cursor.peek();
    let begin = cursor.at();
    cursor.value(0).ok()?;
    reported::read(rest.get(begin..cursor.at())?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn events_are_told_apart() {
        for (data, sight) in [
            ("[DONE]", Sight::Done),
            (" [DONE] ", Sight::Done),
            (r#"{"choices":[{"delta":{"content":"x"}}]}"#, Sight::Content),
            (r#"{"choices":[{"delta":{"role":"assistant"}}]}"#, Sight::Content),
            (r#"{"choices":[{"delta":{},"finish_reason":null}]}"#, Sight::Empty),
            (r#"{"choices":[{"delta":{}},{"delta":{"content":"x"}}]}"#, Sight::Content),
            (r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, Sight::Content),
            (r#"{"choices":[],"prompt_filter_results":[]}"#, Sight::Empty),
            (r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#, Sight::UsageOnly),
            (
                r#"{"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
                Sight::Content,
            ),
            (r#"{"error":{"message":"m"}}"#, Sight::Error),
            (r#"{"error":null,"choices":[{"delta":{"content":"x"}}]}"#, Sight::Content),
            (r#"{"anything":"else"}"#, Sight::Content),
            ("<html>", Sight::Garbage),
            (r#"{"choices":["#, Sight::Garbage),
            ("[]", Sight::Garbage),
            ("", Sight::Garbage),
        ] {
            assert_eq!(look(data.as_bytes()).0, sight, "{data}");
        }
        assert!(look(br#"{"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":1}}"#).1.is_some());
    }

    #[test]
    fn batches_without_anything_remarkable_are_known() {
        for plain in [
            "data: {\"delta\":{\"content\":\"\\\"usage\\\": 3\"}}\n\n",
            "data: {\"usage\": null}\n\ndata: {\"usage\":null}\n\n",
            "",
        ] {
            assert!(!is_remarkable(plain.as_bytes()), "{plain}");
        }
        for remarkable in
            ["data: {\"usage\":null}\n\ndata: {\"usage\" : {}}\n\n", "data: [DONE]\n\n", "data: {\"error\":{}}\n\n"]
        {
            assert!(is_remarkable(remarkable.as_bytes()), "{remarkable}");
        }
    }

    #[test]
    fn whole_answers_are_understood_at_any_size() {
        let tokens = |whole: Whole| match whole {
            Whole::Answer(usage) => usage.map(|usage| usage.tokens.total()),
            other => panic!("{other:?}"),
        };
        assert_eq!(tokens(look_whole(br#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#)), Some(3));
        assert_eq!(tokens(look_whole(br#"{"choices":[]}"#)), None);
        assert_eq!(look_whole(br#"{"error":{"message":"m"}}"#), Whole::Error);
        for garbage in ["", "<html>", "{\"a\":", "[]"] {
            assert_eq!(look_whole(garbage.as_bytes()), Whole::Garbage, "{garbage}");
        }
        let numbers = "0.123456,".repeat(50_000);
        let behind = format!("{{\"data\":[{numbers}1],\"usage\": {{\"prompt_tokens\":7,\"total_tokens\":7}} }}\n");
        assert_eq!(tokens(look_whole(behind.as_bytes())), Some(7));
        let before = format!("{{\"usage\":{{\"prompt_tokens\":8}},\"data\":[{numbers}1]}}");
        assert_eq!(tokens(look_whole(before.as_bytes())), Some(8));
        let cut = behind.get(..400_000).unwrap();
        assert_eq!(look_whole(cut.as_bytes()), Whole::Garbage);
    }
}
