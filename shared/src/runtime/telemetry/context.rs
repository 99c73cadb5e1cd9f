//! W3C Trace Context (https://www.w3.org/TR/trace-context/): which trace a request belongs to, and what others are told.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Names a trace and the caller's span in it.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What tracing systems add to it.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What the specification asks every hop to carry.
const STATE_MOST: usize = 512;
const STATE_MEMBERS: usize = 32;

/// A span that is about to be, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanContext {
    /// Its trace.
    pub trace: [u8; 16],
    /// Its own id.
    pub span: [u8; 8],
    /// The span above it, when it is not the first.
    pub parent: Option<[u8; 8]>,
    /// Whether it is sent.
    pub sampled: bool,
}

impl SpanContext {
    /// A span below this one.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span: new_span(), parent: Some(self.span), ..*self }
    }

    /// The trace's id, as texts show it.
    #[must_use]
    pub fn trace_id(&self) -> String {
        hex(&self.trace)
    }

    /// What whoever is called next is told.
    #[must_use]
    pub fn traceparent(&self) -> Option<HeaderValue> {
        let flags = if self.sampled { "01" } else { "00" };
        HeaderValue::try_from(format!("00-{}-{}-{flags}", hex(&self.trace), hex(&self.span))).ok()
    }
}

/// The span of whoever calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    /// Its trace.
    pub trace: [u8; 16],
    /// Its id.
    pub span: [u8; 8],
    /// Whether its trace is kept.
    pub sampled: bool,
}

impl Remote {
    /// The trace's id, as texts show it.
    #[must_use]
    pub fn trace_id(&self) -> String {
        hex(&self.trace)
    }
}

/// A new id of a trace. All of it is random: samplers decide by its last bytes, which those of a UUID v7 would bias.
#[must_use]
pub fn new_trace() -> [u8; 16] {
    rand::random::<u128>().max(1).to_be_bytes()
}

/// A new id of a span: eight random bytes, never all zero.
#[must_use]
pub fn new_span() -> [u8; 8] {
    rand::random::<u64>().max(1).to_be_bytes()
}

/// The caller's span; nothing when it names none, or names one badly.
#[must_use]
pub fn incoming(headers: &HeaderMap) -> Option<Remote> {
    let mut values = headers.get_all(&TRACEPARENT).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    parse(value.to_str().ok()?)
}

fn parse(text: &str) -> Option<Remote> {
    let mut parts = text.splitn(5, '-');
    let [version, trace, span, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let version: [u8; 1] = unhex(version)?;
    // Later versions may say more, after another dash.
    if version == [0xff] || (version == [0] && parts.next().is_some()) {
        return None;
    }
    let (trace, span, [flags]) = (unhex(trace)?, unhex(span)?, unhex::<1>(flags)?);
    (trace != [0; 16] && span != [0; 8]).then_some(Remote { trace, span, sampled: flags & 1 == 1 })
}

/// The caller's `tracestate`, in one line; nothing when it is not one.
#[must_use]
pub fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(&TRACESTATE).iter();
    let first = values.next()?;
    let more = values.next();
    let joined = match more {
        None => first.clone(),
        Some(second) => {
            let lines: Option<Vec<_>> =
                [first, second].into_iter().chain(values).map(|value| value.to_str().ok()).collect();
            HeaderValue::try_from(lines?.join(",")).ok()?
        }
    };
    let text = joined.to_str().ok()?;
    let members: Vec<_> = text.split(',').map(str::trim).filter(|member| !member.is_empty()).collect();
    let fits = (1..=STATE_MEMBERS).contains(&members.len()) && text.len() <= STATE_MOST;
    (fits && members.iter().all(|member| is_member(member))).then_some(joined)
}

fn is_member(member: &str) -> bool {
    let key = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let value = |byte: u8| (0x20..=0x7e).contains(&byte) && byte != b'=';
    member.split_once('=').is_some_and(|(name, text)| {
        !name.is_empty() && !text.is_empty() && name.bytes().all(key) && text.bytes().all(value)
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Exactly `N` bytes of lower-case hexadecimal digits.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != N * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(bytes)
}
