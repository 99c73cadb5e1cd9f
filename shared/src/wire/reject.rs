//! Why one resource was not applied.

use uuid::Uuid;

use crate::catalog::kinds::words;
use crate::proto;

words! {
    /// The closed list of reasons.
    RejectCode {
        /// The envelope itself cannot be read.
        BadEnvelope = "bad_envelope",
        /// A kind of resource that this build does not know.
        UnknownKind = "unknown_kind",
        /// The body cannot be decoded.
        BadBody = "bad_body",
        /// A word or number outside its closed set.
        UnknownValue = "unknown_value",
        /// It needs a feature that this build does not have.
        MissingFeature = "missing_feature",
        /// It names a parent that is not there.
        MissingParent = "missing_parent",
        /// It collides with another resource.
        Conflict = "conflict",
        /// Its secret cannot be opened or resolved.
        SecretUnavailable = "secret_unavailable",
    }
}

/// A resource that was not applied, as it is reported to the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The number of the kind as it came.
    pub kind: i32,
    /// The id, as far as it could be read.
    pub id: Uuid,
    /// The version that was rejected.
    pub version: u64,
    /// Why.
    pub code: RejectCode,
    /// Why, in words for an operator; never a secret.
    pub text: String,
}

impl From<Rejection> for proto::Rejection {
    fn from(rejection: Rejection) -> Self {
        Self {
            kind: rejection.kind,
            id: rejection.id.as_bytes().to_vec(),
            version: rejection.version,
            code: rejection.code.as_str().to_owned(),
            text: rejection.text,
        }
    }
}
