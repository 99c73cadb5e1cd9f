//! In place of a spool where there is no data directory: records in memory, gone with the process.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use shared::kernel::ids::BootId;
use shared::usage::UsageRecord;
use tokio::sync::Notify;

use super::source::{Batch, RecordSource};
use super::{NoRoom, entry};

/// Records that wait for the control plane. Clones share them; one of them is to be the reader.
#[derive(Debug, Clone)]
pub(crate) struct MemoryQueue {
    boot: BootId,
    bound: usize,
    held: Arc<Mutex<Held>>,
    arrivals: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Held {
    records: VecDeque<Bytes>,
    /// The number of the record before the first.
    before: u64,
    /// How many of them have been handed out.
    handed_out: usize,
}

impl MemoryQueue {
    /// Holds at most `bound` records.
    pub(crate) fn new(boot: BootId, bound: usize) -> Self {
        Self { boot, bound, held: Arc::default(), arrivals: Arc::default() }
    }

    /// Takes a record.
    ///
    /// # Errors
    /// [`NoRoom`] when the queue is full.
    pub(crate) fn submit(&self, record: &UsageRecord) -> Result<(), NoRoom> {
        let record = entry::encode(record).into();
        let mut held = self.held.lock();
        if held.records.len() >= self.bound {
            return Err(NoRoom);
        }
        held.records.push_back(record);
        drop(held);
        self.arrivals.notify_one();
        Ok(())
    }

    /// Whether there is room for the records of more calls, those in flight included.
    pub(crate) fn has_room(&self) -> bool {
        self.held.lock().records.len() < self.bound - self.bound / 10
    }
}

impl RecordSource for MemoryQueue {
    fn next_batch(&mut self, most: usize) -> Option<Batch> {
        let mut held = self.held.lock();
        let records: Vec<_> = held.records.iter().skip(held.handed_out).take(most).cloned().collect();
        held.handed_out += records.len();
        let seq = held.before + held.handed_out as u64;
        (!records.is_empty()).then_some(Batch { boot: self.boot, seq, records })
    }

    fn acknowledge(&mut self, boot: BootId, seq: u64) {
        let mut held = self.held.lock();
        let gone = usize::try_from(seq.saturating_sub(held.before)).unwrap_or(usize::MAX).min(held.handed_out);
        if boot == self.boot {
            held.records.drain(..gone);
            held.before += gone as u64;
            held.handed_out -= gone;
        }
    }

    fn rewind(&mut self) {
        self.held.lock().handed_out = 0;
    }

    fn backlog(&self) -> u64 {
        self.held.lock().records.len() as u64
    }

    fn arrivals(&self) -> Arc<Notify> {
        Arc::clone(&self.arrivals)
    }
}
