//! The grammar of JSON as a skipper: one pass that checks and measures a value and keeps nothing.

use memchr::memchr2;

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

/// A place in the bytes.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    bounds: Bounds,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(bytes: &'a [u8], bounds: Bounds) -> Self {
        Self { bytes, at: 0, bounds }
    }

    /// The offset of the next byte.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// The bounds it keeps.
    pub(crate) const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The next byte that is not white space, left in place.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// Takes one byte of punctuation.
    pub(crate) fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), Flaw> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.syntax(expected))
    }

    /// Takes one byte of punctuation if it is there.
    pub(crate) fn took(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Nothing but white space may be left.
    pub(crate) fn end(&mut self) -> Result<(), Flaw> {
        if self.peek().is_none() { Ok(()) } else { Err(self.syntax("the end of the body")) }
    }

    pub(crate) const fn syntax(&self, expected: &'static str) -> Flaw {
        Flaw::Syntax { at: self.at, expected }
    }

    /// Checks and skips one value that lies `depth` levels deep.
    pub(crate) fn value(&mut self, depth: usize) -> Result<Shape, Flaw> {
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
    pub(crate) fn string(&mut self) -> Result<bool, Flaw> {
        self.take(b'"', "a string")?;
        let mut escaped = false;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(length) = memchr2(b'"', b'\\', rest) else { return Err(self.unfinished()) };
            let plain = rest.get(..length).unwrap_or_default();
            // A fold, not a search: the compiler turns it into wide comparisons.
            if plain.iter().fold(false, |control, byte| control | (*byte < 0x20)) {
                return Err(self.syntax("an escaped control character"));
            }
            self.at += length;
            if self.bytes.get(self.at) == Some(&b'"') {
                self.at += 1;
                return Ok(escaped);
            }
            escaped = true;
            self.escape()?;
        }
    }

    const fn unfinished(&self) -> Flaw {
        Flaw::Syntax { at: self.bytes.len(), expected: "the end of a string" }
    }

    /// One escape sequence, the backslash first.
    fn escape(&mut self) -> Result<(), Flaw> {
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
                    _ => Err(Flaw::Encoding { at: begin }),
                },
                0xDC00..=0xDFFF => Err(Flaw::Encoding { at: begin }),
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
    fn unit(&self, at: usize) -> Result<u16, Flaw> {
        let bad = Flaw::Syntax { at, expected: "`\\u` and four hexadecimal digits" };
        let digits = match self.bytes.get(at..at + 6) {
            Some([b'\\', b'u', digits @ ..]) => digits,
            _ => return Err(bad),
        };
        digits.iter().try_fold(0_u16, |unit, digit| {
            let value = char::from(*digit).to_digit(16).and_then(|value| u16::try_from(value).ok());
            value.map(|value| (unit << 4) | value).ok_or(bad)
        })
    }

    fn object(&mut self, depth: usize) -> Result<Shape, Flaw> {
        self.deeper(depth)?;
        self.at += 1;
        let mut members = 0;
        if self.took(b'}') {
            return Ok(Shape::Object(0));
        }
        loop {
            members += 1;
            if members > self.bounds.members {
                return Err(Flaw::Members { limit: self.bounds.members });
            }
            self.peek();
            self.string()?;
            self.take(b':', "`:`")?;
            self.value(depth + 1)?;
            if !self.took(b',') {
                self.take(b'}', "`,` or `}`")?;
                return Ok(Shape::Object(members));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Shape, Flaw> {
        self.deeper(depth)?;
        self.at += 1;
        let mut elements = 0;
        if self.took(b']') {
            return Ok(Shape::Array(0));
        }
        loop {
            elements += 1;
            if elements > self.bounds.elements {
                return Err(Flaw::Elements { limit: self.bounds.elements });
            }
            self.value(depth + 1)?;
            if !self.took(b',') {
                self.take(b']', "`,` or `]`")?;
                return Ok(Shape::Array(elements));
            }
        }
    }

    const fn deeper(&self, depth: usize) -> Result<(), Flaw> {
        if depth >= self.bounds.depth { Err(Flaw::Depth { limit: self.bounds.depth }) } else { Ok(()) }
    }

    fn digits(&mut self) -> Result<(), Flaw> {
        let begin = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == begin { Err(self.syntax("a digit")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<(), Flaw> {
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

    fn word(&mut self, word: &'static [u8], shape: Shape) -> Result<Shape, Flaw> {
        if self.bytes.get(self.at..self.at + word.len()) != Some(word) {
            return Err(self.syntax("a value"));
        }
        self.at += word.len();
        Ok(shape)
    }
}

/// Checks that the bytes are UTF-8.
pub(crate) fn check_utf8(bytes: &[u8]) -> Result<(), Flaw> {
    std::str::from_utf8(bytes).map(|_| ()).map_err(|error| Flaw::Encoding { at: error.valid_up_to() })
}
