//! Replaces ranges of a body; everything between them stays the same bytes, uncopied where the body is large.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::json::Bounds;
use super::object;

/// Below this a copy is cheaper than one more piece on its way to the socket.
const COPY_BELOW: usize = 16 * 1024;

/// What to put in place of a range; an empty range inserts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    /// Where.
    pub(crate) range: Range<usize>,
    /// What.
    pub(crate) with: Bytes,
}

/// The edited body as pieces in order. Edits must be in order and apart from one another; others are left out.
pub(crate) fn apply(body: &Bytes, edits: &[Edit]) -> Vec<Bytes> {
    if edits.is_empty() {
        return vec![body.clone()];
    }
    if body.len() < COPY_BELOW {
        let more: usize = edits.iter().map(|edit| edit.with.len()).sum();
        let mut whole = Vec::with_capacity(body.len() + more);
        walk(body, edits, |kept, with| {
            whole.extend_from_slice(body.get(kept).unwrap_or_default());
            whole.extend_from_slice(with);
        });
        return vec![Bytes::from(whole)];
    }
    let mut pieces = Vec::with_capacity(edits.len() * 2 + 1);
    walk(body, edits, |kept, with| {
        pieces.push(body.slice(kept));
        pieces.push(with.clone());
    });
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// Goes through the ranges of a body that are kept, each with what comes behind it.
fn walk(body: &Bytes, edits: &[Edit], mut show: impl FnMut(Range<usize>, &Bytes)) {
    let mut at = 0;
    for edit in edits {
        let Range { start, end } = edit.range;
        if start < at || end < start || end > body.len() {
            continue;
        }
        show(at..start, &edit.with);
        at = end;
    }
    show(at..body.len(), &Bytes::new());
}

/// The object without a member of its top level, and without the comma that belonged to it.
pub(crate) fn without(body: &Bytes, name: &str) -> Bytes {
    let Ok(members) = object::read(body, Bounds::REQUEST) else { return body.clone() };
    let Some(at) = members.iter().position(|member| member.name == name) else { return body.clone() };
    let range = match (members.get(at), members.get(at + 1), at.checked_sub(1).and_then(|before| members.get(before))) {
        (Some(this), Some(next), _) => this.key.start..next.key.start,
        (Some(this), None, Some(before)) => before.value.end..this.value.end,
        (Some(this), None, None) => this.key.start..this.value.end,
        (None, ..) => return body.clone(),
    };
    joined(&apply(body, &[Edit { range, with: Bytes::new() }]))
}

/// All pieces in one.
pub(crate) fn joined(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [only] => return only.clone(),
        [only, rest] if rest.is_empty() => return only.clone(),
        [none, only] if none.is_empty() => return only.clone(),
        _ => {}
    }
    let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in pieces {
        whole.extend_from_slice(piece);
    }
    whole.freeze()
}

/// A text as a JSON string literal.
pub(crate) fn quoted(text: &str) -> Bytes {
    let plain = text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    if plain {
        let mut literal = BytesMut::with_capacity(text.len() + 2);
        literal.extend_from_slice(b"\"");
        literal.extend_from_slice(text.as_bytes());
        literal.extend_from_slice(b"\"");
        return literal.freeze();
    }
    Bytes::from(serde_json::Value::from(text).to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn only_the_ranges_change() {
        let body = Bytes::from_static(b"{ \"model\" : \"a\", \"x\":1 }");
        let edits = [
            Edit { range: 12..15, with: quoted("b\"c") },
            Edit { range: 23..23, with: Bytes::from_static(b",\"y\":2") },
        ];
        assert_eq!(joined(&apply(&body, &edits)), r#"{ "model" : "b\"c", "x":1 ,"y":2}"#);
        assert_eq!(apply(&body, &[]), std::slice::from_ref(&body));
        let beyond = Edit { range: 20..99, with: Bytes::new() };
        assert_eq!(apply(&body, &[beyond]), [body]);
    }

    #[test]
    fn members_go_with_their_commas() {
        for (body, left) in [
            (r#"{"x":1, "a":2}"#, r#"{"a":2}"#),
            (r#"{"a":2, "x":1 }"#, r#"{"a":2 }"#),
            (r#"{ "x" : {"x":1} }"#, "{  }"),
            (r#"{"a":1,"x":[1,2],"b":2}"#, r#"{"a":1,"b":2}"#),
            (r#"{"a":{"x":1}}"#, r#"{"a":{"x":1}}"#),
        ] {
            assert_eq!(without(&Bytes::from_static(body.as_bytes()), "x"), left);
        }
    }

    #[test]
    fn large_bodies_are_not_copied() {
        let body = Bytes::from(vec![b'x'; 100_000]);
        let pieces = apply(&body, &[Edit { range: 10..20, with: Bytes::from_static(b"-") }]);
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[2].as_ptr(), body[20..].as_ptr());
        assert_eq!(joined(&pieces).len(), 99_991);
    }
}
