//! Makes the catalog agree with the configuration file, in one transaction at each start.
//!
//! Routers of a file are rows that the file owns: they are made, changed and removed with it, and only when its models
//! changed. With `models_ownership: seed` they are added once and then belong to the operators. What operators made
//! through the API is never touched; a name that both want ends the start. Settings of the file become the fleet's.
//!
//! May use `dialect` (the plan), `domain` (the same rules as the API), `store` and `vault`. No HTTP here.

mod apply;
mod error;

pub use error::{NameTaken, ReconcileError};

use std::path::Path;

use serde_json::Value;
use shared::catalog::FleetSettings;
use shared::kernel::ids::Revision;

use crate::dialect::{Loaded, plan::Ownership};
use crate::store::{Actor, AuditEntry, CatalogTx, Store, settings};
use crate::vault::KeyRing;

/// What a start changed in the catalog.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Routers and providers that were made.
    pub created: usize,
    /// Those that were changed.
    pub updated: usize,
    /// Those that were removed.
    pub deleted: usize,
    /// Settings of the fleet that were changed.
    pub settings: usize,
    /// The revision that this made, if anything changed.
    pub revision: Option<Revision>,
}

/// Brings settings, and the models of a file if there is one, into the catalog.
///
/// # Errors
/// [`ReconcileError`]; then the catalog is as it was.
pub async fn reconcile(
    store: &Store,
    ring: &KeyRing,
    file: Option<&Loaded>,
    fleet: &FleetSettings,
) -> Result<Outcome, ReconcileError> {
    let path = file.map(|file| canonical(&file.origin));
    let actor = path.as_deref().map_or_else(|| Actor::system("start"), Actor::file);
    let mut tx = store.begin(actor).await?;
    let mut outcome = Outcome::default();
    if let (Some(file), Some(path)) = (file, path.as_deref()) {
        let digest = file.plan.models_digest(ring.digest_key().expose());
        // Taken before the digest is read: two replicas that start at once go one after the other.
        if tx.owner_file_digest(path).await?.as_deref() != Some(digest.as_slice()) {
            let mut apply = apply::Apply { tx: &mut tx, ring, path, outcome: &mut outcome };
            match file.plan.settings.models_ownership {
                Ownership::File => apply.own(&file.plan.routers).await?,
                Ownership::Seed => apply.seed(&file.plan.routers).await?,
            }
            tx.set_owner_file_digest(path, &digest).await?;
        }
    }
    outcome.settings = apply_settings(&mut tx, fleet).await?;
    outcome.revision = tx.commit().await?;
    Ok(outcome)
}

async fn apply_settings(tx: &mut CatalogTx, fleet: &FleetSettings) -> Result<usize, ReconcileError> {
    let mut changed = 0;
    for setting in fleet.to_settings() {
        let value: Value = serde_json::from_str(&setting.value_json).unwrap_or_default();
        if settings::put(tx, &setting.name, &value).await? {
            tx.audit(AuditEntry {
                operation: "update",
                kind: "setting",
                id: None,
                subject: setting.name,
                before: None,
                after: Some(value),
            });
            changed += 1;
        }
    }
    Ok(changed)
}

/// The file's one name, whatever link or relative path it was given by.
fn canonical(path: &Path) -> String {
    path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string()
}
