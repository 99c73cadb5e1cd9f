//! Usage objects of upstreams: absent is not zero, nonsense is bounded and flagged.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use shared::kernel::tokens::TokenUsage;

/// More tokens than any call can have.
const ABSURD: u64 = 1_000_000_000;

/// Tokens as an upstream reported them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reported {
    /// The counts.
    pub(crate) tokens: TokenUsage,
    /// Whether a count was negative, fractional or absurd and had to be bounded.
    pub(crate) bounded: bool,
}

/// Reads a usage object; absent when it counts nothing.
pub(crate) fn read(object: &[u8]) -> Option<Reported> {
    // A derived reader would take a list for the members in order.
    let object = object.trim_ascii();
    let wire: Wire = serde_json::from_slice(object.starts_with(b"{").then_some(object)?).ok()?;
    let prompt = wire.prompt_tokens.or(wire.input_tokens);
    let completion = wire.completion_tokens.or(wire.output_tokens);
    let completion = match (prompt.0, completion.0, wire.total_tokens.0) {
        (Some(prompt), None, Some(total)) if total > prompt => Count(Some(total - prompt)),
        _ => completion,
    };
    // Rankings have nothing but a total.
    let prompt = if completion.0.is_none() { prompt.or(wire.total_tokens) } else { prompt };
    if prompt.0.is_none() && completion.0.is_none() {
        return None;
    }
    let mut bounded = false;
    let mut bound = |count: Count| {
        count.0.map(|count| {
            let inside = u64::try_from(count.max(0)).unwrap_or(ABSURD).min(ABSURD);
            bounded = bounded || i128::from(inside) != count;
            inside
        })
    };
    let tokens = TokenUsage {
        prompt: bound(prompt),
        completion: bound(completion),
        cached: bound(wire.prompt_tokens_details.or(wire.input_tokens_details).cached_tokens),
        reasoning: bound(wire.completion_tokens_details.or(wire.output_tokens_details).reasoning_tokens),
    };
    Some(Reported { tokens, bounded })
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Wire {
    prompt_tokens: Count,
    input_tokens: Count,
    completion_tokens: Count,
    output_tokens: Count,
    total_tokens: Count,
    prompt_tokens_details: Details,
    input_tokens_details: Details,
    completion_tokens_details: Details,
    output_tokens_details: Details,
}

/// A count, or nothing where something else stands.
#[derive(Clone, Copy, Default)]
struct Count(Option<i128>);

impl Count {
    const fn or(self, other: Self) -> Self {
        if self.0.is_some() { self } else { other }
    }
}

/// The details of a count, or nothing where something else stands.
#[derive(Clone, Copy, Default)]
struct Details {
    cached_tokens: Count,
    reasoning_tokens: Count,
}

impl Details {
    const fn or(self, other: Self) -> Self {
        Self {
            cached_tokens: self.cached_tokens.or(other.cached_tokens),
            reasoning_tokens: self.reasoning_tokens.or(other.reasoning_tokens),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Lenient).map(|(count, _)| count)
    }
}

impl<'de> Deserialize<'de> for Details {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Lenient).map(|(_, details)| details)
    }
}

/// Takes any value: a number as a count, an object as details, the rest as neither.
struct Lenient;

impl<'de> Visitor<'de> for Lenient {
    type Value = (Count, Details);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok((Count(Some(i128::from(number))), Details::default()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok((Count(Some(i128::from(number))), Details::default()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        // A fraction of a token is none; the bound of absurdity keeps the conversion exact.
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and is bounded afterwards")]
        let whole = number.round() as i128;
        Ok((Count(Some(whole)), Details::default()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Self::Value::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Self::Value::default())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Self::Value::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::Value::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut details = Details::default();
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "cached_tokens" => details.cached_tokens = map.next_value()?,
                "reasoning_tokens" => details.reasoning_tokens = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok((Count::default(), details))
    }
}
