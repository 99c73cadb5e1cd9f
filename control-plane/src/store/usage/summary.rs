//! Sums of usage by one dimension, read from the rollups.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use sqlx::{FromRow, Postgres, QueryBuilder};
use uuid::Uuid;

use super::UsageFilter;
use crate::store::{Store, StoreError};

/// What to sum by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupBy {
    /// Each user.
    User,
    /// Each key.
    Key,
    /// Each router.
    Router,
    /// Each organization.
    Organization,
    /// Each provider.
    Provider,
    /// Each day (UTC).
    Day,
    /// Each hour.
    Hour,
    /// Each minute.
    Minute,
}

/// A word that is none of the dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("one of: user, key, router, provider, organization, day, hour, minute")]
pub struct UnknownGroup;

impl FromStr for GroupBy {
    type Err = UnknownGroup;

    fn from_str(text: &str) -> Result<Self, UnknownGroup> {
        Ok(match text {
            "user" => Self::User,
            "key" => Self::Key,
            "router" => Self::Router,
            "provider" => Self::Provider,
            "organization" => Self::Organization,
            "day" => Self::Day,
            "hour" => Self::Hour,
            "minute" => Self::Minute,
            _ => return Err(UnknownGroup),
        })
    }
}

/// The catalog side of a dimension that has ids.
struct Subject {
    column: &'static str,
    /// Looks the subject up as `subject`.
    join: &'static str,
    /// Its name while it exists.
    name: &'static str,
}

impl GroupBy {
    const fn subject(self) -> Option<Subject> {
        Some(match self {
            Self::User => Subject {
                column: "user_id",
                join: "LEFT JOIN users AS subject ON subject.id = sums.subject_id",
                name: "subject.email",
            },
            Self::Key => Subject {
                column: "key_id",
                join: "LEFT JOIN keys AS subject ON subject.id = sums.subject_id",
                name: "subject.name",
            },
            Self::Router => Subject {
                column: "router_id",
                join: "LEFT JOIN routers AS subject ON subject.id = sums.subject_id",
                name: "subject.name",
            },
            Self::Organization => Subject {
                column: "organization_id",
                join: "LEFT JOIN organizations AS subject ON subject.id = sums.subject_id",
                name: "subject.name",
            },
            Self::Provider => Subject {
                column: "provider_id",
                join: "LEFT JOIN providers AS subject ON subject.id = sums.subject_id",
                name: "subject.upstream_model",
            },
            Self::Day | Self::Hour | Self::Minute => return None,
        })
    }

    /// The coarsest grain that can tell groups and bounds apart.
    fn grain(self, filter: &UsageFilter) -> &'static str {
        let whole = |seconds: i64| {
            let fits = |time: Option<DateTime<Utc>>| time.is_none_or(|time| time.timestamp() % seconds == 0);
            fits(filter.from) && fits(filter.until)
        };
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            _ if whole(86_400) => "day",
            _ => "hour",
        }
    }
}

/// The sums of one group.
#[derive(Debug, Clone, FromRow)]
#[expect(missing_docs, reason = "the same words as migrations/0003_usage_rollups.sql")]
pub struct SummaryLine {
    pub subject_id: Option<Uuid>,
    pub number: Option<i64>,
    pub name: Option<String>,
    pub bucket: Option<DateTime<Utc>>,
    pub requests: i64,
    pub successes: i64,
    pub prompt_tokens: i64,
    pub completion_tokens: i64,
    pub cached_tokens: i64,
    pub reasoning_tokens: i64,
    pub cost: i64,
    pub latency_us: i64,
    pub ttft_us: i64,
    pub ttft_count: i64,
    pub energy_kwh: f64,
    pub carbon_kg_co2eq: f64,
}

const SUMS: &str = "sum(requests)::bigint AS requests, sum(successes)::bigint AS successes, \
    sum(prompt_tokens)::bigint AS prompt_tokens, sum(completion_tokens)::bigint AS completion_tokens, \
    sum(cached_tokens)::bigint AS cached_tokens, sum(reasoning_tokens)::bigint AS reasoning_tokens, \
    least(sum(cost), 9223372036854775807)::bigint AS cost, \
    least(sum(latency_us), 9223372036854775807)::bigint AS latency_us, sum(ttft_us)::bigint AS ttft_us, \
    sum(ttft_count)::bigint AS ttft_count, sum(energy_kwh) AS energy_kwh, sum(carbon_kg_co2eq) AS carbon_kg_co2eq";

impl Store {
    /// Sums by one dimension: subjects by falling cost, times newest first. Of the filter, ids and bounds are used.
    ///
    /// Returns the number of groups, and those of the page.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn usage_summary(
        &self,
        by: GroupBy,
        filter: &UsageFilter,
        offset: i64,
        limit: i64,
    ) -> Result<(i64, Vec<SummaryLine>), StoreError> {
        let mut connection = self.acquire().await?;
        let lines: Vec<Counted> =
            statement(by, filter, offset, limit).build_query_as().fetch_all(&mut *connection).await?;
        let total = match lines.first() {
            Some(line) => line.total,
            None if offset == 0 => 0,
            // Past the end no row carries the total.
            None => {
                let first: Option<Counted> =
                    statement(by, filter, 0, 1).build_query_as().fetch_optional(&mut *connection).await?;
                first.map_or(0, |line| line.total)
            }
        };
        Ok((total, lines.into_iter().map(|line| line.line).collect()))
    }
}

fn statement(by: GroupBy, filter: &UsageFilter, offset: i64, limit: i64) -> QueryBuilder<Postgres> {
    let subject = by.subject();
    let mut query = QueryBuilder::new("WITH sums AS (SELECT ");
    query.push(subject.as_ref().map_or("NULL::uuid", |subject| subject.column)).push(" AS subject_id, ");
    query.push(if subject.is_none() { "bucket" } else { "NULL::timestamptz" }).push(" AS bucket, ");
    query.push(SUMS).push(" FROM usage_rollups WHERE grain = ").push_bind(by.grain(filter));
    for (column, id) in [
        (" AND user_id = ", filter.user),
        (" AND key_id = ", filter.key),
        (" AND router_id = ", filter.router),
        (" AND organization_id = ", filter.organization),
    ] {
        if let Some(id) = id {
            query.push(column).push_bind(id);
        }
    }
    if let Some(from) = filter.from {
        query.push(" AND bucket >= date_trunc(grain, ").push_bind(from).push(", 'UTC')");
    }
    if let Some(until) = filter.until {
        query.push(" AND bucket < ").push_bind(until);
    }
    query.push(" GROUP BY 1, 2) SELECT count(*) OVER () AS total, sums.*, ");
    match &subject {
        Some(subject) => {
            query.push("subject.number, coalesce(").push(subject.name).push(", known.name) AS name FROM sums ");
            query.push(subject.join).push(" LEFT JOIN usage_names AS known ON known.id = sums.subject_id ");
            query.push("ORDER BY sums.cost DESC, sums.requests DESC, sums.subject_id");
        }
        None => {
            query.push("NULL::bigint AS number, NULL::text AS name FROM sums ORDER BY sums.bucket DESC");
        }
    }
    query.push(" OFFSET ").push_bind(offset).push(" LIMIT ").push_bind(limit);
    query
}

#[derive(FromRow)]
struct Counted {
    total: i64,
    #[sqlx(flatten)]
    line: SummaryLine,
}
