//! The spans of a call: made all at once when it has ended, from the times that its phases noted on the way.
//!
//! A call that is not sampled notes nothing. Names and attributes follow the semantic conventions for HTTP and for
//! generative AI where those have a word; ours begin with `gatewright.`. Prompts, answers and credentials are never
//! among them.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use shared::catalog::{FaultKind, ProviderKind};
use shared::kernel::clock::FleetTime;
use shared::runtime::telemetry::context::{self, SpanContext, TRACEPARENT};
use shared::runtime::telemetry::span::{Builder, Span, SpanKind};
use shared::runtime::telemetry::traces;
use shared::usage::{Attempt, Outcome, UsageRecord};

use super::access_log::Plain;
use crate::table::RouterEntry;
use crate::translate::Operation;

/// The phases before the first try, in their order.
const PHASES: [&str; 4] = ["authenticate", "read", "resolve", "admit"];

/// What a sampled call notes.
#[derive(Debug)]
pub(crate) struct CallTrace {
    place: SpanContext,
    /// When each phase ended.
    phases: Vec<Duration>,
    /// The spans of the tries, and when each began.
    attempts: Vec<(SpanContext, Duration)>,
}

impl CallTrace {
    /// For a call that is sampled.
    pub(crate) fn of(place: Option<SpanContext>) -> Option<Box<Self>> {
        let place = place.filter(|place| place.sampled)?;
        Some(Box::new(Self { place, phases: Vec::with_capacity(PHASES.len()), attempts: Vec::with_capacity(1) }))
    }

    /// The next phase is over.
    pub(crate) fn phase(&mut self, at: Duration) {
        self.phases.push(at);
    }

    /// A try begins.
    pub(crate) fn attempt(&mut self, span: SpanContext, at: Duration) {
        self.attempts.push((span, at));
    }

    /// Makes the spans of a call that has ended, and hands them over. `now` is when everything was told.
    pub(crate) fn finish(
        &self,
        operation: Operation,
        record: &UsageRecord,
        router: Option<&RouterEntry>,
        now: Duration,
    ) {
        let Some(traces) = traces() else { return };
        let mut spans = Vec::with_capacity(self.phases.len() + self.attempts.len() + 4);
        spans.push(self.root(operation, record, now));
        self.push_phases(record, now, &mut spans);
        for (number, (attempt, (place, begun))) in record.attempts.iter().zip(&self.attempts).enumerate() {
            let between = (*begun, *begun + attempt.latency);
            let span = Builder::new(
                format!("{} {}", name(operation), attempt.upstream_model),
                SpanKind::Client,
                place,
                record.started,
                between,
            )
            .text("gen_ai.operation.name", name(operation))
            .text("gen_ai.request.model", &*attempt.upstream_model)
            .number("gatewright.attempt", number as u64 + 1);
            let answered = attempt.fault.is_none();
            let span = if answered {
                usage(span, record).text("gen_ai.response.model", &*attempt.upstream_model)
            } else {
                span
            };
            spans.push(upstream(span, attempt, router).done());
        }
        traces.hand_over(spans);
    }

    fn root(&self, operation: Operation, record: &UsageRecord, now: Duration) -> Span {
        let last = record.attempts.last();
        let system = last.map(|attempt| provider_name(attempt.provider_kind)).unwrap_or_default();
        let model = last.filter(|attempt| attempt.fault.is_none()).map(|attempt| attempt.upstream_model.as_str());
        let span = server(&self.place, &record.method, &record.endpoint, record.started, now)
            .number("http.response.status_code", record.status)
            .text("gen_ai.operation.name", name(operation))
            .text("gen_ai.provider.name", system)
            .text("gen_ai.system", system)
            .text("gen_ai.request.model", &*record.requested)
            .text("gen_ai.response.model", model.unwrap_or_default())
            .text("gatewright.call_id", record.id.to_string())
            .text("gatewright.request_id", &*record.request_id)
            .text("gatewright.router", &*record.router_name)
            .text("gatewright.key", &*record.key_name)
            .text("gatewright.outcome", record.outcome.as_str())
            .flag("gatewright.streamed", record.streamed)
            .number("gatewright.cost_billionths", record.cost.billionths())
            .number("gatewright.config_revision", record.config_revision)
            .maybe("gatewright.time_to_first_token_us", record.time_to_first_token.map(micros));
        let span = usage(span, record);
        match record.fault {
            // Whoever asks wrongly, or leaves, is no failure of a server.
            Some(fault) if record.status >= 500 || record.outcome == Outcome::Interrupted => {
                span.failed(fault.as_str()).done()
            }
            Some(fault) => span.text("error.type", fault.as_str()).done(),
            None => span.done(),
        }
    }

    fn push_phases(&self, record: &UsageRecord, now: Duration, spans: &mut Vec<Span>) {
        let mut phase = |name: &'static str, from: Duration, to: Duration, fault: Option<FaultKind>| {
            let span = Builder::new(name, SpanKind::Internal, &self.place.child(), record.started, (from, to));
            spans.push(fault.map_or(span.clone(), |fault| span.failed(fault.as_str())).done());
        };
        let mut from = Duration::ZERO;
        for (name, end) in PHASES.iter().zip(&self.phases) {
            phase(name, from, *end, None);
            from = *end;
        }
        if let (Some(refused), Outcome::Refused) = (PHASES.get(self.phases.len()), record.outcome) {
            phase(refused, from, record.latency, record.fault);
        }
        if let Some(first) = record.time_to_first_token {
            phase("deliver", first, record.latency, None);
        }
        phase("settle", record.latency, now, None);
    }
}

/// Tells of a request that was no call: refused before anybody was known, or answered from the table.
pub(crate) fn plain(place: Option<SpanContext>, line: &Plain<'_>, ended: FleetTime) {
    let (Some(place), Some(traces)) = (place.filter(|place| place.sampled), traces()) else { return };
    let latency = i64::try_from(line.latency.as_micros()).unwrap_or(0);
    let started = FleetTime::from_unix_micros(ended.unix_micros() - latency);
    let span = server(&place, line.method, line.path, started, line.latency)
        .number("http.response.status_code", line.status)
        .text("gatewright.request_id", line.request_id);
    let span = match line.fault {
        Some(fault) if line.status >= 500 => span.failed(fault.as_str()),
        Some(fault) => span.text("error.type", fault.as_str()),
        None => span,
    };
    traces.hand_over(vec![span.done()]);
}

/// What the next upstream is told of the trace: a span of ours below the caller's, or the caller's own where no spans
/// are made here.
pub(crate) fn outgoing(span: Option<&SpanContext>, caller: &HeaderMap) -> Option<HeaderValue> {
    match span {
        Some(span) => span.traceparent(),
        None => context::incoming(caller).and_then(|_| caller.get(&TRACEPARENT).cloned()),
    }
}

fn server(place: &SpanContext, method: &str, route: &str, started: FleetTime, latency: Duration) -> Builder {
    Builder::new(format!("{method} {route}").trim_end(), SpanKind::Server, place, started, (Duration::ZERO, latency))
        .text("http.request.method", method)
        .text("http.route", route)
}

fn upstream(span: Builder, attempt: &Attempt, router: Option<&RouterEntry>) -> Builder {
    let system = provider_name(attempt.provider_kind);
    let provider = router.and_then(|router| router.providers.iter().find(|provider| provider.id == attempt.provider));
    let span = span
        .text("gen_ai.provider.name", system)
        .text("gen_ai.system", system)
        .text("gatewright.provider", attempt.provider.to_string())
        .text("server.address", provider.map(|provider| provider.address.host()).unwrap_or_default())
        .maybe("server.port", provider.map(|provider| provider.address.port().into()))
        .maybe("http.response.status_code", attempt.status.map(u64::from));
    match attempt.fault {
        Some(FaultKind::ClientGone) => span.text("error.type", FaultKind::ClientGone.as_str()),
        Some(fault) => span.failed(fault.as_str()),
        None => span,
    }
}

fn usage(span: Builder, record: &UsageRecord) -> Builder {
    span.maybe("gen_ai.usage.input_tokens", record.tokens.prompt)
        .maybe("gen_ai.usage.output_tokens", record.tokens.completion)
        .maybe("gen_ai.usage.cache_read.input_tokens", record.tokens.cached)
}

/// The conventions' word for an operation, where they have one.
const fn name(operation: Operation) -> &'static str {
    match operation {
        Operation::Chat => "chat",
        Operation::Completions => "text_completion",
        Operation::Embeddings => "embeddings",
        Operation::Rerank => "rerank",
        Operation::Transcription => "transcription",
    }
}

/// The conventions' word for a dialect, where it is not ours.
const fn provider_name(kind: ProviderKind) -> &'static str {
    match kind {
        ProviderKind::Mistral => "mistral_ai",
        other => other.as_str(),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
