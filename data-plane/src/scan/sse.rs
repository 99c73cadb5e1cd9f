//! Whole events out of a byte stream that is cut anywhere.
//!
//! What one read returned leaves as one slice of that read: only an event that is not complete yet is held back and
//! copied, so that any event can still be hidden or replaced as a whole.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memrchr_iter};

/// The longest event; beyond it the stream is not one of events.
const LONGEST: usize = 16 * 1024 * 1024;

/// An event that never ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {LONGEST} bytes")]
pub(crate) struct TooLong;

/// Keeps what is not a whole event yet.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    held: BytesMut,
}

impl Splitter {
    /// Takes what one read returned and gives back all events that are complete now, as their bytes in order.
    ///
    /// # Errors
    /// [`TooLong`] when an event does not end.
    pub(crate) fn push(&mut self, chunk: Bytes) -> Result<Bytes, TooLong> {
        if self.held.is_empty() {
            let end = last_end(&chunk, 0).unwrap_or(0);
            self.held.extend_from_slice(chunk.get(end..).unwrap_or_default());
            self.check()?;
            return Ok(chunk.slice(..end));
        }
        // A terminator may have begun in the bytes before.
        let from = self.held.len().saturating_sub(3);
        self.held.extend_from_slice(&chunk);
        let Some(end) = last_end(&self.held, from) else { return self.check().map(|()| Bytes::new()) };
        let rest = self.held.split_off(end);
        Ok(std::mem::replace(&mut self.held, rest).freeze())
    }

    fn check(&self) -> Result<(), TooLong> {
        if self.held.len() > LONGEST { Err(TooLong) } else { Ok(()) }
    }

    /// The end of the stream: what is left, which some servers do not terminate.
    pub(crate) fn finish(&mut self) -> Bytes {
        self.held.split().freeze()
    }
}

/// The end of the last blank line at or after `from`.
fn last_end(bytes: &[u8], from: usize) -> Option<usize> {
    let part = bytes.get(from..)?;
    let is_blank = |at: &usize| part.get(..*at).is_some_and(|line| line.ends_with(b"\n") || line.ends_with(b"\n\r"));
    memrchr_iter(b'\n', part).find(is_blank).map(|at| from + at + 1)
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// Where it lies, its blank line included.
    pub(crate) range: Range<usize>,
    /// Its name; most events of inference servers have none.
    pub(crate) name: Option<&'a [u8]>,
    /// Its data; absent for comments and blank lines.
    pub(crate) data: Option<Cow<'a, [u8]>>,
}

/// The events of bytes that hold whole events only (or a last one without its blank line).
pub(crate) fn events(bytes: &[u8]) -> Events<'_> {
    Events { bytes, at: 0 }
}

/// Iterator over events.
#[derive(Debug)]
pub(crate) struct Events<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Events<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        let begin = self.at;
        if begin >= self.bytes.len() {
            return None;
        }
        let (mut name, mut data) = (None, None::<Cow<'a, [u8]>>);
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            let (line, taken) = match memchr(b'\n', rest) {
                Some(end) => (rest.get(..end).unwrap_or_default(), end + 1),
                None => (rest, rest.len()),
            };
            self.at += taken;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                break;
            }
            let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
            if let Some(value) = field(line, b"data") {
                data = Some(match data {
                    None => Cow::Borrowed(value),
                    Some(before) => Cow::Owned([&before, &b"\n"[..], value].concat()),
                });
            } else if let Some(value) = field(line, b"event") {
                name = Some(value);
            }
        }
        Some(Event { range: begin..self.at, name, data })
    }
}

/// The value of a line `name: value` or `name:value`.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = line.strip_prefix(name)?;
    if value.is_empty() {
        return Some(value);
    }
    let value = value.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

/// Data as one event on the wire.
pub(crate) fn event(data: &[u8]) -> Bytes {
    let mut event = BytesMut::with_capacity(data.len() + 8);
    push_event(&mut event, data);
    event.freeze()
}

/// Appends data as one event; each line of it becomes a line of the event.
pub(crate) fn push_event(out: &mut BytesMut, data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.extend_from_slice(b"\n");
    }
    out.extend_from_slice(b"\n");
}

#[cfg(test)]
#[path = "sse_tests.rs"]
mod tests;
