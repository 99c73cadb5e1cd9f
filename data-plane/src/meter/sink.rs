//! Where records go: whoever carries them on takes them at once or says that there is no room.

use shared::kernel::ids::CallId;
use shared::usage::UsageRecord;

/// There is no room for another record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("usage records cannot be kept: the backlog is full")]
pub(crate) struct SinkFull;

/// What was handed in up to here: durable once it has been [committed](UsageSink::commit).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "nothing is durable before it is committed"]
pub(crate) struct Ticket(pub(crate) u64);

impl Ticket {
    /// Of a sink that keeps nothing on disk.
    pub(crate) const NOTHING: Self = Self(0);
}

/// Takes records of metered calls. Never waits. What is handed in is durable when its ticket has been committed; whoever
/// commits first writes for all that wait, so that calls which let each other go first share one write.
pub(crate) trait UsageSink: Send + Sync + 'static {
    /// Notes that a call begins: called once, before its upstream is. Should the node die, `opening` is its record.
    /// [`submit`](Self::submit) ends it.
    ///
    /// # Errors
    /// [`SinkFull`] when that cannot be noted; the call is to be refused then.
    fn begin(&self, opening: &UsageRecord) -> Result<Ticket, SinkFull> {
        let _kept_nowhere = opening;
        if self.has_room() { Ok(Ticket::NOTHING) } else { Err(SinkFull) }
    }

    /// Makes everything durable that was handed in up to a ticket.
    ///
    /// # Errors
    /// [`SinkFull`] when it cannot be written now and calls are not to be served without. A call that was about to begin
    /// is to be [withdrawn](Self::withdraw); records are kept in memory and tried again.
    fn commit(&self, ticket: Ticket) -> Result<(), SinkFull> {
        let _durable_never = ticket;
        Ok(())
    }

    /// A call whose beginning was noted does not take place.
    fn withdraw(&self, call: CallId) {
        let _kept_nowhere = call;
    }

    /// Notes how a call has ended whose record is not complete yet: should the node die now, this is its record.
    fn revise(&self, record: &UsageRecord) {
        let _kept_nowhere = record;
    }

    /// Takes a record. When its ticket is committed, it outlives the process, if the sink keeps records on disk.
    ///
    /// # Errors
    /// [`SinkFull`] when it cannot be kept; the call it belongs to has been served already.
    fn submit(&self, record: &UsageRecord) -> Result<Ticket, SinkFull>;

    /// Whether there is room for the records of more calls: asked before a call is admitted.
    fn has_room(&self) -> bool;
}
