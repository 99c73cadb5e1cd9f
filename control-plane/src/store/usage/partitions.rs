//! Months of the ledger: cut out ahead of time, dropped when retention is over.

use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveTime, TimeDelta, Utc};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use uuid::Uuid;

use super::smallest_id_at;
use crate::store::{Store, StoreError};

/// Taken by whoever keeps house; another replica that finds it taken lets it be.
const LOCK: i64 = 0x6761_7465_7573_6167;
/// No spool of a boot comes back after this.
const KEEP_WATERMARKS: TimeDelta = TimeDelta::days(400);
/// How many months exist ahead of the running one.
const AHEAD: u32 = 2;

/// How long what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Records; absent: for ever.
    pub records: Option<TimeDelta>,
    /// Sums by the minute.
    pub minutes: TimeDelta,
    /// Sums by the hour.
    pub hours: TimeDelta,
}

/// The grains of sums that end; those by the day stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RollupGrain {
    /// By the minute.
    Minute,
    /// By the hour.
    Hour,
}

impl Store {
    /// Makes the partitions of this month and the next ones, and removes what retention no longer covers.
    ///
    /// Returns false when another replica was at it.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer; everything done so far stays done.
    pub async fn keep_usage_house(&self, now: DateTime<Utc>, retention: &Retention) -> Result<bool, StoreError> {
        let mut session = self.session().await?;
        let mine: bool =
            sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut session).await?;
        if mine {
            // Records that arrive while a partition is cut wait for it: rather try again in an hour than stop them long.
            session.execute("SET lock_timeout = '5s'").await?;
            for ahead in 0..=AHEAD {
                if let Some((from, until)) = month_of(now, ahead) {
                    cut_out(&mut session, from, until).await?;
                }
            }
            if let Some(keep) = retention.records {
                drop_before(&mut session, now - keep).await?;
            }
            forget_sums(&mut session, RollupGrain::Minute, now - retention.minutes).await?;
            forget_sums(&mut session, RollupGrain::Hour, now - retention.hours).await?;
            sqlx::query("DELETE FROM usage_watermarks WHERE updated < $1")
                .bind(now - KEEP_WATERMARKS)
                .execute(&mut session)
                .await?;
        }
        // Closing the session gives the lock back.
        session.close().await?;
        Ok(mine)
    }
}

/// First day of the month that is `ahead` months after now, and of the one after it.
fn month_of(now: DateTime<Utc>, ahead: u32) -> Option<(NaiveDate, NaiveDate)> {
    let from = now.date_naive().with_day(1)?.checked_add_months(Months::new(ahead))?;
    Some((from, from.checked_add_months(Months::new(1))?))
}

fn boundary(day: NaiveDate) -> Uuid {
    smallest_id_at(day.and_time(NaiveTime::MIN).and_utc())
}

fn partition_name(month: NaiveDate) -> String {
    format!("usage_records_{}", month.format("%Y_%m"))
}

/// Makes a month's partition, moving over what the default one already holds of that month.
async fn cut_out(session: &mut PgConnection, from: NaiveDate, until: NaiveDate) -> Result<(), StoreError> {
    let name = partition_name(from);
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('gatewright.' || $1) IS NOT NULL")
        .bind(&name)
        .fetch_one(&mut *session)
        .await?;
    if exists {
        return Ok(());
    }
    let (low, high) = (boundary(from), boundary(until));
    let mut work = session.begin().await?;
    // Names and bounds are made of digits here, never of input.
    for statement in [
        // Nothing may arrive in the default partition between the move and the attachment.
        "LOCK TABLE usage_records_default IN ACCESS EXCLUSIVE MODE".to_owned(),
        format!("CREATE TABLE {name} (LIKE usage_records INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"),
        format!(
            "WITH moved AS (DELETE FROM usage_records_default WHERE id >= '{low}' AND id < '{high}' RETURNING *) \
             INSERT INTO {name} SELECT * FROM moved"
        ),
        format!("ALTER TABLE usage_records ATTACH PARTITION {name} FOR VALUES FROM ('{low}') TO ('{high}')"),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *work).await?;
    }
    work.commit().await?;
    Ok(())
}

/// Drops the months that lie wholly before, and deletes the stragglers of the default partition.
async fn drop_before(session: &mut PgConnection, before: DateTime<Utc>) -> Result<(), StoreError> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid \
         WHERE inhparent = 'gatewright.usage_records'::regclass AND relname ~ '^usage_records_[0-9]{4}_[0-9]{2}$' ORDER BY 1",
    )
    .fetch_all(&mut *session)
    .await?;
    for name in names {
        let month = name.strip_prefix("usage_records_").map(|month| format!("{month}_01"));
        let Some(month) = month.and_then(|month| NaiveDate::parse_from_str(&month, "%Y_%m_%d").ok()) else { continue };
        let ends = month.checked_add_months(Months::new(1)).is_some_and(|end| boundary(end) <= smallest_id_at(before));
        if ends {
            tracing::info!(partition = name, "usage records are past their retention: dropping the month");
            sqlx::query(AssertSqlSafe(format!("DROP TABLE {name}"))).execute(&mut *session).await?;
        }
    }
    sqlx::query("DELETE FROM usage_records_default WHERE id < $1")
        .bind(smallest_id_at(before))
        .execute(session)
        .await?;
    Ok(())
}

async fn forget_sums(session: &mut PgConnection, grain: RollupGrain, before: DateTime<Utc>) -> Result<(), StoreError> {
    let grain = match grain {
        RollupGrain::Minute => "minute",
        RollupGrain::Hour => "hour",
    };
    sqlx::query("DELETE FROM usage_rollups WHERE grain = $1 AND bucket < $2")
        .bind(grain)
        .bind(before)
        .execute(session)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn months_meet_without_a_gap_also_over_a_new_year() {
        let now = DateTime::parse_from_rfc3339("2026-11-30T23:59:59Z").unwrap().to_utc();
        let months: Vec<_> = (0..=AHEAD).map(|ahead| month_of(now, ahead).unwrap()).collect();
        let names: Vec<_> = months.iter().map(|(from, _)| partition_name(*from)).collect();
        assert_eq!(names, ["usage_records_2026_11", "usage_records_2026_12", "usage_records_2027_01"]);
        for pair in months.windows(2) {
            assert_eq!(pair.first().unwrap().1, pair.last().unwrap().0);
        }
        let (from, until) = months.first().unwrap();
        let id = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, u64::try_from(now.timestamp()).unwrap(), 0));
        assert!(boundary(*from) <= id && id < boundary(*until));
    }
}
