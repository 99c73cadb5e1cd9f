//! Why a file cannot be brought into the catalog.

use crate::domain;
use crate::store::StoreError;
use crate::vault::VaultError;

/// Two routers and one name.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path} (router `{planned}`) wants the name `{name}`, which the router `{existing}` (id {number}){owner} has already: \
     rename or delete one of them"
)]
pub struct NameTaken {
    /// Where it stands in the file: `models[0]`.
    pub path: String,
    /// The router of the file.
    pub planned: String,
    /// The name that both want.
    pub name: String,
    /// The router that has it.
    pub existing: String,
    /// That router's integer id.
    pub number: i64,
    /// `, made through the API,` or the file that owns it.
    pub owner: String,
}

/// Why the catalog was left as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The file and an operator both use a name.
    #[error(transparent)]
    NameTaken(#[from] Box<NameTaken>),
    /// A value that the API would refuse too.
    #[error("{path}: {source}")]
    Invalid {
        /// Where it stands in the file.
        path: String,
        /// The rule.
        source: domain::Error,
    },
    /// A credential could not be sealed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}
