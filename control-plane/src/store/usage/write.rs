//! Takes batches of records in, each exactly once.

use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::kernel::ids::{BootId, NodeId};
use shared::usage::UsageRecord;
use tokio::time::timeout;
use uuid::Uuid;

use super::UsageRow;
use crate::store::{Store, StoreError};

/// Longer than the server's own timeout of a statement: the connection is dead without knowing it, and whether the batch
/// was taken in is not known. Its node sends it again.
const LONGEST: Duration = Duration::from_secs(15);

/// What one node sent at once.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Which node.
    pub node: NodeId,
    /// Which start of it.
    pub boot: BootId,
    /// Rises by one for each batch of a boot.
    pub seq: u64,
    /// The records that could be read.
    pub records: Vec<UsageRecord>,
}

impl Store {
    /// Takes a batch in: records, sums and the node's watermark together; returns how many records were new.
    ///
    /// A record that is there already is left as it is. With `keep_from`, records of before that were acknowledged once
    /// are not brought back after their partition was dropped.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer; then nothing was taken in.
    pub async fn take_usage(&self, batch: &Batch, keep_from: Option<DateTime<Utc>>) -> Result<u64, StoreError> {
        let rows: Vec<UsageRow> = batch.records.iter().map(UsageRow::from).collect();
        let text = serde_json::to_string(&rows).map_err(|error| StoreError::BadRow {
            table: "usage_records",
            id: batch.node.to_string(),
            reason: error.to_string(),
        })?;
        let taken = sqlx::query_scalar(include_str!("ingest.sql"))
            .bind(text)
            .bind(batch.node.uuid())
            .bind(batch.boot.uuid())
            .bind(i64::try_from(batch.seq).unwrap_or(i64::MAX))
            .bind(keep_from.map_or_else(Uuid::nil, smallest_id_at))
            .fetch_one(self.pool());
        let fresh: i64 = match timeout(LONGEST, taken).await {
            Ok(fresh) => fresh?,
            Err(_) => return Err(StoreError::Unavailable(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))),
        };
        Ok(u64::try_from(fresh).unwrap_or(0))
    }
}

/// The smallest id (UUID v7) that a call admitted at that time can have: partitions and retention cut there.
#[must_use]
pub fn smallest_id_at(time: DateTime<Utc>) -> Uuid {
    let millis = u128::try_from(time.timestamp_millis()).unwrap_or(0) & 0xFFFF_FFFF_FFFF;
    Uuid::from_u128(millis << 80)
}
