//! The usage spool: what calls used, on disk before their answers end, until the control plane has it.
//!
//! Every admitted call is accounted for exactly once, also across `kill -9`. An *open* entry is written before the
//! upstream is called and is, as it stands, the record of a call that was interrupted; the *close* entry, written
//! before the last byte of the answer, is the record of what really happened. Entries are appended to segment files in
//! frames with a length and a checksum. Durable means that `write(2)` has returned; a thread of its own calls fsync
//! within 100 ms.
//!
//! 1. [`Spool::open`] takes the directory over ([`recover`]): calls that an earlier start left open become records with
//!    the outcome *interrupted*, records that were not acknowledged are sent again, under their own boot and number.
//! 2. [`Spool::begin`] and [`Spool::submit`] queue entries, [`Spool::commit`] writes them ([`journal`]): whoever commits
//!    first writes everything that waits, so that calls which let each other go first share one write.
//! 3. [`SpoolReader`] hands out batches ([`reader`]); what is acknowledged is deleted, whole segments at a time. A call
//!    that is still open moves its entry on, so that one long call does not hold up the rest.
//!
//! Invariants: nothing is awaited; nothing is dropped but by the operator's choice ([`OnFull::DropAndCount`]), and then
//! counted; an open call has room reserved for its end; a segment is deleted only when every record in it is
//! acknowledged and every segment before it is gone; ids and counts are kept, never texts of prompts or answers.
//! Deliberately absent: encryption (there are no secrets in records) and ordering between calls.
//!
//! Used by the exchange (through its sink), the link (as a [`RecordSource`]) and the app, which joins them.
//! Its metric families are [`FAMILIES`]: `usage_spool_bytes`, `usage_spool_records`, `usage_spool_dropped_total`,
//! `usage_spool_fsync_seconds`, `usage_spool_unsynced_seconds`, `usage_spool_errors_total`, all prefixed `gatewright_`.

mod entry;
mod frame;
mod journal;
mod memory;
mod meters;
mod reader;
mod recover;
mod room;
mod segment;
mod source;
mod sync;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared::kernel::ids::{BootId, CallId};
use shared::usage::UsageRecord;

pub(crate) use memory::MemoryQueue;
pub(crate) use meters::FAMILIES;
pub(crate) use reader::SpoolReader;
pub(crate) use source::{Batch, RecordSource};

use self::journal::Journal;
use self::sync::Syncer;

/// Held while a process uses the directory; the kernel lets go of it when the process dies.
const LOCK: &str = "lock";

/// What happens to metered calls when the spool is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFull {
    /// They are refused before they are admitted.
    #[default]
    Refuse,
    /// They are served, and the records that find no room are counted instead of kept.
    DropAndCount,
}

/// How a spool is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpoolOptions {
    /// How much it may hold.
    pub(crate) max_bytes: u64,
    /// What happens when it does.
    pub(crate) on_full: OnFull,
    /// This start of the node: records are numbered within it.
    pub(crate) boot: BootId,
}

/// What an earlier start left behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Recovered {
    /// Records that will be sent (again), those of interrupted calls among them.
    pub(crate) records: u64,
    /// Calls that had begun, and whose end was not recorded.
    pub(crate) interrupted: u64,
    /// Places in files that cannot be read and were passed over.
    pub(crate) damaged: u64,
    /// Bytes of entries whose writing was cut short.
    pub(crate) torn_bytes: u64,
}

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    /// Two processes would mix up their numbers.
    #[error("the usage spool {} is in use by another process; each data plane needs a directory of its own", .dir.display())]
    InUse {
        /// Which directory.
        dir: PathBuf,
    },
    /// The file system refused.
    #[error("the usage spool cannot {doing} {}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// The spool of one data plane.
#[derive(Debug)]
pub(crate) struct Spool {
    journal: Arc<Journal>,
    _syncer: Syncer,
    _lock: File,
}

impl Spool {
    /// Takes a directory over, with whatever an earlier start left in it.
    ///
    /// # Errors
    /// [`SpoolError`] when another process has it, or it cannot be read or written.
    pub(crate) fn open(dir: &Path, options: SpoolOptions) -> Result<(Self, Recovered), SpoolError> {
        let lock = segment::take_over(dir, LOCK)?;
        let mut found = recover::recover(dir)?;
        let (recovered, open) = (found.summary, std::mem::take(&mut found.open));
        let journal = Arc::new(Journal::start(dir, options, found)?);
        for record in &open {
            journal.close_recovered(record);
        }
        journal.settle_recovery();
        let syncer = Syncer::start(Arc::clone(&journal)).map_err(|source| SpoolError::Io {
            doing: "start its thread for",
            path: dir.to_owned(),
            source,
        })?;
        Ok((Self { journal, _syncer: syncer, _lock: lock }, recovered))
    }

    /// Reads the records; there is to be one reader.
    pub(crate) fn reader(&self) -> SpoolReader {
        SpoolReader::new(Arc::clone(&self.journal))
    }
}

/// A record finds no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the usage spool is full or cannot be written")]
pub(crate) struct NoRoom;

impl Spool {
    /// Notes that a call begins: called once, before its upstream is. Should the node die, `opening` is its record. Durable
    /// when the ticket is committed.
    ///
    /// # Errors
    /// [`NoRoom`] when it cannot be noted, and such calls are refused.
    pub(crate) fn begin(&self, opening: &UsageRecord) -> Result<u64, NoRoom> {
        self.journal.begin(opening)
    }

    /// Makes everything up to a ticket durable: writes all that waits, unless somebody else has.
    ///
    /// # Errors
    /// [`NoRoom`] when it cannot be written now, and calls are refused then.
    pub(crate) fn commit(&self, ticket: u64) -> Result<(), NoRoom> {
        self.journal.commit(ticket)
    }

    /// A call whose beginning was noted does not take place.
    pub(crate) fn withdraw(&self, call: CallId) {
        self.journal.withdraw(call);
    }

    /// Notes how a call has ended whose record is not complete yet: should the node die now, this is its record.
    pub(crate) fn revise(&self, record: &UsageRecord) {
        self.journal.revise(record);
    }

    /// Takes a record; durable when the ticket is committed. It ends the call of its id, and then it is never turned away:
    /// when it cannot be written, it is kept in memory and tried again.
    ///
    /// # Errors
    /// [`NoRoom`] when the record of a call that never began finds no room; it is counted as dropped.
    pub(crate) fn submit(&self, record: &UsageRecord) -> Result<u64, NoRoom> {
        self.journal.submit(record)
    }

    /// How many records are not acknowledged.
    pub(crate) fn backlog(&self) -> u64 {
        self.journal.unacknowledged()
    }

    /// Whether there is room for another call: asked before one is admitted.
    pub(crate) fn has_room(&self) -> bool {
        self.journal.has_room()
    }
}
