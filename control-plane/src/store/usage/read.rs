//! Pages of usage records, newest first.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::{UsageRow, smallest_id_at};
use crate::store::{Store, StoreError};

/// Where counting stops: an exact total of a huge table is not worth its price.
const COUNT_LIMIT: i64 = 1_000_000;

/// Ids lie within this of the admission time, so they may be used to leave out whole partitions.
const ID_SKEW: chrono::TimeDelta = chrono::TimeDelta::days(2);

/// What to read. Absent fields do not restrict.
#[derive(Debug, Clone, Default)]
pub struct UsageFilter {
    /// Of this user.
    pub user: Option<Uuid>,
    /// Made with this key.
    pub key: Option<Uuid>,
    /// Served by this router.
    pub router: Option<Uuid>,
    /// Of this organization.
    pub organization: Option<Uuid>,
    /// At this path.
    pub endpoint: Option<String>,
    /// Answered with a status from here...
    pub status_from: Option<i32>,
    /// ...to here, included.
    pub status_to: Option<i32>,
    /// Ended like this.
    pub outcome: Option<String>,
    /// Admitted at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Admitted before this time.
    pub until: Option<DateTime<Utc>>,
}

/// One record with the integer ids that its subjects still have.
#[derive(Debug, Clone, FromRow)]
pub struct UsageLine {
    /// The record.
    #[sqlx(flatten)]
    pub row: UsageRow,
    /// Of the key, while it exists.
    pub key_number: Option<i64>,
    /// Of the user, while it exists.
    pub user_number: Option<i64>,
    /// Of the organization, while it exists.
    pub organization_number: Option<i64>,
    /// Of the router, while it exists.
    pub router_number: Option<i64>,
}

/// A page of records.
#[derive(Debug, Clone)]
pub struct UsagePage {
    /// How many there are in all; counting stops at a million.
    pub total: i64,
    /// Those of this page.
    pub lines: Vec<UsageLine>,
}

impl Store {
    /// Reads a page, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn usage_page(&self, filter: &UsageFilter, offset: i64, limit: i64) -> Result<UsagePage, StoreError> {
        let mut connection = self.acquire().await?;
        let mut count = QueryBuilder::new("SELECT count(*) FROM (SELECT 1 FROM usage_records WHERE true");
        restrict(&mut count, filter);
        count.push(" LIMIT ").push_bind(COUNT_LIMIT).push(") AS counted");
        let total: i64 = count.build_query_scalar().fetch_one(&mut *connection).await?;

        // The page is cut before the joins, so that these look up a hundred rows and not a month.
        let mut page = QueryBuilder::new("WITH page AS (SELECT * FROM usage_records WHERE true");
        restrict(&mut page, filter);
        page.push(" ORDER BY started DESC, id DESC OFFSET ").push_bind(offset).push(" LIMIT ").push_bind(limit);
        page.push(
            ") SELECT page.*, keys.number AS key_number, users.number AS user_number, \
             organizations.number AS organization_number, routers.number AS router_number \
             FROM page LEFT JOIN keys ON keys.id = page.key_id LEFT JOIN users ON users.id = page.user_id \
             LEFT JOIN organizations ON organizations.id = page.organization_id \
             LEFT JOIN routers ON routers.id = page.router_id ORDER BY page.started DESC, page.id DESC",
        );
        let lines = page.build_query_as().fetch_all(&mut *connection).await?;
        Ok(UsagePage { total, lines })
    }
}

/// The id of a key by its integer, while it exists.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn key_of_number(connection: &mut PgConnection, number: i64) -> Result<Option<Uuid>, StoreError> {
    Ok(sqlx::query_scalar("SELECT id FROM keys WHERE number = $1").bind(number).fetch_optional(connection).await?)
}

fn restrict(query: &mut QueryBuilder<Postgres>, filter: &UsageFilter) {
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
    for (column, word) in [(" AND endpoint = ", &filter.endpoint), (" AND outcome = ", &filter.outcome)] {
        if let Some(word) = word {
            query.push(column).push_bind(word.clone());
        }
    }
    if let Some(status) = filter.status_from {
        query.push(" AND status >= ").push_bind(status);
    }
    if let Some(status) = filter.status_to {
        query.push(" AND status <= ").push_bind(status);
    }
    if let Some(from) = filter.from {
        query.push(" AND started >= ").push_bind(from);
        query.push(" AND usage_records.id >= ").push_bind(smallest_id_at(from - ID_SKEW));
    }
    if let Some(until) = filter.until {
        query.push(" AND started < ").push_bind(until);
        query.push(" AND usage_records.id < ").push_bind(smallest_id_at(until + ID_SKEW));
    }
}
