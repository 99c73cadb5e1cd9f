//! Usage in sums, by one dimension at a time.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use shared::kernel::money::Amount;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use super::full_filter;
use super::object::{Carbon, Consumption, Metrics, millis};
use crate::admin::context::Admin;
use crate::admin::error::{ApiError, Problem};
use crate::admin::query::Query;
use crate::admin::reply::{self, ListObject};
use crate::admin::{AppState, Routes};
use crate::store::Listed;
use crate::store::usage::{GroupBy, SummaryLine};

pub(super) fn routes() -> Routes {
    Routes::default().routes(routes!(summary))
}

/// The sums of one group.
#[derive(Debug, Serialize, ToSchema)]
struct SummaryObject {
    /// Always `usage.summary`.
    object: &'static str,
    /// The id of what the group is of, while it exists.
    id: Option<i64>,
    /// Its UUID, also when it is gone.
    uuid: Option<Uuid>,
    /// Its name, or the last one that it had.
    name: Option<String>,
    /// Unix seconds at which the day, hour or minute begins.
    start: Option<i64>,
    /// Calls.
    requests: i64,
    /// Those answered with a status of 2xx.
    successes: i64,
    /// What they consumed.
    usage: Consumption,
}

impl From<SummaryLine> for SummaryObject {
    fn from(line: SummaryLine) -> Self {
        let average = |sum: i64, count: i64| (count > 0).then(|| millis(sum / count.max(1)));
        Self {
            object: "usage.summary",
            id: line.number,
            uuid: line.subject_id.filter(|id| !id.is_nil()),
            name: line.name,
            start: line.bucket.map(|bucket| bucket.timestamp()),
            requests: line.requests,
            successes: line.successes,
            usage: Consumption {
                prompt_tokens: Some(line.prompt_tokens),
                completion_tokens: Some(line.completion_tokens),
                total_tokens: line.prompt_tokens.saturating_add(line.completion_tokens),
                cached_tokens: Some(line.cached_tokens),
                reasoning_tokens: Some(line.reasoning_tokens),
                cost: Amount::from_billionths(line.cost).to_f64(),
                carbon: Carbon { kwh: Some(line.energy_kwh), kg_co2eq: Some(line.carbon_kg_co2eq) },
                metrics: Metrics {
                    latency: average(line.latency_us, line.requests),
                    ttft: average(line.ttft_us, line.ttft_count),
                },
            },
        }
    }
}

/// Sum usage by one dimension, by default over the last 30 days: subjects by falling cost, times newest first. Bounds
/// are widened to whole hours, or to the unit that is grouped by.
#[utoipa::path(get, path = "/v1/admin/usage/summary", tag = "usage",
    params(
        ("group_by" = Option<String>, Query,
            description = "`user` (the default), `key`, `router`, `provider`, `organization`, `day`, `hour` or `minute`."),
        ("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query), ("start_time" = Option<i64>, Query),
        ("end_time" = Option<i64>, Query), ("user_id" = Option<i64>, Query), ("key_id" = Option<i64>, Query),
        ("router_id" = Option<i64>, Query), ("organization_id" = Option<i64>, Query)),
    responses((status = 200, body = ListObject<SummaryObject>)))]
async fn summary(State(state): State<AppState>, _: Admin, query: Query) -> Result<Response, ApiError> {
    let window = query.window()?;
    // Sums do not know of single calls.
    if let Some(name) = ["endpoint", "status", "outcome"].into_iter().find(|name| query.text(name).is_some()) {
        return Err(ApiError::Invalid(vec![Problem {
            kind: "value_error",
            at: vec!["query".into(), name.into()],
            message: "sums are not kept by it: leave it out, or list single calls at /v1/admin/usage".into(),
            input: query.text(name).into(),
        }]));
    }
    let words = "one of: user, key, router, provider, organization, day, hour, minute";
    let by = query.parsed::<GroupBy>("group_by", words)?.unwrap_or(GroupBy::User);
    let filter = full_filter(&state, &query).await?;
    let (total, rows) = state.store.usage_summary(by, &filter, window.0, window.1).await?;
    Ok(reply::window(Listed { total, rows }, window, SummaryObject::from))
}
