//! The three states of a field in a change: absent, null, or a value.

use super::Error;

/// A field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Patch<T> {
    /// Not named: a change leaves it, a new object gets its default.
    #[default]
    Absent,
    /// Cleared.
    Null,
    /// Set.
    Value(T),
}

impl<T> Patch<T> {
    /// Whether the request named it.
    #[must_use]
    pub const fn is_named(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// The value, where there is one.
    #[must_use]
    pub fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    /// For a field that every object has and that has no default.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is null, or absent and there is nothing to keep.
    pub fn required(self, field: &str, kept: Option<T>) -> Result<T, Error> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Absent => kept.ok_or_else(|| Error::missing(field)),
            Self::Null => Err(Error::invalid(field, "null", "a value is expected")),
        }
    }

    /// For a field that may be empty.
    #[must_use]
    pub fn nullable(self, kept: Option<T>) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent => kept,
            Self::Null => None,
        }
    }

    /// For a field with a default, which null asks for.
    #[must_use]
    pub fn defaulted(self, kept: Option<T>, default: T) -> T {
        match self {
            Self::Value(value) => value,
            Self::Absent => kept.unwrap_or(default),
            Self::Null => default,
        }
    }

    /// Changes the value, keeps the state.
    ///
    /// # Errors
    /// What `change` says.
    pub fn try_map<U, E>(self, change: impl FnOnce(T) -> Result<U, E>) -> Result<Patch<U>, E> {
        Ok(match self {
            Self::Value(value) => Patch::Value(change(value)?),
            Self::Absent => Patch::Absent,
            Self::Null => Patch::Null,
        })
    }
}
