//! Hears that a commit changed the catalog.

use futures_util::FutureExt;
use sqlx::postgres::PgListener;

use super::{Store, StoreError};

/// A connection of its own that hears commits. A hint only: what is announced while it reconnects is lost.
#[derive(Debug)]
pub struct CatalogListener {
    inner: PgListener,
}

impl Store {
    /// Opens one.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn catalog_listener(&self) -> Result<CatalogListener, StoreError> {
        Ok(CatalogListener { inner: self.listener().await? })
    }
}

impl CatalogListener {
    /// Waits for the next commits; several that were announced already count as one. May be dropped at any time.
    ///
    /// # Errors
    /// [`StoreError`] when the connection is lost and does not come back at once.
    pub async fn commits(&mut self) -> Result<(), StoreError> {
        // `None`: the connection was lost and something may have been missed, which is news as well.
        self.inner.try_recv().await?;
        while let Some(Ok(Some(_))) = self.inner.try_recv().now_or_never() {}
        Ok(())
    }
}
