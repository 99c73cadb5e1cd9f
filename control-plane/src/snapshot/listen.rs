//! Learns that the catalog moved, and publishes it.

use std::time::Duration;

use shared::runtime::shutdown::Shutdown;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::{Builder, Publisher};
use crate::store::{CatalogListener, Head, Store};

/// How often the head is asked in any case: notifications are lost behind a pooler and around a reconnect.
const POLL: Duration = Duration::from_secs(1);
/// Commits that follow each other within this time are published together.
const DEBOUNCE: Duration = Duration::from_millis(25);
/// The head is one row: when it takes longer, the connection is dead without knowing it.
const LONGEST_LOOK: Duration = Duration::from_secs(3);
/// How often a lost notification channel is opened again.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);
/// A read that takes longer is given up: statements have timeouts of their own, but a connection whose other side is gone
/// without a word waits for ever. Each read that was given up doubles the patience with the next one.
const SHORTEST_PATIENCE: Duration = Duration::from_secs(10);
/// The most patience, and that with the first read, which reads everything.
const LONGEST_PATIENCE: Duration = Duration::from_secs(300);

/// Follows the head of the catalog.
pub struct Watcher {
    store: Store,
    builder: Builder,
    publisher: Publisher,
    /// Whether the last read failed, so that an outage is logged twice and not each second.
    failing: bool,
    patience: Duration,
}

impl Watcher {
    /// Over the database.
    #[must_use]
    pub const fn new(store: Store, builder: Builder, publisher: Publisher) -> Self {
        Self { store, builder, publisher, failing: false, patience: LONGEST_PATIENCE }
    }

    /// Follows until the process stops.
    pub async fn run(mut self, shutdown: Shutdown) {
        tokio::select! {
            () = self.follow() => {}
            () = shutdown.stopping() => {}
        }
    }

    async fn follow(&mut self) {
        let mut poll = interval(POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut listener: Option<CatalogListener> = None;
        let mut listen_at = Instant::now();
        let publisher = self.publisher.clone();
        loop {
            if listener.is_none() && listen_at <= Instant::now() {
                listener = self.listen().await;
                listen_at = Instant::now() + LISTEN_AGAIN;
            }
            let began = Instant::now();
            self.publish().await;
            sleep_until(began + DEBOUNCE).await;
            tokio::select! {
                _ = poll.tick() => {}
                () = publisher.woken() => {}
                () = notified(&mut listener) => {}
            }
        }
    }

    async fn listen(&self) -> Option<CatalogListener> {
        match timeout(LISTEN_AGAIN, self.store.catalog_listener()).await {
            Ok(Ok(listener)) => Some(listener),
            Ok(Err(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "no notifications; the catalog is polled");
                None
            }
            Err(_) => None,
        }
    }

    /// Publishes the head if it moved. On a failure the last snapshot stays.
    async fn publish(&mut self) {
        let base = self.publisher.current();
        let began = Instant::now();
        let built = match &base {
            // The cheap question first: one row, no transaction.
            Some(base) if self.head().await == Some(base.head()) => Ok(Ok(None)),
            base => timeout(self.patience, self.builder.build(base.as_deref())).await,
        };
        match built {
            Ok(Ok(snapshot)) => {
                self.patience = SHORTEST_PATIENCE;
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the catalog can be read again");
                }
                if let Some(snapshot) = snapshot {
                    let head = snapshot.head();
                    tracing::info!(epoch = %head.epoch, revision = head.revision.0, resources = snapshot.len(), "catalog published");
                    self.publisher.publish(snapshot);
                    metrics::histogram!(super::READ).record(began.elapsed());
                }
            }
            Ok(Err(error)) => self.failed(&error),
            Err(elapsed) => {
                self.patience = (self.patience * 2).min(LONGEST_PATIENCE);
                self.failed(&elapsed);
            }
        }
    }

    /// The head, when it is had soon.
    async fn head(&self) -> Option<Head> {
        timeout(LONGEST_LOOK, self.store.head()).await.ok()?.ok()
    }

    fn failed(&mut self, error: &(dyn std::error::Error + 'static)) {
        metrics::counter!(super::FAILURES).increment(1);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(error, "the catalog cannot be read; nodes keep what was published last");
        }
    }
}

/// Waits for a notification; for ever without a listener. A broken one is dropped, and the head read at once: something
/// may have been missed.
async fn notified(listener: &mut Option<CatalogListener>) {
    match listener {
        Some(listening) => {
            if let Err(error) = listening.commits().await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "notifications are lost; the catalog is polled"
                );
                *listener = None;
            }
        }
        None => std::future::pending().await,
    }
}
