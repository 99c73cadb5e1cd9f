//! Where usage is kept until the control plane has it: on disk, or in memory where there is no data folder.

use std::path::Path;

use shared::kernel::ids::{BootId, CallId, NodeId};
use shared::runtime::shutdown::Shutdown;
use shared::usage::UsageRecord;

use super::{CallLimits, StartError};
use crate::link::{Dialer, report_usage};
use crate::meter::sink::{SinkFull, Ticket, UsageSink};
use crate::spool::{MemoryQueue, NoRoom, RecordSource as _, Spool, SpoolOptions};

/// Records kept in memory while no control plane takes them.
const MEMORY_RECORDS: usize = 100_000;
/// Its folder within the data folder.
const FOLDER: &str = "spool";

/// The usage of calls.
pub(super) enum Usage {
    /// Outlives the process.
    Disk(Spool),
    /// Dies with it.
    Memory(MemoryQueue),
}

impl Usage {
    /// Takes over what an earlier start left in the data folder.
    ///
    /// # Errors
    /// [`StartError::Spool`]
    pub(super) fn open(folder: Option<&Path>, limits: CallLimits, boot: BootId) -> Result<Self, StartError> {
        let Some(folder) = folder else { return Ok(Self::Memory(MemoryQueue::new(boot, MEMORY_RECORDS))) };
        let options = SpoolOptions { max_bytes: limits.spool_bytes, on_full: limits.on_spool_full, boot };
        let (spool, recovered) =
            Spool::open(&folder.join(FOLDER), options).map_err(|error| StartError::Spool(Box::new(error)))?;
        if recovered.records > 0 || recovered.damaged > 0 {
            tracing::info!(
                records = recovered.records,
                interrupted = recovered.interrupted,
                damaged = recovered.damaged,
                torn_bytes = recovered.torn_bytes,
                "usage of an earlier start is sent on"
            );
        }
        Ok(Self::Disk(spool))
    }

    /// Starts carrying records away.
    pub(super) fn report(&self, dialer: Dialer, node: NodeId, shutdown: &Shutdown) {
        match self {
            Self::Disk(spool) => report_usage(spool.reader(), dialer, node, shutdown),
            Self::Memory(queue) => report_usage(queue.clone(), dialer, node, shutdown),
        }
    }

    /// Records that are not acknowledged.
    pub(super) fn backlog(&self) -> u64 {
        match self {
            Self::Disk(spool) => spool.backlog(),
            Self::Memory(queue) => queue.backlog(),
        }
    }
}

impl UsageSink for Usage {
    fn begin(&self, opening: &UsageRecord) -> Result<Ticket, SinkFull> {
        match self {
            Self::Disk(spool) => spool.begin(opening).map(Ticket).map_err(|NoRoom| SinkFull),
            Self::Memory(queue) => queue.has_room().then_some(Ticket::NOTHING).ok_or(SinkFull),
        }
    }

    fn commit(&self, Ticket(number): Ticket) -> Result<(), SinkFull> {
        match self {
            Self::Disk(spool) => spool.commit(number).map_err(|NoRoom| SinkFull),
            Self::Memory(_) => Ok(()),
        }
    }

    fn withdraw(&self, call: CallId) {
        match self {
            Self::Disk(spool) => spool.withdraw(call),
            Self::Memory(_) => {}
        }
    }

    fn revise(&self, record: &UsageRecord) {
        match self {
            Self::Disk(spool) => spool.revise(record),
            Self::Memory(_) => {}
        }
    }

    fn submit(&self, record: &UsageRecord) -> Result<Ticket, SinkFull> {
        let kept = match self {
            Self::Disk(spool) => spool.submit(record).map(Ticket),
            Self::Memory(queue) => queue.submit(record).map(|()| Ticket::NOTHING),
        };
        kept.map_err(|NoRoom| SinkFull)
    }

    fn has_room(&self) -> bool {
        match self {
            Self::Disk(spool) => spool.has_room(),
            Self::Memory(queue) => queue.has_room(),
        }
    }
}
