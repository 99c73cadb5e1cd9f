//! Staged changes inside a snapshot: other versions of some resources, for the nodes whose labels fit.

use std::sync::Arc;

use shared::catalog::{Item, Ref, Resource};

use super::diff::Upsert;
use super::state::{Encoded, Snapshot};
use crate::domain::Selector;

/// A resource as a staged change will make it.
#[derive(Debug)]
pub struct StagedVersion {
    /// Which.
    pub reference: Ref,
    /// The version of the catalog's resource when it was staged; absent: there was none.
    pub base: Option<u64>,
    /// As it will be; absent: it will be gone.
    pub resource: Option<Resource>,
}

/// A staged change.
#[derive(Debug)]
pub struct StagedChange {
    /// For which nodes it is.
    pub selector: Selector,
    /// Its resources.
    pub versions: Vec<StagedVersion>,
}

/// A staged change, ready to be sent.
pub(super) struct Candidate {
    pub(super) selector: Selector,
    pub(super) staged: Vec<Staged>,
}

/// One resource of it.
pub(super) struct Staged {
    pub(super) reference: Ref,
    base: Option<u64>,
    form: Form,
}

enum Form {
    Gone,
    Shared(Arc<Encoded>),
    Secret(Arc<Resource>),
}

impl Candidate {
    pub(super) fn of(change: StagedChange) -> Self {
        let staged = |version: StagedVersion| Staged {
            reference: version.reference,
            base: version.base,
            form: match version.resource {
                None => Form::Gone,
                Some(secret) if matches!(secret.item, Item::Secret(_)) => Form::Secret(Arc::new(secret)),
                Some(resource) => Form::Shared(Arc::new(Encoded::of(&resource))),
            },
        };
        Self { selector: change.selector, staged: change.versions.into_iter().map(staged).collect() }
    }

    /// Whether the catalog still is what it was staged on. A change of the catalog counts at once, everywhere: whoever
    /// blocks a router or takes a credential back need not think of candidates.
    pub(super) fn is_fresh(&self, snapshot: &Snapshot) -> bool {
        self.staged.iter().all(|staged| snapshot.held().version(staged.reference) == staged.base)
    }
}

impl Staged {
    pub(super) fn version(&self) -> Option<u64> {
        match &self.form {
            Form::Gone => None,
            Form::Shared(encoded) => Some(encoded.version),
            Form::Secret(secret) => Some(secret.version),
        }
    }

    pub(super) fn upsert(&self) -> Option<Upsert> {
        match &self.form {
            Form::Gone => None,
            Form::Shared(encoded) => Some(Upsert::Shared(Arc::clone(encoded))),
            Form::Secret(secret) => Some(Upsert::Secret(Arc::clone(secret))),
        }
    }

    /// The secret that it names.
    pub(super) fn secret(&self) -> Option<uuid::Uuid> {
        match &self.form {
            Form::Shared(encoded) => encoded.secret,
            Form::Gone | Form::Secret(_) => None,
        }
    }
}
