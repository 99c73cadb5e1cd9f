//! Whether a call may begin, and what it holds while it runs.

use shared::catalog::FaultKind;
use shared::kernel::money::Amount;
use shared::kernel::tokens::TokenUsage;
use tokio::task::yield_now;

use super::fault::Fault;
use super::settle::Open;
use crate::meter::sink::{SinkFull, Ticket, UsageSink};

/// What a call used in the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Settlement {
    /// Tokens, as reported or counted.
    pub(crate) tokens: TokenUsage,
    /// What they cost.
    pub(crate) cost: Amount,
}

/// Something that was set aside for a call: room in a window, a draw on a lease, a place among concurrent calls.
pub(crate) trait Hold: Send + Sync {
    /// The call is over: what was set aside becomes what was used.
    fn settle(self: Box<Self>, settlement: &Settlement);

    /// The call did not take place.
    fn release(self: Box<Self>);
}

/// Everything set aside for one call. Settled once or, when it is dropped before, released: whatever the way out.
#[derive(Default)]
pub(crate) struct Reservation {
    holds: Vec<Box<dyn Hold>>,
}

impl Reservation {
    /// Adds what a limit or budget has set aside.
    #[cfg(test)]
    pub(crate) fn hold(&mut self, hold: Box<dyn Hold>) {
        self.holds.push(hold);
    }

    /// The call is over.
    pub(crate) fn settle(mut self, settlement: &Settlement) {
        for hold in self.holds.drain(..) {
            hold.settle(settlement);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        for hold in self.holds.drain(..) {
            hold.release();
        }
    }
}

/// Admits a call, or says what stands against it. A refused call consumes nothing. Its upstream may be called once its
/// beginning is [durable](begun).
///
/// # Errors
/// When the call could not be recorded.
pub(crate) fn admit(sink: &dyn UsageSink, open: &Open) -> Result<(Reservation, Ticket), Box<Fault>> {
    let noted = if sink.has_room() { open.note_begin() } else { Err(SinkFull) };
    noted.map(|ticket| (Reservation::default(), ticket)).map_err(|SinkFull| unrecorded())
}

/// Makes the beginning of a call durable, in one write with those of all other calls that are ready now.
///
/// # Errors
/// When that cannot be done; the call is refused then.
pub(crate) async fn begun(sink: &dyn UsageSink, open: &mut Open, ticket: Ticket) -> Result<(), Box<Fault>> {
    yield_now().await;
    sink.commit(ticket).map_err(|SinkFull| {
        sink.withdraw(open.context.ids.call);
        open.reservation = None;
        unrecorded()
    })?;
    open.context.phase_ended();
    Ok(())
}

fn unrecorded() -> Box<Fault> {
    let message = "Usage cannot be recorded at the moment; try again later.";
    Fault::new(FaultKind::Unavailable, "usage_backlog_full", message).retry_after(5)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Counter(Arc<(AtomicUsize, AtomicUsize)>);

    impl Hold for Counter {
        fn settle(self: Box<Self>, settlement: &Settlement) {
            self.0.0.fetch_add(usize::try_from(settlement.tokens.total()).unwrap_or(0), Ordering::Relaxed);
        }
        fn release(self: Box<Self>) {
            self.0.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_reservation_ends_exactly_once() {
        let seen = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let mut settled = Reservation::default();
        settled.hold(Box::new(Counter(Arc::clone(&seen))));
        settled.hold(Box::new(Counter(Arc::clone(&seen))));
        let tokens = TokenUsage { prompt: Some(3), completion: Some(4), ..TokenUsage::default() };
        settled.settle(&Settlement { tokens, cost: Amount::ZERO });
        assert_eq!((seen.0.load(Ordering::Relaxed), seen.1.load(Ordering::Relaxed)), (14, 0));
        let mut dropped = Reservation::default();
        dropped.hold(Box::new(Counter(Arc::clone(&seen))));
        drop(dropped);
        assert_eq!((seen.0.load(Ordering::Relaxed), seen.1.load(Ordering::Relaxed)), (14, 1));
    }
}
