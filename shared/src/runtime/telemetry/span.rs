//! One finished span, as the collector takes it.

use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Status;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use super::context::SpanContext;
use crate::kernel::clock::FleetTime;

/// A span as it goes out.
pub use opentelemetry_proto::tonic::trace::v1::Span;
/// Which side of a conversation a span is.
pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

/// Its flags say whether the parent lies in another process, and that they say so.
const KNOWN_REMOTE: u32 = 0x100;
const REMOTE: u32 = 0x200;

/// Puts a span together.
#[derive(Debug, Clone)]
pub struct Builder(Span);

impl Builder {
    /// A span with its place, and how long after `origin` it began and ended.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        kind: SpanKind,
        place: &SpanContext,
        origin: FleetTime,
        between: (Duration, Duration),
    ) -> Self {
        let at = |after: Duration| {
            let origin = u64::try_from(origin.unix_micros()).unwrap_or(0).saturating_mul(1000);
            origin.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX))
        };
        let remote = if kind == SpanKind::Server && place.parent.is_some() { REMOTE } else { 0 };
        Self(Span {
            trace_id: place.trace.to_vec(),
            span_id: place.span.to_vec(),
            parent_span_id: place.parent.map(|parent| parent.to_vec()).unwrap_or_default(),
            flags: u32::from(place.sampled) | KNOWN_REMOTE | remote,
            name: name.into(),
            kind: kind.into(),
            start_time_unix_nano: at(between.0),
            end_time_unix_nano: at(between.1.max(between.0)),
            ..Span::default()
        })
    }

    /// An attribute that is a text; an empty one says nothing and is left out.
    #[must_use]
    pub fn text(self, key: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        if value.is_empty() { self } else { self.with(key, Value::StringValue(value)) }
    }

    /// An attribute that is a number.
    #[must_use]
    pub fn number(self, key: &'static str, value: impl TryInto<i64>) -> Self {
        match value.try_into() {
            Ok(value) => self.with(key, Value::IntValue(value)),
            Err(_) => self,
        }
    }

    /// An attribute that is true or false.
    #[must_use]
    pub fn flag(self, key: &'static str, value: bool) -> Self {
        self.with(key, Value::BoolValue(value))
    }

    /// A number that may not be known.
    #[must_use]
    pub fn maybe(self, key: &'static str, value: Option<u64>) -> Self {
        match value {
            Some(value) => self.number(key, value),
            None => self,
        }
    }

    /// What was done failed, for a reason from a closed set.
    #[must_use]
    pub fn failed(mut self, reason: &'static str) -> Self {
        self.0.status = Some(Status { message: String::new(), code: StatusCode::Error.into() });
        self.text("error.type", reason)
    }

    /// The span.
    #[must_use]
    pub fn done(self) -> Span {
        self.0
    }

    fn with(mut self, key: &'static str, value: Value) -> Self {
        self.0.attributes.push(attribute(key, value));
        self
    }
}

/// A key with its value.
pub(super) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
