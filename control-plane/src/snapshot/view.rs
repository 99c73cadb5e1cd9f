//! What of the catalog one node is told.

use shared::catalog::{Digest, Ref};

use super::Snapshot;

/// The part of the catalog that the nodes of a Group are told. Routers are not assigned to Groups, so every Group is told
/// all of it, and of the secrets all that a provider uses; the digest is that of the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    group: String,
}

impl View {
    /// Of a Group.
    #[must_use]
    pub const fn of(group: String) -> Self {
        Self { group }
    }

    /// Whose view it is.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Whether a resource is in it.
    #[must_use]
    pub const fn includes(&self, _resource: Ref) -> bool {
        true
    }

    /// Over everything in it.
    #[must_use]
    pub const fn digest<'a>(&self, snapshot: &'a Snapshot) -> &'a Digest {
        snapshot.digest()
    }
}
