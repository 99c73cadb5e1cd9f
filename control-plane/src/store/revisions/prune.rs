//! Forgets old revisions, but not how the resources that they left behind stood.

use std::time::Duration;

use crate::store::{Store, StoreError};

/// Revisions that are forgotten in one transaction.
const BATCH: i64 = 2_000;
/// The log never holds more than so many times what it must hold.
const MOST: i64 = 10;

impl Store {
    /// Forgets revisions that are neither among the newest `count` nor younger than `age`, and all beyond ten times
    /// `count`. Returns how many rows are gone.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn prune_changes(&self, count: u64, age: Duration) -> Result<u64, StoreError> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let mut connection = self.acquire().await?;
        let (start, until): (i64, Option<i64>) = sqlx::query_as(
            "SELECT h.log_start, greatest(
                 (SELECT max(c.revision) FROM changes c
                  WHERE c.revision <= h.revision - $1 AND c.made < now() - make_interval(secs => $2)),
                 h.revision - $3)
             FROM catalog_head h",
        )
        .bind(count)
        .bind(age.as_secs_f64())
        .bind(count.saturating_mul(MOST))
        .fetch_one(&mut *connection)
        .await?;
        drop(connection);
        let (mut gone, mut at, until) = (0, start, until.unwrap_or(0));
        while at < until {
            at = at.saturating_add(BATCH).min(until);
            gone += self.forget_until(at).await?;
        }
        Ok(gone)
    }

    /// The log becomes whole only after this revision.
    async fn forget_until(&self, revision: i64) -> Result<u64, StoreError> {
        let mut tx = self.pool().begin().await?;
        let done = sqlx::query(
            "DELETE FROM changes c WHERE c.revision <= $1 AND CASE
                 WHEN c.kind IN ('user', 'key') THEN true
                 WHEN c.content IS NULL THEN
                     NOT EXISTS (SELECT FROM changes n WHERE n.kind = c.kind AND n.id = c.id AND n.revision > c.revision)
                     OR EXISTS (SELECT FROM changes n WHERE n.kind = c.kind AND n.id = c.id
                                AND n.revision > c.revision AND n.revision <= $1)
                 ELSE EXISTS (SELECT FROM changes n WHERE n.kind = c.kind AND n.id = c.id
                              AND n.revision > c.revision AND n.revision <= $1)
             END",
        )
        .bind(revision)
        .execute(&mut *tx)
        .await?;
        // Last, because everybody who commits a change waits for this row.
        sqlx::query("UPDATE catalog_head SET log_start = greatest(log_start, $1)")
            .bind(revision)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected())
    }
}
