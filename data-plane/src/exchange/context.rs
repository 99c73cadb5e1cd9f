//! What is known of a call from its first moment on, passed by hand from phase to phase.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};
use shared::kernel::clock::FleetTime;
use shared::kernel::ids::CallId;
use shared::runtime::telemetry::context::SpanContext;

use super::endpoint::Endpoint;
use crate::observe::traces::{CallTrace, outgoing};
use crate::table::Table;

/// The names that a call goes by.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    /// Ours; also the id of its record.
    pub(crate) call: CallId,
    /// The caller's, or made from ours.
    pub(crate) request: String,
    /// Of the trace it belongs to, 32 hexadecimal digits, or empty.
    pub(crate) trace: String,
    /// Its span, where traces are on.
    pub(crate) span: Option<SpanContext>,
}

/// One call.
pub(crate) struct Context {
    /// Its names.
    pub(crate) ids: Ids,
    /// When its head was read, for durations.
    pub(crate) begun: Instant,
    /// Who asked.
    pub(crate) peer: Option<IpAddr>,
    /// The same moment in fleet time.
    pub(crate) started: FleetTime,
    /// The endpoint called.
    pub(crate) endpoint: &'static Endpoint,
    /// Loaded once: a swap while the call runs does not change it.
    pub(crate) table: Arc<Table>,
    /// What a sampled call notes for its spans.
    pub(crate) noted: Option<Box<CallTrace>>,
    /// What the upstream of the current try is told of the trace.
    pub(crate) traceparent: Option<HeaderValue>,
}

impl Context {
    /// How long it has taken so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// A phase is over.
    pub(crate) fn phase_ended(&mut self) {
        if let Some(noted) = &mut self.noted {
            noted.phase(self.begun.elapsed());
        }
    }

    /// A try begins: it is a span of its own, which its upstream is told of.
    pub(crate) fn try_begins(&mut self, caller: &HeaderMap) {
        let span = self.ids.span.map(|span| span.child());
        self.traceparent = outgoing(span.as_ref(), caller);
        if let (Some(noted), Some(span)) = (&mut self.noted, span) {
            noted.attempt(span, self.begun.elapsed());
        }
    }
}
