//! The families that dashboards made for OpenGateLLM read: the same names, labels and bounds, always served beside ours.
//!
//! They cost a call three more updates of handles that are held already, which is well below a microsecond; so there is
//! no setting. OpenGateLLM's `http_…` families describe its web framework and have no counterpart.

use ::metrics::{Counter, Histogram, counter, histogram};
use shared::runtime::metrics::{Family, FamilyKind};
use shared::usage::UsageRecord;

const REQUESTS: &str = "ogl_inference_requests_total";
const DURATION: &str = "ogl_inference_requests_duration_seconds";
const FIRST_TOKEN: &str = "ogl_inference_ttft_milliseconds";
const SPEED: &str = "ogl_inference_output_tokens_per_second";
const TOKENS: &str = "ogl_inference_tokens_total";

const ANSWER: &[&str] = &["endpoint", "model", "status_code"];

/// The families.
pub(crate) const FAMILIES: &[Family] = &[
    Family {
        name: REQUESTS,
        kind: FamilyKind::Counter,
        labels: ANSWER,
        help: "Calls of routers, as OpenGateLLM counts them.",
    },
    Family {
        name: DURATION,
        kind: FamilyKind::Histogram,
        labels: ANSWER,
        help: "Time of calls of routers, as OpenGateLLM measures it.",
    },
    Family {
        name: FIRST_TOKEN,
        kind: FamilyKind::Histogram,
        labels: ANSWER,
        help: "Time to the first token, as OpenGateLLM measures it: in milliseconds.",
    },
    Family {
        name: SPEED,
        kind: FamilyKind::Histogram,
        labels: &["endpoint", "model"],
        help: "Completion tokens by the time of the whole call, as OpenGateLLM measures them.",
    },
    Family {
        name: TOKENS,
        kind: FamilyKind::Counter,
        labels: &["endpoint", "model", "type"],
        help: "Tokens used, as OpenGateLLM counts them.",
    },
];

/// The series of one router at one endpoint.
pub(super) struct RouteAliases {
    speed: Histogram,
    prompt: Counter,
    completion: Counter,
}

/// The series of one status of those.
pub(super) struct AnswerAliases {
    requests: Counter,
    duration: Histogram,
    first_token: Histogram,
}

impl RouteAliases {
    pub(super) fn new(endpoint: &'static str, router: &str) -> Self {
        let tokens =
            |kind: &'static str| counter!(TOKENS, "endpoint" => endpoint, "model" => router.to_owned(), "type" => kind);
        Self {
            speed: histogram!(SPEED, "endpoint" => endpoint, "model" => router.to_owned()),
            prompt: tokens("prompt"),
            completion: tokens("completion"),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a speed")]
    pub(super) fn ended(&self, record: &UsageRecord) {
        if let Some(prompt) = record.tokens.prompt.filter(|count| *count > 0) {
            self.prompt.increment(prompt);
        }
        if let Some(completion) = record.tokens.completion.filter(|count| *count > 0) {
            self.completion.increment(completion);
            let seconds = record.latency.as_secs_f64();
            if seconds > 0.0 {
                self.speed.record(completion as f64 / seconds);
            }
        }
    }
}

impl AnswerAliases {
    pub(super) fn new(endpoint: &'static str, router: &str, status: u16) -> Self {
        let (model, status) = (router.to_owned(), status.to_string());
        Self {
            requests: counter!(REQUESTS, "endpoint" => endpoint, "model" => model.clone(), "status_code" => status.clone()),
            duration: histogram!(DURATION, "endpoint" => endpoint, "model" => model.clone(), "status_code" => status.clone()),
            first_token: histogram!(FIRST_TOKEN, "endpoint" => endpoint, "model" => model, "status_code" => status),
        }
    }

    pub(super) fn ended(&self, record: &UsageRecord) {
        self.requests.increment(1);
        self.duration.record(record.latency);
        if let Some(first) = record.time_to_first_token {
            self.first_token.record(first.as_secs_f64() * 1000.0);
        }
    }
}
