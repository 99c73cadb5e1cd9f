//! Which web pages may call the gateway from a browser, and the answers that tell browsers so.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{Method, StatusCode, request};

use super::{Turned, fixed};

/// Everything that some surface takes.
const METHODS: HeaderValue = fixed("GET, HEAD, POST, PUT, PATCH, DELETE");
/// What a page may send when it does not say what it wants to.
const HEADERS: HeaderValue = fixed("authorization, content-type, x-api-key, api-key, x-request-id");
/// What a page may read of an answer, beside what it always may.
const EXPOSED: HeaderValue = fixed(
    "x-request-id, x-gatewright-call-id, retry-after, x-should-retry, etag, x-ratelimit-limit-requests, \
     x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, \
     x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens",
);
/// How long a browser may remember the answer, in seconds.
const REMEMBERED: HeaderValue = fixed("600");
/// The longest list of headers that is repeated.
const MAX_HEADERS: usize = 4096;

/// Which web pages may call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Cors {
    /// None but those of the gateway itself.
    #[default]
    Off,
    /// All of them, without cookies.
    Any,
    /// Those of these origins.
    Only(Arc<[Origin]>),
}

/// Where a web page comes from, as browsers write it: `https://app.example.org`, with the port when it is unusual.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin(String);

/// A text that is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOrigin {
    /// Not of that form.
    #[error(
        "`{0}` is not an origin such as `https://app.example.org` or `http://localhost:3000` (`*` stands for every one)"
    )]
    Form(String),
    /// A browser would never send it like that.
    #[error("`{given}` is written `{right}` by browsers")]
    Spelling {
        /// What was given.
        given: String,
        /// What would be right.
        right: String,
    },
    /// Everything and something.
    #[error("`*` stands for every origin; nothing can stand beside it")]
    Beside,
}

impl Cors {
    /// From a list of origins; `*` alone stands for all.
    ///
    /// # Errors
    /// [`BadOrigin`] for the first that is none.
    pub fn from_list<'a>(list: impl IntoIterator<Item = &'a str>) -> Result<Self, BadOrigin> {
        let list: Vec<&str> = list.into_iter().collect();
        match list.as_slice() {
            [] => Ok(Self::Off),
            ["*"] => Ok(Self::Any),
            list if list.contains(&"*") => Err(BadOrigin::Beside),
            list => Ok(Self::Only(list.iter().map(|text| text.parse()).collect::<Result<_, _>>()?)),
        }
    }

    /// Answers a preflight, or tells what the answer to any other request carries.
    pub(super) fn enter(&self, parts: &request::Parts) -> Result<HeaderMap, Box<Turned>> {
        let mut headers = HeaderMap::new();
        if *self == Self::Off {
            return Ok(headers);
        }
        let origin = parts.headers.get(ORIGIN);
        let allowed = origin.and_then(|origin| self.allow(origin, &mut headers));
        if matches!(self, Self::Only(_)) {
            // A cache in between must not give one page the answer for another.
            headers.append(VARY, fixed("origin"));
        }
        let preflight = parts.method == Method::OPTIONS && parts.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        match (origin, preflight) {
            (Some(_), true) if allowed.is_none() => {
                let refusal = Some((
                    "This origin may not call the gateway from a browser; `cors` lists those that may.",
                    "origin_not_allowed",
                ));
                Err(Box::new(Turned { status: StatusCode::FORBIDDEN, headers, refusal }))
            }
            (Some(_), true) => {
                headers.append(VARY, fixed("access-control-request-headers"));
                headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
                headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted(&parts.headers));
                headers.insert(ACCESS_CONTROL_MAX_AGE, REMEMBERED);
                Err(Box::new(Turned { status: StatusCode::NO_CONTENT, headers, refusal: None }))
            }
            _ => {
                if allowed.is_some() {
                    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
                }
                Ok(headers)
            }
        }
    }

    /// Says yes to an origin, if it may.
    fn allow(&self, origin: &HeaderValue, headers: &mut HeaderMap) -> Option<()> {
        match self {
            Self::Off => return None,
            Self::Any => headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, fixed("*")),
            Self::Only(list) => {
                list.iter().find(|one| one.0.as_bytes() == origin.as_bytes())?;
                headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, fixed("true"));
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone())
            }
        };
        Some(())
    }
}

/// The headers that a page asks for: SDKs send many of their own, and `*` would leave out `authorization`.
fn wanted(headers: &HeaderMap) -> HeaderValue {
    let list = |value: &&HeaderValue| {
        let names = value.to_str().unwrap_or_default();
        names.len() <= MAX_HEADERS && names.split(',').all(|name| HeaderName::from_str(name.trim()).is_ok())
    };
    headers.get(ACCESS_CONTROL_REQUEST_HEADERS).filter(list).cloned().unwrap_or(HEADERS)
}

impl FromStr for Cors {
    type Err = BadOrigin;

    /// A list with commas.
    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        Self::from_list(text.split(',').map(str::trim).filter(|one| !one.is_empty()))
    }
}

impl FromStr for Origin {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        let bad = || BadOrigin::Form(text.chars().take(128).collect());
        let (scheme, rest) = text.split_once("://").ok_or_else(bad)?;
        let scheme = scheme.to_ascii_lowercase();
        let authority: http::uri::Authority = rest.trim_end_matches('/').parse().map_err(|_| bad())?;
        let host = authority.host().to_ascii_lowercase();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']');
        let known = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        if scheme.is_empty()
            || !known
            || host.is_empty()
            || !host.bytes().all(plain)
            || authority.as_str().contains('@')
        {
            return Err(bad());
        }
        let usual = match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let port = match authority.as_str().get(authority.host().len()..) {
            None | Some("") => None,
            // Not `authority.port_u16()`: it passes over a port that is no port.
            Some(port) => Some(port.strip_prefix(':').and_then(|port| port.parse::<u16>().ok()).ok_or_else(bad)?),
        };
        let port = port.filter(|port| Some(*port) != usual);
        let right = port.map_or_else(|| format!("{scheme}://{host}"), |port| format!("{scheme}://{host}:{port}"));
        if right == text { Ok(Self(right)) } else { Err(BadOrigin::Spelling { given: text.to_owned(), right }) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
