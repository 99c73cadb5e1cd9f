//! What the parsers of JSON bodies share: each refusal names the field and what would be right.

use std::ops::Range;

use shared::catalog::FaultKind;

use crate::exchange::fault::Fault;
use crate::scan::json::{Bounds, Flaw, Shape};
use crate::scan::object::{self, Member};
use crate::translate::UsageWish;

/// The largest count that any field may ask for.
const MOST: i64 = i32::MAX as i64;
/// Answers to one request.
const CHOICES_MOST: i64 = 128;

/// The members of a body's top level.
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    members: Vec<Member<'a>>,
}

impl<'a> Fields<'a> {
    /// Reads a body that must be one JSON object.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Box<Fault>> {
        let members = object::read(bytes, Bounds::REQUEST).map_err(|flaw| refused(&flaw))?;
        Ok(Self { bytes, members })
    }

    /// A member that is there and not null.
    pub(crate) fn get(&self, name: &str) -> Option<&Member<'a>> {
        self.members.iter().find(|member| member.name == name && member.shape != Shape::Null)
    }

    /// The name asked for, and where it stands.
    pub(crate) fn requested(&self) -> Result<(String, Range<usize>), Box<Fault>> {
        let member = self.get("model").ok_or_else(|| missing("model"))?;
        let text = member.text(self.bytes).ok_or_else(|| wrong("model", "a text"))?;
        if text.is_empty() {
            return Err(wrong("model", "the name of a model"));
        }
        Ok((text.into_owned(), member.value.clone()))
    }

    /// A member that must be there.
    pub(crate) fn required(&self, name: &'static str) -> Result<&Member<'a>, Box<Fault>> {
        self.get(name).ok_or_else(|| missing(name))
    }

    /// Checks a count: a whole number of at least `least`, when it is there.
    pub(crate) fn count(&self, name: &'static str, least: i64) -> Result<Option<i64>, Box<Fault>> {
        let Some(member) = self.get(name) else { return Ok(None) };
        let most = if name == "n" { CHOICES_MOST } else { MOST };
        match member.integer(self.bytes) {
            Some(count) if (least..=most).contains(&count) => Ok(Some(count)),
            _ => {
                let shown: String = String::from_utf8_lossy(member.bytes(self.bytes)).chars().take(32).collect();
                Err(Fault::invalid(
                    "invalid_value",
                    name,
                    format!("`{name}` is {shown}: a whole number from {least} to {most} is expected."),
                ))
            }
        }
    }

    /// Whether the answer is to be streamed, and then where the wish for usage stands.
    pub(crate) fn streamed(&self) -> Result<Option<UsageWish>, Box<Fault>> {
        let stream = match self.get("stream") {
            None => return self.options().map(|_| None),
            Some(member) => member,
        };
        let after = stream.value.end;
        match stream.shape {
            Shape::Bool(true) => self.options().map(|wish| Some(wish.unwrap_or(UsageWish::Absent { after }))),
            Shape::Bool(false) => self.options().map(|_| None),
            _ => Err(wrong("stream", "true or false")),
        }
    }

    fn options(&self) -> Result<Option<UsageWish>, Box<Fault>> {
        let Some(options) = self.members.iter().find(|member| member.name == "stream_options") else { return Ok(None) };
        match options.shape {
            Shape::Null => return Ok(Some(UsageWish::Null(options.value.clone()))),
            Shape::Object(_) => {}
            _ => return Err(wrong("stream_options", "an object")),
        }
        let begin = options.value.start;
        let inner =
            object::inner(self.bytes, options.value.clone()).map_err(|flaw| refused(&flaw).about("stream_options"))?;
        let wish = match inner.iter().find(|member| member.name == "include_usage") {
            None => UsageWish::Silent { inside: begin + 1, empty: inner.is_empty() },
            Some(member) => match member.shape {
                Shape::Bool(true) => UsageWish::Yes,
                Shape::Bool(false) | Shape::Null => UsageWish::No(begin + member.value.start..begin + member.value.end),
                _ => return Err(wrong("stream_options.include_usage", "true or false")),
            },
        };
        Ok(Some(wish))
    }
}

/// A field that must be there and is not.
pub(crate) fn missing(name: &'static str) -> Box<Fault> {
    Fault::invalid("missing_required_parameter", name, format!("`{name}` is missing."))
}

/// A field of another type than it must have.
pub(crate) fn wrong(name: &'static str, expected: &str) -> Box<Fault> {
    Fault::invalid("invalid_type", name, format!("`{name}` must be {expected}."))
}

/// A list with more elements than anybody can mean.
pub(crate) fn too_many(name: &'static str, most: usize) -> Box<Fault> {
    Fault::invalid("request_too_complex", name, format!("`{name}` has more than {most} elements."))
}

fn refused(flaw: &Flaw) -> Box<Fault> {
    let code = match flaw {
        Flaw::Encoding { .. } => "invalid_encoding",
        Flaw::Depth { .. } | Flaw::Elements { .. } | Flaw::Members { .. } => "request_too_complex",
        Flaw::Duplicate { .. } => "duplicate_parameter",
        Flaw::Syntax { .. } | Flaw::NoObject => "invalid_json",
    };
    Fault::new(FaultKind::InvalidRequest, code, format!("The body cannot be read: {flaw}."))
}
