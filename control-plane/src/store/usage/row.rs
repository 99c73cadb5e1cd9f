//! One usage record as a row.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::kernel::clock::FleetTime;
use shared::usage::{Attempt, LeaseDraw, UsageRecord};
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

/// One usage record; the fields are the columns of `usage_records`.
#[derive(Debug, Clone, Serialize, FromRow)]
#[expect(missing_docs, reason = "the columns are described in migrations/0002_usage.sql and in shared::usage")]
pub struct UsageRow {
    pub id: Uuid,
    pub started: DateTime<Utc>,
    pub latency_us: i64,
    pub ttft_us: Option<i64>,
    pub request_id: String,
    pub trace_id: String,
    pub endpoint: String,
    pub method: String,
    pub streamed: bool,
    pub status: i32,
    pub outcome: String,
    pub fault: Option<String>,
    pub phase: String,
    pub parent: Option<Uuid>,
    pub key_id: Option<Uuid>,
    pub key_name: String,
    pub user_id: Option<Uuid>,
    pub user_email: String,
    pub organization_id: Option<Uuid>,
    pub project_id: Option<Uuid>,
    pub requested: String,
    pub router_id: Option<Uuid>,
    pub router_name: String,
    pub attempts: Json<Vec<AttemptRow>>,
    pub prompt_tokens: Option<i64>,
    pub completion_tokens: Option<i64>,
    pub cached_tokens: Option<i64>,
    pub reasoning_tokens: Option<i64>,
    pub estimated: bool,
    pub cost: i64,
    pub price_revision: i64,
    pub leases: Json<Vec<LeaseRow>>,
    pub energy_kwh: Option<f64>,
    pub carbon_kg_co2eq: Option<f64>,
    pub config_revision: i64,
    pub count: i64,
}

/// One attempt inside a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the same words as shared::usage::Attempt")]
pub struct AttemptRow {
    pub provider_id: Uuid,
    pub provider_kind: String,
    pub upstream_model: String,
    pub started: DateTime<Utc>,
    pub latency_us: i64,
    pub status: Option<u16>,
    pub fault: Option<String>,
}

/// One draw on a lease inside a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LeaseRow {
    /// Which lease.
    pub lease: Uuid,
    /// How much of it.
    pub amount: i64,
}

fn time(at: FleetTime) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.unix_micros()).unwrap_or_default()
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl From<&Attempt> for AttemptRow {
    fn from(attempt: &Attempt) -> Self {
        Self {
            provider_id: attempt.provider.uuid(),
            provider_kind: attempt.provider_kind.as_str().to_owned(),
            upstream_model: attempt.upstream_model.clone(),
            started: time(attempt.started),
            latency_us: micros(attempt.latency),
            status: attempt.status,
            fault: attempt.fault.map(|fault| fault.as_str().to_owned()),
        }
    }
}

impl From<&LeaseDraw> for LeaseRow {
    fn from(draw: &LeaseDraw) -> Self {
        Self { lease: draw.lease, amount: draw.amount }
    }
}

impl From<&UsageRecord> for UsageRow {
    fn from(record: &UsageRecord) -> Self {
        Self {
            id: record.id.uuid(),
            started: time(record.started),
            latency_us: micros(record.latency),
            ttft_us: record.time_to_first_token.map(micros),
            request_id: record.request_id.clone(),
            trace_id: record.trace_id.clone(),
            endpoint: record.endpoint.clone(),
            method: record.method.clone(),
            streamed: record.streamed,
            status: i32::from(record.status),
            outcome: record.outcome.as_str().to_owned(),
            fault: record.fault.map(|fault| fault.as_str().to_owned()),
            phase: record.phase.as_str().to_owned(),
            parent: record.parent.map(|id| id.uuid()),
            key_id: record.key.map(|id| id.uuid()),
            key_name: record.key_name.clone(),
            user_id: record.user.map(|id| id.uuid()),
            user_email: record.user_email.clone(),
            organization_id: record.organization.map(|id| id.uuid()),
            project_id: record.project.map(|id| id.uuid()),
            requested: record.requested.clone(),
            router_id: record.router.map(|id| id.uuid()),
            router_name: record.router_name.clone(),
            attempts: Json(record.attempts.iter().map(AttemptRow::from).collect()),
            prompt_tokens: record.tokens.prompt.map(integer),
            completion_tokens: record.tokens.completion.map(integer),
            cached_tokens: record.tokens.cached.map(integer),
            reasoning_tokens: record.tokens.reasoning.map(integer),
            estimated: record.estimated,
            cost: record.cost.billionths(),
            price_revision: integer(record.price_revision),
            leases: Json(record.leases.iter().map(LeaseRow::from).collect()),
            energy_kwh: record.energy_kwh,
            carbon_kg_co2eq: record.carbon_kg_co2eq,
            config_revision: integer(record.config_revision),
            count: integer(record.count),
        }
    }
}
