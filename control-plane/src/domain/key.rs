//! Virtual keys: credentials of a user.

use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::kernel::ids::{RouterId, UserId};

use super::user::future;
use super::{Error, check_name};

/// All that is decided about a key, but for its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpec {
    /// Chosen by its owner; not unique.
    pub name: String,
    /// Whose it is.
    pub user: UserId,
    /// Only these routers; absent means all that the owner may use.
    pub allowed_routers: Option<Vec<RouterId>>,
    /// When it stops being valid.
    pub expires: Option<DateTime<Utc>>,
    /// Switched off.
    pub blocked: bool,
}

impl KeySpec {
    /// Checks every field; `expires` is checked where it is set, by [`key_expiry`].
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self) -> Result<(), Error> {
        check_name("name", &self.name)
    }
}

/// What a key is called in messages: the compatible API has two names for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyNoun {
    /// The newer routes.
    Key,
    /// The older ones.
    Token,
}

impl KeyNoun {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "Key",
            Self::Token => "Token",
        }
    }
}

/// The expiry of a key, from Unix seconds: in the future, and not beyond the longest that the operator allows, which is
/// also what a key without an expiry gets.
///
/// # Errors
/// [`Error::Invalid`] for the past, [`Error::Refused`] beyond the longest.
pub fn key_expiry(
    noun: KeyNoun,
    seconds: Option<i64>,
    longest: Option<Duration>,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, Error> {
    let last = longest.and_then(|longest| now.checked_add_signed(chrono::Duration::from_std(longest).ok()?));
    let Some(seconds) = seconds else { return Ok(last) };
    let at = future("expires", seconds, now)?;
    match (last, longest) {
        (Some(last), Some(longest)) if at > last => {
            let (noun, days) = (noun.as_str(), longest.as_secs() / 86_400);
            let detail = format!("{noun} expiration timestamp cannot be greater than {days} days from now.");
            Err(Error::refused("expiry_too_long", "expires", detail))
        }
        _ => Ok(Some(at)),
    }
}
