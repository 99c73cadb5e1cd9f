//! Carries spans to a collector, in batches, from a queue that never fills a process.

use std::time::Duration;

use metrics::counter;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout, timeout_at};

use super::collector::Collector;
use super::settings::TraceSettings;
use super::span::{Span, attribute};
use crate::runtime::metrics::{Family, FamilyKind};
use crate::runtime::shutdown::Shutdown;

const SPANS: &str = "gatewright_trace_spans_total";

/// What this room measures.
pub const FAMILIES: &[Family] = &[Family {
    name: SPANS,
    kind: FamilyKind::Counter,
    labels: &["result"],
    help: "Spans of sampled requests, by result: sent; dropped, because the collector took them too slowly; failed, because it did not take them.",
}];

/// Spans in one export.
const BATCH: usize = 512;
/// How long spans wait for others.
const LINGER: Duration = Duration::from_secs(1);
/// How long the last export may take when the process ends.
const LAST: Duration = Duration::from_secs(2);

/// Spans that found no room.
pub(super) fn dropped(spans: usize) {
    counter!(SPANS, "result" => "dropped").increment(spans as u64);
}

/// Exports until the process stops, and then what is left.
pub(super) async fn run(settings: TraceSettings, mut waiting: Receiver<Vec<Span>>, ending: Shutdown) {
    let mut exporter = Exporter { collector: Collector::new(&settings), settings, was_down: false };
    loop {
        let first = tokio::select! {
            first = waiting.recv() => first,
            () = ending.stopping() => None,
        };
        let Some(mut batch) = first else { break };
        let until = Instant::now() + LINGER;
        while batch.len() < BATCH {
            let more = tokio::select! {
                more = timeout_at(until, waiting.recv()) => more,
                () = ending.stopping() => break,
            };
            match more {
                Ok(Some(more)) => batch.extend(more),
                Ok(None) | Err(_) => break,
            }
        }
        tokio::select! {
            () = exporter.export(batch) => {}
            // A collector that hangs does not hold the end up.
            () = async { ending.stopping().await; tokio::time::sleep(LAST).await } => return,
        }
    }
    let mut rest = Vec::new();
    while let Ok(more) = waiting.try_recv() {
        rest.extend(more);
    }
    if !rest.is_empty() && timeout(LAST, exporter.export(rest)).await.is_err() {
        tracing::debug!("the last spans were not taken in time");
    }
}

struct Exporter {
    collector: Collector,
    settings: TraceSettings,
    /// So that a collector that is down is told of once.
    was_down: bool,
}

impl Exporter {
    async fn export(&mut self, batch: Vec<Span>) {
        let count = batch.len() as u64;
        let message = self.message(batch);
        let taken = self.collector.take(message, &self.settings).await;
        let rejected = taken.as_ref().map_or(count, |rejected| count.min(*rejected));
        counter!(SPANS, "result" => "sent").increment(count - rejected);
        counter!(SPANS, "result" => "failed").increment(rejected);
        if let Err(reason) = &taken
            && !self.was_down
        {
            tracing::warn!(%reason, endpoint = %self.settings.endpoint, "the collector does not take spans");
        }
        self.was_down = taken.is_err();
    }

    fn message(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let attributes = self
            .settings
            .resource
            .iter()
            .map(|(key, value)| attribute(key, Value::StringValue(value.clone())))
            .collect();
        let scope = InstrumentationScope {
            name: "gatewright".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource { attributes, ..Resource::default() }),
                scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }],
                ..ResourceSpans::default()
            }],
        }
    }
}
