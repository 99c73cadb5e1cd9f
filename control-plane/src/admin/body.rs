//! Reads the body of a change field by field, so that every refusal names its field and nothing is ignored.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use shared::kernel::money::Amount;
use shared::kernel::secret::Secret;

use super::error::{ApiError, Problem};
use crate::domain::{Lookup, Patch};

/// Most bytes of a body.
const LIMIT: usize = 1024 * 1024;
/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);
/// The sort of a problem with a field inside a field that is not known there.
const UNKNOWN: &str = "extra_forbidden";
/// Longest text that a refusal repeats.
const SHOWN: usize = 128;

/// The bytes of a body, within the limits.
#[derive(Debug)]
pub struct Body(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        if let Some(coding) = parts.headers.get(CONTENT_ENCODING).filter(|coding| *coding != "identity") {
            let coding = String::from_utf8_lossy(coding.as_bytes()).chars().take(32).collect();
            return Err(ApiError::ContentEncoding(coding));
        }
        let declared = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|declared| declared > LIMIT) {
            return Err(ApiError::TooLarge { limit: LIMIT });
        }
        let collected = tokio::time::timeout(PATIENCE, Limited::new(body, LIMIT).collect());
        match collected.await {
            Err(_) => Err(ApiError::Slow),
            Ok(Ok(collected)) => Ok(Self(collected.to_bytes())),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::TooLarge { limit: LIMIT }),
            Ok(Err(error)) => Err(ApiError::Json(format!("The body could not be read: {error}"))),
        }
    }
}

/// The fields of one JSON object, taken out one by one.
#[derive(Debug)]
pub struct Fields {
    present: HashMap<String, Box<RawValue>>,
    known: Vec<&'static str>,
    problems: Vec<Problem>,
}

impl Fields {
    /// Reads an object; a field that stands there twice is refused.
    ///
    /// # Errors
    /// [`ApiError::Encoding`] or [`ApiError::Json`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ApiError> {
        let text = std::str::from_utf8(bytes).map_err(|_| ApiError::Encoding)?;
        let object: Object = serde_json::from_str(text).map_err(|error| json_error(&error))?;
        Ok(Self { present: object.0, known: Vec::new(), problems: Vec::new() })
    }

    /// Accepts an older name of a field.
    pub fn older(&mut self, older: &'static str, name: &'static str) {
        if let Some(raw) = self.present.remove(older) {
            if self.present.contains_key(name) {
                self.problems.push(Problem {
                    kind: "value_error",
                    at: vec!["body".into(), older.into()],
                    message: format!("an older name of `{name}`: give one of them"),
                    input: Value::Null,
                });
            } else {
                self.present.insert(name.to_owned(), raw);
            }
        }
    }

    /// Takes a field out. A value of the wrong type is noted for [`Fields::finish`].
    pub fn take<T: FromField>(&mut self, name: &'static str) -> Patch<T> {
        self.known.push(name);
        let Some(raw) = self.present.remove(name) else { return Patch::Absent };
        if raw.get() == "null" {
            return Patch::Null;
        }
        match T::from_field(&raw) {
            Ok(value) => Patch::Value(value),
            Err(problems) => {
                self.problems.extend(problems.into_iter().map(|mut problem| {
                    problem.at.splice(0..0, ["body".into(), Value::from(name)]);
                    problem
                }));
                Patch::Absent
            }
        }
    }

    /// Ends the reading: whatever is left is refused, then what was of the wrong type.
    ///
    /// # Errors
    /// [`ApiError::ForbiddenField`] for one of `forbidden`, [`ApiError::UnknownField`], [`ApiError::Invalid`].
    pub fn finish(self, forbidden: &[&str]) -> Result<(), ApiError> {
        // In a fixed order, so that the same request gets the same answer.
        let left: BTreeMap<&String, _> = self.present.iter().collect();
        if let Some(field) = left.keys().find(|field| forbidden.contains(&field.as_str())) {
            return Err(ApiError::ForbiddenField { field: (*field).clone() });
        }
        if let Some(field) = left.keys().next() {
            let shown: String = field.chars().take(64).collect();
            let nearest = self.known.iter().map(|known| (strsim::jaro_winkler(known, &shown), known));
            let nearest = nearest.filter(|(score, _)| *score > 0.75).max_by(|one, other| one.0.total_cmp(&other.0));
            let hint = match nearest {
                Some((_, known)) => format!("did you mean `{known}`?"),
                None => format!("expected: {}.", self.known.join(", ")),
            };
            return Err(ApiError::UnknownField { message: format!("Unknown field `{shown}`: {hint}"), field: shown });
        }
        if let Some(unknown) = self.problems.iter().find(|problem| problem.kind == UNKNOWN) {
            return Err(ApiError::UnknownField { field: unknown.field(), message: unknown.message.clone() });
        }
        if self.problems.is_empty() { Ok(()) } else { Err(ApiError::Invalid(self.problems)) }
    }
}

fn json_error(error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    if text.contains("hex escape") || text.contains("unicode code point") {
        return ApiError::Encoding;
    }
    ApiError::Json(format!("The body is not a JSON object that can be read: {text}"))
}

/// An object whose values are kept as they were written.
struct Object(HashMap<String, Box<RawValue>>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Object, A::Error> {
                let mut object = HashMap::new();
                while let Some((name, value)) = entries.next_entry::<String, Box<RawValue>>()? {
                    if object.contains_key(&name) {
                        let name: String = name.chars().take(64).collect();
                        return Err(A::Error::custom(format_args!("the field `{name}` stands there twice")));
                    }
                    object.insert(name, value);
                }
                Ok(Object(object))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// A value that a field can hold. Problems are placed relative to the field.
pub trait FromField: Sized {
    /// Reads it from its JSON text, which is not `null`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    fn from_field(raw: &RawValue) -> Result<Self, Vec<Problem>>;
}

fn problem(kind: &'static str, message: impl Into<String>, input: Value) -> Vec<Problem> {
    let input = match &input {
        Value::String(text) if text.chars().count() > SHOWN => Value::Null,
        Value::Array(_) | Value::Object(_) => Value::Null,
        _ => input,
    };
    vec![Problem { kind, at: Vec::new(), message: message.into(), input }]
}

fn value(raw: &RawValue) -> Result<Value, Vec<Problem>> {
    serde_json::from_str(raw.get()).map_err(|error| problem("json_invalid", error.to_string(), Value::Null))
}

impl FromField for String {
    fn from_field(raw: &RawValue) -> Result<Self, Vec<Problem>> {
        match value(raw)? {
            Value::String(text) => Ok(text),
            other => Err(problem("string_type", "Input should be a valid string", other)),
        }
    }
}

/// A refusal never repeats what was given.
impl FromField for Secret {
    fn from_field(raw: &RawValue) -> Result<Self, Vec<Problem>> {
        match serde_json::from_str::<String>(raw.get()) {
            Ok(text) => Ok(Self::new(text)),
            Err(_) => Err(problem("string_type", "Input should be a valid string", Value::Null)),
        }
    }
}

impl FromField for bool {
    fn from_field(raw: &RawValue) -> Result<Self, Vec<Problem>> {
        match value(raw)? {
            Value::Bool(yes) => Ok(yes),
            other => Err(problem("bool_type", "Input should be a valid boolean", other)),
        }
    }
}

impl FromField for i64 {
    fn from_field(raw: &RawValue) -> Result<Self, Vec<Problem>> {
        let value = value(raw)?;
        // Some clients write whole numbers as floats.
        let whole = value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 9e15);
        #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
        let from_float = whole.filter(|_| value.is_f64()).map(|number| number as Self);
        value
            .as_i64()
            .or(from_float)
            .ok_or_else(|| problem("int_type", "Input should be a valid integer of 64 bits", value))
    }
}

impl FromField for i32 {
    fn from_field(raw: &RawValue) -> Result<Self, Vec<Problem>> {
        let number = i64::from_field(raw)?;
        Self::try_from(number).map_err(|_| problem("int_type", "Input should be an integer of 32 bits", number.into()))
    }
}

impl FromField for u64 {
    fn from_field(raw: &RawValue) -> Result<Self, Vec<Problem>> {
        let number = i64::from_field(raw)?;
        Self::try_from(number).map_err(|_| problem("greater_than_equal", "Input should be 0 or more", number.into()))
    }
}

impl FromField for u32 {
    fn from_field(raw: &RawValue) -> Result<Self, Vec<Problem>> {
        let number = u64::from_field(raw)?;
        Self::try_from(number).map_err(|_| problem("less_than_equal", "Input should be below 2^32", number.into()))
    }
}

impl FromField for f64 {
    fn from_field(raw: &RawValue) -> Result<Self, Vec<Problem>> {
        let value = value(raw)?;
        value.as_f64().ok_or_else(|| problem("float_type", "Input should be a valid number", value))
    }
}

/// From the digits as they were written, never through a float.
impl FromField for Amount {
    fn from_field(raw: &RawValue) -> Result<Self, Vec<Problem>> {
        let value = value(raw)?;
        let parsed = match &value {
            Value::String(text) => Self::parse(text),
            Value::Number(_) => Self::parse(raw.get()),
            _ => return Err(problem("float_type", "Input should be a valid amount", value)),
        };
        parsed.map_err(|error| problem("value_error", error.to_string(), value))
    }
}

impl FromField for Lookup {
    fn from_field(raw: &RawValue) -> Result<Self, Vec<Problem>> {
        let value = value(raw)?;
        let found = match &value {
            Value::Number(_) => value.as_i64().filter(|number| *number >= 0).map(Self::Number),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        found.ok_or_else(|| problem("int_type", "Input should be an id: an integer or a UUID", value))
    }
}

impl<T: FromField> FromField for Vec<T> {
    fn from_field(raw: &RawValue) -> Result<Self, Vec<Problem>> {
        let Ok(items) = serde_json::from_str::<Vec<Box<RawValue>>>(raw.get()) else {
            return Err(problem("list_type", "Input should be a valid list", Value::Null));
        };
        let mut problems = Vec::new();
        let mut read = Self::with_capacity(items.len());
        for (position, item) in items.iter().enumerate() {
            match T::from_field(item) {
                Ok(item) => read.push(item),
                Err(mut found) => {
                    for problem in &mut found {
                        problem.at.insert(0, position.into());
                    }
                    problems.extend(found);
                }
            }
            if problems.len() > 20 {
                break;
            }
        }
        if problems.is_empty() { Ok(read) } else { Err(problems) }
    }
}

/// An object whose names are free.
impl FromField for BTreeMap<String, String> {
    fn from_field(raw: &RawValue) -> Result<Self, Vec<Problem>> {
        let object: Object = serde_json::from_str(raw.get())
            .map_err(|error| problem("model_type", format!("an object is expected: {error}"), Value::Null))?;
        let mut read = Self::new();
        for (name, raw) in object.0 {
            let value = String::from_field(&raw).map_err(|mut found| {
                for problem in &mut found {
                    problem.at.insert(0, name.chars().take(64).collect::<String>().into());
                }
                found
            })?;
            read.insert(name, value);
        }
        Ok(read)
    }
}

/// What another reader takes apart, as it was written; there may be a credential in it.
#[derive(Debug, Clone)]
pub struct Unread(pub Secret);

impl FromField for Unread {
    fn from_field(raw: &RawValue) -> Result<Self, Vec<Problem>> {
        Ok(Self(Secret::new(raw.get().to_owned())))
    }
}

/// A word of a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word<T>(pub T);

impl<T: FromStr<Err: fmt::Display>> FromField for Word<T> {
    fn from_field(raw: &RawValue) -> Result<Self, Vec<Problem>> {
        let text = String::from_field(raw)?;
        text.parse().map(Word).map_err(|error: T::Err| problem("enum", error.to_string(), Value::String(text)))
    }
}

/// Reads an object inside a field, with the same strictness.
///
/// # Errors
/// Everything that is wrong with it, relative to the object.
pub fn nested<T>(raw: &RawValue, read: impl FnOnce(&mut Fields) -> T) -> Result<T, Vec<Problem>> {
    let mut fields =
        Fields::parse(raw.get().as_bytes()).map_err(|error| problem("model_type", error.to_string(), Value::Null))?;
    let done = read(&mut fields);
    match fields.finish(&[]) {
        Ok(()) => Ok(done),
        Err(ApiError::Invalid(mut problems)) => {
            for problem in &mut problems {
                problem.at.remove(0);
            }
            Err(problems)
        }
        Err(ApiError::UnknownField { field, message }) => {
            let mut unknown = problem(UNKNOWN, message, Value::Null);
            if let Some(unknown) = unknown.first_mut() {
                unknown.at.push(field.into());
            }
            Err(unknown)
        }
        Err(other) => Err(problem("model_type", other.to_string(), Value::Null)),
    }
}
