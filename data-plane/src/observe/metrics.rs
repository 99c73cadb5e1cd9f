//! Every metric family of the request path, and handles that are resolved once and kept.

use std::collections::HashMap;
use std::sync::Arc;

use ::metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use parking_lot::RwLock;
use shared::catalog::FaultKind;
use shared::kernel::ids::{ProviderId, RouterId};
use shared::runtime::metrics::{Family, FamilyKind, describe};
use shared::usage::{Attempt, Outcome, UsageRecord};

const REQUESTS: &str = "gatewright_requests_total";
const DURATION: &str = "gatewright_request_duration_seconds";
const FIRST_TOKEN: &str = "gatewright_time_to_first_token_seconds";
const TOKENS: &str = "gatewright_tokens_total";
const COST: &str = "gatewright_cost_billionths_total";
const ATTEMPTS: &str = "gatewright_upstream_attempts_total";
const IN_FLIGHT: &str = "gatewright_requests_in_flight";
const BODY_BYTES: &str = "gatewright_request_bodies_held_bytes";
const RETRIES_REFUSED: &str = "gatewright_retries_refused_total";
const RECORDS_LOST: &str = "gatewright_usage_records_lost_total";

/// The families, for whoever reads a dashboard.
const FAMILIES: &[Family] = &[
    Family { name: REQUESTS, kind: FamilyKind::Counter, help: "Requests answered, by endpoint, router, status, outcome and fault." },
    Family { name: DURATION, kind: FamilyKind::Histogram, help: "From the head of a request to the last byte of its answer." },
    Family { name: FIRST_TOKEN, kind: FamilyKind::Histogram, help: "From the head of a request to the first content of its answer." },
    Family { name: TOKENS, kind: FamilyKind::Counter, help: "Tokens used, by router and type (prompt, completion, cached, reasoning)." },
    Family { name: COST, kind: FamilyKind::Counter, help: "Cost of calls in billionths of the unit of the prices, by router." },
    Family { name: ATTEMPTS, kind: FamilyKind::Counter, help: "Calls of providers, by provider, its kind and the fault (none when it answered)." },
    Family { name: IN_FLIGHT, kind: FamilyKind::Gauge, help: "Requests being read, forwarded or answered, by endpoint." },
    Family { name: BODY_BYTES, kind: FamilyKind::Gauge, help: "Memory that request bodies hold." },
    Family { name: RETRIES_REFUSED, kind: FamilyKind::Counter, help: "Retries not made because their share of the traffic was spent." },
    Family { name: RECORDS_LOST, kind: FamilyKind::Counter, help: "Usage records that could not be kept because the backlog was full." },
];

/// Handles of every series in use.
#[derive(Default)]
pub(crate) struct Meters {
    routes: RwLock<HashMap<(Option<RouterId>, &'static str), Arc<RouteMeters>>>,
    attempts: RwLock<HashMap<(ProviderId, Option<FaultKind>), Counter>>,
    in_flight: RwLock<HashMap<&'static str, Gauge>>,
}

/// The series of one router at one endpoint.
struct RouteMeters {
    /// The name at the time; a renamed router gets new series.
    router: String,
    endpoint: &'static str,
    answers: RwLock<Vec<(Answer, Counter)>>,
    duration: Histogram,
    first_token: Histogram,
    prompt: Counter,
    completion: Counter,
    cached: Counter,
    reasoning: Counter,
    cost: Counter,
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
        route.answered(Answer { status: record.status, outcome: record.outcome, fault: record.fault });
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
        for attempt in &record.attempts {
            self.attempted(attempt);
        }
    }

    fn attempted(&self, attempt: &Attempt) {
        let place = (attempt.provider, attempt.fault);
        if let Some(counter) = self.attempts.read().get(&place) {
            counter.increment(1);
            return;
        }
        let counter = counter!(
            ATTEMPTS,
            "provider" => attempt.provider.to_string(),
            "kind" => attempt.provider_kind.as_str(),
            "fault" => attempt.fault.map_or("none", FaultKind::as_str)
        );
        counter.increment(1);
        self.attempts.write().insert(place, counter);
    }

    fn route(&self, endpoint: &'static str, record: &UsageRecord) -> Arc<RouteMeters> {
        let place = (record.router, endpoint);
        if let Some(known) = self.routes.read().get(&place).filter(|known| known.router == record.router_name) {
            return Arc::clone(known);
        }
        let fresh = Arc::new(RouteMeters::new(endpoint, record.router_name.clone()));
        self.routes.write().insert(place, Arc::clone(&fresh));
        fresh
    }
}

impl RouteMeters {
    fn new(endpoint: &'static str, router: String) -> Self {
        let tokens = |kind: &'static str| counter!(TOKENS, "router" => router.clone(), "endpoint" => endpoint, "type" => kind);
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
            router,
        }
    }

    fn answered(&self, answer: Answer) {
        if let Some((_, counter)) = self.answers.read().iter().find(|(known, _)| *known == answer) {
            counter.increment(1);
            return;
        }
        let counter = counter!(
            REQUESTS,
            "router" => self.router.clone(),
            "endpoint" => self.endpoint,
            "status" => answer.status.to_string(),
            "outcome" => answer.outcome.as_str(),
            "fault" => answer.fault.map_or("none", FaultKind::as_str)
        );
        counter.increment(1);
        self.answers.write().push((answer, counter));
    }
}
