//! Traces over OTLP, and error reports: what is told to systems beside the gateway.
//!
//! Spans are not kept open while a call runs. Whoever ends a call makes all of its spans at once from the times it
//! noted, and hands them over here; a bounded queue and one task carry them away. Without an endpoint there is no
//! queue, no task and no span: [`traces`] says so with one load. Nothing here is ever waited for, so a collector that
//! hangs costs nothing; what it could not take is counted.
//!
//! | file | holds |
//! |---|---|
//! | [`settings`] | the `OTEL_…` variables |
//! | [`context`] | W3C `traceparent` and `tracestate`, in and out |
//! | [`span`] | one finished span |
//! | [`export`] | the queue and the task behind it |
//! | [`collector`] | one export, by gRPC or HTTP |
//! | [`reports`] | log lines of level error, sent on to Sentry |
//! | [`connect`] | HTTP to either of them |

mod collector;
mod connect;
pub mod context;
mod export;
pub mod reports;
pub mod settings;
pub mod span;

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use http::HeaderMap;
use tokio::sync::mpsc;

use self::context::SpanContext;
pub use self::export::FAMILIES;
use self::settings::{Sampler, TraceSettings};
use self::span::Span;
use super::metrics::describe;
use super::shutdown::Shutdown;

/// Calls whose spans may wait for the collector.
const QUEUE_CALLS: usize = 2048;

/// Takes finished spans.
pub struct Traces {
    sampler: Sampler,
    queue: mpsc::Sender<Vec<Span>>,
}

static INSTALLED: OnceLock<Traces> = OnceLock::new();

/// Where spans go; nothing when traces are off.
#[must_use]
pub fn traces() -> Option<&'static Traces> {
    INSTALLED.get()
}

/// Turns traces on when the environment names an endpoint. What is wrong with its variables is logged, and traces stay
/// off: they must not keep a gateway from starting.
pub fn install(service: &str, shutdown: &Shutdown) {
    describe(FAMILIES);
    let variable = |name: &str| std::env::var(name).ok();
    match TraceSettings::read(service, &variable) {
        Ok(None) => {}
        Ok(Some(settings)) => start(settings, shutdown),
        Err(error) => tracing::warn!(%error, "traces are off"),
    }
}

fn start(settings: TraceSettings, shutdown: &Shutdown) {
    let (queue, waiting) = mpsc::channel(QUEUE_CALLS);
    let traces = Traces { sampler: settings.sampler, queue };
    if INSTALLED.set(traces).is_ok() {
        tracing::info!(endpoint = %settings.endpoint, sampler = %settings.sampler, "traces are sent");
        let ending = shutdown.clone();
        shutdown.spawn("trace export", export::run(settings, waiting, ending));
    }
}

impl Traces {
    /// Places a request: in the caller's trace, or at the root of a new one.
    #[must_use]
    pub fn begin(&self, headers: &HeaderMap) -> SpanContext {
        let remote = context::incoming(headers);
        let trace = remote.map_or_else(context::new_trace, |remote| remote.trace);
        let sampled = self.sampler.samples(trace, remote.map(|remote| remote.sampled));
        SpanContext { trace, span: context::new_span(), parent: remote.map(|remote| remote.span), sampled }
    }

    /// Hands finished spans over. Never waits; what does not fit is counted.
    pub fn hand_over(&self, spans: Vec<Span>) {
        if let Err(error) = self.queue.try_send(spans) {
            export::dropped(error.into_inner().len());
        }
    }
}
