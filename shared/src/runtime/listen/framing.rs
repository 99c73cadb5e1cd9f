//! Where one request ends and the next begins must be beyond doubt, or a proxy in front could be made to disagree.
//!
//! hyper refuses most bad framing by itself. Two things pass it: a missing or second `Host`, which [`check`] sees, and
//! `Content-Length` beside `Transfer-Encoding`, of which hyper silently forgets the first, so that only the bytes
//! themselves tell ([`HeadWatch`]).

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{Version, request::Parts};
use memchr::memchr;

/// What is wrong with the framing of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingFault {
    /// Two ways to tell the length.
    #[error("`Content-Length` and `Transfer-Encoding` exclude each other")]
    TwoLengths,
    /// Chunked bodies came with HTTP/1.1.
    #[error("`Transfer-Encoding` needs HTTP/1.1")]
    EncodingTooEarly,
    /// No number, or two different ones.
    #[error("`Content-Length` must be one whole number")]
    BadLength,
    /// HTTP/1.1 requires it.
    #[error("the `Host` header is missing")]
    NoHost,
    /// Nobody can tell which one counts.
    #[error("there is more than one `Host` header")]
    TwoHosts,
}

/// Checks what a parsed head tells about its framing.
///
/// # Errors
/// The first [`FramingFault`] found; the connection must be closed after the answer.
pub fn check(parts: &Parts) -> Result<(), FramingFault> {
    let headers = &parts.headers;
    let encoded = headers.contains_key(TRANSFER_ENCODING);
    if encoded && headers.contains_key(CONTENT_LENGTH) {
        return Err(FramingFault::TwoLengths);
    }
    if encoded && parts.version < Version::HTTP_11 {
        return Err(FramingFault::EncodingTooEarly);
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let digits = |value: &[u8]| !value.is_empty() && value.len() <= 19 && value.iter().all(u8::is_ascii_digit);
        if !digits(length.as_bytes()) || lengths.next().is_some() {
            return Err(FramingFault::BadLength);
        }
    }
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => Err(FramingFault::TwoHosts),
        (None, _) if parts.version == Version::HTTP_11 => Err(FramingFault::NoHost),
        _ => Ok(()),
    }
}

/// Follows the bytes of an HTTP/1 connection from head to head.
///
/// It looks at heads only, line by line, and skips bodies by their declared length. After a head with
/// `Transfer-Encoding` (or an upgrade) it stops looking: the connection is closed after that answer, so nothing can
/// follow.
#[derive(Debug, Default)]
pub(super) struct HeadWatch {
    state: State,
    /// The line so far, when it is split over reads.
    line: Vec<u8>,
    lines: usize,
    length: Option<u64>,
    encoded: bool,
    last: bool,
}

#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
enum State {
    #[default]
    Head,
    Body(u64),
    Over,
}

/// What the bytes just seen mean for the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sight {
    /// A head has begun and not ended.
    pub(super) in_head: bool,
    /// The last head told two lengths.
    pub(super) two_lengths: bool,
}

/// Lines longer than any legal head are cut: hyper refuses them anyway.
const MAX_LINE: usize = 64 * 1024;

impl HeadWatch {
    /// Looks at the next bytes of the connection.
    pub(super) fn observe(&mut self, mut bytes: &[u8]) -> Sight {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Over => break,
                State::Body(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let left = left.saturating_sub(here as u64);
                    self.state = if left == 0 { State::Head } else { State::Body(left) };
                    bytes.get(here..).unwrap_or_default()
                }
                State::Head => self.head(bytes),
            };
        }
        let in_head = self.state == State::Head && !self.is_between_requests();
        Sight { in_head, two_lengths: self.state == State::Over && self.encoded && self.length.is_some() }
    }

    /// Whether everything that has begun has also ended.
    pub(super) fn is_between_requests(&self) -> bool {
        self.state == State::Head && self.lines == 0 && self.line.is_empty()
    }

    /// Takes one line, or what there is of it.
    fn head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(end) = memchr(b'\n', bytes) else {
            if self.line.len() < MAX_LINE {
                self.line.extend_from_slice(bytes);
            }
            return &[];
        };
        let (line, rest) = bytes.split_at(end);
        if self.line.is_empty() {
            self.line(line);
        } else {
            let mut whole = std::mem::take(&mut self.line);
            whole.extend_from_slice(line);
            self.line(&whole);
        }
        rest.get(1..).unwrap_or_default()
    }

    fn line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (line.is_empty(), self.lines) {
            // Empty lines before a request line are allowed.
            (true, 0) => {}
            (true, _) => self.end_of_head(),
            (false, 0) => {
                self.lines = 1;
                (self.length, self.encoded) = (None, false);
                self.last = line.starts_with(b"PRI ") || line.starts_with(b"CONNECT ");
            }
            (false, _) => {
                self.lines += 1;
                self.header(line);
            }
        }
    }

    fn header(&mut self, line: &[u8]) {
        if let Some(value) = value_of(line, b"content-length") {
            let number = std::str::from_utf8(value.trim_ascii()).ok().and_then(|digits| digits.parse().ok());
            // A length that is no number is refused by hyper; until then nothing after it can be told apart.
            self.last |= number.is_none();
            self.length = Some(number.unwrap_or(0));
        } else if value_of(line, b"transfer-encoding").is_some() {
            self.encoded = true;
        } else if value_of(line, b"upgrade").is_some() {
            self.last = true;
        }
    }

    fn end_of_head(&mut self) {
        self.lines = 0;
        self.state = match self.length {
            _ if self.encoded || self.last => State::Over,
            Some(length) if length > 0 => State::Body(length),
            _ => State::Head,
        };
    }
}

/// What stands behind the colon, when the line is the header of that name.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (before, behind) = line.split_at_checked(name.len())?;
    behind.strip_prefix(b":").filter(|_| before.eq_ignore_ascii_case(name))
}
