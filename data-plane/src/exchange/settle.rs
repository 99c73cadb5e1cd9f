//! The tail of a call: it owns everything that must be given back and told, and does so exactly once on every way out.
//!
//! The tail travels with the answer into the response's body, because that is the only thing that lives until the
//! client has its last byte or has left. Whatever drops it, settles it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use shared::catalog::{Compatibility, FaultKind};
use shared::kernel::money::{Amount, Prices};
use shared::kernel::tokens::TokenUsage;
use shared::usage::{Outcome, UsageRecord};
use tokio::task::yield_now;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Services;
use super::admit::{Reservation, Settlement};
use super::context::Context;
use super::endpoint::{Call, Payload};
use super::fault::Fault;
use super::read::Held;
use super::record;
use crate::meter::carbon::{Impact, estimate};
use crate::meter::reported::Reported;
use crate::meter::sink::{SinkFull, Ticket, UsageSink};
use crate::meter::text::Said;
use crate::meter::tokenizer::{Counted, count};
use crate::observe::access_log;
use crate::observe::metrics::{self, RequestInFlight};
use crate::table::{Principal, RouterEntry};
use crate::vitals::ProviderVitals;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Answered in full.
    Completed,
    /// Answered with an error.
    Failed(FaultKind),
    /// Refused before it began.
    Refused(FaultKind),
    /// Cut after its first event.
    Interrupted(FaultKind),
    /// The client left.
    Cancelled,
}

/// Owns a call until its end.
pub(crate) struct Tail {
    open: Option<Box<Open>>,
    /// Raised when nobody reads the answer any more, though it may be read on for its usage.
    abandoned: Option<Arc<AtomicBool>>,
}

/// Everything known of a call that has not ended.
pub(crate) struct Open {
    services: Arc<Services>,
    /// From its first moment.
    pub(crate) context: Context,
    /// Who calls.
    pub(crate) principal: Principal,
    /// What it asks; absent until its body was read.
    pub(crate) call: Option<Call>,
    /// Its body.
    pub(crate) payload: Payload,
    /// The body's share of the budget.
    pub(crate) held: Option<Held>,
    /// The router; absent until resolved.
    pub(crate) router: Option<Arc<RouterEntry>>,
    /// What is set aside; present from admission on.
    pub(crate) reservation: Option<Reservation>,
    /// What is to be recorded, as far as it is known; every try is in it.
    pub(crate) record: UsageRecord,
    /// When the last try began, and whom it feeds.
    pub(crate) trying: Option<(Instant, Arc<ProviderVitals>)>,
    /// Usage as the upstream reported it.
    pub(crate) reported: Option<Reported>,
    /// Usage counted already.
    pub(crate) counted: Option<Counted>,
    /// What was answered, while it may have to be counted.
    pub(crate) said: Said,
    /// The estimate of its impact, once it has been told: the caller and the record are told the same.
    impact: OnceLock<Impact>,
    _in_flight: RequestInFlight,
    /// The process does not stop before the call is told.
    _working: TaskTrackerToken,
}

/// The record of a call that has ended. It is durable once this is dropped.
struct Told {
    sink: Arc<dyn UsageSink>,
    ticket: Ticket,
}

impl Drop for Told {
    fn drop(&mut self) {
        // What cannot be written now is kept, and counted by the sink.
        let _kept = self.sink.commit(self.ticket);
    }
}

impl Tail {
    pub(crate) fn new(
        services: Arc<Services>,
        context: Context,
        principal: Principal,
        in_flight: RequestInFlight,
    ) -> Self {
        let working = services.in_flight.token();
        let open = Open {
            services,
            record: record::begin(&context, &principal),
            context,
            principal,
            call: None,
            payload: Payload::Json(Bytes::new()),
            held: None,
            router: None,
            reservation: None,
            trying: None,
            reported: None,
            counted: None,
            said: Said::Nothing,
            impact: OnceLock::new(),
            _in_flight: in_flight,
            _working: working,
        };
        Self { open: Some(Box::new(open)), abandoned: None }
    }

    /// The call, while it has not ended.
    pub(crate) fn open(&self) -> Option<&Open> {
        self.open.as_deref()
    }

    /// The call, while it has not ended.
    pub(crate) fn open_mut(&mut self) -> Option<&mut Open> {
        self.open.as_deref_mut()
    }

    /// The client has left; whatever the upstream still says, nobody was answered in full.
    pub(crate) fn abandon(&mut self) {
        self.abandonment().store(true, Ordering::Relaxed);
    }

    /// What is to be raised when the client leaves and the call goes on.
    pub(crate) fn abandonment(&mut self) -> Arc<AtomicBool> {
        Arc::clone(self.abandoned.get_or_insert_default())
    }

    /// Ends the call. Only the first end counts.
    pub(crate) fn end(&mut self, status: u16, ending: Ending) {
        drop(self.tell(status, ending));
    }

    fn tell(&mut self, status: u16, ending: Ending) -> Option<Told> {
        let open = self.open.take()?;
        let abandoned = self.abandoned.as_ref().is_some_and(|raised| raised.load(Ordering::Relaxed));
        match ending {
            Ending::Completed if abandoned => open.settle(499, Ending::Cancelled),
            _ => open.settle(status, ending),
        }
    }

    /// Ends the call in full, durably: in one write with all other calls that end now.
    pub(crate) async fn complete(mut self) {
        if let Some(told) = self.tell(200, Ending::Completed) {
            yield_now().await;
            drop(told);
        }
    }

    /// Ends the call with a fault that the caller is told.
    pub(crate) fn fail(&mut self, fault: &mut Fault) {
        let Some(open) = self.open.take() else { return };
        let refused = open.reservation.is_none();
        if fault.kind == FaultKind::ClientGone {
            // Nobody is there to be answered; before admission nothing was done either.
            if !refused {
                open.settle(499, Ending::Cancelled);
            }
            return;
        }
        fault.told = true;
        let ending = if refused { Ending::Refused(fault.kind) } else { Ending::Failed(fault.kind) };
        open.settle(fault.status().as_u16(), ending);
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // A caller that left before admission asked for nothing.
        if let Some(open) = self.open.take().filter(|open| open.reservation.is_some()) {
            open.settle(499, Ending::Cancelled);
        }
    }
}

impl Open {
    /// It is known what is asked.
    pub(crate) fn ask(&mut self, call: Call) {
        record::ask(&mut self.record, &call);
        self.call = Some(call);
    }

    /// It is known where it leads.
    pub(crate) fn lead_to(&mut self, router: Arc<RouterEntry>) {
        record::lead_to(&mut self.record, &router);
        self.router = Some(router);
    }

    /// How answers are rendered for this caller.
    pub(crate) fn profile(&self) -> Compatibility {
        self.principal.compatibility.unwrap_or(self.context.table.settings().compatibility)
    }

    /// The services of the process.
    pub(crate) fn services(&self) -> Arc<Services> {
        Arc::clone(&self.services)
    }

    /// Whether tokens must be counted here, because the upstream worked and reported nothing.
    fn must_count(&self, ending: Ending) -> bool {
        let worked = match ending {
            Ending::Completed => true,
            Ending::Interrupted(_) | Ending::Cancelled => !matches!(self.said, Said::Nothing),
            Ending::Failed(_) | Ending::Refused(_) => false,
        };
        worked && self.reported.is_none() && self.counted.is_none()
    }

    /// A job that counts what was asked and answered; to be run where blocking is allowed.
    pub(crate) fn counting(&mut self) -> impl FnOnce() -> (Counted, Said) + Send + 'static {
        let vocabulary = self.context.table.settings().usage_tokenizer;
        let (operation, body) = (self.context.endpoint.operation, self.payload.json());
        let said = std::mem::replace(&mut self.said, Said::Nothing);
        move || (count(vocabulary, operation, &body, &said), said)
    }

    /// Tokens, and whether they are an estimate.
    pub(crate) fn tokens(&self) -> (TokenUsage, bool) {
        match (self.reported, self.counted) {
            (Some(reported), _) => (reported.tokens, reported.bounded),
            (None, Some(counted)) => {
                let tokens = TokenUsage {
                    prompt: counted.prompt,
                    completion: Some(counted.completion),
                    ..TokenUsage::default()
                };
                (tokens, true)
            }
            (None, None) => (TokenUsage::default(), false),
        }
    }

    /// What the tokens cost.
    pub(crate) fn cost(&self) -> Amount {
        self.prices().cost(&self.tokens().0)
    }

    /// What the answer cost the climate; asked for when the tokens are final.
    pub(crate) fn impact(&self) -> Option<Impact> {
        if let Some(told) = self.impact.get() {
            return Some(*told);
        }
        let attempt = self.record.attempts.last()?;
        let provider = self.router.as_ref()?.providers.iter().find(|provider| provider.id == attempt.provider)?;
        let latency = self.trying.as_ref().map_or(attempt.latency, |(begun, _)| begun.elapsed());
        let impact = estimate(&provider.noun.carbon, self.tokens().0.completion?, latency)?;
        Some(*self.impact.get_or_init(|| impact))
    }

    fn prices(&self) -> Prices {
        self.router.as_ref().map(|router| router.noun.prices).unwrap_or_default()
    }

    fn settle(mut self: Box<Self>, status: u16, ending: Ending) -> Option<Told> {
        self.close_attempt(ending);
        let latency = self.context.elapsed();
        if !self.must_count(ending) {
            return self.finish(status, ending, latency);
        }
        // Should the process die while it counts, the end is known all the same.
        self.complete(status, ending, latency);
        self.services.sink.revise(&self.record);
        let job = self.counting();
        let counted = move || {
            self.counted = Some(job().0);
            drop(self.finish(status, ending, latency));
        };
        // Outside of a runtime (its shutdown) the thread may as well do it itself.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(counted)),
            Err(_) => counted(),
        }
        None
    }

    /// The last try ends with the call.
    fn close_attempt(&mut self, ending: Ending) {
        let Some((begun, vitals)) = self.trying.take() else { return };
        let latency = begun.elapsed();
        if let Some(attempt) = self.record.attempts.last_mut() {
            attempt.latency = latency;
            attempt.fault = match ending {
                Ending::Completed => None,
                Ending::Cancelled => Some(FaultKind::ClientGone),
                Ending::Failed(fault) | Ending::Refused(fault) | Ending::Interrupted(fault) => Some(fault),
            };
        }
        match ending {
            Ending::Completed => {
                let before = self.context.elapsed().saturating_sub(latency);
                let first = self.record.time_to_first_token;
                vitals.succeeded(first.map_or(latency, |first| first.saturating_sub(before)), latency);
            }
            Ending::Interrupted(_) => vitals.failed(),
            // A try that failed was ended before; here it is the client that went wrong.
            Ending::Failed(_) | Ending::Cancelled | Ending::Refused(_) => {}
        }
    }

    /// Notes that the call begins, so that it is accounted for even if this process dies.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub(crate) fn note_begin(&self) -> Result<Ticket, SinkFull> {
        self.services.sink.begin(&self.record)
    }

    fn finish(mut self: Box<Self>, status: u16, ending: Ending, latency: Duration) -> Option<Told> {
        self.complete(status, ending, latency);
        let Self { services, context, router, record, reservation, .. } = *self;
        if let Some(reservation) = reservation {
            reservation.settle(&Settlement { tokens: record.tokens, cost: record.cost });
        }
        services.meters.ended(context.endpoint.path, &record);
        access_log::call(&record, context.peer);
        if let Some(noted) = &context.noted {
            noted.finish(context.endpoint.operation, &record, router.as_deref(), context.elapsed());
        }
        if record.outcome == Outcome::Refused {
            services.refusals.add(context.endpoint.path, record);
            return None;
        }
        let submitted = services.sink.submit(&record).inspect_err(|SinkFull| {
            metrics::record_lost();
            tracing::error!(call_id = %record.id, "a usage record was lost: the backlog is full");
        });
        submitted.ok().map(|ticket| Told { sink: Arc::clone(&services.sink), ticket })
    }

    /// Completes the record.
    fn complete(&mut self, status: u16, ending: Ending, latency: Duration) {
        let ((tokens, estimated), cost, impact) = (self.tokens(), self.cost(), self.impact());
        let record = &mut self.record;
        record::end(record, status, ending, latency);
        (record.tokens, record.estimated, record.cost) = (tokens, estimated, cost);
        record.energy_kwh = impact.map(|impact| impact.kwh);
        record.carbon_kg_co2eq = impact.map(|impact| impact.kg_co2eq);
    }
}
