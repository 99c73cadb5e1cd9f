//! The parts of a form, found while its bytes pass by: small fields are read, files are only measured.

use std::ops::Range;

use bytes::{Buf, BytesMut};
use memchr::memmem;

/// Parts of one form.
const PARTS_MOST: usize = 128;
/// The headers of one part.
const HEAD_MOST: usize = 16 * 1024;
/// A field that is no file.
const FIELD_MOST: usize = 64 * 1024;
/// As the standard says.
const BOUNDARY_MOST: usize = 70;

/// Why a form cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormFlaw {
    /// The content type names none, or an impossible one.
    #[error("the `Content-Type` must be multipart/form-data with a boundary of 1 to {BOUNDARY_MOST} characters")]
    Boundary,
    /// It begins with something else.
    #[error("the form does not begin with its boundary")]
    Beginning,
    /// A part without a name, or with headers that cannot be read.
    #[error("a part of the form has no readable `Content-Disposition` with a name")]
    Head,
    /// Headers without end.
    #[error("the headers of a part are longer than {HEAD_MOST} bytes")]
    HeadTooLong,
    /// More parts than a form has.
    #[error("the form has more than {PARTS_MOST} parts")]
    TooManyParts,
    /// A text as long as a file.
    #[error("a field of the form is longer than {FIELD_MOST} bytes")]
    FieldTooLong,
    /// A field that is no text.
    #[error("a field of the form is not UTF-8")]
    Encoding,
    /// The last boundary is missing.
    #[error("the form is cut short: its final boundary is missing")]
    Unfinished,
}

/// One part of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The field's name.
    pub(crate) name: String,
    /// Where its content lies in the form.
    pub(crate) content: Range<u64>,
    /// Its content, when it is a field and no file.
    pub(crate) text: Option<String>,
}

/// The boundary that a content type names.
pub(crate) fn boundary(content_type: &str) -> Result<&str, FormFlaw> {
    let (kind, parameters) = content_type.split_once(';').ok_or(FormFlaw::Boundary)?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(FormFlaw::Boundary);
    }
    let named = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    let mut found =
        named.filter(|(name, _)| name.trim().eq_ignore_ascii_case("boundary")).map(|(_, value)| value.trim());
    let value = found.next().ok_or(FormFlaw::Boundary)?;
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let fits = (1..=BOUNDARY_MOST).contains(&value.len())
        && value.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"');
    if fits && found.next().is_none() { Ok(value) } else { Err(FormFlaw::Boundary) }
}

/// Finds the parts of a form whose bytes come in pieces.
#[derive(Debug)]
pub(crate) struct Parser {
    /// `\r\n--boundary`.
    delimiter: Vec<u8>,
    /// What has not been decided yet. Begins with a line end that is not in the form, so that the first boundary looks
    /// like any other.
    window: BytesMut,
    /// Bytes that left the window.
    passed: u64,
    place: Place,
    parts: Vec<Part>,
    /// Parts that were taken away.
    count: usize,
}

#[derive(Debug)]
enum Place {
    /// Before the first boundary.
    Before,
    /// Behind a boundary.
    Delimiter,
    /// In the headers of a part.
    Head,
    /// In the content of a part.
    Content { name: String, is_file: bool, begin: u64, text: Vec<u8> },
    /// Behind the last boundary.
    After,
}

impl Parser {
    pub(crate) fn new(boundary: &str) -> Self {
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        Self {
            delimiter,
            window: BytesMut::from(&b"\r\n"[..]),
            passed: 0,
            place: Place::Before,
            parts: Vec::new(),
            count: 0,
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`FormFlaw`]
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), FormFlaw> {
        self.window.extend_from_slice(bytes);
        while self.step()? {}
        Ok(())
    }

    /// The parts that have ended since this was last asked.
    pub(crate) fn ended(&mut self) -> Vec<Part> {
        self.count += self.parts.len();
        std::mem::take(&mut self.parts)
    }

    /// Whether the content of a file is passing by.
    pub(crate) const fn is_in_file(&self) -> bool {
        matches!(self.place, Place::Content { is_file: true, .. })
    }

    /// All bytes were taken.
    ///
    /// # Errors
    /// [`FormFlaw::Unfinished`]
    pub(crate) const fn finish(&self) -> Result<(), FormFlaw> {
        if matches!(self.place, Place::After) { Ok(()) } else { Err(FormFlaw::Unfinished) }
    }

    /// Drops bytes from the window.
    fn pass(&mut self, count: usize) {
        self.passed += count as u64;
        self.window.advance(count);
    }

    /// Where the window begins in the form.
    fn position(&self) -> u64 {
        self.passed.saturating_sub(2)
    }

    /// One step; false when more bytes are needed.
    fn step(&mut self) -> Result<bool, FormFlaw> {
        match std::mem::replace(&mut self.place, Place::After) {
            Place::Before => {
                if self.window.len() < self.delimiter.len() {
                    self.place = Place::Before;
                    return Ok(false);
                }
                if !self.window.starts_with(&self.delimiter) {
                    return Err(FormFlaw::Beginning);
                }
                self.pass(self.delimiter.len());
                self.place = Place::Delimiter;
                Ok(true)
            }
            Place::Delimiter => self.behind_delimiter(),
            Place::Head => self.head(),
            Place::Content { name, is_file, begin, text } => self.content(name, is_file, begin, text),
            Place::After => {
                let count = self.window.len();
                self.pass(count);
                Ok(false)
            }
        }
    }

    fn behind_delimiter(&mut self) -> Result<bool, FormFlaw> {
        match self.window.get(..2) {
            None => {
                self.place = Place::Delimiter;
                Ok(false)
            }
            Some(b"--") => {
                self.place = Place::After;
                Ok(true)
            }
            Some(b"\r\n") => {
                // The line end stays: an empty head is a line end alone.
                self.place = Place::Head;
                Ok(true)
            }
            Some(_) => Err(FormFlaw::Beginning),
        }
    }

    fn head(&mut self) -> Result<bool, FormFlaw> {
        let Some(end) = memmem::find(&self.window, b"\r\n\r\n") else {
            self.place = Place::Head;
            return if self.window.len() > HEAD_MOST { Err(FormFlaw::HeadTooLong) } else { Ok(false) };
        };
        if end > HEAD_MOST {
            return Err(FormFlaw::HeadTooLong);
        }
        if self.count + self.parts.len() >= PARTS_MOST {
            return Err(FormFlaw::TooManyParts);
        }
        let (name, is_file) = disposition(self.window.get(..end).unwrap_or_default()).ok_or(FormFlaw::Head)?;
        self.pass(end + 4);
        self.place = Place::Content { name, is_file, begin: self.position(), text: Vec::new() };
        Ok(true)
    }

    fn content(&mut self, name: String, is_file: bool, begin: u64, mut text: Vec<u8>) -> Result<bool, FormFlaw> {
        let found = memmem::find(&self.window, &self.delimiter);
        // A delimiter may have begun in the last bytes.
        let sure = found.unwrap_or_else(|| self.window.len().saturating_sub(self.delimiter.len() - 1));
        if !is_file {
            text.extend_from_slice(self.window.get(..sure).unwrap_or_default());
            if text.len() > FIELD_MOST {
                return Err(FormFlaw::FieldTooLong);
            }
        }
        self.pass(sure);
        if found.is_none() {
            self.place = Place::Content { name, is_file, begin, text };
            return Ok(false);
        }
        let content = begin..self.position();
        let text = if is_file { None } else { Some(String::from_utf8(text).map_err(|_| FormFlaw::Encoding)?) };
        self.parts.push(Part { name, content, text });
        self.pass(self.delimiter.len());
        self.place = Place::Delimiter;
        Ok(true)
    }
}

/// Name of the field, and whether it is a file, from the headers of a part.
fn disposition(head: &[u8]) -> Option<(String, bool)> {
    let head = std::str::from_utf8(head).ok()?;
    let line = head.split("\r\n").find(|line| {
        line.split_once(':').is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"))
    })?;
    let parameters = line.split_once(':')?.1;
    let name = parameter(parameters, "name")?;
    let is_file = parameter(parameters, "filename").is_some() || parameter(parameters, "filename*").is_some();
    Some((name, is_file))
}

/// The value of `; name="value"`, in which a quote is written `%22` or `\"`.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once(';') {
        let (name, value) = behind.trim_start().split_once('=')?;
        let name = name.trim();
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => {
                let end = quoted.char_indices().scan(false, |escaped, (at, letter)| {
                    let closes = letter == '"' && !*escaped;
                    *escaped = letter == '\\' && !*escaped;
                    Some((at, closes))
                });
                let end = end.filter(|(_, closes)| *closes).map(|(at, _)| at).next()?;
                (quoted.get(..end)?.replace("\\\"", "\""), quoted.get(end + 1..)?)
            }
            None => {
                let end = value.find(';').unwrap_or(value.len());
                (value.get(..end)?.trim().to_owned(), value.get(end..)?)
            }
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = after;
    }
    None
}

#[cfg(test)]
#[path = "multipart_tests.rs"]
mod tests;
