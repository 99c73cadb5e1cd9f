//! From a batch on the wire to a committed transaction.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use chrono::{TimeDelta, Utc};
use prost::Message as _;
use shared::kernel::clock::FleetTime;
use shared::kernel::ids::{BootId, NodeId, VirtualKeyId};
use shared::proto;

use super::{BATCH, FOREIGN, RECORDS, Refusal, accept};
use crate::store::usage::Batch;
use crate::store::{Store, StoreError};

/// Records of one batch. Nodes send five hundred.
const MOST_RECORDS: usize = 10_000;

/// Takes batches in. Clones share the store.
#[derive(Debug, Clone)]
pub struct Ingest {
    store: Store,
    retention: Option<TimeDelta>,
    keys: KnownKeys,
}

/// Tells whether the catalog holds a key. Records outlive their keys, so that is counted and refuses nothing.
#[derive(Clone)]
pub struct KnownKeys(Arc<dyn Fn(VirtualKeyId) -> bool + Send + Sync>);

impl KnownKeys {
    /// By a look into the catalog.
    #[must_use]
    pub fn new(holds: impl Fn(VirtualKeyId) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(holds))
    }

    fn holds(&self, key: VirtualKeyId) -> bool {
        (self.0)(key)
    }
}

impl fmt::Debug for KnownKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownKeys")
    }
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
    /// Nobody has so much to say at once.
    #[error("usage batch: {records} records, at most {MOST_RECORDS} are expected")]
    TooMany {
        /// How many there were.
        records: usize,
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
    /// With how long records are kept, so that older ones are not brought back, and with the keys that there are.
    #[must_use]
    pub const fn new(store: Store, retention: Option<TimeDelta>, keys: KnownKeys) -> Self {
        Self { store, retention, keys }
    }

    /// Takes a batch in and returns the sequence number to acknowledge: everything readable in it is durable then.
    ///
    /// # Errors
    /// [`IngestError`] when nothing of it was taken in.
    pub async fn take(&self, batch: proto::UsageBatch) -> Result<u64, IngestError> {
        let began = Instant::now();
        let (node, boot) = sender(&batch)?;
        if batch.records.len() > MOST_RECORDS {
            return Err(IngestError::TooMany { records: batch.records.len() });
        }
        let wall = Utc::now();
        let now = FleetTime::from_unix_micros(wall.timestamp_micros());
        let mut records = Vec::with_capacity(batch.records.len());
        let mut refused = Vec::new();
        for bytes in batch.records {
            let record = proto::UsageRecord::decode(bytes).map_err(Refusal::from).and_then(|wire| accept(wire, now));
            match record {
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
        let foreign = batch.records.iter().filter_map(|record| record.key).filter(|key| !self.keys.holds(*key)).count();
        metrics::counter!(FOREIGN).increment(u64::try_from(foreign).unwrap_or(0));
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
