//! One usage record as the API shows it.

use serde::Serialize;
use shared::kernel::money::Amount;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::store::usage::{AttemptRow, UsageLine};

/// One call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsageObject {
    /// `me.usage` or `usage`.
    object: &'static str,
    /// The call's id, as in `x-gatewright-call-id`.
    id: Uuid,
    /// The caller's `x-request-id`, or ours.
    request_id: String,
    /// The trace that it belongs to.
    trace_id: String,
    /// The name of the router that served it, else the one asked for.
    model: String,
    /// The name that was asked for.
    requested: String,
    /// The name of the router at the time.
    router: String,
    /// While the router exists.
    router_id: Option<i64>,
    /// The name of the key at the time.
    key: String,
    /// While the key exists.
    key_id: Option<i64>,
    /// The e-mail address of the user at the time.
    user: String,
    /// While the user exists.
    user_id: Option<i64>,
    /// While the organization exists.
    organization_id: Option<i64>,
    /// The path that was called.
    endpoint: String,
    /// The HTTP method.
    method: String,
    /// The status that the client saw.
    status: i32,
    /// How it ended: `completed`, `failed`, `interrupted`, `cancelled` or `refused`.
    outcome: String,
    /// Why it failed.
    fault: Option<String>,
    /// Whether the answer was streamed.
    streamed: bool,
    /// Whether tokens were counted here because the provider reported none.
    estimated: bool,
    /// 1, or how many refusals in a storm this stands for.
    count: i64,
    /// What was consumed.
    usage: Consumption,
    /// Every try at a provider; for administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<Vec<AttemptObject>>,
    /// Unix seconds of its admission.
    created: i64,
}

/// What a call, or a group of calls, consumed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Consumption {
    /// Of the prompt.
    pub(super) prompt_tokens: Option<i64>,
    /// Of the answer.
    pub(super) completion_tokens: Option<i64>,
    /// Together.
    pub(super) total_tokens: i64,
    /// Of the prompt, served from the provider's cache.
    pub(super) cached_tokens: Option<i64>,
    /// Of the answer, spent on reasoning.
    pub(super) reasoning_tokens: Option<i64>,
    /// In the operator's currency.
    pub(super) cost: f64,
    /// Estimated.
    pub(super) carbon: Carbon,
    /// Times in milliseconds; of a group, averages.
    pub(super) metrics: Metrics,
}

/// An estimate of what was burnt.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Carbon {
    /// Energy.
    #[serde(rename = "kWh")]
    pub(super) kwh: Option<f64>,
    /// Greenhouse gases.
    #[serde(rename = "kgCO2eq")]
    pub(super) kg_co2eq: Option<f64>,
}

/// Times in milliseconds.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Metrics {
    /// Until the last byte.
    pub(super) latency: Option<i64>,
    /// Until the first token.
    pub(super) ttft: Option<i64>,
}

/// One try at a provider.
#[derive(Debug, Serialize, ToSchema)]
struct AttemptObject {
    provider: Uuid,
    provider_type: String,
    upstream_model: String,
    started: f64,
    latency: i64,
    status: Option<u16>,
    fault: Option<String>,
}

impl From<AttemptRow> for AttemptObject {
    fn from(row: AttemptRow) -> Self {
        Self {
            provider: row.provider_id,
            provider_type: row.provider_kind,
            upstream_model: row.upstream_model,
            started: precise(row.started.timestamp_micros()) / 1e6,
            latency: millis(row.latency_us),
            status: row.status,
            fault: row.fault,
        }
    }
}

impl UsageObject {
    /// `named` is the object's word; attempts name providers, which is for administrators.
    pub(super) fn of(line: UsageLine, named: &'static str, attempts: bool) -> Self {
        let row = line.row;
        let model = if row.router_name.is_empty() { row.requested.clone() } else { row.router_name.clone() };
        let tokens = row.prompt_tokens.unwrap_or(0).saturating_add(row.completion_tokens.unwrap_or(0));
        Self {
            object: named,
            id: row.id,
            request_id: row.request_id,
            trace_id: row.trace_id,
            model,
            requested: row.requested,
            router: row.router_name,
            router_id: line.router_number,
            key: row.key_name,
            key_id: line.key_number,
            user: row.user_email,
            user_id: line.user_number,
            organization_id: line.organization_number,
            endpoint: row.endpoint,
            method: row.method,
            status: row.status,
            outcome: row.outcome,
            fault: row.fault,
            streamed: row.streamed,
            estimated: row.estimated,
            count: row.count,
            usage: Consumption {
                prompt_tokens: row.prompt_tokens,
                completion_tokens: row.completion_tokens,
                total_tokens: tokens,
                cached_tokens: row.cached_tokens,
                reasoning_tokens: row.reasoning_tokens,
                cost: Amount::from_billionths(row.cost).to_f64(),
                carbon: Carbon { kwh: row.energy_kwh, kg_co2eq: row.carbon_kg_co2eq },
                metrics: Metrics { latency: Some(millis(row.latency_us)), ttft: row.ttft_us.map(millis) },
            },
            attempts: attempts.then(|| row.attempts.0.into_iter().map(AttemptObject::from).collect()),
            created: row.started.timestamp(),
        }
    }
}

/// Rounded, not cut.
pub(super) const fn millis(micros: i64) -> i64 {
    micros.saturating_add(500) / 1_000
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of our time are below 2^53")]
const fn precise(number: i64) -> f64 {
    number as f64
}
