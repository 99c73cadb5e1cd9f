//! Every metric family of the request path, and handles that are resolved once and kept.

use std::sync::Arc;

use ::metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use parking_lot::RwLock;
use shared::catalog::FaultKind;
use shared::kernel::ids::{ProviderId, RouterId};
use shared::kernel::quick_map::QuickMap;
use shared::runtime::metrics::{Family, FamilyKind, describe};
use shared::usage::{Attempt, Outcome, UsageRecord};

use super::aliases::{self, AnswerAliases, RouteAliases};

const REQUESTS: &str = "gatewright_requests_total";
const DURATION: &str = "gatewright_request_duration_seconds";
const FIRST_TOKEN: &str = "gatewright_time_to_first_token_seconds";
const TOKENS: &str = "gatewright_tokens_total";
const COST: &str = "gatewright_cost_billionths_total";
const AUTH_FAILURES: &str = "gatewright_auth_failures_total";
const ATTEMPTS: &str = "gatewright_upstream_attempts_total";
const UPSTREAM_DURATION: &str = "gatewright_upstream_duration_seconds";
const UPSTREAM_IN_FLIGHT: &str = "gatewright_upstream_in_flight";
const UPSTREAM_FAILURES: &str = "gatewright_upstream_failures_in_a_row";
const IN_FLIGHT: &str = "gatewright_requests_in_flight";
const BODY_BYTES: &str = "gatewright_request_bodies_held_bytes";
const RETRIES_REFUSED: &str = "gatewright_retries_refused_total";
const RECORDS_LOST: &str = "gatewright_usage_records_lost_total";

/// The families, for whoever reads a dashboard.
pub(crate) const FAMILIES: &[Family] = &[
    Family {
        name: REQUESTS,
        kind: FamilyKind::Counter,
        labels: &["router", "endpoint", "status", "outcome", "fault"],
        help: "Requests answered, by endpoint, router, status, outcome and fault.",
    },
    Family {
        name: DURATION,
        kind: FamilyKind::Histogram,
        labels: &["router", "endpoint"],
        help: "From the head of a request to the last byte of its answer.",
    },
    Family {
        name: FIRST_TOKEN,
        kind: FamilyKind::Histogram,
        labels: &["router", "endpoint"],
        help: "From the head of a request to the first content of its answer.",
    },
    Family {
        name: TOKENS,
        kind: FamilyKind::Counter,
        labels: &["router", "endpoint", "type"],
        help: "Tokens used, by router and type (prompt, completion, cached, reasoning).",
    },
    Family {
        name: COST,
        kind: FamilyKind::Counter,
        labels: &["router", "endpoint"],
        help: "Cost of calls in billionths of the unit of the prices, by router.",
    },
    Family {
        name: AUTH_FAILURES,
        kind: FamilyKind::Counter,
        labels: &["code"],
        help: "Requests whose credential was missing, malformed, unknown, expired or disabled, by the code of the answer.",
    },
    Family {
        name: ATTEMPTS,
        kind: FamilyKind::Counter,
        labels: &["provider", "kind", "fault"],
        help: "Calls of providers, by provider, its kind and the fault (none when it answered).",
    },
    Family {
        name: UPSTREAM_DURATION,
        kind: FamilyKind::Histogram,
        labels: &["provider", "kind"],
        help: "From the sending of a request to a provider to the end of its answer.",
    },
    Family {
        name: UPSTREAM_IN_FLIGHT,
        kind: FamilyKind::Gauge,
        labels: &["provider"],
        help: "Calls under way at a provider.",
    },
    Family {
        name: UPSTREAM_FAILURES,
        kind: FamilyKind::Gauge,
        labels: &["provider"],
        help: "Calls of a provider that failed since the last that did not: 0 is healthy.",
    },
    Family {
        name: IN_FLIGHT,
        kind: FamilyKind::Gauge,
        labels: &["endpoint"],
        help: "Requests being read, forwarded or answered, by endpoint.",
    },
    Family { name: BODY_BYTES, kind: FamilyKind::Gauge, labels: &[], help: "Memory that request bodies hold." },
    Family {
        name: RETRIES_REFUSED,
        kind: FamilyKind::Counter,
        labels: &[],
        help: "Retries not made because their share of the traffic was spent.",
    },
    Family {
        name: RECORDS_LOST,
        kind: FamilyKind::Counter,
        labels: &[],
        help: "Usage records that could not be kept because the backlog was full.",
    },
];

/// Series by router and endpoint.
type Routes = QuickMap<(Option<RouterId>, &'static str), Arc<RouteMeters>>;

/// Series by provider and fault.
type Attempts = QuickMap<(ProviderId, Option<FaultKind>), (Counter, Histogram)>;

/// Handles of every series in use.
#[derive(Default)]
pub(crate) struct Meters {
    routes: RwLock<Routes>,
    attempts: RwLock<Attempts>,
    in_flight: RwLock<QuickMap<&'static str, Gauge>>,
}

/// The series of one router at one endpoint.
struct RouteMeters {
    /// The name at the time; a renamed router gets new series.
    router: String,
    endpoint: &'static str,
    answers: RwLock<Vec<(Answer, AnswerMeters)>>,
    duration: Histogram,
    first_token: Histogram,
    prompt: Counter,
    completion: Counter,
    cached: Counter,
    reasoning: Counter,
    cost: Counter,
    /// Only of a router: OpenGateLLM counts nothing else.
    aliases: Option<RouteAliases>,
}

/// The series of answers that have everything in common.
struct AnswerMeters {
    requests: Counter,
    aliases: Option<AnswerAliases>,
}

/// What answers of one series have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    status: u16,
    outcome: Outcome,
    fault: Option<FaultKind>,
}

/// A request in flight; counted until it is dropped.
pub(crate) struct RequestInFlight(Gauge);

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Describes every family; once per process, after the recorder is installed.
pub(crate) fn describe_families() {
    describe(FAMILIES);
    describe(aliases::FAMILIES);
}

/// How a provider is doing now.
pub(crate) fn upstream_health(provider: ProviderId, in_flight: u32, failures_in_a_row: u32) {
    let name = provider.to_string();
    gauge!(UPSTREAM_IN_FLIGHT, "provider" => name.clone()).set(in_flight);
    gauge!(UPSTREAM_FAILURES, "provider" => name).set(failures_in_a_row);
}

/// Somebody was not let in. The code is one of the gateway's own, never a caller's or an upstream's.
pub(crate) fn auth_failure(code: &str) {
    counter!(AUTH_FAILURES, "code" => code.to_owned()).increment(1);
}

/// How many bytes request bodies hold now.
pub(crate) fn bodies_held(bytes: usize) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    gauge!(BODY_BYTES).set(bytes as f64);
}

/// A retry was refused.
pub(crate) fn retry_refused() {
    counter!(RETRIES_REFUSED).increment(1);
}

/// A record was lost.
pub(crate) fn record_lost() {
    counter!(RECORDS_LOST).increment(1);
}

impl Meters {
    /// Counts a request in.
    pub(crate) fn begin(&self, endpoint: &'static str) -> RequestInFlight {
        let known = self.in_flight.read().get(endpoint).cloned();
        let gauge = known.unwrap_or_else(|| {
            self.in_flight.write().entry(endpoint).or_insert_with(|| gauge!(IN_FLIGHT, "endpoint" => endpoint)).clone()
        });
        gauge.increment(1.0);
        RequestInFlight(gauge)
    }

    /// Counts a request that ended, with everything its record holds.
    pub(crate) fn ended(&self, endpoint: &'static str, record: &UsageRecord) {
        let route = self.route(endpoint, record);
        route.answered(record);
        route.duration.record(record.latency);
        if let Some(first) = record.time_to_first_token {
            route.first_token.record(first);
        }
        let tokens = [
            (&route.prompt, record.tokens.prompt),
            (&route.completion, record.tokens.completion),
            (&route.cached, record.tokens.cached),
            (&route.reasoning, record.tokens.reasoning),
        ];
        for (counter, count) in tokens {
            if let Some(count) = count.filter(|count| *count > 0) {
                counter.increment(count);
            }
        }
        if let Ok(cost) = u64::try_from(record.cost.billionths()) {
            route.cost.increment(cost);
        }
        if let Some(aliases) = &route.aliases {
            aliases.ended(record);
        }
        for attempt in &record.attempts {
            self.attempted(attempt);
        }
    }

    fn attempted(&self, attempt: &Attempt) {
        let place = (attempt.provider, attempt.fault);
        if let Some((counter, duration)) = self.attempts.read().get(&place) {
            counter.increment(1);
            duration.record(attempt.latency);
            return;
        }
        let (provider, kind) = (attempt.provider.to_string(), attempt.provider_kind.as_str());
        let fault = attempt.fault.map_or("none", FaultKind::as_str);
        let counter = counter!(ATTEMPTS, "provider" => provider.clone(), "kind" => kind, "fault" => fault);
        let duration = histogram!(UPSTREAM_DURATION, "provider" => provider, "kind" => kind);
        counter.increment(1);
        duration.record(attempt.latency);
        self.attempts.write().insert(place, (counter, duration));
    }

    fn route(&self, endpoint: &'static str, record: &UsageRecord) -> Arc<RouteMeters> {
        let place = (record.router, endpoint);
        if let Some(known) = self.routes.read().get(&place).filter(|known| known.router == record.router_name) {
            return Arc::clone(known);
        }
        let fresh = Arc::new(RouteMeters::new(endpoint, record));
        self.routes.write().insert(place, Arc::clone(&fresh));
        fresh
    }
}

impl RouteMeters {
    fn new(endpoint: &'static str, record: &UsageRecord) -> Self {
        let router = record.router_name.clone();
        let tokens =
            |kind: &'static str| counter!(TOKENS, "router" => router.clone(), "endpoint" => endpoint, "type" => kind);
        Self {
            endpoint,
            answers: RwLock::default(),
            duration: histogram!(DURATION, "router" => router.clone(), "endpoint" => endpoint),
            first_token: histogram!(FIRST_TOKEN, "router" => router.clone(), "endpoint" => endpoint),
            prompt: tokens("prompt"),
            completion: tokens("completion"),
            cached: tokens("cached"),
            reasoning: tokens("reasoning"),
            cost: counter!(COST, "router" => router.clone(), "endpoint" => endpoint),
            aliases: record.router.map(|_| RouteAliases::new(endpoint, &router)),
            router,
        }
    }

    fn answered(&self, record: &UsageRecord) {
        let answer = Answer { status: record.status, outcome: record.outcome, fault: record.fault };
        if let Some((_, meters)) = self.answers.read().iter().find(|(known, _)| *known == answer) {
            meters.ended(record);
            return;
        }
        let requests = counter!(
            REQUESTS,
            "router" => self.router.clone(),
            "endpoint" => self.endpoint,
            "status" => answer.status.to_string(),
            "outcome" => answer.outcome.as_str(),
            "fault" => answer.fault.map_or("none", FaultKind::as_str)
        );
        let aliases = self.aliases.as_ref().map(|_| AnswerAliases::new(self.endpoint, &self.router, answer.status));
        let meters = AnswerMeters { requests, aliases };
        meters.ended(record);
        self.answers.write().push((answer, meters));
    }
}

impl AnswerMeters {
    fn ended(&self, record: &UsageRecord) {
        self.requests.increment(1);
        if let Some(aliases) = &self.aliases {
            aliases.ended(record);
        }
    }
}
