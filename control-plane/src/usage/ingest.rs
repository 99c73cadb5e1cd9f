//! From a batch on the wire to a committed transaction.

use std::time::Instant;

use chrono::{TimeDelta, Utc};
use shared::kernel::clock::FleetTime;
use shared::kernel::ids::{BootId, NodeId};
use shared::proto;

use super::{BATCH, RECORDS, Refusal, accept};
use crate::store::usage::Batch;
use crate::store::{Store, StoreError};

/// Takes batches in. Clones share the store.
#[derive(Debug, Clone)]
pub struct Ingest {
    store: Store,
    retention: Option<TimeDelta>,
}

/// Why a batch was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// It does not say who sends it.
    #[error("usage batch: {field} must have 16 bytes, got {length}")]
    Identity {
        /// Which id.
        field: &'static str,
        /// How long it was.
        length: usize,
    },
    /// The ledger did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who a batch is from.
///
/// # Errors
/// [`IngestError::Identity`] when an id is not one.
pub fn sender(batch: &proto::UsageBatch) -> Result<(NodeId, BootId), IngestError> {
    let bad = |field, bytes: &[u8]| IngestError::Identity { field, length: bytes.len() };
    let node = NodeId::from_bytes(&batch.node_id).map_err(|_| bad("node_id", &batch.node_id))?;
    let boot = BootId::from_bytes(&batch.boot_id).map_err(|_| bad("boot_id", &batch.boot_id))?;
    Ok((node, boot))
}

impl Ingest {
    /// With how long records are kept, so that older ones are not brought back.
    #[must_use]
    pub const fn new(store: Store, retention: Option<TimeDelta>) -> Self {
        Self { store, retention }
    }

    /// Takes a batch in and returns the sequence number to acknowledge: everything readable in it is durable then.
    ///
    /// # Errors
    /// [`IngestError`] when nothing of it was taken in.
    pub async fn take(&self, batch: proto::UsageBatch) -> Result<u64, IngestError> {
        let began = Instant::now();
        let (node, boot) = sender(&batch)?;
        let wall = Utc::now();
        let now = FleetTime::from_unix_micros(wall.timestamp_micros());
        let mut records = Vec::with_capacity(batch.records.len());
        let mut refused = Vec::new();
        for wire in batch.records {
            match accept(wire, now) {
                Ok(record) => records.push(record),
                Err(refusal) => refused.push(refusal),
            }
        }
        let batch = Batch { node, boot, seq: batch.seq, records };
        let fresh = match self.store.take_usage(&batch, self.retention.map(|keep| wall - keep)).await {
            Ok(fresh) => fresh,
            Err(error) if error.blames_value() => self.take_singly(&batch).await?,
            Err(error) => return Err(error.into()),
        };
        // Counted now and not before: a batch that could not be stored comes again.
        tell(&refused, &batch);
        let known = u64::try_from(batch.records.len()).unwrap_or(0).saturating_sub(fresh);
        metrics::counter!(RECORDS, "result" => "inserted").increment(fresh);
        metrics::counter!(RECORDS, "result" => "duplicate").increment(known);
        metrics::histogram!(BATCH).record(began.elapsed().as_secs_f64());
        Ok(batch.seq)
    }

    /// When the database itself objects to a value, whatever slipped through the checks is found and refused alone:
    /// otherwise the node would send the same batch for ever.
    async fn take_singly(&self, batch: &Batch) -> Result<u64, StoreError> {
        let mut fresh = 0;
        for record in &batch.records {
            let one = Batch { records: vec![record.clone()], node: batch.node, boot: batch.boot, seq: batch.seq };
            match self.store.take_usage(&one, None).await {
                Ok(new) => fresh += new,
                Err(error) if error.blames_value() => {
                    tracing::error!(id = %record.id, error = &error as &dyn std::error::Error, "a usage record cannot be stored and is refused");
                    metrics::counter!(RECORDS, "result" => "refused", "field" => "stored").increment(1);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(fresh)
    }
}

/// Counts refusals. One line for a batch: a node that counts wrongly does so with each record.
fn tell(refused: &[Refusal], batch: &Batch) {
    for refusal in refused {
        metrics::counter!(RECORDS, "result" => "refused", "field" => refusal.field()).increment(1);
    }
    if let Some(first) = refused.first() {
        let (node, seq, count) = (batch.node, batch.seq, refused.len());
        tracing::warn!(%node, seq, count, "usage records are refused, the first because: {first}");
    }
}
