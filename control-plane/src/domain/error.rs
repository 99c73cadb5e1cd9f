//! How a rule refuses: a closed set of sorts, with the words that clients of the compatible system match on.

use std::fmt;

/// A noun, as it is called in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noun {
    /// A tenant.
    Organization,
    /// What a user may do.
    Role,
    /// A person or a service.
    User,
    /// A virtual key.
    Key,
    /// A public model name.
    Router,
    /// An upstream.
    Provider,
    /// What lets a data plane in.
    JoinToken,
    /// A data plane that was given a certificate.
    Node,
    /// A staged change.
    Candidate,
    /// A state of the catalog.
    Revision,
}

impl fmt::Display for Noun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Organization => "Organization",
            Self::Role => "Role",
            Self::User => "User",
            Self::Key => "Key",
            Self::Router => "Model router",
            Self::Provider => "Model provider",
            Self::JoinToken => "Join token",
            Self::Node => "Node",
            Self::Candidate => "Candidate",
            Self::Revision => "Revision",
        })
    }
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such object, or none that the caller may know of.
    #[error("{detail}")]
    NotFound {
        /// The message.
        detail: String,
    },
    /// It collides with what is there.
    #[error("{detail}")]
    Conflict {
        /// For machines.
        code: &'static str,
        /// The message.
        detail: String,
    },
    /// It was there once, and is not kept any more.
    #[error("{detail}")]
    Gone {
        /// For machines.
        code: &'static str,
        /// The message.
        detail: String,
    },
    /// The caller may not.
    #[error("{detail}")]
    Forbidden {
        /// For machines.
        code: &'static str,
        /// The message.
        detail: String,
    },
    /// A value is not what its field takes.
    #[error("`{field}` is {value}: {expected}")]
    Invalid {
        /// The field, as the API names it.
        field: String,
        /// What was given, cut short; never a secret.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// The values are right one by one, and not allowed together or now.
    #[error("{detail}")]
    Refused {
        /// For machines.
        code: &'static str,
        /// The field, where one is to blame.
        field: Option<&'static str>,
        /// The message.
        detail: String,
    },
}

impl Error {
    /// There is no such object.
    #[must_use]
    pub fn not_found(noun: Noun, id: impl fmt::Display) -> Self {
        Self::NotFound { detail: format!("{noun} {id} not found.") }
    }

    /// It collides with what is there.
    #[must_use]
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Conflict { code, detail: detail.into() }
    }

    /// The caller may not.
    #[must_use]
    pub fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Forbidden { code, detail: detail.into() }
    }

    /// A value is not what its field takes; long values are cut.
    #[must_use]
    pub fn invalid(field: &str, value: impl fmt::Display, expected: impl Into<String>) -> Self {
        let value = value.to_string();
        let shown: String = value.chars().take(64).flat_map(char::escape_debug).collect();
        let cut = if value.chars().count() > 64 { "…" } else { "" };
        Self::Invalid { field: field.to_owned(), value: format!("`{shown}{cut}`"), expected: expected.into() }
    }

    /// A field that must be there is not.
    #[must_use]
    pub fn missing(field: &str) -> Self {
        Self::Invalid { field: field.to_owned(), value: "missing".into(), expected: "it is required".into() }
    }

    /// The values are not allowed together or now.
    #[must_use]
    pub fn refused(code: &'static str, field: &'static str, detail: impl Into<String>) -> Self {
        Self::Refused { code, field: Some(field), detail: detail.into() }
    }

    /// The object is described in a configuration file and can only be changed there.
    #[must_use]
    pub fn owned_by_file(noun: Noun, name: &str, file: &str) -> Self {
        Self::conflict(
            "owned_by_file",
            format!("{noun} {name} belongs to the configuration file {file}: change it there and restart."),
        )
    }
}
