//! Finds the one credential of a request, in its headers alone.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

/// Why a request carries no usable credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialFault {
    /// There is none.
    #[error("Not authenticated")]
    Missing,
    /// `Authorization` has another scheme than `Bearer`, or no key behind it.
    #[error("Invalid authentication scheme.")]
    Scheme,
    /// Two headers hold different keys.
    #[error("Two different credentials were sent: send one.")]
    Ambiguous,
}

const API_KEYS: [HeaderName; 2] = [HeaderName::from_static("x-api-key"), HeaderName::from_static("api-key")];

/// The key in `Authorization: Bearer`, `x-api-key` or `api-key`. A query string is never looked at.
///
/// # Errors
/// [`CredentialFault`].
pub fn credential(headers: &HeaderMap) -> Result<&str, CredentialFault> {
    let mut found: Option<&str> = None;
    let mut take = |key| match found.replace(key) {
        Some(before) if before != key => Err(CredentialFault::Ambiguous),
        _ => Ok(()),
    };
    for value in headers.get_all(AUTHORIZATION) {
        let text = value.to_str().map_err(|_| CredentialFault::Scheme)?.trim();
        let (scheme, key) = text.split_once(' ').ok_or(CredentialFault::Scheme)?;
        let key = key.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || key.is_empty() {
            return Err(CredentialFault::Scheme);
        }
        take(key)?;
    }
    for value in API_KEYS.iter().flat_map(|name| headers.get_all(name)) {
        let key = value.to_str().map_err(|_| CredentialFault::Scheme)?.trim();
        if key.is_empty() {
            return Err(CredentialFault::Scheme);
        }
        take(key)?;
    }
    found.ok_or(CredentialFault::Missing)
}
