//! How a caller names an object: by the integer of the compatible API, or by its UUID.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The name of an object in a path or a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// The API's integer.
    Number(i64),
    /// The row's id.
    Id(Uuid),
}

impl Lookup {
    /// The integer, where it is one.
    #[must_use]
    pub const fn number(self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(number),
            Self::Id(_) => None,
        }
    }

    /// The UUID, where it is one.
    #[must_use]
    pub const fn id(self) -> Option<Uuid> {
        match self {
            Self::Number(_) => None,
            Self::Id(id) => Some(id),
        }
    }
}

impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Id(id) => id.fmt(f),
        }
    }
}

/// Text that names no object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an integer or a UUID is expected")]
pub struct BadLookup;

impl FromStr for Lookup {
    type Err = BadLookup;

    fn from_str(text: &str) -> Result<Self, BadLookup> {
        if let Ok(number) = text.parse::<i64>() {
            return if number >= 0 { Ok(Self::Number(number)) } else { Err(BadLookup) };
        }
        // The hyphenated form alone, so that one object has one name.
        if text.len() == 36 { Uuid::try_parse(text).map(Self::Id).map_err(|_| BadLookup) } else { Err(BadLookup) }
    }
}
