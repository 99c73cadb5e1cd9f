//! What resuming nodes make one ask the database: where its lineage stands, and what changed since.

use shared::catalog::Ref;
use shared::kernel::ids::{Epoch, Revision};

use crate::store::{Head, Store, StoreError};

/// The database does not answer.
#[derive(Debug, thiserror::Error)]
#[error("the log of the catalog cannot be read")]
pub struct LogError(#[from] StoreError);

/// The lineage and the log of changes.
#[tonic::async_trait]
pub trait Log: Send + Sync + 'static {
    /// Where the catalog stands.
    async fn head(&self) -> Result<Head, LogError>;
    /// Ends an epoch, unless it is over already: the database was set back behind what nodes have seen.
    async fn end_epoch(&self, epoch: Epoch) -> Result<Head, LogError>;
    /// What changed after a revision; `None` when the log does not reach back that far.
    async fn changes_since(&self, revision: Revision) -> Result<Option<Vec<Ref>>, LogError>;
}

#[tonic::async_trait]
impl Log for Store {
    async fn head(&self) -> Result<Head, LogError> {
        Ok(Self::head(self).await?)
    }

    async fn end_epoch(&self, epoch: Epoch) -> Result<Head, LogError> {
        Ok(self.open_epoch(epoch).await?)
    }

    async fn changes_since(&self, revision: Revision) -> Result<Option<Vec<Ref>>, LogError> {
        let mut reader = self.snapshot_reader().await?;
        let changes = reader.changes_since(revision.0).await?;
        Ok(changes.map(|changes| changes.into_iter().map(|change| Ref { kind: change.kind, id: change.id }).collect()))
    }
}
