//! Usage objects of upstreams: absent is not zero, nonsense is bounded and flagged.

use shared::kernel::tokens::TokenUsage;

use crate::scan::json::{Bounds, Shape, check_utf8};
use crate::scan::object::{self, Member};

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
    read_text(check_utf8(object).ok()?)
}

/// The same for what is known to be text.
pub(crate) fn read_text(object: &str) -> Option<Reported> {
    let wire = Wire::read(object)?;
    let prompt = wire.prompt_tokens.or(wire.input_tokens);
    let completion = wire.completion_tokens.or(wire.output_tokens);
    let completion = match (prompt.0, completion.0, wire.total_tokens.0) {
        (Some(prompt), None, Some(total)) if total > prompt => Count(Some(total.saturating_sub(prompt))),
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
            bounded = bounded || u64::try_from(count) != Ok(inside);
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

/// The members that count, under every name they have.
#[derive(Default)]
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
    /// One bit for each name that was there.
    seen: u16,
}

impl Wire {
    /// Nothing when it is no object, when a count that decides comes twice, or when a number has no value.
    fn read(object: &str) -> Option<Self> {
        let mut wire = Self::default();
        let mut sound = true;
        object::each(object, Bounds::ANSWER, |member| sound &= wire.take(&member, object).is_some()).ok()?;
        sound.then_some(wire)
    }

    fn take(&mut self, member: &Member<'_>, whole: &str) -> Option<()> {
        let (bit, place) = match &*member.name {
            "prompt_tokens" => (0, Place::Count(&mut self.prompt_tokens)),
            "completion_tokens" => (1, Place::Count(&mut self.completion_tokens)),
            "total_tokens" => (2, Place::Count(&mut self.total_tokens)),
            "input_tokens" => (3, Place::Count(&mut self.input_tokens)),
            "output_tokens" => (4, Place::Count(&mut self.output_tokens)),
            "prompt_tokens_details" => (5, Place::Details(&mut self.prompt_tokens_details)),
            "completion_tokens_details" => (6, Place::Details(&mut self.completion_tokens_details)),
            "input_tokens_details" => (7, Place::Details(&mut self.input_tokens_details)),
            "output_tokens_details" => (8, Place::Details(&mut self.output_tokens_details)),
            _ => return Some(()),
        };
        match place {
            Place::Count(count) => *count = Count::read(member, whole)?,
            Place::Details(details) => *details = Details::read(member, whole)?,
        }
        let twice = self.seen & (1 << bit) != 0;
        self.seen |= 1 << bit;
        (!twice).then_some(())
    }
}

/// Where a member goes.
enum Place<'a> {
    Count(&'a mut Count),
    Details(&'a mut Details),
}

/// A count, or nothing where something else stands.
#[derive(Clone, Copy, Default)]
struct Count(Option<i64>);

impl Count {
    const fn or(self, other: Self) -> Self {
        if self.0.is_some() { self } else { other }
    }

    /// Any value is taken, but only a number is a count; nothing when it is a number without a value.
    fn read(member: &Member<'_>, whole: &str) -> Option<Self> {
        if member.shape != Shape::Number {
            return Some(Self(None));
        }
        let digits = member.literal(whole);
        if let Ok(number) = digits.parse() {
            return Some(Self(Some(number)));
        }
        let number = digits.parse::<f64>().ok().filter(|number| number.is_finite())?;
        // A fraction of a token is none; the bound of absurdity keeps the conversion exact.
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and is bounded afterwards")]
        let whole = number.round() as i64;
        Some(Self(Some(whole)))
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

    fn read(member: &Member<'_>, whole: &str) -> Option<Self> {
        let mut details = Self::default();
        if !matches!(member.shape, Shape::Object(_)) {
            return Some(details);
        }
        let object = member.literal(whole);
        let mut sound = true;
        let take = |member: Member<'_>| {
            let count = match &*member.name {
                "cached_tokens" => &mut details.cached_tokens,
                "reasoning_tokens" => &mut details.reasoning_tokens,
                _ => return,
            };
            match Count::read(&member, object) {
                Some(read) => *count = read,
                None => sound = false,
            }
        };
        object::each(object, Bounds::ANSWER, take).ok()?;
        sound.then_some(details)
    }
}
