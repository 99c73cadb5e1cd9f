//! Usage: what callers consumed, one by one for themselves and for administrators, and in sums.

mod object;
mod summary;

use axum::extract::State;
use axum::response::Response;
use chrono::{TimeDelta, Utc};
use shared::catalog::MASTER_KEY_ID;
use shared::usage::Outcome;
use utoipa_axum::routes;
use uuid::Uuid;

use super::context::{Admin, Current};
use super::error::ApiError;
use super::query::Query;
use super::reply::{self, ListObject};
use super::{AppState, Routes};
use crate::access::Caller;
use crate::domain::Lookup;
use crate::store::Listed;
use crate::store::usage::UsageFilter;
use crate::store::{organizations, routers, users};
use object::UsageObject;

/// What is shown when no time is named.
const DEFAULT_SPAN: TimeDelta = TimeDelta::days(30);
/// Matches nothing: no row has this id.
const NOBODY: Uuid = Uuid::max();

pub(super) fn routes() -> Routes {
    Routes::default().routes(routes!(mine)).routes(routes!(mine_all)).routes(routes!(all)).merge(summary::routes())
}

/// List your own usage, newest first: by default the successful calls of the last 30 days.
#[utoipa::path(get, path = "/v1/me/usage", tag = "me",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query),
        ("start_time" = Option<i64>, Query, description = "Unix seconds."),
        ("end_time" = Option<i64>, Query, description = "Unix seconds."),
        ("endpoint" = Option<String>, Query, description = "A path, such as /v1/chat/completions."),
        ("status" = Option<String>, Query, description = "`all`, a class such as `4xx`, or a status; by default `2xx`.")),
    responses((status = 200, body = ListObject<UsageObject>)))]
async fn mine(State(state): State<AppState>, Current(context): Current, query: Query) -> Result<Response, ApiError> {
    page_of(&state, &context.caller, &query, "me.usage", Some("2xx")).await
}

/// List your own usage, newest first: by default every call of the last 30 days.
#[utoipa::path(get, path = "/v1/usage", tag = "me",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query), ("start_time" = Option<i64>, Query),
        ("end_time" = Option<i64>, Query), ("endpoint" = Option<String>, Query), ("status" = Option<String>, Query)),
    responses((status = 200, body = ListObject<UsageObject>)))]
async fn mine_all(
    State(state): State<AppState>,
    Current(context): Current,
    query: Query,
) -> Result<Response, ApiError> {
    page_of(&state, &context.caller, &query, "usage", None).await
}

async fn page_of(
    state: &AppState,
    caller: &Caller,
    query: &Query,
    name: &'static str,
    status: Option<&str>,
) -> Result<Response, ApiError> {
    let window = query.window()?;
    let mut filter = basic_filter(query, status)?;
    match caller.user() {
        Some(user) => filter.user = Some(user.id.uuid()),
        None => filter.key = Some(MASTER_KEY_ID),
    }
    let page = state.store.usage_page(&filter, window.0, window.1).await?;
    let listed = Listed { total: page.total, rows: page.lines };
    Ok(reply::window(listed, window, |line| UsageObject::of(line, name, false)))
}

/// List everybody's usage, newest first: by default of the last 30 days. Counting the total stops at a million.
#[utoipa::path(get, path = "/v1/admin/usage", tag = "usage",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query), ("start_time" = Option<i64>, Query),
        ("end_time" = Option<i64>, Query), ("user_id" = Option<i64>, Query), ("key_id" = Option<i64>, Query),
        ("router_id" = Option<i64>, Query), ("organization_id" = Option<i64>, Query),
        ("endpoint" = Option<String>, Query), ("status" = Option<String>, Query),
        ("outcome" = Option<String>, Query)),
    responses((status = 200, body = ListObject<UsageObject>)))]
async fn all(State(state): State<AppState>, _: Admin, query: Query) -> Result<Response, ApiError> {
    let window = query.window()?;
    let filter = full_filter(&state, &query).await?;
    let page = state.store.usage_page(&filter, window.0, window.1).await?;
    let listed = Listed { total: page.total, rows: page.lines };
    Ok(reply::window(listed, window, |line| UsageObject::of(line, "usage", true)))
}

/// Times, endpoint, status and outcome.
fn basic_filter(query: &Query, default_status: Option<&str>) -> Result<UsageFilter, ApiError> {
    let (from, until) = (query.time("start_time")?, query.time("end_time")?);
    let statuses =
        query.parsed::<Statuses>("status", "`all`, a class such as `2xx`, or a status such as 429 is expected")?;
    let statuses = statuses.or_else(|| default_status.and_then(|status| status.parse().ok()));
    let outcome: Option<Outcome> = query.parsed("outcome", &format!("one of: {}", Outcome::expected()))?;
    Ok(UsageFilter {
        endpoint: query.text("endpoint").map(str::to_owned),
        status_from: statuses.and_then(|Statuses(from, _)| from),
        status_to: statuses.and_then(|Statuses(_, to)| to),
        outcome: outcome.map(|outcome| outcome.as_str().to_owned()),
        from: Some(from.unwrap_or_else(|| until.unwrap_or_else(Utc::now) - DEFAULT_SPAN)),
        until,
        ..UsageFilter::default()
    })
}

/// The same, and whose. Integers are looked up; ids may be of what is gone.
async fn full_filter(state: &AppState, query: &Query) -> Result<UsageFilter, ApiError> {
    let mut filter = basic_filter(query, None)?;
    let subject = |name, older| query.lookup(name, older);
    let (user, key) = (subject("user_id", "user")?, subject("key_id", "key")?);
    let (router, organization) = (subject("router_id", "router")?, subject("organization_id", "organization")?);
    if [user, key, router, organization].iter().all(Option::is_none) {
        return Ok(filter);
    }
    let mut connection = state.store.acquire().await?;
    match user {
        // The master's calls are told by the master's key.
        Some(Lookup::Number(0)) => filter.key = Some(MASTER_KEY_ID),
        Some(Lookup::Id(id)) => filter.user = Some(id),
        Some(at) => filter.user = Some(users::get(&mut connection, at).await?.map_or(NOBODY, |row| row.id)),
        None => {}
    }
    match key {
        Some(Lookup::Number(0)) => filter.key = Some(MASTER_KEY_ID),
        Some(Lookup::Id(id)) => filter.key = Some(id),
        Some(Lookup::Number(number)) => {
            filter.key = Some(crate::store::usage::key_of_number(&mut connection, number).await?.unwrap_or(NOBODY));
        }
        None => {}
    }
    filter.router = match router {
        Some(Lookup::Id(id)) => Some(id),
        Some(at) => Some(routers::get(&mut connection, at).await?.map_or(NOBODY, |row| row.id)),
        None => None,
    };
    filter.organization = match organization {
        Some(Lookup::Id(id)) => Some(id),
        Some(at) => Some(organizations::get(&mut connection, at).await?.map_or(NOBODY, |row| row.id)),
        None => None,
    };
    Ok(filter)
}

/// A range of statuses: `all`, `4xx`, `429`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Statuses(Option<i32>, Option<i32>);

/// Text that is no range of statuses.
#[derive(Debug)]
struct BadStatuses;

impl std::str::FromStr for Statuses {
    type Err = BadStatuses;

    fn from_str(text: &str) -> Result<Self, BadStatuses> {
        if text == "all" {
            return Ok(Self(None, None));
        }
        if let Some(class) = text.strip_suffix("xx") {
            let class: i32 = class.parse().ok().filter(|class| (1..=5).contains(class)).ok_or(BadStatuses)?;
            return Ok(Self(Some(class * 100), Some(class * 100 + 99)));
        }
        let status: i32 = text.parse().ok().filter(|status| (100..=999).contains(status)).ok_or(BadStatuses)?;
        Ok(Self(Some(status), Some(status)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn statuses_are_ranges() {
        assert_eq!("all".parse::<Statuses>().unwrap(), Statuses(None, None));
        assert_eq!("4xx".parse::<Statuses>().unwrap(), Statuses(Some(400), Some(499)));
        assert_eq!("429".parse::<Statuses>().unwrap(), Statuses(Some(429), Some(429)));
        for bad in ["", "xx", "9xx", "4XX", "99", "1000", "abc", "-2xx"] {
            assert!(bad.parse::<Statuses>().is_err(), "{bad}");
        }
    }
}
