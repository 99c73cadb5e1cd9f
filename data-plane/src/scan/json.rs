//! The grammar of JSON as a skipper: one pass that checks and measures a value and keeps nothing.

use super::plain;

/// What a body may hold before it is called absurd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Arrays and objects inside one another.
    pub(crate) depth: usize,
    /// Members of one object.
    pub(crate) members: usize,
    /// Elements of one array.
    pub(crate) elements: usize,
}

impl Bounds {
    /// For what clients send.
    pub(crate) const REQUEST: Self = Self { depth: 128, members: 10_000, elements: 100_000 };
    /// For what upstreams answer, where long arrays of numbers are the normal case.
    pub(crate) const ANSWER: Self = Self { depth: 128, members: 100_000, elements: usize::MAX };
}

/// Why bytes are not acceptable JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Flaw {
    /// Not the grammar.
    #[error("invalid JSON at byte {at}: {expected} expected")]
    Syntax {
        /// Where.
        at: usize,
        /// What should have been there.
        expected: &'static str,
    },
    /// Bytes that are no UTF-8, or half of a surrogate pair.
    #[error("invalid text encoding at byte {at}: valid UTF-8 without lone surrogates expected")]
    Encoding {
        /// Where.
        at: usize,
    },
    /// Too many levels.
    #[error("the JSON is nested deeper than {limit} levels")]
    Depth {
        /// The bound.
        limit: usize,
    },
    /// Too many elements in an array.
    #[error("an array has more than {limit} elements")]
    Elements {
        /// The bound.
        limit: usize,
    },
    /// Too many members in an object.
    #[error("an object has more than {limit} members")]
    Members {
        /// The bound.
        limit: usize,
    },
    /// A name twice in an object whose members decide something.
    #[error("a member is given twice (the second at byte {at})")]
    Duplicate {
        /// Where the second begins.
        at: usize,
    },
    /// Another type than an object.
    #[error("a JSON object is expected")]
    NoObject,
}

/// What kind of value was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number in any notation.
    Number,
    /// A string.
    Text,
    /// An array with so many elements.
    Array(usize),
    /// An object with so many members.
    Object(usize),
}

/// The bytes are not acceptable; the cursor knows why. Small, as it is handed up from every value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

/// A place in the bytes.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    bounds: Bounds,
    /// Whether a control character is anywhere: only then a long string has to be searched for one.
    controls: bool,
    flaw: Option<Flaw>,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], bounds: Bounds) -> Self {
        Self { bytes, at: 0, bounds, controls: plain::lowest(bytes) < 0x20, flaw: None }
    }

    /// The offset of the next byte.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// What is wrong, once something was [`Broken`].
    pub(crate) fn flaw(&self) -> Flaw {
        self.flaw.unwrap_or(Flaw::NoObject)
    }

    /// Keeps what is wrong.
    #[cold]
    pub(crate) const fn fail(&mut self, flaw: Flaw) -> Broken {
        self.flaw = Some(flaw);
        Broken
    }

    #[cold]
    const fn syntax(&mut self, expected: &'static str) -> Broken {
        self.fail(Flaw::Syntax { at: self.at, expected })
    }

    #[cold]
    const fn unfinished(&mut self) -> Broken {
        self.fail(Flaw::Syntax { at: self.bytes.len(), expected: "the end of a string" })
    }

    /// The next byte that is not white space, left in place.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        match self.bytes.get(self.at) {
            Some(byte) if *byte > b' ' => Some(*byte),
            _ => self.peek_behind_space(),
        }
    }

    #[inline(never)]
    fn peek_behind_space(&mut self) -> Option<u8> {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    /// Takes one byte of punctuation.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), Broken> {
        if self.took(byte) { Ok(()) } else { Err(self.syntax(expected)) }
    }

    /// Takes one byte of punctuation if it is there.
    #[inline]
    pub(crate) fn took(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Behind an element: takes what closes the whole, or a comma; whether it was closed.
    #[inline]
    pub(crate) fn closed(&mut self, by: u8, expected: &'static str) -> Result<bool, Broken> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(false)
            }
            Some(byte) if byte == by => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.syntax(expected)),
        }
    }

    /// Nothing but white space may be left.
    pub(crate) fn end(&mut self) -> Result<(), Broken> {
        if self.peek().is_none() { Ok(()) } else { Err(self.syntax("the end of the body")) }
    }

    /// Checks and skips one value that lies `depth` levels deep.
    pub(crate) fn value(&mut self, depth: usize) -> Result<Shape, Broken> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| Shape::Text),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| Shape::Number),
            Some(b't') => self.word(b"true", Shape::Bool(true)),
            Some(b'f') => self.word(b"false", Shape::Bool(false)),
            Some(b'n') => self.word(b"null", Shape::Null),
            _ => Err(self.syntax("a value")),
        }
    }

    /// Skips a string; whether it holds escapes.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<bool, Broken> {
        self.take(b'"', "a string")?;
        // Names and many values are short and plain.
        let mut at = self.at;
        while at < self.at + plain::NEAR {
            let Some(word) = self.bytes.get(at..).and_then(<[u8]>::first_chunk) else { break };
            if let Some(found) = plain::marked(*word) {
                at += found;
                if self.bytes.get(at) == Some(&b'"') {
                    self.at = at + 1;
                    return Ok(false);
                }
                break;
            }
            at += word.len();
        }
        self.text()
    }

    /// Skips any string behind its opening quote.
    #[inline(never)]
    fn text(&mut self) -> Result<bool, Broken> {
        let mut escaped = false;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(length) = plain::stop(rest) else { return Err(self.unfinished()) };
            if self.controls && plain::lowest(rest.get(..length).unwrap_or_default()) < 0x20 {
                return Err(self.syntax("an escaped control character"));
            }
            self.at += length;
            match rest.get(length) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => self.escape()?,
                _ => return Err(self.syntax("an escaped control character")),
            }
            escaped = true;
        }
    }

    /// One escape sequence, the backslash first.
    #[inline]
    fn escape(&mut self) -> Result<(), Broken> {
        let begin = self.at;
        match self.bytes.get(begin + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => match self.unit(begin)? {
                0xD800..=0xDBFF => match self.unit(begin + 6) {
                    Ok(0xDC00..=0xDFFF) => {
                        self.at += 12;
                        Ok(())
                    }
                    _ => Err(self.fail(Flaw::Encoding { at: begin })),
                },
                0xDC00..=0xDFFF => Err(self.fail(Flaw::Encoding { at: begin })),
                _ => {
                    self.at += 6;
                    Ok(())
                }
            },
            Some(_) => Err(self.syntax("a known escape sequence")),
            None => Err(self.unfinished()),
        }
    }

    /// The UTF-16 unit of `\uXXXX` at an offset.
    fn unit(&mut self, at: usize) -> Result<u16, Broken> {
        let unit = match self.bytes.get(at..at + 6) {
            Some([b'\\', b'u', digits @ ..]) => digits.iter().try_fold(0_u16, |unit, digit| {
                let value = char::from(*digit).to_digit(16).and_then(|value| u16::try_from(value).ok());
                value.map(|value| (unit << 4) | value)
            }),
            _ => None,
        };
        let expected = "`\\u` and four hexadecimal digits";
        unit.ok_or_else(|| self.fail(Flaw::Syntax { at, expected }))
    }

    fn object(&mut self, depth: usize) -> Result<Shape, Broken> {
        self.deeper(depth)?;
        self.at += 1;
        if self.took(b'}') {
            return Ok(Shape::Object(0));
        }
        let mut members = 0;
        loop {
            members += 1;
            if members > self.bounds.members {
                return Err(self.fail(Flaw::Members { limit: self.bounds.members }));
            }
            self.string()?;
            self.take(b':', "`:`")?;
            self.value(depth + 1)?;
            if self.closed(b'}', "`,` or `}`")? {
                return Ok(Shape::Object(members));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Shape, Broken> {
        self.deeper(depth)?;
        self.at += 1;
        if self.took(b']') {
            return Ok(Shape::Array(0));
        }
        let mut elements = 0;
        loop {
            elements += 1;
            if elements > self.bounds.elements {
                return Err(self.fail(Flaw::Elements { limit: self.bounds.elements }));
            }
            self.value(depth + 1)?;
            if self.closed(b']', "`,` or `]`")? {
                return Ok(Shape::Array(elements));
            }
        }
    }

    #[inline]
    fn deeper(&mut self, depth: usize) -> Result<(), Broken> {
        if depth < self.bounds.depth { Ok(()) } else { Err(self.fail(Flaw::Depth { limit: self.bounds.depth })) }
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Broken> {
        let begin = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == begin { Err(self.syntax("a digit")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<(), Broken> {
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
            if self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
                return Err(self.syntax("a number without leading zeros"));
            }
        } else {
            self.digits()?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn word(&mut self, word: &'static [u8], shape: Shape) -> Result<Shape, Broken> {
        if self.bytes.get(self.at..self.at + word.len()) != Some(word) {
            return Err(self.syntax("a value"));
        }
        self.at += word.len();
        Ok(shape)
    }
}

/// The bytes as text, which all of them must be.
pub(crate) fn check_utf8(bytes: &[u8]) -> Result<&str, Flaw> {
    // The quick check does not say where; the other one is asked when there is something to be said.
    simdutf8::basic::from_utf8(bytes)
        .or_else(|_| std::str::from_utf8(bytes).map_err(|error| Flaw::Encoding { at: error.valid_up_to() }))
}
