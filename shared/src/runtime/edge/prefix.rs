//! The path that everything is served below, for gateways that share a host name with others.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use http::uri::PathAndQuery;

/// A path such as `/gateway`; empty when the gateway has the host for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathPrefix(String);

/// A text that is no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a path such as `/gateway` or `/apis/llm`: letters, digits and `-._~` between single slashes")]
pub struct BadPrefix(String);

impl PathPrefix {
    /// The path, without a slash at its end; empty for none.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address without the prefix; nothing when there is none to take off, an error when the path is not below it.
    ///
    /// Compared byte by byte: a request that spells the prefix in another way belongs to somebody else.
    pub(super) fn strip(&self, uri: &Uri) -> Result<Option<Uri>, ()> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let whole = uri.path_and_query().map_or("", PathAndQuery::as_str);
        let below = match whole.strip_prefix(&self.0) {
            Some("") => "/".to_owned(),
            Some(rest) if rest.starts_with('?') => format!("/{rest}"),
            Some(rest) if rest.starts_with('/') => rest.to_owned(),
            _ => return Err(()),
        };
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(below.parse().map_err(|_| ())?);
        Uri::from_parts(parts).map(Some).map_err(|_| ())
    }
}

impl FromStr for PathPrefix {
    type Err = BadPrefix;

    fn from_str(text: &str) -> Result<Self, BadPrefix> {
        let bare = text.strip_suffix('/').unwrap_or(text);
        if bare.is_empty() {
            return Ok(Self::default());
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let segment = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain);
        let right = bare.len() <= 256 && bare.strip_prefix('/').is_some_and(|path| path.split('/').all(segment));
        if right { Ok(Self(bare.to_owned())) } else { Err(BadPrefix(text.chars().take(128).collect())) }
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
