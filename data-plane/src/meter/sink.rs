//! Where records go: whoever carries them on takes them at once or says that there is no room.

use shared::usage::UsageRecord;

/// There is no room for another record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("usage records cannot be kept: the backlog is full")]
pub(crate) struct SinkFull;

/// Takes records of metered calls. Never waits.
pub(crate) trait UsageSink: Send + Sync + 'static {
    /// Notes that a call begins: called once, before its upstream is. Should the node die, this is its record, with the
    /// outcome *interrupted* in place of whatever `opening` says of its end. [`submit`](Self::submit) ends it.
    ///
    /// # Errors
    /// [`SinkFull`] when that cannot be noted; the call is to be refused then.
    fn begin(&self, opening: UsageRecord) -> Result<(), SinkFull> {
        let _kept_nowhere = opening;
        if self.has_room() { Ok(()) } else { Err(SinkFull) }
    }

    /// Notes how a call has ended whose record is not complete yet: should the node die now, this is its record.
    fn revise(&self, record: UsageRecord) {
        let _kept_nowhere = record;
    }

    /// Takes a record. When this returns, it outlives the process, if the sink keeps records on disk.
    ///
    /// # Errors
    /// [`SinkFull`] when it cannot be kept; the call it belongs to has been served already.
    fn submit(&self, record: UsageRecord) -> Result<(), SinkFull>;

    /// Whether there is room for the records of more calls: asked before a call is admitted.
    fn has_room(&self) -> bool;
}
