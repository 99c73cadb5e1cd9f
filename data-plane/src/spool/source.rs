//! Where the link takes records from, whatever keeps them.

use std::sync::Arc;

use bytes::Bytes;
use shared::kernel::ids::BootId;
use tokio::sync::Notify;

/// Records that are sent, and acknowledged, together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Batch {
    /// The start of the node that made them; on a restart, not always this one.
    pub(crate) boot: BootId,
    /// The number of the last of them; rises from batch to batch of a boot, and is the same when they are sent again.
    pub(crate) seq: u64,
    /// The records, each an encoded `UsageRecord`.
    pub(crate) records: Vec<Bytes>,
}

/// Hands out records until they are acknowledged. May read files, so it is to be used off the async threads.
pub(crate) trait RecordSource: Send + 'static {
    /// The next records, of one boot, at most so many; none when all have been handed out.
    fn next_batch(&mut self, most: usize) -> Option<Batch>;

    /// Everything of a boot up to and including `seq` is safe elsewhere and need not be kept.
    fn acknowledge(&mut self, boot: BootId, seq: u64);

    /// Begins again with the first record that is not acknowledged: after the connection was lost.
    fn rewind(&mut self);

    /// How many records are not acknowledged.
    fn backlog(&self) -> u64;

    /// Told when records arrive.
    fn arrivals(&self) -> Arc<Notify>;
}
