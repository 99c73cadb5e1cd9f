//! The members of one object, as ranges of the bytes that hold it.

use std::borrow::Cow;
use std::ops::Range;

use super::json::{Bounds, Broken, Cursor, Flaw, Shape, check_utf8};

/// One member of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member<'a> {
    /// Its name, escapes resolved.
    pub(crate) name: Cow<'a, str>,
    /// Where its name lies, quotes included.
    pub(crate) key: Range<usize>,
    /// Where its value lies.
    pub(crate) value: Range<usize>,
    /// What its value is.
    pub(crate) shape: Shape,
}

impl Member<'_> {
    /// The bytes of its value.
    pub(crate) fn bytes<'b>(&self, whole: &'b [u8]) -> &'b [u8] {
        whole.get(self.value.clone()).unwrap_or_default()
    }

    /// The same, of bytes that are known to be text.
    pub(crate) fn literal<'b>(&self, whole: &'b str) -> &'b str {
        whole.get(self.value.clone()).unwrap_or_default()
    }

    /// Its value as text, when it is a string.
    pub(crate) fn text<'b>(&self, whole: &'b [u8]) -> Option<Cow<'b, str>> {
        if self.shape == Shape::Text { unquote(self.bytes(whole)) } else { None }
    }

    /// Its value as a whole number, when it is one.
    pub(crate) fn integer(&self, whole: &[u8]) -> Option<i64> {
        if self.shape == Shape::Number { std::str::from_utf8(self.bytes(whole)).ok()?.parse().ok() } else { None }
    }
}

/// The text of a string literal with its quotes.
pub(crate) fn unquote(literal: &[u8]) -> Option<Cow<'_, str>> {
    let inner = literal.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', inner).is_none() {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice(literal).ok().map(Cow::Owned)
}

/// Room for the members of most bodies, within what an allocator counts as small.
const USUAL: usize = 1024 / size_of::<Member<'static>>();

/// Reads a whole body that must be one object: checks all of it, and lists its members in order.
///
/// # Errors
/// The first [`Flaw`], in order of the bytes; a duplicate name is found last.
pub(crate) fn read(bytes: &[u8], bounds: Bounds) -> Result<Vec<Member<'_>>, Flaw> {
    read_text(check_utf8(bytes)?, bounds)
}

/// The same for a body that is known to be text.
pub(crate) fn read_text(text: &str, bounds: Bounds) -> Result<Vec<Member<'_>>, Flaw> {
    let mut members = Vec::with_capacity(USUAL);
    each(text, bounds, |member| members.push(member))?;
    refuse_duplicates(&members)?;
    Ok(members)
}

/// The members of an object inside a body that was read before.
pub(crate) fn inner(bytes: &[u8], range: Range<usize>) -> Result<Vec<Member<'_>>, Flaw> {
    let part = bytes.get(range).unwrap_or_default();
    read(part, Bounds::REQUEST)
}

/// Reads a whole body that must be one object, and shows its members in order. Whether a name comes twice is left to
/// the one who looks.
///
/// # Errors
/// The first [`Flaw`], in order of the bytes.
pub(crate) fn each<'a>(text: &'a str, bounds: Bounds, show: impl FnMut(Member<'a>)) -> Result<(), Flaw> {
    let mut cursor = Cursor::new(text.as_bytes(), bounds);
    members(text, &mut cursor, bounds.members, show).map_err(|Broken| cursor.flaw())
}

fn members<'a>(
    text: &'a str,
    cursor: &mut Cursor<'a>,
    most: usize,
    mut show: impl FnMut(Member<'a>),
) -> Result<(), Broken> {
    if !cursor.took(b'{') {
        // The body may still be broken; that matters more than its type.
        cursor.value(0)?;
        cursor.end()?;
        return Err(cursor.fail(Flaw::NoObject));
    }
    if cursor.took(b'}') {
        return cursor.end();
    }
    for _ in 0..most {
        cursor.peek();
        let begin = cursor.at();
        let escaped = cursor.string()?;
        let key = begin..cursor.at();
        let name = name(text, key.clone(), escaped).ok_or_else(|| cursor.fail(Flaw::Encoding { at: begin }))?;
        cursor.take(b':', "`:`")?;
        cursor.peek();
        let begin = cursor.at();
        let shape = cursor.value(1)?;
        show(Member { name, key, value: begin..cursor.at(), shape });
        if cursor.closed(b'}', "`,` or `}`")? {
            return cursor.end();
        }
    }
    Err(cursor.fail(Flaw::Members { limit: most }))
}

/// The text of a literal that was found to be sound.
#[inline(always)]
fn name(text: &str, literal: Range<usize>, escaped: bool) -> Option<Cow<'_, str>> {
    if escaped {
        return serde_json::from_str(text.get(literal)?).ok().map(Cow::Owned);
    }
    text.get(literal.start + 1..literal.end.saturating_sub(1)).map(Cow::Borrowed)
}

/// Two members of one name would be read as one here and as the other upstream.
fn refuse_duplicates(members: &[Member<'_>]) -> Result<(), Flaw> {
    let second = |pair: (&Member<'_>, &Member<'_>)| {
        (pair.0.name == pair.1.name).then(|| pair.0.value.start.max(pair.1.value.start))
    };
    let twice = if members.len() <= 24 {
        members
            .iter()
            .enumerate()
            .find_map(|(n, one)| members.iter().skip(n + 1).find_map(|other| second((one, other))))
    } else {
        // Sorting, not hashing: names that collide cost nothing extra.
        let mut sorted: Vec<&Member<'_>> = members.iter().collect();
        sorted.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        sorted.iter().copied().zip(sorted.iter().copied().skip(1)).find_map(second)
    };
    twice.map_or(Ok(()), |at| Err(Flaw::Duplicate { at }))
}

#[cfg(test)]
#[path = "object_tests.rs"]
mod tests;
